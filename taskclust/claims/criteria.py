"""Deciding a claim over seeds: intervals, exact tests, three verdicts.

Each statistic is one number a seed. A level is judged by a one-sided 95 % Student bound, a difference or a trend paired
by seed by the exact sign-flip test, one printed number by a prediction interval. A claim holds only if each of its
checks does, so no correction for many checks is needed: a false "reproduced" needs every one of them to err.
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
#: Seeds up to which every sign pattern is tried.
MOST_EXACT = 15


class Criterion(Protocol):
    """A rule, fixed before the runs, that turns one value a seed into a verdict."""

    def judge(self, values: Sequence[float]) -> Verdict:
        """Decide from one value a seed."""


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Student interval of the mean over seeds; infinite for one seed, a point where all are equal."""
    return _around_mean(values, confidence, 1 / len(values))


def sign_flip(values: Sequence[float]) -> float:
    """p-value of "the mean is not positive": the share of all sign patterns with a mean at least as large.

    Without assuming normality, and exact up to 15 seeds (beyond, of 2**15 patterns drawn alike every time); its
    smallest value is 2**-n, so fewer than five seeds never reach 0.05. 1 where a value is no number.
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
    """Every pattern of n signs, [2**n, n]."""
    return np.array(list(itertools.product((1, -1), repeat=n)))


def prediction_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Where one more run like these would fall, e.g. the paper's."""
    return _around_mean(values, confidence, 1 + 1 / len(values))


def _around_mean(values: Sequence[float], confidence: float, variances: float) -> tuple[float, float]:
    """The mean plus and minus Student's multiple of the root of so many ``variances``."""
    n = len(values)
    if n < 2:
        return -math.inf, math.inf
    if len(set(values)) == 1:  # rounding would give equal values a width
        return values[0], values[0]
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * sd * math.sqrt(variances)
    return mean - half, mean + half


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The mean over seeds is ``bound`` or more."""

    bound: float

    def __str__(self) -> str:
        return f"≥ {self.bound:g}"

    def judge(self, values: Sequence[float]) -> Verdict:
        """Decide from one value a seed."""
        return self.decide(*interval(values, confidence=1 - 2 * ALPHA))

    def decide(self, low: float, high: float) -> Verdict:
        """Decide from an interval."""
        if low >= self.bound:
            return "reproduced"
        return "not reproduced" if high < self.bound else "inconclusive"


@dataclass(frozen=True, slots=True)
class AtMost:
    """The mean over seeds is ``bound`` or less."""

    bound: float

    def __str__(self) -> str:
        return f"≤ {self.bound:g}"

    def judge(self, values: Sequence[float]) -> Verdict:
        """Decide from one value a seed."""
        return AtLeast(-self.bound).judge([-v for v in values])


@dataclass(frozen=True, slots=True)
class Exceeds:
    """The value is above ``margin``, by the sign-flip test paired by seed.

    A margin is the least effect worth the name: without one, an effect of nothing passes by luck once in 32 five-seed
    trials, and with it every null.
    """

    margin: float = 0.0

    def __str__(self) -> str:
        return f"> {self.margin:g}"

    def judge(self, values: Sequence[float]) -> Verdict:
        """Decide from one value a seed."""
        above = [v - self.margin for v in values]
        if sign_flip(above) < ALPHA:
            return "reproduced"
        none_above = len(values) >= 5 and max(above) <= 0  # a sign test, for values that are all alike
        if sign_flip([-v for v in above]) < ALPHA or none_above:
            return "not reproduced"
        return "inconclusive"


@dataclass(frozen=True, slots=True)
class ConsistentWith:
    """The paper's one printed number, which was rounded, lies where one more run would fall.

    Runs that scatter by more than ``resolution`` would agree with any number: they decide nothing.
    """

    printed: float
    resolution: float
    rounding: float = 0.0  # half a unit of the printed number's last digit

    def __str__(self) -> str:
        return f"consistent with {self.printed:g}, runs within ± {self.resolution:g}"

    def judge(self, values: Sequence[float]) -> Verdict:
        """Decide from one value a seed."""
        if len(values) < 3:
            return "inconclusive"
        low, high = prediction_interval(values)
        if not low - self.rounding <= self.printed <= high + self.rounding:
            return "inconclusive" if math.isnan(low) else "not reproduced"
        return "reproduced" if high - low <= 2 * self.resolution else "inconclusive"


@dataclass(frozen=True, slots=True)
class Always:
    """Every seed gives ``value``, or a value within ``tolerance`` of it: for counts, where chance has no part."""

    value: float
    tolerance: float = 0.0

    def __str__(self) -> str:
        return f"= {self.value:g}" + (f" ± {self.tolerance:g}" if self.tolerance else "")

    def judge(self, values: Sequence[float]) -> Verdict:
        """Decide from one value a seed."""
        return "reproduced" if all(abs(v - self.value) <= self.tolerance for v in values) else "not reproduced"
