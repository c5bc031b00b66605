"""Statistics of one language model's record, with each resample of its instructions (§3.4)."""

from collections.abc import Callable

import numpy as np

from taskclust.experiments.natural_language.record import Record

#: The statistic on all instructions, then in each resample.
Draws = Callable[[Record], list[float]]


def f1(label: str, who: str = "model") -> Draws:
    """F1 after t-SNE at the layer of best F1 by task; ``who`` is "model", "twin" or "bag"."""

    def draws(record: Record) -> list[float]:
        part = record.model if who == "model" else record.nulls[who]
        point = part.scores["tsne"][label]["f1"][part.best_layer["tsne"]]
        return [float(point), *part.resampled_f1["tsne"][label].tolist()]

    return draws


def above_surface(label: str, who: str = "model") -> Draws:
    """F1 less that of the better null, draw by draw: words alone are told by a bag, the last one by a random twin."""

    def draws(record: Record) -> list[float]:
        surface = np.maximum(f1(label, "twin")(record), f1(label, "bag")(record))
        return np.subtract(f1(label, who)(record), surface).tolist()

    return draws
