"""Figure 5b in numbers, from hand-made records."""

import pytest

from taskclust.experiments.pretraining.tables import tables, tuning_rows
from tests.experiments.pretraining.test_statistics import tuned


def test_figure_5b_in_numbers_has_each_seeds_epochs_to_fixed_accuracies():
    rows = tuning_rows([tuned(none=[0.0, 0.6, 0.9, 0.9]), tuned(seed=3, none=[0.0, 0.2, 0.5, 0.7])])

    assert [row["before tuning"] for row in rows] == [
        "task identity pre-training",
        "instruction pre-training",
        "no pre-training",
        "shuffled identities (null)",
    ]
    assert [row["epochs of it"] for row in rows] == ["7, 7", "7, 7", "–", "7, 7"]
    assert rows[0]["seeds"] == "0, 3"
    assert rows[0]["epochs to 0.5"] == "1, 2"
    assert rows[0]["epochs to 0.8"] == "2, never"
    assert rows[0]["accuracy at the end"] == "0.8 [-0.471, 2.071]"
    assert rows[0]["mean accuracy"].startswith("0.475 ")


def test_failed_seeds_are_left_out():
    rows = tuning_rows([tuned(none=[0.0, 0.6]), tuned(seed=3, failure="the loss became nan", none=[0.0, 0.2])])

    assert {row["seeds"] for row in rows} == {"0"}


@pytest.mark.parametrize(
    "records", [[], [tuned(none=[0.0, 0.5], failure="the loss became nan")]], ids=["none", "failed"]
)
def test_nothing_to_show_makes_no_rows(records):
    assert list(tables(records).values()) == [[]]
