"""Structures of arrays are stacked along a new first axis, also if only some rows have a value."""

from dataclasses import dataclass, field, fields

import numpy as np
import pytest

from taskclust.probes.scores import ClusterScores, Epochs, stack
from tests.helpers import assert_close


@dataclass(frozen=True, kw_only=True)
class Part:
    """A nested part of a row."""

    mean: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Row:
    """A structure with every kind of field."""

    values: np.ndarray
    table: dict = field(default_factory=dict)
    rare: np.ndarray | None = None
    part: Part | None = None


def filled(n, *shape):
    """An array filled with one number, so that it can be recognized."""
    return np.full(shape, float(n))


@pytest.mark.parametrize("shape", [(), (3,), (3, 2)], ids=["number", "vector", "matrix"])
def test_arrays_get_a_new_first_axis_in_the_order_of_the_rows(shape):
    stacked = stack([Row(values=filled(n, *shape)) for n in (5, 1, 4)])

    assert type(stacked) is Row
    assert_close(stacked.values, np.stack([filled(n, *shape) for n in (5, 1, 4)]))


def test_one_row_still_gets_its_axis():
    stacked = stack([Row(values=filled(1, 3), table={"a": filled(2)}, part=Part(mean=filled(3)))])

    assert stacked.values.shape == (1, 3)
    assert stacked.table["a"].shape == stacked.part.mean.shape == (1,)


def test_numbers_become_arrays():
    assert_close(stack([{"f1": 0.5}, {"f1": 0.25}])["f1"], [0.5, 0.25])


def test_rows_are_left_as_they_were():
    rows = [Row(values=filled(n, 2), table={"a": filled(n)}) for n in range(2)]

    stack(rows)

    assert [row.values.shape for row in rows] == [(2,), (2,)]
    assert [row.table["a"].shape for row in rows] == [(), ()]


def test_a_name_that_only_some_rows_have_keeps_only_those():
    tables = {"always": filled(0, 2)}, {"always": filled(1, 2), "seldom": filled(1)}, {"always": filled(2, 2)}

    stacked = stack([Row(values=filled(0), table=table) for table in tables]).table

    assert list(stacked) == ["always", "seldom"]
    assert_close(stacked["always"], [[0, 0], [1, 1], [2, 2]])
    assert_close(stacked["seldom"], [1])


def test_names_keep_the_order_in_which_they_appear():
    assert list(stack([{"b": 1.0}, {"c": 1.0, "b": 1.0}, {"a": 1.0}])) == ["b", "c", "a"]


def test_nested_names_are_each_gathered_at_their_own_level():
    tables = {"task": {"f1": filled(0)}}, {}, {"task": {"f1": filled(2), "merging": filled(3)}, "input": {}}

    stacked = stack(tables)

    assert {label: list(table) for label, table in stacked.items()} == {"task": ["f1", "merging"], "input": []}
    assert_close(stacked["task"]["f1"], [0, 2])
    assert_close(stacked["task"]["merging"], [3])


def test_tables_that_are_empty_in_every_row_stay_empty():
    assert stack([Row(values=filled(0)) for _ in range(2)]).table == {}


def test_a_field_that_is_none_in_every_row_stays_none():
    stacked = stack([Row(values=filled(0)) for _ in range(2)])

    assert stacked.rare is None
    assert stacked.part is None


@pytest.mark.parametrize("first", [True, False], ids=["none-first", "none-last"])
def test_a_field_that_is_none_in_some_rows_keeps_the_others(first):
    rows = [Row(values=filled(n), rare=filled(n, 2), part=Part(mean=filled(n))) for n in (1, 2)]
    rows.insert(0 if first else 2, Row(values=filled(7)))

    stacked = stack(rows)

    assert stacked.values.shape == (3,)
    assert_close(stacked.rare, [[1, 1], [2, 2]])
    assert_close(stacked.part.mean, [1, 2])


def test_structures_within_structures_and_tables_keep_their_type():
    rows = [{"train": Row(values=filled(n), part=Part(mean=filled(10 * n, 2)))} for n in range(2)]

    stacked = stack(rows)["train"]

    assert (type(stacked), type(stacked.part)) == (Row, Part)
    assert_close(stacked.part.mean, [[0, 0], [10, 10]])


def test_nan_is_a_number_like_any_other():
    assert_close(stack([{"merging": np.array(np.nan)}, {"merging": np.array(1.0)}])["merging"], [np.nan, 1])


def test_arrays_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        stack([Row(values=filled(0, 2)), Row(values=filled(0, 3))])


def test_checkpoints_of_which_some_have_tsne_have_an_axis_for_each():
    """As :class:`Epochs` distinguishes them: scores of the states at every epoch, after t-SNE at a few."""
    L, S, N, C = 4, 3, 6, 2

    def scores(n, *, with_tsne):
        raw = {"task": {"f1": filled(n, L)}}
        if not with_tsne:
            return ClusterScores(raw=raw)
        return ClusterScores(
            raw=raw,
            tsne={"task": {"f1": filled(n, L)}},
            starts={"task": {"f1": filled(n, L, S)}},
            mapping={"f1": filled(n, S)},
            divergence=filled(n, L, S),
            top_embedding=filled(n, N, C),
        )

    epochs = Epochs(raw=[0, 1, 2, 3, 4], tsne=[1, 4])
    stacked = stack([scores(n, with_tsne=n in epochs.tsne) for n in epochs.raw])

    assert_close(stacked.raw["task"]["f1"][:, 0], epochs.of("raw"))
    assert_close(stacked.tsne["task"]["f1"][:, 0], epochs.of("tsne"))
    assert stacked.starts["task"]["f1"].shape == stacked.divergence.shape == (2, L, S)
    assert stacked.mapping["f1"].shape == (2, S)
    assert_close(stacked.top_embedding[:, 0, 0], epochs.tsne)
    assert stacked.top_embedding.shape == (2, N, C)
    plain = stack([scores(n, with_tsne=False) for n in epochs.raw])
    assert {f.name for f in fields(plain) if getattr(plain, f.name)} == {"raw"}
