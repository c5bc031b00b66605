"""Rows say what the verdicts say, and no more."""

import csv
import io

import pytest

from taskclust.claims import CLAIMS, QUARANTINE, judge
from taskclust.claims.quarantine import Finding
from taskclust.config import LABELS, SPLITS
from taskclust.report import plain, verdict_rows
from taskclust.report.tables import (
    band,
    check_rows,
    comma_separated,
    count_rows,
    mapping_rows,
    markdown,
    number,
    size_rows,
    start_rows,
    verdict_word,
)
from tests.claims.records import SEEDS, dead_record, perfect_record, world

VERDICTS = ("reproduced", "not reproduced", "inconclusive", None)


def results(profile, make=perfect_record, scale=None):
    """Every cell of the scores-based claims that the profile judges."""
    records = world(make)
    return [
        judge(claim, cell, records, profile, SEEDS, scale)
        for claim in CLAIMS.values()
        if claim.needs == "scores"
        for cell in claim.cells
        if profile == "paper" or cell not in claim.paper_only
    ]


def of(rows, claim, cell):
    (row,) = [row for row in rows if (row["claim"], row["cell"]) == (claim, cell)]
    return row


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_smoke_verdict_never_says_reproduced(verdict):
    assert "reproduced" not in verdict_word(verdict, "smoke")


@pytest.mark.parametrize("make", [perfect_record, dead_record])
def test_no_smoke_row_says_reproduced(make):
    made = results("smoke", make)

    words = {row["verdict"] for row in [*verdict_rows(made), *check_rows(made)]}

    assert len(words) > 1
    assert not any("reproduced" in word for word in words)


@pytest.mark.parametrize("profile", ["smoke", "paper"])
def test_each_verdict_has_its_own_word(profile):
    assert len({verdict_word(verdict, profile) for verdict in VERDICTS}) == len(VERDICTS)


def test_words_at_paper_scale_are_the_verdicts_with_a_mark():
    assert [verdict_word(v, "paper") for v in VERDICTS] == [
        "✔ reproduced",
        "✘ not reproduced",
        "? inconclusive",
        "– not asserted",
    ]


@pytest.mark.parametrize("profile", ["smoke", "paper"])
def test_every_cell_of_the_scale_has_one_row_in_the_registrys_order(profile):
    rows = verdict_rows(reversed(results(profile)))

    expected = [
        (claim.id, cell)
        for claim in CLAIMS.values()
        for cell in claim.cells or ["each model, by -m llm"]
        if profile == "paper" or cell not in claim.paper_only
    ]
    if profile == "smoke":
        after = next(n for n, (claim, _) in enumerate(expected) if claim == "inner-structure")
        expected.insert(after, ("hard-example-separation", "at the paper's scale alone"))
    assert [(row["claim"], row["cell"]) for row in rows] == expected


def test_cells_that_were_not_run_are_shown_as_not_run():
    rows = verdict_rows(results("paper"))

    shown = {claim.id: {row["verdict"] for row in rows if row["claim"] == claim.id} for claim in CLAIMS.values()}
    for claim in CLAIMS.values():
        assert shown[claim.id] == ({"✔ reproduced"} if claim.needs == "scores" else {"not run"})


def test_without_results_nothing_was_run():
    rows = verdict_rows([])

    assert {row["verdict"] for row in rows} == {"not run"}
    assert {row["claim"] for row in rows} == set(CLAIMS)


def test_the_deciding_check_is_the_first_with_the_cells_verdict():
    made = results("paper", dead_record)

    row = of(verdict_rows(made), "knn-accuracy", "validation")

    assert row["verdict"] == "✘ not reproduced"
    assert row["seeds"] == 5
    assert row["deciding check"].startswith("rise 0 (≥ 0.1; null 0)")


def test_the_deciding_check_has_its_interval():
    row = of(verdict_rows(results("paper")), "cluster-emergence", "validation")

    assert row["deciding check"].startswith("rise of f1 0.6")
    assert " [0.6" in row["deciding check"]


def test_a_cell_of_which_nothing_is_asserted_says_so():
    claim = CLAIMS["plateau-then-rise"]
    unasserted = claim.cells["validation"][-1]
    result = judge(
        type(claim)(id=claim.id, where="", sentence="", cells={"validation": (unasserted,)}),
        "validation",
        world(perfect_record),
        "smoke",
        SEEDS,
    )

    row = of(verdict_rows([result]), claim.id, "validation")

    assert row["verdict"] == "? unclear (smoke)"
    assert row["deciding check"] == "nothing is asserted"


def test_a_known_finding_is_marked_at_its_own_scale(monkeypatch):
    monkeypatch.setitem(QUARANTINE, ("paper-32", "knn-accuracy", "validation"), Finding("too low", "a record"))

    paper, wider = (verdict_rows(results("paper", dead_record, f"paper-{width}")) for width in (32, 768))
    smoke = verdict_rows(results("smoke", dead_record))

    assert of(paper, "knn-accuracy", "validation")["verdict"] == "✘ not reproduced (known finding)"
    assert [row["claim"] for row in paper if "finding" in row["verdict"]] == ["knn-accuracy"]
    assert not [row for row in (*wider, *smoke) if "finding" in row["verdict"]]


def test_every_check_has_one_row_with_all_it_rests_on():
    made = results("paper")

    rows = check_rows(made)

    assert [(r["claim"], r["cell"], r["check"]) for r in rows] == [
        (result.claim, result.cell, check.name) for result in made for check in result.checks
    ]
    row = of([r for r in rows if r["check"] == "late f1"], "cluster-emergence", "subset")
    assert row["criterion"] == "≥ 0.9"
    assert row["from"] == "text"
    assert row["n"] == 5
    assert row["null is"] == "untrained model"
    assert row["null"] == "0.3"
    assert row["null fails"] == "yes"
    assert row["reason"] == '"over 0.9 at the late training stage"'


def test_a_null_that_passes_stands_out():
    rows = check_rows(results("paper", lambda seed: dead_record(seed, level=0.95)))

    found = {(row["claim"], row["check"]): row["null fails"] for row in rows}

    assert found["knn-accuracy", "late level"] == "NO"
    assert found["knn-accuracy", "rise"] == "yes"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (0.12345, "0.123"),
        (1.0, "1"),
        (0.0, "0"),
        (-0.05, "-0.05"),
        (999.5, "999.5"),
        (23_734_272.0, "23,734,272"),
        (-1_000.0, "-1,000"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_number_is_short(value, text):
    assert number(value) == text


def test_what_rounds_to_nought_has_no_sign():
    assert number(-0.0001) == "0"


@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_seed_and_equal_seeds_have_no_band(n):
    result = judge(CLAIMS["knn-accuracy"], "validation", [perfect_record(0)] * n, "paper", range(n))

    assert [band(check) for check in result.checks] == [""] * 4


def test_sizes_stand_beside_table_3():
    sizes = [{"train": 7_275, "subset": 180, "validation": 315}, {"train": 7_275, "subset": 175, "validation": 315}]

    assert size_rows([{"sizes": s} for s in sizes]) == [
        {"set": "train", "paper": 7_300, "ours": "7275", "seeds": 2},
        {"set": "subset", "paper": 180, "ours": "175, 180", "seeds": 2},
        {"set": "validation", "paper": 315, "ours": "315", "seeds": 2},
    ]


def test_counts_stand_beside_table_8():
    counts = {"32": 55_168, "256": 3_193_856, "768": 23_734_272, "2048": 201_711_616}

    rows = count_rows({"counts": counts})

    assert [row["hidden dimension"] for row in rows] == [32, 256, 768, 2048]
    assert [row["paper"] for row in rows] == [55_000, 3_000_000, 23_000_000, 202_000_000]
    assert [row["ours"] for row in rows] == list(counts.values())


def test_tables_keep_numbers_as_they_are_written():
    rows = [{"value": "0.10", "text": "a"}, {"value": "1e5", "text": "b"}]

    for table in (markdown(rows), plain(rows)):
        assert "0.10" in table
        assert "1e5" in table
    assert markdown(rows).startswith("| value")


def test_csv_comes_back_as_it_was():
    rows = check_rows(results("paper"))

    found = list(csv.DictReader(io.StringIO(comma_separated(rows), newline="")))

    assert found == [{name: str(value) for name, value in row.items()} for row in rows]


def test_clusters_by_mapping_stand_beside_their_nulls_with_what_cannot_be_measured_left_blank():
    records = [perfect_record(seed) for seed in SEEDS]
    for record, late in zip(records, (0.7, 0.8, 0.9, 0.8, 0.8), strict=True):
        validation, subset = (record["by_mapping"][split] for split in ("validation", "subset"))
        validation["f1"] = {"states": [0.1, late], "bag": 0.2, "unmerged": 0.45}
        subset["merging"] = {"states": [None, None], "bag": None, "unmerged": None}

    rows = mapping_rows([*records, {"failure": "loss nan in epoch 3"}])

    assert len(rows) == 8
    found = {(row["set"], row["top layer's states"]): row for row in rows}
    f1 = {
        name: found["validation", name]["F1 by mapping"] for name in ("untrained", "at the end", "null: nothing merged")
    }
    assert f1 == {"untrained": "0.1", "at the end": "0.8 [0.712, 0.888]", "null: nothing merged": "0.45"}
    assert found["subset", "at the end"]["merging of a mapping's distributions"] == "–"
    assert {row["seeds"] for row in rows} == {5}


def test_without_records_there_are_no_clusters_by_mapping():
    assert mapping_rows([]) == []


def with_starts(seed, *starts):
    """A perfect record whose last F1 by task is the mean of these."""
    made = perfect_record(seed)
    for split in SPLITS:
        scores = made["scores"][split]
        scores["tsne"] = {label: {"f1": [[0.1, sum(starts) / len(starts)]]} for label in LABELS}
        scores["starts"] = {label: {"f1": [[[0.1] * len(starts), list(starts)]]} for label in LABELS}
    return made


def test_starts_are_worth_their_share_of_the_seeds_variance():
    """Two starts 0.1 apart deviate by 0.0707, so their mean by 0.05; the seeds' means are 0.2 apart: 0.1414."""
    row, *others = start_rows([with_starts(0, 0.5, 0.6), with_starts(1, 0.7, 0.8)])

    assert row["set"] == "validation"
    assert row["clusters by"] == "task"
    assert row["starts"] == "2"
    assert row["deviation of starts"] == "0.071"
    assert row["deviation of seeds"] == "0.141"
    assert row["starts' part of the seeds' variance"] == "0.125"
    assert len(others) == 5


def test_records_of_before_say_that_they_have_one_start():
    rows = start_rows([with_starts(0, 0.5, 0.6), perfect_record(1)])

    assert {row["starts"] for row in rows} == {"1, of lowest divergence among 3"}
    assert all("deviation of starts" not in row for row in rows)
