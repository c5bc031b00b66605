"""Statistics of the main experiment's record, which its claims use; they read stored scores and compute no new ones.

A *statistic* takes a record and gives one number. All scores are those of the top layer after t-SNE unless named
otherwise: the paper says "optionally", its tables name t-SNE's values, and the report shows both. Nearest neighbors are
of the states themselves. ``epoch`` is an index into the probed epochs: 0 is the untrained model, -1 the end.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from taskclust.experiments.synthetic.record import BagNeighbors, PerEpoch, Record
from taskclust.probes.scores import Neighbors

Statistic = Callable[[Record], float]
Quantity = Literal["percentage", "accuracy"]


def curve(record: Record, split: str, label: str, metric: str, space: str = "tsne") -> Float[np.ndarray, "epoch layer"]:
    """The score at each probed epoch and layer, as :func:`taskclust.probes.clusters.cluster_scores` gives it.

    ``metric`` "f1" is :func:`taskclust.probes.metrics.matched_f1_score` of k-means.
    """
    scores = record.scores[split]
    return (scores.tsne if space == "tsne" else scores.raw)[label][metric]


def at_epoch(record: Record, epoch: int, space: str = "tsne") -> int:
    """The row of ``epoch`` in a :func:`curve`."""
    return record.epochs.of(space).index(epoch)


def late(split: str, label: str, metric: str, space: str = "tsne") -> Statistic:
    """Statistic: the score at the last checkpoint."""
    return lambda r: float(curve(r, split, label, metric, space)[-1, -1])


def early(split: str, label: str, metric: str, space: str = "tsne") -> Statistic:
    """Statistic: the score of the untrained model, at epoch 0."""
    return lambda r: float(curve(r, split, label, metric, space)[0, -1])


def rise(split: str, label: str, metric: str) -> Statistic:
    """Statistic: the score at the last checkpoint minus the untrained model's."""
    return lambda r: late(split, label, metric)(r) - early(split, label, metric)(r)


def depth_rise(split: str, label: str, metric: str, epoch: int = -1) -> Statistic:
    """Statistic: the score's rise from layer 0 to the top layer at one checkpoint, by a line fitted over layers."""
    return lambda r: _fitted_rise(curve(r, split, label, metric)[epoch])


def _fitted_rise(values: np.ndarray) -> float:
    """The rise of a line fitted over layers, from layer 0 to the top layer.

    A rank correlation would ignore the size of the rise: it is often high for the untrained model, whose differences
    are only about 0.01.
    """
    layers = np.arange(len(values))
    return float(np.polyfit(layers, values, 1)[0] * layers[-1])


def baseline_stillness(split: str, label: str, metric: str) -> Statistic:
    """Statistic: a quarter of the top layer's change in score during training, minus layer 0's change.

    It is positive if the embedding layer hardly changes. Changes are absolute.
    """

    def read(record: Record) -> float:
        change = curve(record, split, label, metric)[[0, -1]]
        change = np.abs(change[1] - change[0])
        return float(change[-1] / 4 - change[0])

    return read


def since_best(split: str, metric: str) -> Statistic:
    """Statistic: the task score at the last checkpoint minus that at the epoch of best validation accuracy."""

    def read(record: Record) -> float:
        scores = curve(record, split, "task", metric)
        return float(scores[-1, -1] - scores[at_epoch(record, record.best_epoch), -1])

    return read


def best_epoch(record: Record) -> float:
    """The epoch of best validation accuracy, as a number."""
    return float(record.best_epoch)


def after_best(record: Record) -> float:
    """The fraction of the training that comes after the epoch of best validation accuracy."""
    return 1 - record.best_epoch / (len(record.history["loss"]) - 1)


def best_rise(split: str, metric: str) -> Statistic:
    """Statistic: the task score at the epoch of best validation accuracy minus the untrained model's."""
    return lambda r: -before_best(split, metric)(r)


def before_best(split: str, metric: str) -> Statistic:
    """Statistic: the untrained model's task score minus that at the epoch of best validation accuracy.

    It is :func:`since_best` with the untrained model instead of the last checkpoint.
    """

    def read(record: Record) -> float:
        scores = curve(record, split, "task", metric)
        return float(scores[0, -1] - scores[at_epoch(record, record.best_epoch), -1])

    return read


def history(record: Record, column: str) -> PerEpoch:
    """A column of the training history, one number per epoch; the loss before training is NaN."""
    return record.history[column]


def first_half_fallen(loss: np.ndarray) -> int:
    """The first epoch at which the loss is halfway or more from its highest to its lowest value."""
    return int(np.flatnonzero(loss <= (np.nanmax(loss) + np.nanmin(loss)) / 2)[0])


def first_half_risen(accuracy: np.ndarray) -> int:
    """The first epoch at which the accuracy is half of its highest value or more."""
    return int(np.flatnonzero(accuracy >= np.nanmax(accuracy) / 2)[0])


def accuracy_lag(column: str) -> Statistic:
    """Statistic: epochs from the loss's halfway point to the accuracy's, as a fraction of the training."""

    def read(record: Record) -> float:
        loss, accuracy = history(record, "loss"), history(record, column)
        return (first_half_risen(accuracy) - first_half_fallen(loss)) / (len(loss) - 1)

    return read


def plateau_accuracy(column: str) -> Statistic:
    """Statistic: the mean accuracy until the loss has fallen halfway, relative to the highest accuracy."""
    return lambda r: _plateau(history(r, column), history(r, "loss"))


def _plateau(accuracy: np.ndarray, loss: np.ndarray) -> float:
    """The mean accuracy until the loss has fallen halfway, relative to the highest accuracy.

    It is 1, i.e. no plateau before a rise, if the accuracy never rises above 0.
    """
    highest = accuracy.max()
    return float(accuracy[: first_half_fallen(loss) + 1].mean() / highest) if highest > 0 else 1.0


def highest_accuracy(column: str) -> Statistic:
    """Statistic: the highest accuracy of the training."""
    return lambda r: float(history(r, column).max())


def untrained_accuracy(column: str) -> Statistic:
    """Statistic: the accuracy at epoch 0."""
    return lambda r: float(history(r, column)[0])


def lockstep_lag(record: Record) -> float:
    """The negative control of :func:`accuracy_lag`: the lag of an accuracy that rises exactly as the loss falls."""
    loss = history(record, "loss")
    follower = np.nan_to_num(np.nanmax(loss) - loss)
    return (first_half_risen(follower) - first_half_fallen(loss)) / (len(loss) - 1)


def lockstep_plateau(record: Record) -> float:
    """The negative control of :func:`plateau_accuracy`: the plateau of an accuracy that rises as the loss falls."""
    loss = history(record, "loss")
    return _plateau(np.nan_to_num(np.nanmax(loss) - loss), loss)


def _of(neighbors: Neighbors | BagNeighbors, quantity: Quantity) -> Any:
    return neighbors.percentage if quantity == "percentage" else neighbors.accuracy


def knn(quantity: Quantity, epoch: int = -1, layer: int = -1) -> Statistic:
    """KNN percentage or accuracy at one checkpoint and layer: see :func:`taskclust.probes.neighbors.neighborhood`."""
    return lambda r: float(_of(r.knn, quantity)[epoch, layer])


def knn_above_bag(quantity: Quantity, epoch: int = -1) -> Statistic:
    """Statistic: KNN percentage or accuracy at one checkpoint minus that of the bag-of-symbols baseline."""
    return lambda r: knn(quantity, epoch)(r) - float(_of(r.bag_knn, quantity))


def knn_rise(quantity: Quantity, layer: int = -1) -> Statistic:
    """Statistic: KNN percentage or accuracy at the last checkpoint minus the untrained model's."""
    return lambda r: knn(quantity, -1, layer)(r) - knn(quantity, 0, layer)(r)


def knn_depth_rise(quantity: Quantity, epoch: int = -1) -> Statistic:
    """Statistic: the quantity's rise from layer 0 to the top layer at one checkpoint, by a line fitted over layers."""
    return lambda r: _fitted_rise(_of(r.knn, quantity)[epoch])


def bag(split: str, label: str, metric: str) -> Statistic:
    """Statistic: the score of the bag-of-symbols baseline, clustered after t-SNE like the states."""
    return lambda r: float(r.bag_of_symbols[split].tsne[label][metric][0])


def distributions_merged(epoch: int = -1) -> Statistic:
    """Statistic: how far clusters join a task's distributions at one checkpoint, on unseen instructions.

    See :func:`taskclust.probes.metrics.merging_score`.
    """
    return lambda r: float(r.merging.states[epoch])


def distributions_merged_above_bag(epoch: int = -1) -> Statistic:
    """Statistic: :func:`distributions_merged` minus that of the bag-of-symbols baseline."""
    return lambda r: distributions_merged(epoch)(r) - float(r.merging.bag)


def above_bag(split: str, label: str, metric: str, epoch: int = -1) -> Statistic:
    """Statistic: the score at one checkpoint minus that of the bag-of-symbols baseline.

    The baseline knows neither the order of symbols nor a model.
    """
    return lambda r: float(curve(r, split, label, metric)[epoch, -1]) - bag(split, label, metric)(r)
