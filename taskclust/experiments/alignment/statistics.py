"""Statistics of one seed's alignment record (§4.2): what each method reaches and what it forgets."""

from collections.abc import Callable
from typing import Literal

from taskclust.experiments.alignment.record import Record

Statistic = Callable[[Record], float]


def aligned(method: str, quantity: Literal["source", "others", "drop"]) -> Statistic:
    """Statistic: a method's accuracy on "source" or "others", or its "drop" in accuracy on the others."""
    return lambda r: float(getattr(r.methods[method], quantity))


def last_drop(method: str) -> Statistic:
    """Statistic: the "drop" of fine-tuning at its last epoch, instead of the first epoch of best source accuracy."""

    def read(record: Record) -> float:
        history = record.methods[method].history
        return float("nan") if history is None else float(record.base.others - history["others"][-1])

    return read


def less_forgetting(kind: str, switches: Literal["methods", "shuffled"] = "methods") -> Statistic:
    """Statistic: how much less a switch drops than head tuning, minus its loss of source accuracy against head tuning.

    The second part is needed because a switch that fires at random would otherwise gain: wherever it does not fire,
    nothing is forgotten, but nothing is aligned either.
    """

    def read(record: Record) -> float:
        head, switch = record.methods["head"], getattr(record, switches)[kind]
        return float(head.drop - switch.drop - max(0.0, head.source - switch.source))

    return read
