"""Tables agree with the verdicts."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from taskclust.claims import KnownFailure, judge, load_claims
from taskclust.formats import aligned_columns
from taskclust.report import closing_rows, verdict_rows
from taskclust.report.tables import check_numbers, check_rows, value_rows, verdict_word
from tests.language_records import language_record
from tests.records import SEEDS, dead_record, perfect_record, world

CLAIMS = load_claims(Path(__file__).parents[2] / "benchmarks")
VERDICTS = ("reproduced", "not reproduced", "inconclusive", None)


def results(profile, make=perfect_record, scale=None):
    """Results of every condition of the main experiment's claims that the profile judges."""
    records = world(make)
    return [
        judge(claim, cell, records, profile, scale)
        for claim in CLAIMS.values()
        if claim.experiment == "synthetic"
        for cell in claim.cells
        if profile == "paper" or cell not in claim.paper_only
    ]


def of_models(**f1):
    """Results of both conditions of the claim about language models, from each model's best F1."""
    claim = CLAIMS["open-llm-clusters"]
    return [
        judge(claim, cell, [language_record(model=(0.3, best))], "llm", subject=name.replace("_", "-"))
        for name, best in f1.items()
        for cell in claim.cells
    ]


def with_known(name, scale, cell):
    """The claims, with a known failure of this claim's condition at the scale."""
    known = {scale: {cell: KnownFailure("too low", "reports/paper")}}
    return {**CLAIMS, name: replace(CLAIMS[name], known_failures=known)}


def of(rows, claim, cell):
    (row,) = [row for row in rows if (row["claim"], row["cell"]) == (claim, cell)]
    return row


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_smoke_verdict_never_says_reproduced(verdict):
    assert "reproduced" not in verdict_word(verdict, "smoke")


@pytest.mark.parametrize("make", [perfect_record, dead_record])
def test_no_smoke_row_says_reproduced(make):
    made = results("smoke", make)

    words = {row["verdict"] for row in [*verdict_rows(made, CLAIMS), *check_rows(made), *check_numbers(made)]}

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
def test_every_cell_of_the_scale_has_one_row_in_the_claims_order(profile):
    rows = verdict_rows(reversed(results(profile)), CLAIMS)

    expected = [
        (claim.id, cell)
        for claim in CLAIMS.values()
        for cell in ([claim.elsewhere] if claim.elsewhere else claim.cells)
        if profile == "paper" or cell not in claim.paper_only
    ]
    if profile == "smoke":
        after = next(n for n, (claim, _) in enumerate(expected) if claim == "inner-structure")
        expected.insert(after, ("hard-example-separation", "at the paper's scale alone"))
    assert [(row["claim"], row["cell"]) for row in rows] == expected


def test_cells_that_were_not_run_are_shown_as_not_run():
    made = results("paper")
    rows = verdict_rows(made, CLAIMS)

    judged = {result.claim for result in made}
    for claim in CLAIMS.values():
        shown = {row["verdict"] for row in rows if row["claim"] == claim.id}
        assert shown == {"not run"} if claim.id not in judged else "not run" not in shown
    assert judged == {claim.id for claim in CLAIMS.values() if claim.experiment == "synthetic"}


def test_without_results_nothing_was_run():
    rows = verdict_rows([], CLAIMS)

    assert {row["verdict"] for row in rows} == {"not run"}
    assert {row["claim"] for row in rows} == set(CLAIMS)


def test_the_deciding_check_is_the_first_with_the_cells_verdict():
    made = results("paper", dead_record)

    row = of(verdict_rows(made, CLAIMS), "knn-accuracy", "validation")

    assert row["verdict"] == "✘ not reproduced"
    assert row["seeds"] == len(SEEDS)
    assert row["deciding check"].startswith("rise 0 (≥ 0.1; null 0)")


def test_the_deciding_check_has_its_interval():
    row = of(verdict_rows(results("paper"), CLAIMS), "cluster-emergence", "validation")

    assert row["deciding check"].startswith("rise of f1 0.6")
    assert " [0.6" in row["deciding check"]


def test_a_condition_without_asserted_checks_says_so():
    claim = CLAIMS["plateau-then-rise"]
    unasserted = replace(claim, cells={"validation": claim.cells["validation"][-1:]})
    result = judge(unasserted, "validation", world(perfect_record), "smoke")

    row = of(verdict_rows([result], CLAIMS), claim.id, "validation")

    assert row["verdict"] == "? unclear (smoke)"
    assert row["deciding check"] == "nothing is asserted"


def test_a_known_finding_is_marked_at_its_own_scale():
    claims = with_known("knn-accuracy", "paper-32", "validation")

    paper, wider = (verdict_rows(results("paper", dead_record, f"paper-{width}"), claims) for width in (32, 768))
    smoke = verdict_rows(results("smoke", dead_record), claims)

    assert of(paper, "knn-accuracy", "validation")["verdict"] == "✘ not reproduced (known finding)"
    assert [row["claim"] for row in paper if "finding" in row["verdict"]] == ["knn-accuracy"]
    assert not [row for row in (*wider, *smoke) if "finding" in row["verdict"]]


def test_only_the_claims_given_have_rows():
    claims = {name: CLAIMS[name] for name in ("knn-accuracy", "cluster-emergence")}

    rows = verdict_rows(results("paper"), claims)

    assert [row["claim"] for row in rows] == ["knn-accuracy", "cluster-emergence", "cluster-emergence"]


def test_every_language_model_has_rows_and_other_claims_have_none():
    rows = verdict_rows(of_models(a_model=0.97, b_model=0.7), CLAIMS)

    assert [(row["claim"], row["cell"], row["verdict"]) for row in rows] == [
        ("open-llm-clusters", "a-model: task", "✔ holds (this model)"),
        ("open-llm-clusters", "a-model: distribution_mapping", "✔ holds (this model)"),
        ("open-llm-clusters", "b-model: task", "✘ fails (this model)"),
        ("open-llm-clusters", "b-model: distribution_mapping", "✘ fails (this model)"),
    ]


def test_a_known_finding_about_one_model_is_not_marked_at_anothers():
    claims = with_known("open-llm-clusters", "llm", "b-model: task")

    rows = verdict_rows(of_models(a_model=0.7, b_model=0.7), claims)

    assert [row["cell"] for row in rows if "finding" in row["verdict"]] == ["b-model: task"]


def test_subjects_have_their_rows_at_every_scale():
    claim = CLAIMS["knn-accuracy"]
    made = [
        judge(claim, "validation", world(make), "smoke", subject=name)
        for name, make in (("one", perfect_record), ("other", dead_record))
    ]

    rows = verdict_rows(made, {claim.id: claim})

    assert [(row["cell"], row["verdict"]) for row in rows] == [
        ("one: validation", "✔ holds (smoke)"),
        ("other: validation", "✘ fails (smoke)"),
    ]


def test_every_check_has_one_row_with_everything_it_depends_on():
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


def test_a_passing_negative_control_is_highlighted():
    rows = check_rows(results("paper", lambda seed: dead_record(seed, level=0.95)))

    found = {(row["claim"], row["check"]): row["null fails"] for row in rows}

    assert found["knn-accuracy", "late level"] == "NO"
    assert found["knn-accuracy", "rise"] == "yes"


def test_every_check_has_one_row_of_plain_numbers():
    made = results("paper")

    rows = check_numbers(made)

    assert [(r["claim"], r["cell"], r["check"]) for r in rows] == [
        (result.claim, result.cell, check.name) for result in made for check in result.checks
    ]
    row = of([r for r in rows if r["check"] == "late f1"], "cluster-emergence", "subset")
    assert row["low"] < row["mean"] < row["high"]
    assert (row["verdict"], row["n"], row["control_name"]) == ("reproduced", 5, "untrained model")
    assert (row["criterion"], row["bound"], row["tolerance"], row["source"]) == (">=", 0.9, None, "text")
    assert row["control"] == pytest.approx(0.3)
    assert row["control_fails"] is True


def test_values_have_a_row_per_seed_in_the_records_order():
    result = judge(CLAIMS["knn-accuracy"], "validation", [perfect_record(seed) for seed in (3, 0)], "paper")

    rows = value_rows([result])

    assert [row["seed"] for row in rows] == [3, 0] * len(result.checks)
    assert [row["value"] for row in rows] == [value for check in result.checks for value in check.values]
    assert rows[0]["value"] != rows[1]["value"]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_seed_and_equal_seeds_have_no_band(n):
    result = judge(CLAIMS["knn-accuracy"], "validation", [perfect_record(0)] * n, "paper")

    assert [row["95 % interval"] for row in check_rows([result])] == [""] * 4


@pytest.mark.parametrize("made", [results("paper"), results("paper", dead_record), results("smoke")], ids=str)
def test_the_closing_table_fits_a_terminal_of_100_columns(made):
    rows = closing_rows(made, CLAIMS)

    assert len(rows) == len(made)
    assert max(len(line.rstrip()) for line in aligned_columns(rows).splitlines()) <= 100


def test_a_closing_row_has_the_deciding_number_and_the_criterion():
    (row,) = closing_rows([r for r in results("paper", dead_record) if r.claim == "knn-percentage"], CLAIMS)

    assert row["verdict"] == "✘ not reproduced"
    assert row["claim"] == "knn-percentage: validation"
    assert row["asked"].startswith(("≥", ">"))
    assert re.fullmatch(r"-?[\d.]+ ± [\d.]+|-?[\d.]+( \[.*\])?", row["measured"])
