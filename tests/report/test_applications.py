"""Table 2 and Figure 5 from records made by hand."""

import pytest

from taskclust.config import ARMS, METRICS, PRINTED_DROPS, SPLITS
from taskclust.report.figures import application_figures
from taskclust.report.tables import alignment_rows, tuning_rows


def aligned(drop):
    row = {"source": 1.0, "others": 0.9, "drop": drop}
    fires = {"fires": {"source": 1.0, "others": 0.1}}
    history = {"history": [{"source": 0.0, "others": 1.0}, {"source": 1.0, "others": 0.9}], "best_epoch": 1}
    return {
        "failure": None,
        "config": {"model": {"width": 8}},
        "base": {"source": 0.0, "others": 1.0},
        "methods": {name: {**row, **(history if name in ("direct", "head") else fires)} for name in PRINTED_DROPS},
        "shuffled": {kind: {**row, **fires} for kind in ("linear", "mlp")},
    }


def pretrained(*accuracies, seed=0):
    curve = accuracies or (0.0, 0.5)
    scores = {"task": {metric: [[0.1, 0.2], [0.3, 0.9]] for metric in METRICS}}
    return {
        "failure": None,
        "config": {"model": {"width": 8}, "seed": seed},
        "epochs": {"raw": [0, 3], "tsne": [0, 3]},
        "scores": {split: {"raw": scores, "tsne": scores} for split in SPLITS},
        "pretraining": {arm: {"best_epoch": 7} for arm in ARMS if arm != "none"},
        "tuning": {arm: {"history": [{"validation_accuracy": a} for a in curve]} for arm in ARMS},
    }


def test_table_2_has_the_papers_column_beside_ours_with_mean_and_interval():
    rows = alignment_rows([aligned(0.1), aligned(0.2), aligned(0.3)])

    assert [row["accuracy drop, paper"] for row in rows] == ["–", "0.21", "0.12", "0.087", "0.08", "–", "–"]
    assert rows[1]["drop, ours"] == "0.2 [-0.048, 0.448]"
    assert [row["drop, last epoch"] for row in rows] == ["–", "0.1", "0.1", *["–"] * 4]
    assert rows[1]["fires on others"] == "–"
    assert rows[4]["fires on others"] == "0.1"


def test_table_2_says_what_the_base_had_to_lose():
    base = alignment_rows([aligned(0.1)])[0]

    assert (base["method"], base["on other tasks"], base["drop, ours"]) == ("base model", "1", "–")


def test_figure_5b_in_numbers_has_each_seeds_epochs_to_fixed_accuracies():
    rows = tuning_rows([pretrained(0.0, 0.6, 0.9, 0.9), pretrained(0.0, 0.2, 0.5, 0.7, seed=3)])

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


@pytest.mark.parametrize("records", [[], [{"failure": "the loss became nan"}]], ids=["none", "failed"])
def test_nothing_to_show_makes_no_table_and_no_figure(records):
    assert alignment_rows(records) == tuning_rows(records) == []
    assert application_figures(records, records) == {}


def test_figures_5a_and_5b_and_what_is_forgotten():
    made = application_figures([pretrained()] * 2, [aligned(0.1)] * 2)

    assert list(made) == ["figure-5a-pretraining-clusters", "figure-5b-pretraining-speedup", "forgetting"]
    lines = made["figure-5b-pretraining-speedup"].axes[0].get_lines()
    assert [line.get_label() for line in lines] == [
        "task identity pre-training",
        "instruction pre-training",
        "no pre-training",
        "shuffled identities (null)",
    ]
