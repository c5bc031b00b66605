"""One run of pytest: its conditions at each scale, the records it obtains, and its closing output."""

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from taskclust import session as module
from taskclust.claims import AtLeast, Check, Claim, KnownFailure
from taskclust.config import ConfigError
from taskclust.estimate import Estimate
from taskclust.experiments.natural_language.config import llm as language_models
from taskclust.profiles import llm, paper, smoke
from taskclust.session import Cell, ClaimSession, Unobtainable, subject_name
from taskclust.store import RecordError, StoreError
from tests.language_records import language_record
from tests.records import perfect_record


@dataclass
class Made:
    """The parts of a record that a verdict needs."""

    config: object
    value: float = 1.0
    failure: str | None = None
    seconds: dict = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)


def check(bound=0.5):
    return Check(
        name="value",
        statistic=lambda record: record.value,
        null=lambda record: 0.0,
        null_name="nought",
        paper=AtLeast(bound),
        smoke=AtLeast(bound),
        source="ours",
    )


def claim(experiment="synthetic", cells=("validation", "subset"), **changes):
    settings = {"id": "a-claim", "place": "§1", "sentence": "It holds.", "experiment": experiment}
    return Claim(**{**settings, "cells": {name: (check(),) for name in cells}, **changes})


@pytest.fixture
def asked(monkeypatch):
    """Replace records by invented ones, and note which were requested."""
    found = []

    def obtain_all(_runner, experiment, configs, workers=None):
        found.append((experiment, [config.seed for config in configs], workers))
        return [Made(config) for config in configs]

    monkeypatch.setattr(module, "obtain_all", obtain_all)
    return found


def session(profile=None, **changes):
    profile = profile or smoke()
    settings = {"whole": profile, "runner": SimpleNamespace(device="cpu", threads=1), "command": "pytest"}
    return ClaimSession(profile, **{**settings, "overrides": "", **changes})


# --- what is decided


def test_a_condition_has_one_configuration_per_seed():
    some = session(replace(smoke(), seeds=(2, 5)))

    cells = some.cells(claim())

    assert [cell.name for cell in cells] == ["validation", "subset"]
    assert [cell.title for cell in cells] == ["validation", "subset"]
    assert [[config.seed for config in cell.configs] for cell in cells] == [[2, 5], [2, 5]]
    assert cells[0].configs[0] == replace(smoke().base("synthetic"), seed=2)


@pytest.mark.parametrize(("profile", "names"), [(smoke(), ["subset"]), (paper(), ["validation", "subset"])])
def test_paper_only_conditions_are_left_out_at_smoke_scale(profile, names):
    some = claim(paper_only=frozenset({"validation"}))

    assert [cell.name for cell in session(profile).cells(some)] == names


def test_each_subject_has_each_cell_under_its_name():
    cells = session(llm("a/model", "another")).cells(claim("natural_language", ("task", "mapping")))

    assert [cell.title for cell in cells] == ["model: task", "model: mapping", "another: task", "another: mapping"]
    assert [cell.configs[0].source for cell in cells] == ["a/model", "a/model", "another", "another"]


def test_a_scale_without_the_experiment_has_no_cell():
    assert session(llm("a")).cells(claim()) == session().cells(claim("natural_language")) == []


def test_only_language_models_have_names():
    (config,) = language_models("hub/a-model")

    assert subject_name("natural_language", [config]) == "a-model"
    assert [subject_name(n, [smoke().base(n)]) for n in smoke().bases] == [""] * len(smoke().bases)


def test_a_claim_is_whole_if_no_option_shortens_its_experiment():
    whole = paper(256)
    few = session(replace(whole, seeds=(0,)), whole=whole)
    short = session(whole.until(5), whole=whole)

    assert session(whole).is_whole(claim())
    assert not few.is_whole(claim())
    assert not short.is_whole(claim())
    assert short.is_whole(claim("paper_tables"))  # nothing is trained
    assert not session(llm("a", n_expressions=3), whole=llm("a")).is_whole(claim("natural_language"))


# --- what is obtained


def test_records_are_obtained_once_for_all_cells_and_claims_of_an_experiment(asked):
    some = session(replace(smoke(), seeds=(0, 1)), workers=3)
    first, second = some.cells(claim())
    (other,) = some.cells(claim("pretraining", ("validation",), id="another"))

    found = [some.obtain(cell) for cell in (first, second, other, first)]

    assert asked == [("synthetic", [0, 1], 3), ("pretraining", [0, 1], 3)]
    assert found[0] is found[1] is found[3]
    assert [record.config.seed for record in found[2]] == [0, 1]


def test_each_subject_is_obtained_separately(asked):
    some = session(llm("a", "b"))

    found = [some.obtain(cell)[0].config.source for cell in some.cells(claim("natural_language", ("task", "other")))]

    assert found == ["a", "a", "b", "b"]
    assert len(asked) == 2
    assert [record.config.source for record in some.all_records()["natural_language"]] == ["a", "b"]


@pytest.mark.parametrize(
    "error",
    [ConfigError("a=1: no"), StoreError("not today"), RecordError("no record"), torch.OutOfMemoryError("too large")],
    ids=lambda error: type(error).__name__,
)
def test_a_failed_computation_is_reported_and_not_tried_again(monkeypatch, error):
    tried = []

    def obtain_all(*_):
        tried.append(1)
        raise error

    monkeypatch.setattr(module, "obtain_all", obtain_all)
    some = session()

    for cell in some.cells(claim()):
        with pytest.raises(Unobtainable, match=str(error)):
            some.obtain(cell)
    assert len(tried) == 1
    assert some.all_records()["synthetic"] == []


@pytest.mark.parametrize(
    ("error", "where"),
    [(OSError(28, "No space left on device"), "store"), (PermissionError(13, "Permission denied", "a/file"), "a/file")],
)
def test_a_full_or_locked_disk_is_reported_in_one_line_with_its_path(monkeypatch, error, where):
    def obtain_all(*_):
        raise error

    monkeypatch.setattr(module, "obtain_all", obtain_all)
    some = session(runner=SimpleNamespace(store=SimpleNamespace(root="a/store")))

    with pytest.raises(Unobtainable, match=f"{where}': {error.strerror}; free or unlock it and run again"):
        some.obtain(some.cells(claim())[0])


def test_an_unforeseen_error_is_raised_once_and_named_afterwards(monkeypatch):
    def obtain_all(*_):
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(module, "obtain_all", obtain_all)
    some = session(llm("a/model"))
    first, second = some.cells(claim("natural_language", ("task", "other")))

    with pytest.raises(ZeroDivisionError):
        some.obtain(first)
    with pytest.raises(Unobtainable, match=r"^natural_language model: ZeroDivisionError: by nought$"):
        some.obtain(second)


def test_a_failing_subject_does_not_affect_the_others(monkeypatch):
    def obtain_all(_runner, _experiment, configs, _workers):
        if configs[0].source == "a":
            raise ConfigError("llm='a': not found")
        return [Made(config) for config in configs]

    monkeypatch.setattr(module, "obtain_all", obtain_all)
    some = session(llm("a", "b"))
    first, second = some.cells(claim("natural_language", ("task",)))

    with pytest.raises(Unobtainable):
        some.obtain(first)
    assert [record.config.source for record in some.obtain(second)] == ["b"]


def test_estimates_cover_the_chosen_experiments_in_order(monkeypatch):
    monkeypatch.setattr(module, "estimate", lambda _runner, name, configs: [(name, c.seed) for c in configs])
    some = session(replace(smoke(), seeds=(0, 4)))
    some.chosen = {"synthetic", "alignment", "natural_language"}  # the last is not of this scale

    assert some.estimates() == [("alignment", 0), ("alignment", 4), ("synthetic", 0), ("synthetic", 4)]


def test_an_unknown_estimate_is_shown_as_unknown():
    assert Estimate("a run", None, None, None).row() == {
        "run": "a run", "estimated minutes": "–", "disk (MB)": "–", "stored": "–",
    }  # fmt: skip


# --- what is said


def decided(profile=None, value=1.0, known=None, step=0.0, **changes):
    """A session that has judged every condition of a claim from records with one value, or values ``step`` apart."""
    some = session(profile, **changes)
    a_claim = claim(known_failures=known or {})
    some.claims = {a_claim.id: a_claim, "other": claim(id="other", order=2_000)}
    for cell in some.cells(a_claim):
        some.decide(cell, [Made(config, value + step * n) for n, config in enumerate(cell.configs)])
    return some


def test_verdicts_have_the_scale_name_of_known_failures():
    some = decided(paper(256).changed(["model=norm-after"]))

    assert [(r.claim, r.cell, r.verdict) for r in some.results] == [
        ("a-claim", "validation", "reproduced"),
        ("a-claim", "subset", "reproduced"),
    ]
    assert {(r.profile, r.scale) for r in some.results} == {("paper", "paper-256 model=norm-after")}
    assert {tuple(r.seeds) for r in some.results} == {(0, 1, 2, 3, 4)}


def test_the_closing_table_has_the_verdicts():
    ((title, rows),) = decided(overrides="--seeds=2").closing_tables().items()

    assert title == "claims at SMOKE scale, no reproduction with --seeds=2"
    assert [(row["verdict"], row["claim"], row["n"]) for row in rows] == [
        ("✔ holds (smoke)", "a-claim: validation", 6),
        ("✔ holds (smoke)", "a-claim: subset", 6),
    ]


def test_a_line_says_that_seeds_are_too_few():
    few = decided(replace(smoke(), seeds=(0, 1, 2, 3)))

    assert few.of_few_seeds() == (
        "seeds: 2 of 2 conditions are inconclusive with fewer than 5 seeds, "
        "too few to reproduce anything but counts; add --seeds 5"
    )
    assert decided().of_few_seeds() == ""
    assert decided(replace(llm("a"), seeds=(0,))).of_few_seeds() == ""
    assert (
        decided(replace(smoke(), seeds=(0, 1, 2, 3)), value=0.0, step=0.01).of_few_seeds() == ""
    )  # refuted all the same


@pytest.mark.parametrize(
    ("profile", "title"),
    [
        (smoke(), "claims at SMOKE scale, no reproduction"),
        (paper(), "claims at paper scale"),
        (llm("a"), "claims on language models"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_title_names_the_scale(profile, title):
    assert session(profile).title() == title


def test_a_known_failure_is_marked():
    known = {"smoke": {"subset": KnownFailure("too small", "a record")}}

    (rows,) = decided(value=0.0, known=known).closing_tables().values()

    assert [row["verdict"] for row in rows[:2]] == ["✘ fails (smoke)", "✘ fails (smoke)*"]


def test_only_tables_that_request_it_are_printed():
    some = session(llm("a-model"))
    some.records = {"natural_language": {"a-model": [language_record()]}, "synthetic": {"": [perfect_record(0)]}}

    titles = list(some.closing_tables())

    assert titles[0] == "claims on language models"
    assert [title for title in titles if "Table 1" in title]
    assert not [title for title in titles if "Starts of t-SNE" in title or "mapping, an input" in title]


def test_the_report_has_the_verdicts(tmp_path):
    some = decided(overrides="--set model=gpt2", command="pytest benchmarks -k one")

    some.write_report(tmp_path / "report")

    rows = list(csv.DictReader(Path(tmp_path / "report" / "verdicts.csv").read_text().splitlines()))
    text = (tmp_path / "report" / "verdicts.md").read_text()
    assert [row["verdict"] for row in rows] == ["✔ holds (smoke)"] * 2 + ["not run"] * 2
    assert "Made by `pytest benchmarks -k one`." in text
    assert "Settings differ from the profile's: --set model=gpt2." in text


def test_records_with_another_number_of_threads_are_used_and_reported():
    def line(device, threads, made, experiment="synthetic"):
        some = session(runner=SimpleNamespace(device=device, threads=threads))
        some.records = {experiment: {"": [Made(None, provenance={"threads": n}) for n in made]}}
        return some.of_other_threads()

    assert line("cpu", 2, (1, 2, 1)) == (
        "threads: 2 of 3 records were made with 1 and are used as they are; --recompute makes them with 2"
    )
    assert line("cpu", 1, (4, 2, 4)).startswith("threads: 3 of 3 records were made with 2, 4 and are used")
    assert line("cpu", 1, (1,)) == line("cuda", 4, (1, 2, 1)) == line("cpu", 1, ()) == ""
    assert line("cpu", 2, (1,), experiment="paper_tables") == ""  # counts are the same


def test_a_condition_of_an_unnamed_subject_has_only_its_own_name():
    assert Cell(claim(), "task", "", []).title == "task"
    assert Cell(claim(), "task", "a-model", []).title == "a-model: task"
