"""Statistics of one seed's record of §4.1: clusters while identities are learned, and what tuning gains by them."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from taskclust.experiments.pretraining.record import Record

Statistic = Callable[[Record], float]


def late(split: str, label: str, metric: str) -> Statistic:
    """The top layer's score after t-SNE at the last checkpoint of identity pre-training."""
    return lambda r: float(r.scores[split].tsne[label][metric][-1, -1])


def early(split: str, label: str, metric: str) -> Statistic:
    """The same of the untrained model, at epoch 0."""
    return lambda r: float(r.scores[split].tsne[label][metric][0, -1])


def rise(split: str, label: str, metric: str) -> Statistic:
    """Last checkpoint minus untrained model."""
    return lambda r: late(split, label, metric)(r) - early(split, label, metric)(r)


#: What task-identity pre-training is compared with (§4.1).
RIVALS = ("instruction", "none")
#: Accuracies to which a tuning's epochs are counted.
LEVELS = (0.5, 0.8)


def tuning(record: Record, arm: str) -> Float[np.ndarray, " epoch"]:
    """Validation accuracy of an arm at each epoch of its tuning, the first before it."""
    return record.tuning[arm].history["validation_accuracy"]


def epochs_to(accuracies: Float[np.ndarray, " epoch"], level: float) -> int:
    """First epoch at which ``level`` is reached; one more than the last where it never is."""
    return int(np.append(accuracies >= level, True).argmax())


def epochs_saved(arm: str, level: float) -> Statistic:
    """Epochs to an accuracy, fewer than the faster rival's by so much, as a fraction of the tuning."""

    def read(record: Record) -> float:
        rivals = min(epochs_to(tuning(record, rival), level) for rival in RIVALS)
        own = tuning(record, arm)
        return (rivals - epochs_to(own, level)) / (len(own) - 1)

    return read


def area_gain(arm: str) -> Statistic:
    """Mean accuracy over the tuning, the area under its curve, beyond the better rival's."""
    return lambda r: float(tuning(r, arm).mean() - max(tuning(r, rival).mean() for rival in RIVALS))


def final_gain(arm: str) -> Statistic:
    """Accuracy at the end of the tuning, beyond the better rival's."""
    return lambda r: float(tuning(r, arm)[-1] - max(tuning(r, rival)[-1] for rival in RIVALS))
