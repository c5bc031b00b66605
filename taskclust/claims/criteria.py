"""Criteria that turn one number per seed into a verdict: reproduced, not reproduced or inconclusive.

- A number of at least or at most a bound is judged by a one-sided 95 % Student bound.
- A difference or a rise that has to exceed a margin is judged by the exact sign-flip test, paired by seed.
- One number printed in the paper is judged by a prediction interval.

None of these is reproduced over fewer than five seeds; two that differ can refute a level. Counts, which do not depend
on chance, need one.

A condition of a claim is reproduced only if every one of its checks passes. A false "reproduced" therefore needs every
check to err, so no correction for multiple checks is needed.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

import numpy as np
from scipy import stats

Verdict = Literal["reproduced", "not reproduced", "inconclusive"]

ALPHA = 0.05
#: The fewest seeds over which anything but a count is reproduced: with fewer the sign-flip test never reaches ALPHA,
#: and the spread under a Student bound may be hidden, e.g. by an accuracy of 1 in both of two seeds.
FEWEST = 5
#: The largest number of seeds for which every sign pattern is tried.
MOST_EXACT = 15


class Criterion(Protocol):
    """A rule, fixed before the runs, that gives a verdict from one value per seed."""

    def judge(self, values: Sequence[float]) -> Verdict:
        """The verdict from one value per seed."""


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided Student interval of the mean over seeds: infinite for one seed, a point if all values are equal."""
    return _around_mean(values, confidence, 1 / len(values))


def sign_flip(values: Sequence[float]) -> float:
    """The p-value of "the mean is not positive": the share of sign patterns whose mean is at least as large.

    The test does not assume normality. It is exact up to 15 seeds; with more seeds it uses 2**15 random patterns, the
    same ones every time. Its smallest value is 2**-n, so fewer than :data:`FEWEST` seeds never reach 0.05. If a value
    is not finite, the p-value is 1.
    """
    v = np.asarray(values, dtype=float)
    if not np.isfinite(v).all():
        return 1.0
    if len(v) > MOST_EXACT:
        signs = np.random.default_rng(0).choice((1, -1), size=(2**MOST_EXACT, len(v)))
    else:
        signs = _signs(len(v))
    return float((signs @ v >= v.sum() - 1e-12 * np.abs(v).sum()).mean())


@cache
def _signs(n: int) -> np.ndarray:
    """All patterns of n signs, [2**n, n]."""
    return np.array(list(itertools.product((1, -1), repeat=n)))


def prediction_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The interval in which one more run like these, e.g. the paper's, would fall."""
    return _around_mean(values, confidence, 1 + 1 / len(values))


def _around_mean(values: Sequence[float], confidence: float, variances: float) -> tuple[float, float]:
    """The mean plus and minus Student's factor times the square root of ``variances`` sample variances."""
    n = len(values)
    if n < 2:
        return -math.inf, math.inf
    if len(set(values)) == 1:  # rounding errors would give equal values a width
        return values[0], values[0]
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * sd * math.sqrt(variances)
    return mean - half, mean + half


def _over_enough(values: Sequence[float], verdict: Verdict) -> Verdict:
    """The verdict, which is inconclusive instead of reproduced over too few seeds."""
    return "inconclusive" if verdict == "reproduced" and len(values) < FEWEST else verdict


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Criterion: the mean over seeds is ``bound`` or more."""

    bound: float

    def __str__(self) -> str:
        return f"≥ {self.bound:g}"

    def judge(self, values: Sequence[float]) -> Verdict:
        """The verdict from one value per seed."""
        if len(values) < FEWEST and len(set(values)) == 1:
            return "inconclusive"  # an interval without width, e.g. of two failed trainings
        return _over_enough(values, self.decide(*interval(values, confidence=1 - 2 * ALPHA)))

    def decide(self, low: float, high: float) -> Verdict:
        """The verdict from the two ends of an interval."""
        if low >= self.bound:
            return "reproduced"
        return "not reproduced" if high < self.bound else "inconclusive"


@dataclass(frozen=True, slots=True)
class AtMost:
    """Criterion: the mean over seeds is ``bound`` or less."""

    bound: float

    def __str__(self) -> str:
        return f"≤ {self.bound:g}"

    def judge(self, values: Sequence[float]) -> Verdict:
        """The verdict from one value per seed."""
        return AtLeast(-self.bound).judge([-v for v in values])


@dataclass(frozen=True, slots=True)
class Exceeds:
    """Criterion: the value exceeds ``margin``, by the sign-flip test paired by seed.

    The margin is the smallest effect that matters. Without it an effect of zero, and so every negative control, passes
    by chance in one of 32 trials with five seeds.
    """

    margin: float = 0.0

    def __str__(self) -> str:
        return f"> {self.margin:g}"

    def judge(self, values: Sequence[float]) -> Verdict:
        """The verdict from one value per seed."""
        above = [v - self.margin for v in values]
        if sign_flip(above) < ALPHA:
            return "reproduced"
        none_above = len(values) >= FEWEST and all(v <= 0 for v in above)  # a sign test, for values that are all equal
        if sign_flip([-v for v in above]) < ALPHA or none_above:
            return "not reproduced"
        return "inconclusive"


@dataclass(frozen=True, slots=True)
class ConsistentWith:
    """Criterion: the number printed in the paper, rounded as it is, lies in the prediction interval of one more run.

    Runs that scatter by more than ``resolution`` would agree with any number, so their verdict is inconclusive.
    """

    printed: float
    resolution: float
    rounding: float = 0.0  # half a unit of the printed number's last digit

    def __str__(self) -> str:
        return f"consistent with {self.printed:g}, runs within ± {self.resolution:g}"

    def judge(self, values: Sequence[float]) -> Verdict:
        """The verdict from one value per seed."""
        if len(values) < 3:
            return "inconclusive"
        low, high = prediction_interval(values)
        if not low - self.rounding <= self.printed <= high + self.rounding:
            return "inconclusive" if math.isnan(low) else "not reproduced"
        return _over_enough(values, "reproduced" if high - low <= 2 * self.resolution else "inconclusive")


@dataclass(frozen=True, slots=True)
class Always:
    """Criterion: every seed gives ``value``, within ``tolerance``; for counts, which do not depend on chance."""

    value: float
    tolerance: float = 0.0

    def __str__(self) -> str:
        return f"= {self.value:g}" + (f" ± {self.tolerance:g}" if self.tolerance else "")

    def judge(self, values: Sequence[float]) -> Verdict:
        """The verdict from one value per seed."""
        return "reproduced" if all(abs(v - self.value) <= self.tolerance for v in values) else "not reproduced"


def is_met_by_control(criterion: Criterion, nulls: Sequence[float], better: Sequence[float]) -> bool:
    """Whether a negative control meets a criterion.

    It does if its mean does, so it cannot fail for want of seeds or because they scatter. If only its mean does, and
    its own verdict over seeds is inconclusive, it fails nevertheless in two cases: the statistic is better than it, by
    the margin if the criterion has one; or what should exceed a margin is not even above zero, i.e. is chance. Both are
    decided by the sign-flip test.

    Args:
        criterion: of the check.
        nulls: the control's values, of the seeds that did not fail.
        better: the statistic less its control, of the same seeds.
    """
    if criterion.judge(nulls) == "reproduced":
        return True
    if criterion.judge([float(np.mean(nulls))] * FEWEST) != "reproduced":
        return False
    match criterion:
        case Exceeds(margin):
            is_chance = len(nulls) >= FEWEST and sign_flip(nulls) >= ALPHA
            return not is_chance and sign_flip([one - margin for one in better]) >= ALPHA
        case AtLeast():
            return sign_flip(better) >= ALPHA
        case AtMost():
            return sign_flip([-one for one in better]) >= ALPHA
    return True  # a criterion without a direction knows no better


@dataclass(frozen=True, slots=True)
class Terms:
    """A criterion as plain values, for tables that are computed with.

    Attributes:
        relation: ">=", "<=", ">", "=" or "consistent with"; the criterion as text if it is none of this module's.
        bound: the number that values are compared with, in the statistic's unit.
        tolerance: of "=", how far a value may be from the bound; of "consistent with", how far runs may scatter.
    """

    relation: str
    bound: float | None = None
    tolerance: float | None = None


def terms(criterion: Criterion) -> Terms:
    """The criterion as plain values."""
    match criterion:
        case AtLeast(bound):
            return Terms(">=", bound)
        case AtMost(bound):
            return Terms("<=", bound)
        case Exceeds(margin):
            return Terms(">", margin)
        case ConsistentWith(printed, resolution):
            return Terms("consistent with", printed, resolution)
        case Always(value, tolerance):
            return Terms("=", value, tolerance)
    return Terms(str(criterion))
