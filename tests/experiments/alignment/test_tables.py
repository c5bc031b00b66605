"""Table 2 from hand-made records."""

from dataclasses import replace

import pytest

from taskclust.config import PRINTED_DROPS
from taskclust.experiments.alignment.tables import alignment_rows, tables
from tests.experiments.alignment.test_statistics import record


def aligned(drop):
    """A record in which every method has this drop."""
    row = {"source": 1.0, "others": 0.9, "drop": drop}
    return record(dict.fromkeys(PRINTED_DROPS, row), dict.fromkeys(("linear", "mlp"), row))


def test_table_2_has_the_papers_column_and_ours_with_intervals():
    rows = alignment_rows([aligned(0.1), aligned(0.2), aligned(0.3)])

    assert [row["accuracy drop, paper"] for row in rows] == ["–", "0.21", "0.12", "0.087", "0.08", "–", "–"]
    assert rows[1]["drop, ours"] == "0.2 [-0.048, 0.448]"
    assert [row["drop, last epoch"] for row in rows] == ["–", "0.1", "0.1", *["–"] * 4]
    assert rows[1]["fires on others"] == "–"
    assert rows[4]["fires on others"] == "0.1"


def test_table_2_has_the_base_models_accuracies():
    base = alignment_rows([aligned(0.1)])[0]

    assert (base["method"], base["on other tasks"], base["drop, ours"]) == ("base model", "1", "–")


def test_failed_seeds_are_left_out():
    rows = alignment_rows([aligned(0.1), replace(aligned(0.9), failure="the loss became nan")])

    assert {row["seeds"] for row in rows} == {1}
    assert rows[1]["drop, ours"] == "0.1"


@pytest.mark.parametrize(
    "records", [[], [replace(aligned(0.1), failure="the loss became nan")]], ids=["none", "failed"]
)
def test_nothing_to_show_makes_no_rows(records):
    assert list(tables(records).values()) == [[]]
