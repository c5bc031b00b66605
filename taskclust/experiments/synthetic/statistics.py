"""Statistics of the main experiment's record, the numbers that claims are made of. They read; they compute no score.

A *statistic* takes a record and gives one number. All scores are those of the top layer after t-SNE unless named
otherwise: the paper says "optionally", its tables name t-SNE's values, and the report shows both. Nearest neighbors are
of the states themselves. ``epoch`` is a place among the probed epochs: 0 is the untrained model, -1 the end.
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
    """The row of ``epoch`` in a curve."""
    return record.epochs.of(space).index(epoch)


def late(split: str, label: str, metric: str, space: str = "tsne") -> Statistic:
    """The score at the last checkpoint."""
    return lambda r: float(curve(r, split, label, metric, space)[-1, -1])


def early(split: str, label: str, metric: str, space: str = "tsne") -> Statistic:
    """The score of the untrained model, at epoch 0."""
    return lambda r: float(curve(r, split, label, metric, space)[0, -1])


def rise(split: str, label: str, metric: str) -> Statistic:
    """Last checkpoint minus untrained model."""
    return lambda r: late(split, label, metric)(r) - early(split, label, metric)(r)


def depth_rise(split: str, label: str, metric: str, epoch: int = -1) -> Statistic:
    """How much the score gains from layer 0 to the top at one checkpoint, by a line fitted over layers."""
    return lambda r: _fitted_rise(curve(r, split, label, metric)[epoch])


def _fitted_rise(values: np.ndarray) -> float:
    """A rank correlation would ignore size: the untrained model's is often high, over differences of 0.01."""
    layers = np.arange(len(values))
    return float(np.polyfit(layers, values, 1)[0] * layers[-1])


def baseline_stillness(split: str, label: str, metric: str) -> Statistic:
    """A quarter of the top layer's change minus layer 0's: positive where the embedding layer hardly moves."""

    def read(record: Record) -> float:
        change = curve(record, split, label, metric)[[0, -1]]
        change = np.abs(change[1] - change[0])
        return float(change[-1] / 4 - change[0])

    return read


def since_best(split: str, metric: str) -> Statistic:
    """Task score at the last checkpoint minus that at the epoch of best validation accuracy."""

    def read(record: Record) -> float:
        scores = curve(record, split, "task", metric)
        return float(scores[-1, -1] - scores[at_epoch(record, record.best_epoch), -1])

    return read


def best_epoch(record: Record) -> float:
    """The epoch of best validation accuracy."""
    return float(record.best_epoch)


def after_best(record: Record) -> float:
    """Fraction of the training that follows the epoch of best validation accuracy."""
    return 1 - record.best_epoch / (len(record.history["loss"]) - 1)


def best_rise(split: str, metric: str) -> Statistic:
    """Task score at the epoch of best validation accuracy minus the untrained model's."""
    return lambda r: -before_best(split, metric)(r)


def before_best(split: str, metric: str) -> Statistic:
    """The same for the untrained model in place of the last checkpoint."""

    def read(record: Record) -> float:
        scores = curve(record, split, "task", metric)
        return float(scores[0, -1] - scores[at_epoch(record, record.best_epoch), -1])

    return read


def history(record: Record, column: str) -> PerEpoch:
    """A column of the training history, one number an epoch; NaN where there is none (the loss before training)."""
    return record.history[column]


def first_half_fallen(loss: np.ndarray) -> int:
    """First epoch at which the loss has made half of its whole way down."""
    return int(np.flatnonzero(loss <= (np.nanmax(loss) + np.nanmin(loss)) / 2)[0])


def first_half_risen(accuracy: np.ndarray) -> int:
    """First epoch at which the accuracy has reached half of its highest."""
    return int(np.flatnonzero(accuracy >= np.nanmax(accuracy) / 2)[0])


def accuracy_lag(column: str) -> Statistic:
    """Epochs from the loss's half way to the accuracy's, as a fraction of the training."""

    def read(record: Record) -> float:
        loss, accuracy = history(record, "loss"), history(record, column)
        return (first_half_risen(accuracy) - first_half_fallen(loss)) / (len(loss) - 1)

    return read


def plateau_accuracy(column: str) -> Statistic:
    """Mean accuracy until the loss has fallen half way, relative to the highest accuracy."""
    return lambda r: _plateau(history(r, column), history(r, "loss"))


def _plateau(accuracy: np.ndarray, loss: np.ndarray) -> float:
    """1, no plateau before a rise, where nothing ever rises."""
    highest = accuracy.max()
    return float(accuracy[: first_half_fallen(loss) + 1].mean() / highest) if highest > 0 else 1.0


def highest_accuracy(column: str) -> Statistic:
    """The highest accuracy of the training."""
    return lambda r: float(history(r, column).max())


def untrained_accuracy(column: str) -> Statistic:
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


def _of(neighbors: Neighbors | BagNeighbors, quantity: Quantity) -> Any:
    return neighbors.percentage if quantity == "percentage" else neighbors.accuracy


def knn(quantity: Quantity, epoch: int = -1, layer: int = -1) -> Statistic:
    """KNN percentage or accuracy at one checkpoint and layer: see :func:`taskclust.probes.neighbors.neighborhood`."""
    return lambda r: float(_of(r.knn, quantity)[epoch, layer])


def knn_above_bag(quantity: Quantity, epoch: int = -1) -> Statistic:
    """The same less that of the nearest bags of symbols."""
    return lambda r: knn(quantity, epoch)(r) - float(_of(r.bag_knn, quantity))


def knn_rise(quantity: Quantity, layer: int = -1) -> Statistic:
    """Last checkpoint minus untrained model."""
    return lambda r: knn(quantity, -1, layer)(r) - knn(quantity, 0, layer)(r)


def knn_depth_rise(quantity: Quantity, epoch: int = -1) -> Statistic:
    """How much the quantity gains from layer 0 to the top at one checkpoint, by a line fitted over layers."""
    return lambda r: _fitted_rise(_of(r.knn, quantity)[epoch])


def bag(split: str, label: str, metric: str) -> Statistic:
    """The score of k-means on bag-of-symbols features, after t-SNE as the states' are."""
    return lambda r: float(r.bag_of_symbols[split].tsne[label][metric][0])


def distributions_merged(epoch: int = -1) -> Statistic:
    """How far clusters join a task's distributions at one checkpoint: ``merging_score`` of taskclust.probes.metrics."""
    return lambda r: float(r.merging.states[epoch])


def distributions_merged_above_bag(epoch: int = -1) -> Statistic:
    """The same less that of a bag of symbols."""
    return lambda r: distributions_merged(epoch)(r) - float(r.merging.bag)


def above_bag(split: str, label: str, metric: str, epoch: int = -1) -> Statistic:
    """The score at one checkpoint less that of a bag of symbols, which knows no order and no model."""
    return lambda r: float(curve(r, split, label, metric)[epoch, -1]) - bag(split, label, metric)(r)
