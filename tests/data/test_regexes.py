"""Every string sampled from a pattern is checked by Python's :mod:`re`."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskclust.config import ConfigError, RegexConfig
from taskclust.data.regexes import FAMILIES, SYMBOLS, Pattern, Piece, sample_instructions, sample_pattern, write
from tests.strategies import regex_configs, seeds

EVERY_FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))


def piece(family, symbols, max_repeats=2, quantified="group"):
    return Piece(family, symbols, *FAMILIES[family].repeats(max_repeats), quantified)


@EVERY_FAMILY
def test_every_sampled_string_fully_matches_its_rendered_pattern(family):
    @settings(deadline=None, max_examples=40)
    @given(config=regex_configs(families=[family]), seed=seeds)
    def check(config, seed):
        rng = np.random.default_rng(seed)

        pattern = sample_pattern(config, rng)
        strings = [pattern.sample(rng) for _ in range(20)]

        assert all(re.fullmatch(str(pattern), write(s)) for s in strings)

    check()


@settings(deadline=None, max_examples=60)
@given(config=regex_configs(), seed=seeds)
def test_pattern_keeps_the_bounds_of_its_configuration(config, seed):
    pattern = sample_pattern(config, np.random.default_rng(seed))

    assert config.min_metacharacters <= len(pattern.pieces) <= config.max_metacharacters
    for part in pattern.pieces:
        assert part.family in config.families
        assert config.min_characters <= len(part.symbols) <= config.max_characters
        assert len(set(part.symbols)) == len(part.symbols), "the characters of a metacharacter are distinct"
        assert set(part.symbols) <= set(range(config.n_symbols))


@settings(deadline=None, max_examples=60)
@given(config=regex_configs(), seed=seeds)
def test_sampled_instructions_are_new_distinct_of_admissible_length_and_in_the_language(config, seed):
    rng = np.random.default_rng(seed)
    pattern = sample_pattern(config, rng)
    taken = {pattern.sample(rng) for _ in range(3)}

    found = sample_instructions(pattern, 4, config, rng, taken)

    assert len(set(found)) == len(found) <= 4
    assert taken.isdisjoint(found)
    assert all(config.min_length <= len(i) <= config.max_length for i in found)
    assert all(re.fullmatch(str(pattern), write(i)) for i in found)


@st.composite
def small_patterns(draw):
    """A pattern of one or two metacharacters with few strings, on one to three symbols, and its number of repeats."""
    config = RegexConfig(
        n_symbols=3,
        max_metacharacters=2,
        min_characters=1,
        max_characters=3,
        families=("star", "plus", "option", "repeat", "alternation"),
        max_repeats=draw(st.integers(1, 5)),
        quantified=draw(st.sampled_from(["group", "last"])),
    )
    return sample_pattern(config, np.random.default_rng(draw(seeds))), config.max_repeats


@settings(deadline=None, max_examples=60)
@given(drawn=small_patterns(), seed=seeds)
def test_every_matching_string_within_the_repeats_can_be_sampled(drawn, seed):
    """Longer strings may need more repeats than are drawn; ``*`` and ``+`` of :mod:`re` have no limit."""
    pattern, max_repeats = drawn
    rng = np.random.default_rng(seed)
    short = {"".join(s) for n in range(max_repeats + 1) for s in itertools.product("abc", repeat=n)}

    sampled = {write(pattern.sample(rng)) for _ in range(1_500)}  # at most 36 strings: none is missed by chance

    assert sampled & short == {s for s in short if re.fullmatch(str(pattern), s)}


@pytest.mark.parametrize(
    ("family", "group", "last"),
    [
        ("star", "(abc)*", "abc*"),
        ("plus", "(abc)+", "abc+"),
        ("option", "(abc)?", "abc?"),
        ("repeat", "(abc){1,2}", "abc{1,2}"),
        ("class", "[abc]{1,5}", "[abc]{1,5}"),
        ("alternation", "(a|b|c)", "(a|b|c)"),
    ],
)
def test_family_is_written_as_in_the_regular_expressions_of_python(family, group, last):
    assert str(piece(family, (0, 1, 2))) == group
    assert str(piece(family, (0, 1, 2), quantified="last")) == last


CLASS = {"".join(s) for n in range(1, 6) for s in itertools.product("ab", repeat=n)}


@pytest.mark.parametrize(
    ("family", "group", "last"),
    [
        ("star", {"", "ab", "abab"}, {"a", "ab", "abb"}),
        ("plus", {"ab", "abab"}, {"ab", "abb"}),
        ("option", {"", "ab"}, {"a", "ab"}),
        ("repeat", {"ab", "abab"}, {"ab", "abb"}),
        ("class", CLASS, CLASS),
        ("alternation", {"a", "b"}, {"a", "b"}),
    ],
)
def test_family_samples_its_whole_language_and_nothing_else(family, group, last):
    rng = np.random.default_rng(0)

    for quantified, language in (("group", group), ("last", last)):
        pattern = Pattern((piece(family, (0, 1), quantified=quantified),))
        assert {write(pattern.sample(rng)) for _ in range(2_000)} == language


def test_pattern_quantifies_what_its_configuration_says():
    config = RegexConfig(families=("star",), quantified="last")

    pattern = sample_pattern(config, np.random.default_rng(0))

    assert re.fullmatch(r"([a-z0-9]{3,10}\*){1,3}", str(pattern))


@pytest.mark.parametrize(
    ("n", "taken", "found"),
    [
        (2, set(), {"ab", "abab"}),
        (3, set(), {"ab", "abab"}),
        (2, {(0, 1)}, {"abab"}),
        (2, {(0, 1), (0, 1, 0, 1)}, set()),
    ],
    ids=["enough", "too few", "one taken", "all taken"],
)
def test_a_pattern_yields_its_free_strings_until_they_run_out(n, taken, found):
    pattern = Pattern((piece("star", (0, 1)),))  # "ab", "abab" besides the empty string

    sampled = sample_instructions(pattern, n, RegexConfig(min_length=1), np.random.default_rng(0), taken)

    assert sorted(map(write, sampled)) == sorted(found)


def test_a_pattern_yields_no_more_than_requested():
    pattern = Pattern((piece("star", (0, 1)),))

    assert len(sample_instructions(pattern, 1, RegexConfig(min_length=1), np.random.default_rng(0), set())) == 1


def test_symbols_are_distinct_and_none_is_special_in_a_regular_expression():
    assert len(set(SYMBOLS)) == len(SYMBOLS) == 62
    assert re.escape(SYMBOLS) == SYMBOLS


def test_pattern_matches_the_whole_instruction_only():
    pattern = Pattern((piece("plus", (0, 1)),))

    assert pattern.matches((0, 1, 0, 1))
    assert not pattern.matches((0, 1, 0))
    assert not pattern.matches((0, 1, 2))


def test_unknown_family_raises_and_names_it():
    with pytest.raises(ConfigError, match=r"families=\('star', 'lookahead'\).*'lookahead'\] unknown"):
        sample_pattern(RegexConfig(families=("star", "lookahead")), np.random.default_rng(0))
