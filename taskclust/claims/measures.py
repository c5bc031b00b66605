"""Statistics of one seed's record, the numbers that claims are made of. They read; they compute no score.

A *reading* takes a record and gives one number. All scores are those of the top layer after t-SNE unless named
otherwise: the paper says "optionally", its tables name t-SNE's values, and the report shows both.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Record = dict[str, Any]
Reading = Callable[[Record], float]


def curve(record: Record, split: str, label: str, metric: str, space: str = "tsne") -> np.ndarray:
    """The score at each probed epoch (rows) and layer (columns)."""
    return np.array(record["scores"][split][space][label][metric])


def at_epoch(record: Record, epoch: int, space: str = "tsne") -> int:
    """The row of ``epoch`` in a curve."""
    return int(record["epochs"][space].index(epoch))


def late(split: str, label: str, metric: str, space: str = "tsne") -> Reading:
    """The score at the last checkpoint."""
    return lambda r: float(curve(r, split, label, metric, space)[-1, -1])


def early(split: str, label: str, metric: str, space: str = "tsne") -> Reading:
    """The score of the untrained model, at epoch 0."""
    return lambda r: float(curve(r, split, label, metric, space)[0, -1])


def rise(split: str, label: str, metric: str) -> Reading:
    """Last checkpoint minus untrained model."""
    return lambda r: late(split, label, metric)(r) - early(split, label, metric)(r)


def depth_rise(split: str, label: str, metric: str, epoch: int = -1) -> Reading:
    """How much the score gains from layer 0 to the top at one checkpoint, by a line fitted over layers."""
    return lambda r: _fitted_rise(curve(r, split, label, metric)[epoch])


def _fitted_rise(values: np.ndarray) -> float:
    """A rank correlation would ignore size: the untrained model's is often high, over differences of 0.01."""
    layers = np.arange(len(values))
    return float(np.polyfit(layers, values, 1)[0] * layers[-1])


def baseline_stillness(split: str, label: str, metric: str) -> Reading:
    """A quarter of the top layer's change minus layer 0's: positive where the embedding layer hardly moves."""

    def read(record: Record) -> float:
        change = curve(record, split, label, metric)[[0, -1]]
        change = np.abs(change[1] - change[0])
        return float(change[-1] / 4 - change[0])

    return read


def since_best(split: str, metric: str) -> Reading:
    """Task score at the last checkpoint minus that at the epoch of best validation accuracy."""

    def read(record: Record) -> float:
        scores = curve(record, split, "task", metric)
        return float(scores[-1, -1] - scores[at_epoch(record, record["best_epoch"]), -1])

    return read


def after_best(record: Record) -> float:
    """Fraction of the training that follows the epoch of best validation accuracy."""
    return 1 - record["best_epoch"] / (len(record["history"]) - 1)


def best_rise(split: str, metric: str) -> Reading:
    """Task score at the epoch of best validation accuracy minus the untrained model's."""
    return lambda r: -before_best(split, metric)(r)


def before_best(split: str, metric: str) -> Reading:
    """The same for the untrained model in place of the last checkpoint."""

    def read(record: Record) -> float:
        scores = curve(record, split, "task", metric)
        return float(scores[0, -1] - scores[at_epoch(record, record["best_epoch"]), -1])

    return read


def history(record: Record, column: str) -> np.ndarray:
    """A column of the training history, one number an epoch; NaN where there is none (the loss before training)."""
    return np.array([np.nan if row[column] is None else row[column] for row in record["history"]], dtype=float)


def first_half_fallen(loss: np.ndarray) -> int:
    """First epoch at which the loss has made half of its whole way down."""
    return int(np.flatnonzero(loss <= (np.nanmax(loss) + np.nanmin(loss)) / 2)[0])


def first_half_risen(accuracy: np.ndarray) -> int:
    """First epoch at which the accuracy has reached half of its highest."""
    return int(np.flatnonzero(accuracy >= np.nanmax(accuracy) / 2)[0])


def accuracy_lag(column: str) -> Reading:
    """Epochs from the loss's half way to the accuracy's, as a fraction of the training."""

    def read(record: Record) -> float:
        loss, accuracy = history(record, "loss"), history(record, column)
        return (first_half_risen(accuracy) - first_half_fallen(loss)) / (len(loss) - 1)

    return read


def plateau_accuracy(column: str) -> Reading:
    """Mean accuracy until the loss has fallen half way, relative to the highest accuracy."""
    return lambda r: _plateau(history(r, column), history(r, "loss"))


def _plateau(accuracy: np.ndarray, loss: np.ndarray) -> float:
    """1, no plateau before a rise, where nothing ever rises."""
    highest = accuracy.max()
    return float(accuracy[: first_half_fallen(loss) + 1].mean() / highest) if highest > 0 else 1.0


def highest_accuracy(column: str) -> Reading:
    """The highest accuracy of the training."""
    return lambda r: float(history(r, column).max())


def untrained_accuracy(column: str) -> Reading:
    """The accuracy at epoch 0."""
    return lambda r: float(history(r, column)[0])


def lockstep_lag(record: Record) -> float:
    """The lag of an accuracy that followed the loss: the null."""
    loss = history(record, "loss")
    follower = np.nan_to_num(np.nanmax(loss) - loss)
    return (first_half_risen(follower) - first_half_fallen(loss)) / (len(loss) - 1)


def lockstep_plateau(record: Record) -> float:
    """The plateau of an accuracy that followed the loss: the null."""
    loss = history(record, "loss")
    return _plateau(np.nan_to_num(np.nanmax(loss) - loss), loss)


def knn(quantity: str, epoch: int = -1, layer: int = -1) -> Reading:
    """KNN percentage or accuracy at one checkpoint and layer."""
    return lambda r: float(r["knn"][quantity][epoch][layer])


def knn_above_bag(quantity: str, epoch: int = -1) -> Reading:
    """The same less that of the nearest bags of symbols."""
    return lambda r: knn(quantity, epoch)(r) - float(r["bag_knn"][quantity])


def knn_rise(quantity: str, layer: int = -1) -> Reading:
    """Last checkpoint minus untrained model."""
    return lambda r: knn(quantity, -1, layer)(r) - knn(quantity, 0, layer)(r)


def knn_depth_rise(quantity: str, epoch: int = -1) -> Reading:
    """How much the quantity gains from layer 0 to the top at one checkpoint, by a line fitted over layers."""
    return lambda r: _fitted_rise(np.array(r["knn"][quantity][epoch]))


def bag(split: str, label: str, metric: str) -> Reading:
    """The score of k-means on bag-of-symbols features, after t-SNE as the states' are."""
    return lambda r: float(r["bag_of_symbols"][split]["tsne"][label][metric][0])


def merging(epoch: int = -1) -> Reading:
    """How far clusters join a task's distributions at one checkpoint: ``merging_score`` of taskclust.probes.metrics."""
    return lambda r: _number(r["merging"]["states"][epoch])


def merging_above_bag(epoch: int = -1) -> Reading:
    """The same less that of a bag of symbols."""
    return lambda r: merging(epoch)(r) - _number(r["merging"]["bag"])


def _number(value: float | None) -> float:
    """NaN, stored as null, where there is nothing to measure."""
    return np.nan if value is None else float(value)


def above_bag(split: str, label: str, metric: str, epoch: int = -1) -> Reading:
    """The score at one checkpoint less that of a bag of symbols, which knows no order and no model."""
    return lambda r: float(curve(r, split, label, metric)[epoch, -1]) - bag(split, label, metric)(r)


def size_deviation(split: str, printed: int) -> Reading:
    """Relative deviation of a split's size from the printed one."""
    return lambda r: abs(r["sizes"][split] / printed - 1)


#: What task-identity pre-training is compared with (§4.1).
RIVALS = ("instruction", "none")
#: Accuracies to which a tuning's epochs are counted.
LEVELS = (0.5, 0.8)


def tuning(record: Record, arm: str) -> np.ndarray:
    """Validation accuracy of an arm at each epoch of its tuning, the first before it."""
    return np.array([row["validation_accuracy"] for row in record["tuning"][arm]["history"]])


def epochs_to(accuracies: np.ndarray, level: float) -> int:
    """First epoch at which ``level`` is reached; one more than the last where it never is."""
    return int(np.append(accuracies >= level, True).argmax())


def epochs_saved(arm: str, level: float) -> Reading:
    """Epochs to an accuracy, fewer than the faster rival's by so much, as a fraction of the tuning."""

    def read(record: Record) -> float:
        rivals = min(epochs_to(tuning(record, rival), level) for rival in RIVALS)
        own = tuning(record, arm)
        return (rivals - epochs_to(own, level)) / (len(own) - 1)

    return read


def area_gain(arm: str) -> Reading:
    """Mean accuracy over the tuning, the area under its curve, beyond the better rival's."""
    return lambda r: float(tuning(r, arm).mean() - max(tuning(r, rival).mean() for rival in RIVALS))


def final_gain(arm: str) -> Reading:
    """Accuracy at the end of the tuning, beyond the better rival's."""
    return lambda r: float(tuning(r, arm)[-1] - max(tuning(r, rival)[-1] for rival in RIVALS))


def aligned(method: str, quantity: str) -> Reading:
    """Accuracy on "source" or "others", or the "drop" on the others, of one of the four methods."""
    return lambda r: float(r["methods"][method][quantity])


def last_drop(method: str) -> Reading:
    """The "drop" of a fine-tuning had its last epoch been taken, not the first of best source accuracy."""
    return lambda r: float(r["base"]["others"] - r["methods"][method]["history"][-1]["others"])


def less_forgetting(kind: str, switches: str = "methods") -> Reading:
    """How much less a switch drops than head tuning, less what it costs in source accuracy.

    Without the second part a switch that fires at random would gain: where it does not fire nothing is forgotten, and
    nothing is aligned.
    """

    def read(record: Record) -> float:
        head, switch = record["methods"]["head"], record[switches][kind]
        return float(head["drop"] - switch["drop"] - max(0.0, head["source"] - switch["source"]))

    return read
