"""Hypothesis strategies; each docstring says what is drawn."""

import numpy as np
import torch
from hypothesis import strategies as st

from taskclust.config import DataConfig, RegexConfig
from taskclust.data.regexes import FAMILIES

#: Families whose patterns of three metacharacters have far more strings than a small data set needs.
RICH_FAMILIES = (
    ("star", "plus", "option"),
    ("star",),
    ("plus", "repeat"),
    ("class",),
    ("repeat", "class"),
    ("alternation",),
    tuple(FAMILIES),
)

seeds = st.integers(0, 2**32 - 1)


@st.composite
def regex_configs(draw, families=None):
    """Any valid :class:`RegexConfig`: every family (or subsets of ``families``), all bounds, 1 to 62 symbols."""
    n_symbols = draw(st.integers(1, 62))
    low_pieces, low_symbols = draw(st.integers(1, 4)), draw(st.integers(1, min(n_symbols, 10)))
    low_length = draw(st.integers(1, 10))
    return RegexConfig(
        n_symbols=n_symbols,
        min_metacharacters=low_pieces,
        max_metacharacters=draw(st.integers(low_pieces, 5)),
        min_characters=low_symbols,
        max_characters=draw(st.integers(low_symbols, min(n_symbols, 12))),
        families=tuple(
            draw(st.lists(st.sampled_from(families or sorted(FAMILIES)), min_size=1, max_size=4, unique=True))
        ),
        max_repeats=draw(st.integers(1, 5)),
        min_length=low_length,
        max_length=draw(st.integers(low_length, 60)),
        quantified=draw(st.sampled_from(["group", "last"])),
    )


@st.composite
def data_configs(draw, hard=None, small_languages=None):
    """A small :class:`DataConfig` that can be satisfied for every seed.

    There are more task symbols than tasks, so that no input can run out of outputs, and the families are rich. Every
    option varies: hard tasks or none (``hard`` fixes it), both replacements, group totals or none, small languages
    redrawn or kept (``small_languages`` fixes it).
    """
    n_tasks = draw(st.integers(1, 5))
    low = draw(st.integers(1, 2))
    high = draw(st.integers(low, 3))
    n_hard = draw(st.integers(hard is True, 0 if hard is False else n_tasks))
    n_mappings = draw(st.integers(1, 5))
    n_validation_instructions, n_hard_instructions = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    total = draw(st.none() | st.integers(n_tasks * low, n_tasks * high))
    return DataConfig(
        regex=RegexConfig(
            n_symbols=draw(st.integers(25, 62)),
            min_metacharacters=3,
            max_metacharacters=draw(st.integers(3, 4)),
            families=draw(st.sampled_from(RICH_FAMILIES)),
            quantified=draw(st.sampled_from(["group", "last"])),
        ),
        n_tasks=n_tasks,
        min_distributions=low,
        max_distributions=high,
        n_instructions=draw(st.integers(n_validation_instructions + n_hard_instructions, 8)),
        n_mappings=n_mappings,
        n_subset_tasks=draw(st.integers(0, n_hard or n_tasks)),
        n_validation_tasks=draw(st.integers(0, n_tasks)),
        n_validation_instructions=n_validation_instructions,
        n_hard_tasks=n_hard,
        n_hard_instructions=n_hard_instructions,
        n_task_symbols=draw(st.integers(n_tasks + n_hard + n_mappings, 25)),
        hard_replacement=draw(st.sampled_from(["distribution", "instruction"])),
        distribution_totals=() if total is None else ((n_tasks, total),),
        small_languages=small_languages or draw(st.sampled_from(["redraw", "keep"])),
    )


@st.composite
def label_pairs(draw, max_size=40, max_classes=6):
    """Two label vectors of one length, 1 to ``max_size``, each with at most ``max_classes`` values, gaps allowed."""
    n = draw(st.integers(1, max_size))
    labels = st.lists(st.integers(0, max_classes - 1), min_size=n, max_size=n)
    return np.array(draw(labels)), np.array(draw(labels))


@st.composite
def point_sets(draw, min_points=4, max_points=40, max_dimensions=50):
    """A float32 tensor [B, N, D] of one to three sets: clustered or structureless, wide or narrow, of any scale."""
    rng = np.random.default_rng(draw(seeds))
    sets, n = draw(st.integers(1, 3)), draw(st.integers(min_points, max_points))
    d = draw(st.integers(1, max_dimensions))
    points = rng.normal(size=(sets, n, d))
    if draw(st.booleans()):
        centers = rng.normal(size=(sets, 3, d)) * 10
        points += centers[:, rng.integers(3, size=n)]
    return torch.tensor(points * draw(st.sampled_from([0.01, 1.0, 100.0])), dtype=torch.float32)
