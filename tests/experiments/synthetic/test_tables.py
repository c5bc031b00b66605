"""Tables of the main experiment from made-up records."""

from dataclasses import replace

import numpy as np

from taskclust.config import LABELS, SPLITS
from taskclust.experiments.synthetic.record import ByMapping
from taskclust.experiments.synthetic.tables import mapping_rows, start_rows, tables
from tests.records import SEEDS, perfect_record


def by_mapping(states, bag, unmerged):
    return ByMapping(states=np.array(states), bag=np.array(bag), unmerged=np.array(unmerged))


def with_mappings(seed, late):
    """A perfect record whose last F1 by mapping is ``late``; merging on the training subset cannot be measured."""
    made = perfect_record(seed)
    found = {
        "validation": {**made.by_mapping["validation"], "f1": by_mapping([0.1, late], 0.2, 0.45)},
        "subset": {**made.by_mapping["subset"], "merging": by_mapping([np.nan] * 2, np.nan, np.nan)},
    }
    return replace(made, by_mapping=found)


def records():
    return [with_mappings(seed, late) for seed, late in zip(SEEDS, (0.7, 0.8, 0.9, 0.8, 0.8), strict=True)]


def found_rows():
    return {(row["set"], row["top layer's states"]): row for row in mapping_rows(records())}


def test_clusters_by_mapping_are_shown_with_negative_controls():
    states = ("untrained", "at the end", "null: nothing merged")

    f1 = {name: found_rows()["validation", name]["F1 by mapping"] for name in states}

    assert f1 == {"untrained": "0.1", "at the end": "0.8 [0.712, 0.888]", "null: nothing merged": "0.45"}


def test_every_split_has_one_row_per_state_and_control():
    assert len(found_rows()) == 8
    assert {row["seeds"] for row in found_rows().values()} == {5}


def test_unmeasurable_values_are_blank():
    assert found_rows()["subset", "at the end"]["merging of a mapping's distributions"] == "–"


def test_failed_seeds_are_left_out_of_every_table():
    failed = replace(perfect_record(9), failure="loss nan in epoch 3")

    with_failed, without = tables([*records(), failed]), tables(records())

    assert with_failed == without


def test_without_records_there_are_no_rows():
    assert mapping_rows([]) == []
    assert start_rows([]) == []


def with_starts(seed, *starts):
    """A perfect record whose last F1 by task is the mean of these starts."""
    made = perfect_record(seed)
    scores = {
        split: replace(
            made.scores[split],
            tsne={label: {"f1": np.array([[0.1, np.mean(starts)]])} for label in LABELS},
            starts={label: {"f1": np.array([[[0.1] * len(starts), starts]])} for label in LABELS},
        )
        for split in SPLITS
    }
    return replace(made, scores=scores)


def test_starts_have_their_share_of_the_seeds_variance():
    """Two starts 0.1 apart deviate by 0.0707, so their mean by 0.05; the seeds' means are 0.2 apart: 0.1414."""
    row, *others = start_rows([with_starts(0, 0.5, 0.6), with_starts(1, 0.7, 0.8)])

    assert row["set"] == "validation"
    assert row["clusters by"] == "task"
    assert row["starts"] == "2"
    assert row["deviation of starts"] == "0.071"
    assert row["deviation of seeds"] == "0.141"
    assert row["starts' part of the seeds' variance"] == "0.125"
    assert len(others) == 5


def test_older_records_say_that_they_have_one_start():
    rows = start_rows([perfect_record(0), perfect_record(1)])

    assert {row["starts"] for row in rows} == {"1, of lowest divergence among 3"}
    assert all("deviation of starts" not in row for row in rows)


def test_records_with_different_starts_say_so_by_seed():
    rows = start_rows([with_starts(0, 0.5, 0.6), perfect_record(1), with_starts(2, 0.5, 0.6)])

    assert {row["starts"] for row in rows} == {"seed 0, 2: 2; seed 1: 1, of lowest divergence among 3"}
    assert all("deviation of starts" not in row for row in rows)
