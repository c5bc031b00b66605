"""Statistics of one seed's pre-training record (§4.1): clusters in identity pre-training, and gains in tuning."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from taskclust.experiments.pretraining.record import Record

Statistic = Callable[[Record], float]


def late(split: str, label: str, metric: str) -> Statistic:
    """Statistic: the top layer's score after t-SNE at the last checkpoint of identity pre-training."""
    return lambda r: float(r.scores[split].tsne[label][metric][-1, -1])


def early(split: str, label: str, metric: str) -> Statistic:
    """Statistic: the top layer's score after t-SNE for the untrained model, at epoch 0."""
    return lambda r: float(r.scores[split].tsne[label][metric][0, -1])


def rise(split: str, label: str, metric: str) -> Statistic:
    """Statistic: the score at the last checkpoint minus the untrained model's."""
    return lambda r: late(split, label, metric)(r) - early(split, label, metric)(r)


#: The arms that task-identity pre-training is compared with (§4.1).
RIVALS = ("instruction", "none")
#: The accuracies for which the epochs of tuning until they are reached are counted.
LEVELS = (0.5, 0.8)


def tuning(record: Record, arm: str) -> Float[np.ndarray, " epoch"]:
    """The validation accuracy of an arm before tuning and after each epoch of it."""
    return record.tuning[arm].history["validation_accuracy"]


def epochs_to(accuracies: Float[np.ndarray, " epoch"], level: float) -> int:
    """The first epoch at which ``level`` is reached; the last epoch plus one if it never is."""
    return int(np.append(accuracies >= level, True).argmax())


def epochs_saved(arm: str, level: float) -> Statistic:
    """Statistic: how much earlier than the faster rival an arm reaches ``level``, in fractions of the tuning."""

    def read(record: Record) -> float:
        rivals = min(epochs_to(tuning(record, rival), level) for rival in RIVALS)
        own = tuning(record, arm)
        return (rivals - epochs_to(own, level)) / (len(own) - 1)

    return read


def area_gain(arm: str) -> Statistic:
    """Statistic: an arm's mean accuracy over the tuning (the area under its curve) minus the better rival's."""
    return lambda r: float(tuning(r, arm).mean() - max(tuning(r, rival).mean() for rival in RIVALS))


def untuned_gain(arm: str) -> Statistic:
    """Statistic: an arm's accuracy before its tuning minus the better rival's at the end."""
    return lambda r: float(tuning(r, arm)[0] - max(tuning(r, rival)[-1] for rival in RIVALS))


def final_gain(arm: str) -> Statistic:
    """Statistic: an arm's accuracy at the end of the tuning minus the better rival's."""
    return lambda r: float(tuning(r, arm)[-1] - max(tuning(r, rival)[-1] for rival in RIVALS))
