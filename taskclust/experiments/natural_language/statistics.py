"""Statistics of one language model's record, on all instructions and in each resample of them (§3.4)."""

from collections.abc import Callable

import numpy as np

from taskclust.experiments.natural_language.record import Record
from taskclust.probes.scores import LayerScores

#: A function that gives the statistic on all instructions, then its value in each resample.
Draws = Callable[[Record], list[float]]


def f1(label: str, who: str = "model") -> Draws:
    """F1 after t-SNE at the layer of best F1 by task.

    ``who`` is "model", "untrained" (the mean over the untrained models, each at its own best layer) or "bag" (the
    counts of tokens).
    """

    def draws(record: Record) -> list[float]:
        parts = {"model": [record.model], "untrained": record.untrained, "bag": [record.bag]}[who]
        return np.mean([_f1(part, label) for part in parts], axis=0).tolist()

    return draws


def above_surface(label: str, who: str = "model") -> Draws:
    """F1 minus that of the better negative control, draw by draw.

    Counts of tokens already show which words a prompt has, and an untrained model shows which word is last and, in its
    first layers, which words are before it.
    """

    def draws(record: Record) -> list[float]:
        surface = np.maximum(f1(label, "untrained")(record), f1(label, "bag")(record))
        return np.subtract(f1(label, who)(record), surface).tolist()

    return draws


def _f1(part: LayerScores, label: str) -> list[float]:
    point = part.scores["tsne"][label]["f1"][part.best_layer["tsne"]]
    return [float(point), *part.resampled_f1["tsne"][label].tolist()]
