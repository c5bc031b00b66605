"""The classes of a claim, how claims are found, and that each committed one is complete and refutable."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskclust import experiments
from taskclust.claims import (
    Always,
    AtLeast,
    AtMost,
    Check,
    Claim,
    ConsistentWith,
    Exceeds,
    KnownFailure,
    ResampledCheck,
    load_claims,
)
from taskclust.claims.claim import POWER
from taskclust.config import FEED_FORWARD

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
CLAIMS = load_claims(BENCHMARKS)
FILES = sorted(BENCHMARKS.glob("test_*.py"))
CELLS = [(claim.id, cell) for claim in CLAIMS.values() for cell in claim.cells]
CHECKS = [
    pytest.param(check, id=f"{claim.id}-{cell}-{check.name}")
    for claim in CLAIMS.values()
    for cell, checks in claim.cells.items()
    for check in checks
]
OVER_SEEDS = [each for each in CHECKS if isinstance(each.values[0], Check)]
KNOWN = [
    pytest.param(claim, scale, cell, known, id=f"{claim.id}-{scale}-{cell}")
    for claim in CLAIMS.values()
    for scale, cells in claim.known_failures.items()
    for cell, known in cells.items()
]
every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.id)


def claim(**changes):
    settings = {"id": "a-claim", "place": "§0", "sentence": "It is so.", "experiment": "synthetic", "cells": {}}
    return Claim(**{**settings, **changes})


# --- what a claim is


def test_smoke_scale_asserts_the_same_unless_the_claim_says_otherwise():
    assert claim().smoke_asserts == "the same, with the smoke column's thresholds"
    assert claim(smoke_asserts="nothing").smoke_asserts == "nothing"


def test_power_at_smoke_scale_is_said_in_errors_of_rounding_twins():
    assert f"lie {POWER} errors of rounding twins or more" in claim().smoke_power


def test_what_is_exact_needs_no_power():
    assert claim(exact=True).smoke_power == "counts are exact on every processor"


def test_the_criterion_is_the_scales_and_the_papers_for_language_models():
    one = Check(
        name="a score",
        statistic=lambda record: 0.0,
        null=lambda record: 0.0,
        null_name="nothing",
        paper=AtLeast(0.9),
        smoke=AtLeast(0.5),
        source="text",
    )

    assert [one.criterion(name) for name in ("smoke", "paper", "llm")] == [AtLeast(0.5), AtLeast(0.9), AtLeast(0.9)]


def test_a_failure_is_known_only_at_its_scale_and_condition():
    known = KnownFailure("too low", "a record")
    one = claim(known_failures={"paper-768 model=norm-after": {"validation": known}})

    assert one.known_failure("paper-768 model=norm-after", "validation") is known
    assert one.known_failure("paper-768 model=norm-after", "subset") is None
    assert one.known_failure("paper-768", "validation") is None
    assert claim().known_failure("smoke", "validation") is None


def test_a_known_failure_applies_only_to_its_subject():
    known = KnownFailure("too small", "a record")
    one = claim(known_failures={"llm": {"a-model: task": known}})

    assert one.known_failure("llm", "a-model: task") is known
    assert one.known_failure("llm", "b-model: task") is None


# --- how claims are found


def write_claim(folder, name, *, order=None):
    """A benchmark file whose claim has the file's name."""
    placed = "" if order is None else f", order={order}"
    (folder / f"test_{name}.py").write_text(
        "from taskclust.claims import Claim\n"
        f'CLAIM = Claim(id="{name}", place="§0", sentence="So.", experiment="synthetic", cells={{}}{placed})\n'
    )


def test_claims_come_in_their_order_whatever_their_files_names(tmp_path):
    for name, order in (("a", 30), ("b", 10), ("c", 20)):
        write_claim(tmp_path, name, order=order)

    assert list(load_claims(tmp_path)) == ["b", "c", "a"]


def test_claims_without_an_order_come_last_as_their_files_do(tmp_path):
    write_claim(tmp_path, "b")
    write_claim(tmp_path, "a")
    write_claim(tmp_path, "c", order=1)

    assert list(load_claims(tmp_path)) == ["c", "a", "b"]


def test_other_files_than_claims_are_skipped(tmp_path):
    write_claim(tmp_path, "a")
    (tmp_path / "test_speed.py").write_text("def test_it_is_fast():\n    pass\n")
    (tmp_path / "helpers.py").write_text("raise RuntimeError\n")
    (tmp_path / "perf").mkdir()
    write_claim(tmp_path / "perf", "b")

    assert list(load_claims(tmp_path)) == ["a"]


def test_an_empty_folder_has_no_claims(tmp_path):
    assert load_claims(tmp_path) == {}


def test_a_broken_file_is_not_skipped(tmp_path):
    (tmp_path / "test_broken.py").write_text("raise RuntimeError('broken')\n")

    with pytest.raises(RuntimeError, match="broken"):
        load_claims(tmp_path)


def test_loading_the_claims_imports_no_torch():
    code = (
        "import sys, pathlib; from taskclust.claims import load_claims;"
        "claims = load_claims(pathlib.Path(sys.argv[1]));"
        "print(len(claims), [name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, BENCHMARKS], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split(maxsplit=1) == [str(len(FILES)), "[]\n"]


# --- the committed claims


def test_every_file_has_one_claim_and_its_name():
    assert {path.name for path in FILES} == {f"test_{name.replace('-', '_')}.py" for name in CLAIMS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_has_one_test_that_is_run_for_each_cell(path):
    tests = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]

    assert [[arg.arg for arg in test.args.args] for test in tests] == [["cell", "decide"]]
    assert 'assert result.verdict == "reproduced", result.explain()' in ast.get_source_segment(
        path.read_text(), tests[0]
    )


def test_every_claim_has_a_place_of_its_own_in_the_tables():
    orders = [claim.order for claim in CLAIMS.values()]

    assert orders == sorted(set(orders))


@every_claim
def test_a_claim_has_a_place_a_sentence_and_smoke_assertions(claim):
    assert re.search(r"§\d|Table|Figure", claim.place)
    assert claim.sentence.endswith(".")
    assert claim.smoke_asserts
    assert claim.smoke_power


@every_claim
def test_claim_has_cells_each_with_its_checks(claim):
    assert claim.cells
    assert all(claim.cells.values())
    assert claim.paper_only <= set(claim.cells)


@every_claim
def test_claim_is_decided_by_records_of_an_experiment_that_is_there(claim):
    assert claim.experiment in experiments.names()


@every_claim
def test_only_what_is_counted_is_exact(claim):
    assert claim.exact == (claim.experiment == "paper_tables")


@every_claim
def test_a_claim_without_smoke_experiment_says_how_to_run_it(claim):
    assert hasattr(experiments.part(claim.experiment, "config"), "smoke") != bool(claim.elsewhere)


@pytest.mark.parametrize("check", CHECKS)
def test_check_has_a_control_and_says_what_it_is(check):
    assert callable(check.null)
    assert check.null_name
    assert check.null is not (check.draws if isinstance(check, ResampledCheck) else check.statistic)


@pytest.mark.parametrize("check", CHECKS)
def test_check_says_how_firmly_the_paper_fixes_it(check):
    assert check.name
    assert check.source in {"table", "text", "ours", "fitted", "later"}
    assert check.reason or check.source not in {"ours", "later"}, "what we chose needs a reason"


@pytest.mark.parametrize("check", OVER_SEEDS)
def test_check_has_a_criterion_at_paper_scale(check):
    assert check.criterion("paper") is check.paper is not None
    assert check.criterion("smoke") is check.smoke


@pytest.mark.parametrize(("name", "cell"), CELLS)
def test_checks_of_a_cell_have_different_names(name, cell):
    names = [check.name for check in CLAIMS[name].cells[cell]]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "cell"), [each for each in CELLS if not CLAIMS[each[0]].elsewhere])
def test_every_cell_that_smoke_runs_asserts_something(name, cell):
    asserts = any(check.smoke for check in CLAIMS[name].cells[cell])

    assert asserts or cell in CLAIMS[name].paper_only


@pytest.mark.parametrize(("claim", "scale", "cell"), [pytest.param(*each.values[:3], id=each.id) for each in KNOWN])
def test_known_failures_name_existing_scales_and_conditions(claim, scale, cell):
    paper = [f"paper-{width}" for width in FEED_FORWARD]
    subject, _, name = cell.rpartition(": ")

    assert scale in {"smoke", "llm", *paper, *(f"{scale} model=norm-after" for scale in paper)}
    assert name in claim.cells
    assert bool(subject) == (scale == "llm") == bool(claim.elsewhere)


@pytest.mark.parametrize("known", [pytest.param(each.values[3], id=each.id) for each in KNOWN])
def test_known_failure_has_a_reason_and_its_evidence_is_committed(known):
    assert known.reason
    assert (ROOT / known.evidence).is_file()


def test_thresholds_are_only_in_the_benchmark_files():
    """The package defines criteria but makes none."""
    names = {kind.__name__ for kind in (Always, AtLeast, AtMost, ConsistentWith, Exceeds)}
    made = {
        path.name
        for path in (ROOT / "taskclust").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in names
    }

    assert made == {"criteria.py"}, "which makes at most from at least"


def test_a_check_that_failed_seeds_would_pass_is_refused():
    with pytest.raises(ValueError, match=r"a drop: worst=0.0: seeds that failed would pass ≤ 0.1; name worse"):
        Check(name="a drop", statistic=float, null=float, null_name="", paper=AtMost(0.1), smoke=None, source="ours")


def test_a_cell_without_checks_is_refused():
    with pytest.raises(ValueError, match="empty: the cell 'c' has no checks; give it one, or leave it out"):
        Claim(id="empty", place="", sentence="", experiment="paper_tables", cells={"c": ()})
