"""Differences against a plain computation; faults that these tests must notice are planted in test_mutants.py."""

import itertools
import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from taskclust.claims.paired import Difference, difference
from tests.helpers import assert_close

numbers = st.integers(-1_000, 1_000).map(lambda n: n / 8)  # exact in binary, so that ties are ties
#: The values of two sets of runs by seed, in any order of seeds.
runs = st.dictionaries(st.integers(0, 99), st.tuples(numbers, numbers), min_size=2, max_size=7)
quick = settings(deadline=None, max_examples=100)


def naive(first, second):
    """Mean, interval and p-value: scipy's t interval, and every pattern of signs one by one."""
    changes = [second[seed] - first[seed] for seed in sorted(first)]
    n, mean = len(changes), statistics.fmean(changes)
    half = stats.t.ppf(0.975, n - 1) * statistics.stdev(changes) / math.sqrt(n)
    sums = [
        abs(sum(s * c for s, c in zip(signs, changes, strict=True))) for signs in itertools.product((1, -1), repeat=n)
    ]
    p = sum(one >= abs(sum(changes)) for one in sums) / len(sums)
    return mean, mean - half, mean + half, p


def as_naive(first, second):
    found = difference(first, second)
    return found.mean, found.low, found.high, found.p


def reordered(values):
    return dict(sorted(values.items(), reverse=True))


@quick
@given(runs=runs)
def test_the_difference_is_that_of_a_plain_computation(runs):
    first, second = ({seed: pair[side] for seed, pair in runs.items()} for side in (0, 1))

    assert_close(as_naive(first, second), naive(first, second), rtol=1e-9, atol=1e-9)


@quick
@given(runs=runs)
def test_the_order_of_seeds_does_not_matter(runs):
    first, second = ({seed: pair[side] for seed, pair in runs.items()} for side in (0, 1))

    assert_close(as_naive(first, reordered(second)), as_naive(first, second), rtol=1e-9, atol=1e-9)


FIRST = {0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0, 4: 16.0}
SECOND = {4: 16.5, 3: 8.5, 2: 4.5, 1: 2.5, 0: 1.5}


def test_values_are_paired_by_seed_and_not_by_their_order():
    """Every seed gains 0.5, so that the interval has no width; 2 of 32 patterns of signs are as far from zero."""
    assert difference(FIRST, SECOND) == Difference(0.5, 0.5, 0.5, 2 / 32, is_paired=True)


def test_the_difference_is_the_second_minus_the_first():
    assert difference(SECOND, FIRST) == Difference(-0.5, -0.5, -0.5, 2 / 32, is_paired=True)


@pytest.mark.parametrize(
    ("second", "is_paired"),
    [({0: 3.0, 1: 5.0, 3: 4.0}, False), ({0: 3.0}, False), ({0: 3.0, 1: 5.0, 2: math.nan}, True)],
    ids=["another seed", "fewer seeds", "not a number"],
)
def test_without_pairs_of_numbers_there_is_no_interval(second, is_paired):
    found = difference({0: 1.0, 1: 2.0, 2: 3.0}, second)

    assert (found.low, found.high, found.p, found.is_paired) == (None, None, None, is_paired)
    assert_close(found.mean, statistics.fmean(second.values()) - 2)


def test_one_seed_has_a_difference_and_no_interval():
    assert difference({7: 0.25}, {7: 0.75}) == Difference(0.5, None, None, None, is_paired=True)


def test_equal_runs_have_zero_difference():
    assert difference(FIRST, dict(FIRST)) == Difference(0.0, 0.0, 0.0, 1.0, is_paired=True)


def test_runs_without_seeds_are_refused():
    with pytest.raises(statistics.StatisticsError):
        difference({}, {})
