"""Statistics of one language model's record, on all instructions and in each resample of them (§3.4)."""

from collections.abc import Callable

import numpy as np

from taskclust.experiments.natural_language.record import Record
from taskclust.probes.scores import LayerScores, Values

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

    Counts of tokens show which words a prompt has; an untrained model shows which word is last and, in its first
    layers, which words precede it. The F1 of untrained models differs by 0.1 and more. Each draw therefore uses the F1
    of one more such model, predicted from those that were read (:func:`_one_more`).
    """

    def draws(record: Record) -> list[float]:
        untrained = _one_more(np.array([_f1(part, label) for part in record.untrained]), record.config.seed)
        surface = np.maximum(untrained, f1(label, "bag")(record))
        return np.subtract(f1(label, who)(record), surface).tolist()

    return draws


def _one_more(found: Values, seed: int) -> Values:
    """The predicted values of another untrained model, by Student's t: the mean first, then one per resample.

    Predictions are clipped to [0, 1], the range of F1.

    Args:
        found: for each of n models, the value on all instructions, then in each resample.
        seed: the seed of the predictions.

    Returns:
        The values of one model; NaN if n is 1, which shows no spread.
    """
    n, columns = found.shape
    if n == 1:
        return np.full(columns, np.nan)
    predicted = np.random.default_rng([seed, 1]).standard_t(n - 1, size=columns) * np.sqrt(1 + 1 / n)
    predicted[0] = 0
    mean, deviation = found.mean(axis=0), found.std(axis=0, ddof=1)
    return np.clip(mean + predicted * deviation, 0, 1)


def _f1(part: LayerScores, label: str) -> list[float]:
    point = part.scores["tsne"][label]["f1"][part.best_layer["tsne"]]
    return [float(point), *part.resampled_f1["tsne"][label].tolist()]
