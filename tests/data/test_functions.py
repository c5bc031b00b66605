"""Functions of different tasks, including a hard task and its original, never share a mapping."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskclust.config import ConfigError
from taskclust.data.functions import Function, FunctionSampler
from tests.strategies import seeds


@st.composite
def sampled_functions(draw):
    """Ordinary functions, hard copies of the first ones, and the number of mappings; there are enough symbols."""
    n, n_hard, n_mappings = draw(st.integers(1, 8)), draw(st.integers(0, 4)), draw(st.integers(1, 5))
    n_hard = min(n, n_hard)
    n_symbols = draw(st.integers(max(n_mappings, n + n_hard), 25))
    sampler = FunctionSampler(n_symbols, n_mappings, np.random.default_rng(draw(seeds)))
    functions = [sampler.sample() for _ in range(n)]
    return functions, [sampler.change_outputs(f) for f in functions[:n_hard]], n_symbols, n_mappings


@settings(deadline=None, max_examples=80)
@given(sampled_functions())
def test_no_two_functions_share_a_mapping(sampled):
    ordinary, hard, _, n_mappings = sampled

    mappings = list(itertools.chain.from_iterable(f.mappings() for f in ordinary + hard))

    assert len(mappings) == n_mappings * len(ordinary + hard)
    assert len(set(mappings)) == len(mappings)


@settings(deadline=None, max_examples=80)
@given(sampled_functions())
def test_inputs_of_a_function_are_distinct_symbols_of_the_vocabulary(sampled):
    ordinary, hard, n_symbols, n_mappings = sampled

    for function in ordinary + hard:
        assert len(set(function.inputs)) == len(function.inputs) == len(function.outputs) == n_mappings
        assert set(function.inputs + function.outputs) <= set(range(n_symbols))


@settings(deadline=None, max_examples=80)
@given(sampled_functions())
def test_hard_function_keeps_the_inputs_and_changes_every_output(sampled):
    ordinary, hard, _, _ = sampled

    for original, changed in zip(ordinary, hard, strict=False):
        assert changed.inputs == original.inputs
        assert all(new != old for new, old in zip(changed.outputs, original.outputs, strict=True))


def test_sampler_gives_out_every_pair_before_it_raises():
    sampler = FunctionSampler(n_symbols=3, n_mappings=1, rng=np.random.default_rng(0))

    functions = [sampler.sample() for _ in range(9)]

    assert set.union(*(f.mappings() for f in functions)) == set(itertools.product(range(3), repeat=2))
    with pytest.raises(ConfigError, match="n_task_symbols=3: pairs run out"):
        sampler.sample()


def test_sampler_raises_when_an_input_of_a_hard_task_has_no_output_left():
    sampler = FunctionSampler(n_symbols=2, n_mappings=2, rng=np.random.default_rng(0))
    function = sampler.sample()
    sampler.sample()

    with pytest.raises(ConfigError, match="n_task_symbols=2: no free output"):
        sampler.change_outputs(function)


def test_mappings_are_the_pairs_of_input_and_output():
    assert Function((1, 2), (3, 1)).mappings() == {(1, 3), (2, 1)}
