"""Statistics of one seed's record of §4.2: what each way to align the base model reaches, and what it forgets."""

from collections.abc import Callable
from typing import Literal

from taskclust.experiments.alignment.record import Record

Statistic = Callable[[Record], float]


def aligned(method: str, quantity: Literal["source", "others", "drop"]) -> Statistic:
    """Accuracy on "source" or "others", or the "drop" on the others, of one of the four methods."""
    return lambda r: float(getattr(r.methods[method], quantity))


def last_drop(method: str) -> Statistic:
    """The "drop" of a fine-tuning had its last epoch been taken, not the first of best source accuracy."""

    def read(record: Record) -> float:
        history = record.methods[method].history
        return float("nan") if history is None else float(record.base.others - history["others"][-1])

    return read


def less_forgetting(kind: str, switches: Literal["methods", "shuffled"] = "methods") -> Statistic:
    """How much less a switch drops than head tuning, less what it costs in source accuracy.

    Without the second part a switch that fires at random would gain: where it does not fire nothing is forgotten, and
    nothing is aligned.
    """

    def read(record: Record) -> float:
        head, switch = record.methods["head"], getattr(record, switches)[kind]
        return float(head.drop - switch.drop - max(0.0, head.source - switch.source))

    return read
