"""Intervals and tests agree with scipy or a plain enumeration; criteria have their verdicts and error rates."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from taskclust.claims.criteria import (
    ALPHA,
    Always,
    AtLeast,
    AtMost,
    ConsistentWith,
    Exceeds,
    Terms,
    interval,
    prediction_interval,
    sign_flip,
    terms,
)
from tests.helpers import assert_close

REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "inconclusive"
numbers = st.integers(-1_000, 1_000).map(lambda n: n / 100)
#: Values of seeds: few, often equal, often zero.
samples = st.lists(numbers, min_size=1, max_size=8)
quick = settings(deadline=None, max_examples=100)


# --- intervals


@quick
@given(values=st.lists(numbers, min_size=2, max_size=8), confidence=st.sampled_from([0.5, 0.9, 0.95]))
def test_interval_is_that_of_the_one_sample_t_test(values, confidence):
    assume(len(set(values)) > 1)

    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)

    assert_close(interval(values, confidence), tuple(expected))


@quick
@given(values=st.lists(numbers, min_size=2, max_size=8))
def test_prediction_interval_is_the_interval_of_the_mean_widened_by_the_next_run(values):
    low, high = interval(values)
    mean, wider = np.mean(values), math.sqrt(len(values) + 1)

    assert_close(prediction_interval(values), (mean - (mean - low) * wider, mean + (high - mean) * wider), atol=1e-12)


def test_prediction_interval_worked_by_hand():
    """Mean 2, deviation 1, t = 4.30265 at two degrees of freedom."""
    half = 4.302652729911275 * math.sqrt(4 / 3)

    assert_close(prediction_interval([1, 2, 3]), (2 - half, 2 + half))


@pytest.mark.parametrize("function", [interval, prediction_interval])
def test_one_seed_has_an_infinite_interval(function):
    assert function([0.7]) == (-math.inf, math.inf)


@pytest.mark.parametrize("function", [interval, prediction_interval])
def test_equal_values_give_a_point(function):
    assert_close(function([0.7] * 5), (0.7, 0.7))


def test_prediction_interval_covers_the_next_run_as_often_as_it_says():
    runs = np.random.default_rng(0).normal(loc=51, scale=6, size=(2_000, 6))

    covered = [low <= row[-1] <= high for row in runs for low, high in [prediction_interval(row[:-1])]]

    assert_close(np.mean(covered), 0.95, rtol=0, atol=0.015)


# --- the sign-flip test


def naive_sign_flip(values):
    """The fraction of sets of negated values for which the total is at least as large."""
    total = sum(values)
    sets = itertools.chain.from_iterable(itertools.combinations(values, n) for n in range(len(values) + 1))
    return sum(total - 2 * sum(negated) >= total for negated in sets) / 2 ** len(values)


@quick
@given(values=st.lists(st.integers(-50, 50), min_size=1, max_size=8))
def test_sign_flip_equals_the_enumeration_of_all_sets(values):
    assert sign_flip(values) == naive_sign_flip(values)


@quick
@given(values=st.lists(st.integers(-999, 999), min_size=2, max_size=7, unique=True))
def test_sign_flip_equals_scipys_permutation_test(values):
    # integers, whose sums are exact: scipy's tolerance for equal sums is relative, so it is zero for sums of 0
    expected = stats.permutation_test(
        (np.array(values),), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf, vectorized=0
    )

    assert_close(sign_flip(values), expected.pvalue)


@quick
@given(values=samples)
def test_sign_flip_of_positive_values_is_the_smallest_there_is(values):
    assert sign_flip([abs(v) + 0.01 for v in values]) == 2 ** -len(values)


@quick
@given(values=samples, raises=st.lists(numbers.map(abs), min_size=8, max_size=8))
def test_sign_flip_never_grows_with_the_values(values, raises):
    raised = [v + r for v, r in zip(values, raises, strict=False)]

    assert sign_flip(raised) <= sign_flip(values)


def test_sign_flip_of_nothing_but_zeros_is_one():
    assert sign_flip([0.0] * 5) == 1.0


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_sign_flip_does_not_depend_on_the_unit(scale):
    values = np.array([0.1, 0.2, -0.3, 0.7, 0.1])

    assert sign_flip(values * scale) == sign_flip(values)


# --- criteria: every verdict, and the boundary

VERDICTS = [
    (AtLeast(0.9), [0.95, 0.96, 0.94, 0.95, 0.97], REPRODUCED),
    (AtLeast(0.9), [0.80, 0.81, 0.79, 0.80, 0.82], NOT),
    (AtLeast(0.9), [0.85, 0.95, 0.80, 0.99, 0.90], OPEN),
    (AtLeast(0.9), [0.9] * 5, REPRODUCED),
    (AtLeast(0.9), [0.9 - 1e-6] * 5, NOT),
    (AtLeast(0.9), [1.0], OPEN),
    (AtLeast(0.9), [0.0], OPEN),
    (AtLeast(0.9), [0.8, 0.8], OPEN),  # two alike show no spread
    (AtLeast(0.9), [0.8, 0.801], NOT),
    (AtMost(0.1), [0.02, 0.03, 0.01, 0.02, 0.03], REPRODUCED),
    (AtMost(0.1), [0.32, 0.33, 0.31, 0.32, 0.33], NOT),
    (AtMost(0.1), [0.00, 0.30, 0.05, 0.10, 0.02], OPEN),
    (AtMost(0.1), [0.1] * 5, REPRODUCED),
    (AtMost(0.1), [0.1 + 1e-6] * 5, NOT),
    (AtMost(0.1), [0.0], OPEN),
    (Exceeds(), [0.1, 0.2, 0.3, 0.1, 0.2], REPRODUCED),
    (Exceeds(), [0.1] * 5, REPRODUCED),
    (Exceeds(), [-0.1, -0.2, -0.3, -0.1, -0.2], NOT),
    (Exceeds(), [0.0] * 5, NOT),
    (Exceeds(), [0.1, -0.2, 0.1, -0.2, 0.1], OPEN),
    (Exceeds(0.05), [0.2, 0.2, 0.2, 0.2, -1.0], OPEN),
    (Exceeds(), [0.0, 0.0, -0.1, 0.0, 0.0], NOT),
    (Exceeds(), [0.0] * 4, OPEN),
    (Exceeds(0.05), [math.nan, -1.0, -1.0, -1.0, -1.0], OPEN),
    (Exceeds(0.05), [-1.0, -1.0, -1.0, -1.0, math.nan], OPEN),
    (Exceeds(), [0.1, 0.2, 0.3, 0.1, -0.1], OPEN),
    (Exceeds(), [0.1], OPEN),
    (Exceeds(0.05), [0.06] * 5, REPRODUCED),
    (Exceeds(0.05), [0.05] * 5, NOT),
    (Exceeds(0.05), [0.04] * 5, NOT),
    (ConsistentWith(51, 25), [49, 50, 51, 52, 53], REPRODUCED),
    (ConsistentWith(51, 25), [80, 81, 82, 83, 84], NOT),
    (ConsistentWith(51, 25), [51, 51], OPEN),
    (ConsistentWith(51, 25), [1, 30, 60, 90, 120], OPEN),
    (ConsistentWith(51, 25), [80], OPEN),
    (ConsistentWith(51, 25), [51] * 5, REPRODUCED),
    (ConsistentWith(51, 25), [50] * 3, NOT),
    (ConsistentWith(0.12, 0.1, 0.0005), [0.1195] * 5, REPRODUCED),
    (ConsistentWith(0.12, 0.1, 0.0005), [0.119] * 5, NOT),
    (Always(50), [50, 50, 50], REPRODUCED),
    (Always(50), [50], REPRODUCED),
    (Always(50), [50, 50, 51], NOT),
    (Always(0, 0.05), [0.05, -0.05], REPRODUCED),
    (Always(0, 0.05), [0.05, 0.0501], NOT),
]


@pytest.mark.parametrize(("criterion", "values", "verdict"), VERDICTS, ids=str)
def test_criterion_gives_the_verdict(criterion, values, verdict):
    assert criterion.judge(values) == verdict


def test_every_verdict_of_every_criterion_is_among_the_cases():
    """A count is never inconclusive."""
    found = {(type(criterion), verdict) for criterion, _, verdict in VERDICTS}

    kinds = (AtLeast, AtMost, Exceeds, ConsistentWith, Always)
    assert found == set(itertools.product(kinds, (REPRODUCED, NOT, OPEN))) - {(Always, OPEN)}


@pytest.mark.parametrize(
    ("criterion", "text"),
    [
        (AtLeast(0.9), "≥ 0.9"),
        (AtMost(0.1), "≤ 0.1"),
        (Exceeds(), "> 0"),
        (Exceeds(0.05), "> 0.05"),
        (ConsistentWith(51, 25), "consistent with 51, runs within ± 25"),
        (Always(50), "= 50"),
        (Always(0, 0.05), "= 0 ± 0.05"),
    ],
)
def test_criterion_reads_as_a_formula(criterion, text):
    assert str(criterion) == text


@quick
@given(bound=numbers, values=samples)
def test_at_most_is_at_least_of_the_opposite(bound, values):
    assert AtMost(bound).judge(values) == AtLeast(-bound).judge([-v for v in values])


@quick
@given(bound=st.integers(0, 1_000).map(lambda n: n / 1_000), n=st.integers(5, 12))
@example(bound=0.058, n=5)
def test_values_that_all_equal_the_bound_reach_it(bound, n):
    assert AtLeast(bound).judge([bound] * n) == REPRODUCED
    assert AtMost(bound).judge([bound] * n) == REPRODUCED


@quick
@given(values=st.lists(numbers, min_size=1, max_size=4), margin=numbers)
def test_fewer_than_five_seeds_never_decide_a_difference(values, margin):
    assert Exceeds(margin).judge(values) == OPEN


@pytest.mark.parametrize("criterion", [AtLeast(0.9), AtMost(0.9), ConsistentWith(0.9, 1.0)], ids=str)
@pytest.mark.parametrize("values", [[0.9, 0.9], [0.9, 0.9, 0.9, 0.9], [0.895, 0.9, 0.905]], ids=str)
def test_fewer_than_five_seeds_never_reproduce_anything_but_a_count(criterion, values):
    """The GPT-2 alignment's accuracy is 1 in seeds 0 and 2, and 0.98 in another."""
    assert criterion.judge(values) == OPEN


@pytest.mark.parametrize("criterion", [AtLeast(0.0), Exceeds(), Exceeds(0.05)], ids=str)
@quick
@given(values=st.lists(st.integers(-5, 20).map(lambda n: n / 10), min_size=5, max_size=8), data=st.data())
def test_raising_values_never_turns_reproduced_into_not_reproduced(criterion, values, data):
    assume(criterion.judge(values) == REPRODUCED)
    raises = data.draw(st.lists(numbers.map(abs), min_size=len(values), max_size=len(values)))

    assert criterion.judge([v + r for v, r in zip(values, raises, strict=True)]) != NOT


@pytest.mark.parametrize("criterion", [AtLeast(0.0), Exceeds()], ids=str)
@quick
@given(values=samples, shift=numbers.map(abs))
def test_raising_all_values_alike_never_lowers_the_verdict(criterion, values, shift):
    ranks = [NOT, OPEN, REPRODUCED]

    raised = criterion.judge([v + shift for v in values])

    assert ranks.index(raised) >= ranks.index(criterion.judge(values))


@pytest.mark.parametrize(
    "criterion",
    [AtLeast(0.0), AtMost(0.0), Exceeds(), ConsistentWith(0.0, 1.0), Always(0.0)],
    ids=lambda c: type(c).__name__,
)
def test_nan_is_never_reproduced(criterion):
    assert criterion.judge([1.0, 1.0, math.nan, 1.0, 1.0]) != REPRODUCED
    assert criterion.judge([math.nan] * 5) != REPRODUCED


# --- error rates


def share_reproduced(criterion, values):
    return np.mean([criterion.judge(row) == REPRODUCED for row in values])


@pytest.mark.parametrize("n", [5, 7])
def test_at_least_errs_in_one_of_twenty_at_its_bound(n):
    values = np.random.default_rng(n).normal(loc=0.9, scale=0.03, size=(2_000, n))

    assert_close(share_reproduced(AtLeast(0.9), values), ALPHA, rtol=0, atol=0.015)
    assert_close(share_reproduced(AtMost(0.9), values), ALPHA, rtol=0, atol=0.015)


@pytest.mark.parametrize("n", [5, 7])
def test_exceeds_errs_at_most_in_one_of_twenty_at_its_margin(n):
    values = np.random.default_rng(n).normal(loc=0.05, scale=0.03, size=(2_000, n))

    assert 0.02 < share_reproduced(Exceeds(0.05), values) <= ALPHA + 0.01


def test_consistent_with_misses_a_true_number_in_one_of_twenty():
    runs = np.random.default_rng(0).normal(loc=51, scale=6, size=(1_000, 6))

    missed = [ConsistentWith(row[-1], math.inf).judge(row[:-1]) == NOT for row in runs]

    assert_close(np.mean(missed), ALPHA, rtol=0, atol=0.02)


# --- as plain values


class Odd:
    """A criterion from outside the package."""

    def __str__(self):
        return "is odd"

    def judge(self, values):
        return REPRODUCED if all(value % 2 for value in values) else NOT


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (AtLeast(0.123456789), Terms(">=", 0.123456789)),
        (AtMost(-1.5), Terms("<=", -1.5)),
        (Exceeds(), Terms(">", 0.0)),
        (Exceeds(0.05), Terms(">", 0.05)),
        (ConsistentWith(51, 25, rounding=0.5), Terms("consistent with", 51, 25)),
        (Always(201_711_616, 999_999), Terms("=", 201_711_616, 999_999)),
        (Odd(), Terms("is odd")),
    ],
    ids=str,
)
def test_terms_are_the_criterions_numbers_unrounded(criterion, expected):
    assert terms(criterion) == expected
