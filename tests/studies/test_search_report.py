"""The search's table has means over seeds, the best setting first, and failures."""

import json

import numpy as np
import pytest

from studies import search_report as search
from studies.search_figures import search_figures
from tests.helpers import assert_close


def run(setting, seed, f1, *, subset=0.4, width=256, failure=None):
    """A row of the search with two checkpoints and two layers, with the given last F1."""
    if failure:
        about = {"setting": setting, "key": setting, "width": width, "seed": seed}
        return {**about, "changes": {}, "failure": failure}
    curve = [[0.1, 0.2], [0.1, f1]]
    split = dict.fromkeys(("tsne", "raw", "ari", "distribution", "end_task"), curve)
    split |= {"tsne_low": curve, "tsne_high": [[0.1, 0.2], [0.1, f1 + 0.05]], "hard_separated": curve}
    split["components"] = dict.fromkeys(("task", "distribution", "input", "output"), curve)
    return {
        "setting": setting,
        "key": setting,
        "width": width,
        "seed": seed,
        "changes": {"model.norm": "before"},
        "failure": None,
        "best_epoch": 5,
        "epochs": [0, 5],
        "accuracy": {"validation": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], "hard": [0.0, 0.25]},  # one an epoch
        "knn": curve,
        "bag": {"validation": 0.43, "subset": 0.54},
        "validation": split,
        "subset": {**split, "tsne": [[0.1, 0.2], [0.1, subset]]},
    }


def test_a_setting_has_one_row_of_means_over_its_seeds():
    (row,) = search.setting_rows([run("start", 100, 0.5), run("start", 101, 0.7)])

    assert (row["setting"], row["runs"], row["F1"], row["best epoch"]) == ("start", 2, "0.60", "5")
    assert (row["accuracy"], row["hard accuracy"], row["spread of starts"]) == ("0.50", "0.25", "0.05")
    assert row["task at the instruction's end"] == "0.60"
    assert (row["bag's F1"], row["bag's F1 subset"]) == ("0.43", "0.54")


def test_an_older_row_has_no_baseline():
    old = run("start", 100, 0.5)
    del old["bag"]

    (row,) = search.setting_rows([old])
    _, repeats, _ = search_figures([old, {**old, "changes": {"data.regex.max_repeats": 5}}])["moved-by-data"].axes

    assert (row["F1"], row["bag's F1"]) == ("0.50", "nan")
    assert ":" not in [line.get_linestyle() for line in repeats.lines]


def test_a_setting_has_one_row_per_width():
    rows = search.setting_rows([run("start", 100, 0.5), run("start", 100, 0.7, width=128)])

    assert [(row["setting"], row["width"], row["F1"]) for row in rows] == [
        ("start", 128, "0.70"),
        ("start", 256, "0.50"),
    ]


def test_settings_that_only_share_their_name_are_not_averaged():
    rows = search.setting_rows([run("sample 3", 100, 0.5), {**run("sample 3", 101, 0.7), "key": "another"}])

    assert [(row["runs"], row["F1"]) for row in rows] == [(1, "0.70"), (1, "0.50")]


def test_the_best_setting_on_both_splits_is_first():
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


def test_ablations_have_one_row_per_run_and_split(tmp_path):
    runs = [run("old", 100, 0.5), measured("start", 0.4)]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, runs)) + "\n")

    rows = search.without_rows(runs)
    search.main(str(tmp_path))

    assert [(row["setting"], row["split"]) for row in rows] == [("start", "validation"), ("start", "subset")]
    assert (rows[0]["without nothing"], rows[0]["without input and output"]) == ("0.40, 0.40", "0.10, 0.60")
    assert rows[0]["null: untrained, so"] == "0.20, 0.30"
    assert "without codes:\n\n| setting" in (tmp_path / "settings.md").read_text()


@pytest.fixture
def tallies():
    """The tallies of some runs, by a word of their description."""

    def count(word, *runs):
        (row,) = (row for row in search.tally_rows(runs) if word in row["what is seen"])
        return row["runs"], row["of"]

    return count


def test_highest_f1_counts_as_early_by_the_accuracy_of_its_epoch(tallies):
    late, early = run("late", 100, 0.5), run("early", 100, 0.1)

    assert tallies("nine tenths", late, early, early) == (2, 3)


def test_gains_by_ablation_are_counted_where_measured(tallies):
    def gains(f1):
        return {**run("start", 100, 0.5), "without": {"validation": {"input and output": [f1, 0.0]}}}

    assert tallies("raw F1 is higher by .25", gains(0.76), gains(0.74), run("start", 100, 0.5)) == (1, 2)


def test_gains_by_ablation_after_tsne_are_counted_separately(tallies):
    def gains(f1):
        return {**run("start", 100, 0.5), "without": {"validation": {"input and output": [0.0, f1]}}}

    assert tallies("after t-SNE is higher by .25", gains(0.76), gains(0.74), gains(0.8)) == (2, 3)


def test_separated_hard_instances_are_those_at_the_end(tallies):
    assert tallies("tenth of the hard", run("start", 100, 0.11), run("start", 100, 0.1)) == (1, 2)


def test_other_tsne_are_compared_with_ours_on_the_same_runs():
    tried = [{**run("start", 100, 0.5), "older": {"validation": f1, "subset": 0.25}} for f1 in (0.3, 0.5, 0.6)]

    rows = search.other_tsne_rows([*tried, run("start", 100, 0.9)])

    validation, subset = rows
    assert [row["t-SNE"] for row in rows] == ["scikit-learn's before 1.2"] * 2
    assert (validation["split"], validation["runs"], validation["lower in"]) == ("validation", 3, 1)
    assert (validation["F1"], validation["ours"]) == ("0.467", "0.500")
    assert (validation["difference"], validation["its standard error"]) == ("-0.033", "0.088")
    assert (subset["split"], subset["F1"]) == ("subset", "0.250")
    assert search.other_tsne_rows(tried[:1]) == []


def test_merging_is_shown_with_accuracies_of_runs_that_measured_it():
    less, more, none = (
        {**run(name, 100, 0.5), "merging": {"states": states, "bag": 0.01}}
        for name, states in (("less", [0.0, 0.1]), ("more", [0.4, 0.3]), ("none", [None, None]))
    )

    rows = search.merging_rows([less, none, run("older", 100, 0.5), more])

    assert [(row["setting"], row["merging"], row["highest"], row["bag's"]) for row in rows] == [
        ("more", "0.30", "0.40", "0.01"),
        ("less", "0.10", "0.10", "0.01"),
    ]
    assert [row["highest at epoch"] for row in rows] == more["epochs"][:2]
    assert rows[0]["F1"] == "0.50"


def test_clusters_by_mapping_are_those_of_the_end_highest_first():
    def made(name, f1, merging):
        unseen = {
            "f1": {"states": [0.9, f1], "bag": 0.1, "unmerged": 0.4},
            "merging": {"states": [0.0, merging], "bag": 0.0, "unmerged": 0.0},
        }
        subset = {**unseen, "f1": {"states": [0.2, f1 + 0.1], "bag": 0.1, "unmerged": 0.7}}
        return {**run(name, 100, 0.5), "by_mapping": {"validation": unseen, "subset": subset}}

    more = {**made("more", 0.8, None), "end": {"validation": [1.0, 0.7], "subset": [0.5, 0.4]}}

    rows = search.by_mapping_rows([made("less", 0.6, 0.2), run("older", 100, 0.5), more])

    assert [row["setting"] for row in rows] == ["more", "less"]
    assert [row["F1 by mapping"] for row in rows] == ["0.80", "0.60"]
    assert [row["subset's F1 by mapping"] for row in rows] == ["0.90", "0.70"]
    assert [row["merging of a mapping's"] for row in rows] == ["–", "0.20"]
    ends = [
        [row[name] for name in ("instruction's end: F1 by task, raw", "after t-SNE", "subset, raw")] for row in rows
    ]
    assert ends == [["1.00", "0.70", "0.50"], ["–"] * 3]
    assert (rows[0]["nothing merged"], rows[0]["subset, nothing merged"]) == ("0.40", "0.70")


def test_runs_that_failed_are_not_counted(tallies):
    assert tallies("nine tenths", run("start", 100, 0.1), run("broken", 100, 0.0, failure="diverged")) == (1, 1)


def test_correlations_with_f1_are_over_runs_on_the_same_data():
    """In these runs every share equals F1, and hard accuracy falls as F1 rises."""
    runs = [run(str(f1), 100, f1) for f1 in (0.1, 0.2, 0.9)]
    for one, hard in zip(runs, (0.8, 0.7, 0.1), strict=True):
        one["accuracy"] = {"validation": [0.95], "hard": [hard]}
    slow = {**run("slow", 100, 0.0), "accuracy": {"validation": [0.5], "hard": [0.0]}}
    other_data = {**run("other data", 100, 0.0), "changes": {"data.regex.max_repeats": 2}}

    rows = search.correlation_rows([*runs, slow, other_data, run("broken", 100, 0.0, failure="diverged")])

    assert {(row["of"], row["runs"]) for row in rows} == {("all", 4), ("accuracy 0.9 or more", 3)}
    learned = {row["quantity"]: row["with F1"] for row in rows if row["runs"] == 3}
    assert (learned["hard accuracy"], learned["task"]) == ("-1.00", "1.00")
    assert next(row["with F1"] for row in rows if row["runs"] == 4) == "0.20"


def test_two_runs_have_no_correlation():
    assert search.correlation_rows([run("start", 100, 0.5), run("start", 101, 0.6)]) == []


def test_of_two_rows_of_one_run_the_later_counts(tmp_path):
    rows = [run("start", 100, 0.5), run("start", 101, 0.5), run("start", 100, 0.7)]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")

    assert [row["validation"]["tsne"][-1][-1] for row in search.read(tmp_path / "runs.jsonl")] == [0.7, 0.5]


def test_the_table_is_written_beside_the_rows_with_the_changes_of_each_sample(tmp_path):
    rows = [run("start", 100, 0.5), run("sample 3", 100, 0.6)]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")

    search.main(str(tmp_path))

    text = (tmp_path / "settings.md").read_text()
    assert "from 2 runs of 2 settings" in text
    assert '- sample 3: {"model.norm": "before"}' in text
    assert {path.stem for path in tmp_path.glob("*.png")} == OLD_FIGURES


OLD_FIGURES = {"codes-over-epochs", "merging"}  # of a search that ran its start


def measured(setting, f1):
    """A row in today's format, with label inertia and ablations."""
    row = run(setting, 100, f1)
    for split in ("validation", "subset"):
        row[split] |= {"label_inertia": [[2.0, 1.5]], "label_inertia_tsne": [[3.0, 2.5]]}
    row["subset"]["components"] = {**row["subset"]["components"], "lineage": row["subset"]["raw"]}
    names = ("input", "output", "input and output", "distribution")
    taken = {name: [0.1, f1 + 0.1 * k] for k, name in enumerate(names)}
    nothing = {key: {"input and output": [0.2, 0.3]} for key in ("validation", "subset")}
    return {**row, "without": {"validation": taken, "subset": taken}, "without_untrained": nothing}


def test_older_rows_are_in_the_figures_that_do_not_need_new_measurements():
    assert set(search_figures([run("start", 100, 0.5)])) == OLD_FIGURES
    assert set(search_figures([measured("start", 0.5)])) == OLD_FIGURES | {
        "codes-taken-out",
        "states-or-clustering",
        "hard-apart",
    }


@pytest.mark.parametrize("failed", [[], [run("none", 100, 0, failure="no regex")]], ids=["none", "one"])
def test_runs_that_failed_are_in_no_figure(failed):
    figure = search_figures([measured("low", 0.2), measured("high", 0.6), *failed])["codes-taken-out"]

    as_it_is, without_input = figure.axes[0].lines[:2]
    assert_close(as_it_is.get_xdata(), [0.2, 0.6])
    assert_close(without_input.get_xdata(), [0.2, 0.6])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "low (width 256, seed 100)",
        "high (width 256, seed 100)",
    ]


def test_points_of_the_scatters_are_the_last_top_layers():
    row = measured("start", 0.5)
    row["validation"] = {**row["validation"]}
    row["validation"]["end_task"] = [[0.9, 0.9], [0.9, 0.3]]

    figures = search_figures([row])

    assert_close(np.asarray(figures["merging"].axes[0].collections[0].get_offsets()), [[0.3, 0.5]])
    assert_close(np.asarray(figures["hard-apart"].axes[0].collections[0].get_offsets()), [[0.5, 0.5]])
    states, embedded = figures["states-or-clustering"].axes[0].lines[:2]
    assert_close(np.array([states.get_ydata(), embedded.get_ydata()]), [[1.5], [2.5]])


def test_codes_over_epochs_are_of_the_start_and_of_gpt2():
    figure = search_figures([run("other", 100, 0.4), run("GPT-2", 100, 0.3), run("start", 100, 0.5)])[
        "codes-over-epochs"
    ]

    assert [axis.get_title() for axis in figure.axes] == ["start (width 256, seed 100)", "GPT-2 (width 256, seed 100)"]
    assert_close(figure.axes[0].lines[4].get_ydata(), [0.2, 0.5])


def test_settings_that_change_only_the_data_are_drawn_with_the_start():
    totals = [[[5, 5], [5, 15], [10, 32]], [], [[5, 10], [5, 10], [10, 32]]]
    changed = [{**run("fewer", 100, 0.7), "changes": {"data.distribution_totals": value}} for value in totals]
    changed[2] |= {"seed": 101, "bag": {"validation": 0.63, "subset": 0.5}}
    others = [
        {**run("start", 101, 0.5), "changes": {}},
        {**run("start", 101, 0.6, width=128), "changes": {}},  # a width at which nothing was changed
        {**run("two", 100, 0.3), "changes": {"data.distribution_totals": [], "model.norm": "before"}},
        {**run("repeats", 100, 0.9), "changes": {"data.regex.max_repeats": 5}},
    ]

    distributions, repeats, length = search_figures([*others, *changed])["moved-by-data"].axes

    assert [line.get_label() for line in distributions.lines[:4]] == [
        "as usual",
        "2",
        "drawn freely",
        "_2",  # one entry of the legend for all lines of an amount
    ]
    first, again = distributions.lines[1], distributions.lines[3]
    assert first.get_color() == again.get_color()
    assert_close(np.array([line.get_ydata() for line in distributions.lines[:3]]), [[0.2, 0.5], [0.2, 0.7], [0.2, 0.7]])
    bags = distributions.lines[4:-1]  # one an amount, in its color
    assert {line.get_linestyle() for line in bags} == {":"}
    assert [line.get_color() for line in bags] == ["black", first.get_color(), distributions.lines[2].get_color()]
    assert [line.get_ydata()[0] for line in bags] == pytest.approx([0.43, 0.53, 0.43])
    assert [line.get_label() for line in repeats.lines[:2]] == ["as usual", "5"]
    assert len(length.lines) == 1  # that at 0.9
