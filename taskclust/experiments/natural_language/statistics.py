"""Statistics of one language model's record, on all instructions and in each resample of them (§3.4)."""

from collections.abc import Callable

import numpy as np

from taskclust.experiments.natural_language.record import Record

#: A function that gives the statistic on all instructions, then its value in each resample.
Draws = Callable[[Record], list[float]]


def f1(label: str, who: str = "model") -> Draws:
    """F1 after t-SNE at the layer of best F1 by task.

    ``who`` is "model", "twin" (the random-init baseline) or "bag" (the counts of tokens).
    """

    def draws(record: Record) -> list[float]:
        part = record.model if who == "model" else record.nulls[who]
        point = part.scores["tsne"][label]["f1"][part.best_layer["tsne"]]
        return [float(point), *part.resampled_f1["tsne"][label].tolist()]

    return draws


def above_surface(label: str, who: str = "model") -> Draws:
    """F1 minus that of the better negative control, draw by draw.

    Counts of tokens already show which words a prompt has, and the random-init baseline shows which word is last.
    """

    def draws(record: Record) -> list[float]:
        surface = np.maximum(f1(label, "twin")(record), f1(label, "bag")(record))
        return np.subtract(f1(label, who)(record), surface).tolist()

    return draws
