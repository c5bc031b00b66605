"""Regular expressions used in reverse: sample a pattern, then sample strings from it (Appendix A).

A pattern is a list of pieces, each a metacharacter with its characters. It is built, never parsed: strings are sampled
from the pieces, so :func:`re.fullmatch` can check them independently.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from taskclust.config import ConfigError, RegexConfig

#: The instruction vocabulary as characters; symbol ``i`` is written ``SYMBOLS[i]``.
SYMBOLS = string.ascii_lowercase + string.digits + string.ascii_uppercase

#: The longest run drawn from a character class.
MAX_CLASS_RUN = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """One metacharacter applied to ``symbols``, repeated ``low`` to ``high`` times when sampled.

    ``quantified`` says what a quantifier repeats: the "group" of all symbols, ``(abc)*``, or the "last", ``abc*``.
    """

    family: str
    symbols: tuple[int, ...]
    low: int
    high: int
    quantified: Literal["group", "last"] = "group"

    def __str__(self) -> str:
        family, letters = FAMILIES[self.family], "".join(SYMBOLS[s] for s in self.symbols)
        in_parentheses = family.is_quantifier and self.quantified == "group"
        return family.render(f"({letters})" if in_parentheses else letters, self.low, self.high)

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw one string of the piece."""
        times = int(rng.integers(self.low, self.high + 1))
        if not FAMILIES[self.family].is_quantifier:
            return tuple(self.symbols[i] for i in rng.integers(len(self.symbols), size=times))
        if self.quantified == "last":
            return self.symbols[:-1] + self.symbols[-1:] * times
        return self.symbols * times


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of metacharacter: how it is written, what it repeats, and how often."""

    render: Callable[[str, int, int], str]
    repeats: Callable[[int], tuple[int, int]]
    is_quantifier: bool  # True: repeats its symbols; False: draws a new symbol each time


#: The families by name. A quantifier is written after its argument, in parentheses if that is a group.
FAMILIES: dict[str, Family] = {
    "star": Family(lambda s, low, high: f"{s}*", lambda n: (0, n), True),
    "plus": Family(lambda s, low, high: f"{s}+", lambda n: (1, n), True),
    "option": Family(lambda s, low, high: f"{s}?", lambda n: (0, 1), True),
    "repeat": Family(lambda s, low, high: f"{s}{{{low},{high}}}", lambda n: (1, n), True),
    "class": Family(lambda s, low, high: f"[{s}]{{{low},{high}}}", lambda n: (1, MAX_CLASS_RUN), False),
    "alternation": Family(lambda s, low, high: f"({'|'.join(s)})", lambda n: (1, 1), False),
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A concatenation of pieces: the "simple grammar rule" of one instruction distribution (§2.2)."""

    pieces: tuple[Piece, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.pieces))

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw one instruction, a tuple of symbol numbers; it may be empty."""
        return tuple(symbol for piece in self.pieces for symbol in piece.sample(rng))

    def matches(self, instruction: tuple[int, ...]) -> bool:
        """Whether ``instruction`` matches the pattern, by Python's :mod:`re`."""
        return _compiled(self).fullmatch(write(instruction)) is not None


@lru_cache(maxsize=10_000)
def _compiled(pattern: Pattern) -> re.Pattern[str]:
    return re.compile(str(pattern))


@lru_cache(maxsize=100_000)  # each is matched with every pattern of other tasks
def write(instruction: tuple[int, ...]) -> str:
    """The instruction as text."""
    return "".join(SYMBOLS[s] for s in instruction)


def sample_pattern(config: RegexConfig, rng: np.random.Generator) -> Pattern:
    """Draw the metacharacters, then distinct characters as arguments of each (Appendix A, Table 4).

    Raises:
        ConfigError: a family does not exist.
    """
    unknown = set(config.families) - FAMILIES.keys()
    if unknown:
        raise ConfigError(f"families={config.families!r}: {sorted(unknown)} unknown; use {', '.join(FAMILIES)}")
    pieces = []
    for _ in range(rng.integers(config.min_metacharacters, config.max_metacharacters + 1)):
        family = config.families[rng.integers(len(config.families))]
        n = int(rng.integers(config.min_characters, config.max_characters + 1))
        symbols = tuple(rng.choice(config.n_symbols, size=n, replace=False).tolist())
        pieces.append(Piece(family, symbols, *FAMILIES[family].repeats(config.max_repeats), config.quantified))
    return Pattern(tuple(pieces))


def sample_instructions(
    pattern: Pattern, n: int, config: RegexConfig, rng: np.random.Generator, taken: set[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Draw ``n`` distinct instructions of admissible length that are not ``taken``.

    Returns:
        The instructions in the order drawn; fewer than ``n`` if 30 draws per instruction do not give more, i.e. if the
        pattern's language is too small. A language of n equally likely strings is exhausted by so many draws except
        with a chance of one in a million. Draws that are taken or of another length count, too.
    """
    found: dict[tuple[int, ...], None] = {}
    for _ in range(30 * n):
        instruction = pattern.sample(rng)
        if config.min_length <= len(instruction) <= config.max_length and instruction not in taken:
            found[instruction] = None
        if len(found) == n:
            break
    return list(found)
