"""The search's table: means over seeds, the best setting first, what failed said."""

import json

from taskclust.report import search


def run(setting, seed, f1, *, subset=0.4, width=256, failure=None):
    """A row of two checkpoints and two layers as the search writes it, its last F1 given."""
    if failure:
        return {"setting": setting, "width": width, "seed": seed, "changes": {}, "failure": failure}
    curve = [[0.1, 0.2], [0.1, f1]]
    split = dict.fromkeys(("tsne", "raw", "ari", "distribution", "end_task"), curve)
    split |= {"tsne_low": curve, "tsne_high": [[0.1, 0.2], [0.1, f1 + 0.05]], "hard_separated": curve}
    split["components"] = dict.fromkeys(("task", "distribution", "input", "output"), curve)
    return {
        "setting": setting,
        "width": width,
        "seed": seed,
        "changes": {"model.norm": "before"},
        "failure": None,
        "best_epoch": 5,
        "epochs": [0, 5],
        "accuracy": {"validation": [0.0, 0.5], "hard": [0.0, 0.25]},
        "knn": curve,
        "validation": split,
        "subset": {**split, "tsne": [[0.1, 0.2], [0.1, subset]]},
    }


def test_a_setting_has_one_row_of_means_over_its_seeds():
    (row,) = search.setting_rows([run("start", 100, 0.5), run("start", 101, 0.7)])

    assert (row["setting"], row["runs"], row["F1"], row["best epoch"]) == ("start", 2, "0.60", "5")
    assert (row["accuracy"], row["hard accuracy"], row["spread of starts"]) == ("0.50", "0.25", "0.05")
    assert row["task at the instruction's end"] == "0.60"


def test_a_setting_has_a_row_of_its_own_at_each_width():
    rows = search.setting_rows([run("start", 100, 0.5), run("start", 100, 0.7, width=128)])

    assert [(row["setting"], row["width"], row["F1"]) for row in rows] == [
        ("start", 128, "0.70"),
        ("start", 256, "0.50"),
    ]


def test_the_best_setting_stands_first_by_both_splits():
    runs = [
        run("low", 100, 0.9, subset=0.1),
        run("high", 100, 0.6, subset=0.7),
        run("none", 100, 0, failure="no regex"),
    ]

    rows = search.setting_rows(runs)

    assert [row["setting"] for row in rows] == ["high", "low", "none"]
    assert rows[-1]["failed"] == "no regex"


def test_the_highest_f1_is_that_of_any_checkpoint():
    (row,) = search.setting_rows([run("start", 100, 0.15)])

    assert (row["F1"], row["F1 at its highest"]) == ("0.15", "0.20")


def test_the_table_is_written_beside_the_rows_with_the_changes_of_each_sample(tmp_path):
    rows = [run("start", 100, 0.5), run("sample 3", 100, 0.6)]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")

    search.main(str(tmp_path))

    text = (tmp_path / "settings.md").read_text()
    assert "from 2 runs of 2 settings" in text
    assert '- sample 3: {"model.norm": "before"}' in text
