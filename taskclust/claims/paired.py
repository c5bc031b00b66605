"""The difference between two sets of runs in one statistic, paired by seed where both have the same seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from taskclust.claims.criteria import interval, sign_flip


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of the second runs' values minus the mean of the first runs'.

    Attributes:
        mean: in the statistic's unit; NaN if a value is.
        low: lower end of the 95 % Student interval of the mean over seeds; None where there is no interval.
        high: its upper end.
        p: of the two-sided sign-flip test of "the mean is zero", in [2**(1 - n), 1] for n seeds; None like ``low``.
        is_paired: whether both have the same seeds.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    is_paired: bool


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """The difference between two sets of runs, from one value per seed of each.

    Values are paired by seed, not by their order. There is no interval and no p-value if the seeds differ, if there is
    only one seed, or if a value is not finite.

    Raises:
        statistics.StatisticsError: one of the two has no seed.
    """
    is_paired = first.keys() == second.keys()
    mean = fmean(second.values()) - fmean(first.values())
    if not is_paired or len(first) < 2 or not math.isfinite(mean):
        return Difference(mean, None, None, None, is_paired)
    changes = [second[seed] - first[seed] for seed in first]
    return Difference(fmean(changes), *interval(changes), _two_sided(changes), is_paired)


def _two_sided(changes: list[float]) -> float:
    """The share of sign patterns whose mean is at least as far from zero; patterns are symmetric about zero."""
    return min(1.0, 2 * min(sign_flip(changes), sign_flip([-change for change in changes])))
