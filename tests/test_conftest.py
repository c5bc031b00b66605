"""The options of the claims: what is refused, and with what advice; what a run does; and what it leaves."""

import csv
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from taskclust.config import ModelConfig
from taskclust.profiles import llm, paper, smoke
from taskclust.runs import StoreError
from tests.helpers import small_tokenizer

ROOT = Path(__file__).parents[1]
COUNTED = {"width-32", "width-256", "width-768", "width-2048"}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Runs inside a worker of xdist are no workers, for which pytest-benchmark takes whatever inherits this."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


@pytest.fixture
def root_conftest(pytestconfig):
    return pytestconfig.pluginmanager.get_plugin(str(ROOT / "conftest.py"))


@pytest.fixture
def choose(root_conftest):
    """The profile of the options given, the others at their defaults."""

    def _choose(**given):
        options = {"markexpr": "", "--llm": [], **dict.fromkeys(("--profile", "--width", "--epochs", "--seeds"))}
        options |= {"--expressions": None, "--set": []}
        named = {name if name == "markexpr" else f"--{name}": value for name, value in given.items()}
        assert named.keys() <= options.keys()
        return root_conftest.chosen_profile(SimpleNamespace(getoption={**options, **named}.__getitem__))

    return _choose


@pytest.fixture
def run(capfd, monkeypatch, tmp_path):
    """Run the claims in this process, without CUDA; give the exit code and what was printed."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def _run(*arguments):
        capfd.readouterr()
        code = pytest.main(["benchmarks", "-p", "no:cacheprovider", "--store", str(tmp_path / "store"), *arguments])
        captured = capfd.readouterr()
        return code, captured.out + captured.err

    return _run


# --- seeds


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", (0,)),
        ("5", (0, 1, 2, 3, 4)),
        (" 2 ", (0, 1)),
        ("0,3,7", (0, 3, 7)),
        ("7,0", (7, 0)),
        ("3,", (3,)),
        ("1, 2", (1, 2)),
    ],
)
def test_seeds_are_a_count_or_a_list(root_conftest, text, seeds):
    assert root_conftest.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", ",", "0", "-1", "abc", "1.5", "0,0", "1,-2", "0,x", "1;2"])
def test_other_seeds_are_refused_with_an_example(root_conftest, text):
    with pytest.raises(pytest.UsageError, match=r"^--seeds='.*': give a count, .*or distinct seeds, e\.g\. 0,3,7"):
        root_conftest.parse_seeds(text)


# --- the profile


@pytest.mark.parametrize(
    ("given", "profile"),
    [
        ({}, smoke()),
        ({"markexpr": "not gpu"}, smoke()),
        ({"markexpr": "smoke and not gpu"}, smoke()),
        ({"markexpr": "not slow"}, smoke()),
        ({"markexpr": "not (gpu or slow)"}, smoke()),
        ({"profile": "smoke", "markexpr": "gpu"}, smoke()),
        ({"markexpr": "gpu"}, paper()),
        ({"markexpr": "gpu and not llm"}, paper()),
        ({"profile": "paper"}, paper()),
        ({"profile": "paper", "width": 256}, paper(256)),
        ({"markexpr": "gpu", "width": 32}, paper(32)),
        ({"markexpr": "llm", "llm": ["a/model"]}, llm("a/model")),
        ({"profile": "llm", "llm": ["a", "b"], "expressions": 3}, llm("a", "b", n_expressions=3)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else value.name,
)
def test_profile_is_the_one_asked_for(choose, given, profile):
    assert choose(**given) == profile


def test_seeds_and_epochs_change_nothing_else(choose):
    profile = choose(seeds="0,3", epochs=7)

    assert profile.seeds == (0, 3)
    assert profile.experiment.training == smoke().experiment.training.until(7)
    assert profile.experiment.data == smoke().experiment.data
    assert profile.experiment.model == smoke().experiment.model
    assert profile.experiment.probe == smoke().experiment.probe


def test_changes_are_of_the_main_experiment_alone(choose):
    changes = ["model=gpt2", "training.learning_rate=3e-4", "training.learning_rate=2e-4"]

    profile = choose(profile="paper", width=256, set=changes, epochs=7)

    training = replace(paper(256).experiment.training.until(7), learning_rate=2e-4)  # the last of two counts
    assert profile.experiment == replace(paper(256).experiment, model=ModelConfig.gpt2(256), training=training)
    assert profile.pretraining.model == paper(256).pretraining.model
    assert profile.alignment.model == paper(256).alignment.model
    assert choose(set=["model.norm=before"]).experiment.model == replace(smoke().experiment.model, norm="before")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"set": ["model.nrom=before"]}, r"^model.nrom='before': there is no 'nrom'; use width, "),
        ({"profile": "paper", "set": ["model.width=64"]}, r"^set='model.width=64': use --width"),
        ({"markexpr": "llm", "llm": ["a"], "set": ["model=gpt2"]}, r"^--set: language models are not trained here"),
        ({"width": 256}, r"^--width=256: only the paper profile has widths; add --profile paper"),
        ({"profile": "paper", "width": 33}, r"^width=33: the paper has 32, 256, 768, 2048"),
        ({"epochs": 0}, r"^epochs=0: use 1 to "),
        ({"epochs": -3}, r"^epochs=-3: use 1 to "),
        ({"profile": "paper", "epochs": 201}, r"^epochs=201: use 1 to 200"),
        ({"seeds": "abc"}, r"^--seeds='abc'"),
        ({"seeds": ""}, r"^--seeds=''"),
        ({"profile": "paper", "width": 0}, r"^width=0: the paper has 32, 256, 768, 2048"),
        ({"llm": ["a/model"]}, r"^--llm: only language models are probed so; add -m llm"),
        ({"markexpr": "gpu", "expressions": 3}, r"^--expressions: only language models"),
        ({"markexpr": "llm", "llm": ["a"], "seeds": "2"}, r"^--seeds: language models are not trained here"),
        ({"markexpr": "llm", "llm": ["a"], "expressions": 1}, r"^n_expressions=1: use 2 or more"),
        ({"markexpr": "llm", "llm": ["a"], "expressions": 51}, r"^expressions=51: there are 50 of each task"),
        ({"markexpr": "llm", "llm": ["x/a", "y/a"]}, r"^llm=\['a', 'a'\]: give each model once"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused_before_anything_runs(choose, given, message):
    with pytest.raises(pytest.UsageError, match=message):
        choose(**given)


# --- the command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "abc"], "--seeds='abc': give a count"),
        (["--seeds", "0,0"], "--seeds='0,0': give a count"),
        (["--profile", "wrong"], "invalid choice: 'wrong'"),
        (["--profile", "paper", "--width", "33"], "width=33: the paper has 32, 256, 768, 2048"),
        (["--width", "256"], "--width=256: only the paper profile has widths; add --profile paper"),
        (["--epochs", "0"], "epochs=0: use 1 to "),
        (["--workers", "0"], "--workers=0: use 1 or more"),
        (["--device", "cuda"], "--device=cuda: no CUDA device is visible; use --device cpu"),
        (["--store", "/dev/null/x"], "pass --store a folder of yours"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_ends_at_once_with_what_to_do(run, tmp_path, arguments, message):
    code, output = run(*arguments)

    assert code == pytest.ExitCode.USAGE_ERROR
    assert message in output
    assert "Traceback" not in output
    assert not list(tmp_path.rglob("*.json"))


def test_paper_scale_without_cuda_is_refused_with_its_price(run, monkeypatch):
    cost = SimpleNamespace(hours=11)
    monkeypatch.setattr("taskclust.runs.estimate.estimate", lambda _runner, runs, _kind: [cost] * len(runs))

    code, output = run("-m", "gpu", "--seeds", "3")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "no CUDA device is visible; add --device cpu" in output
    assert "about 99 hours" in output  # three kinds of run


@pytest.mark.parametrize(
    ("arguments", "width", "seeds"),
    [(["--seeds", "0,3"], 64, (0, 3)), (["-m", "gpu", "--seeds", "1", "--width", "256"], 256, (0,))],
    ids=["smoke", "gpu"],
)
def test_dry_run_lists_runs_with_minutes_and_disk_and_runs_nothing(run, tmp_path, arguments, width, seeds):
    code, output = run("--dry-run", "--report", str(tmp_path / "report"), *arguments)

    rows = [line.split() for line in output.splitlines() if re.match("(scores|pretraining|alignment) +width", line)]
    table = [row[1:] for row in rows]
    assert code == pytest.ExitCode.OK
    assert "dry run: nothing was run" in output
    assert "estimated minutes" in output
    expected = [["width", str(width), "seed", str(seed)] for seed in seeds]
    assert [row[:4] for row in table] == 3 * expected
    assert [row[0] for row in rows] == [k for k in ("scores", "pretraining", "alignment") for _ in seeds]
    assert all(int(minutes) >= 0 and int(megabytes) > 0 for *_, minutes, megabytes, _ in table)
    assert [row[-1] for row in table] == ["no"] * len(table)
    assert not list(tmp_path.rglob("*.json"))
    assert not (tmp_path / "report").exists()


def test_claims_are_judged_and_reported(tmp_path):
    """As a user runs them, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "benchmarks", "-k", "parameter", "-p", "no:cacheprovider"]
    folders = ["--store", str(tmp_path / "store"), "--report", str(tmp_path / "report")]

    done = subprocess.run(
        [*command, *folders],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert "claims at SMOKE scale, no reproduction" in done.stdout
    assert f"report: {os.path.relpath(tmp_path / 'report' / 'index.html', ROOT)}" in done.stdout
    assert (tmp_path / "report" / "index.html").exists()
    assert len(list((tmp_path / "store").rglob("record.json"))) == 1


@pytest.fixture
def model_folder(tmp_path):
    config = GPT2Config(vocab_size=64, n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    with torch.random.fork_rng():
        GPT2LMHeadModel(config).save_pretrained(tmp_path / "tiny")
    small_tokenizer().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_language_models_are_judged_apart_from_all_else(run, model_folder, tmp_path):
    report = tmp_path / "report"

    code, output = run("-m", "llm", "--llm", str(model_folder), "--expressions", "2", "--report", str(report))
    rows = list(csv.DictReader((report / "verdicts.csv").read_text().splitlines()))

    assert code == pytest.ExitCode.TESTS_FAILED  # random weights: nothing holds
    assert "1 failed, 1 skipped" in output  # no LLaMa: no clusters by mapping are asserted
    assert [(row["claim"], row["cell"], row["verdict"]) for row in rows] == [
        ("open-llm-clusters", "tiny: task", "✘ fails (this model)"),
        ("open-llm-clusters", "tiny: distribution_mapping", "? unclear (this model)"),
    ]
    assert "claims on language models with --expressions=2" in output
    assert "LLaMa-2-7B-Instruct (paper)" in output


def test_a_language_model_that_cannot_be_opened_leaves_the_others_alone(run, model_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    models = ["--llm", "nobody/nothing", "--llm", str(model_folder)]

    code, output = run("-m", "llm", *models, "--expressions", "2", "--report", str(tmp_path / "report"))

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "llm='nobody/nothing': not found here, nor on the hub or in its cache" in output
    assert "Traceback" not in output
    assert (tmp_path / "report" / "figures" / "layers-tiny.png").exists()


def test_the_language_models_file_is_not_skipped_without_its_mark(capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)

    code = pytest.main(["benchmarks/test_open_llm_clusters.py", "-p", "no:cacheprovider", "--store", str(tmp_path)])

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "test_open_llm_clusters.py: not a claim of the profile smoke; add -m llm" in capfd.readouterr().err


def test_what_fails_in_an_unforeseen_way_is_not_tried_again(run, model_folder, monkeypatch):
    tried = []

    def broken(*_, **__):
        tried.append(1)
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("taskclust.runs.experiments.probe_prompts", broken)

    code, output = run("-m", "llm", "--llm", str(model_folder), "--expressions", "2")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "2 failed" in output
    assert len(tried) == 1


def test_dry_run_lists_language_models(run, model_folder):
    code, output = run("-m", "llm", "--llm", str(model_folder), "--expressions", "2", "--dry-run")

    assert code == pytest.ExitCode.OK
    assert re.search(r"language tiny +320", output)


def test_a_second_run_uses_the_record_again_and_reports_what_was_not_run(run, tmp_path):
    report = ["--report", str(tmp_path / "report"), "-k", "parameter", "--seeds", "2"]

    first, _ = run(*report)
    (record,) = (tmp_path / "store").rglob("record.json")
    before = record.stat()
    second, output = run(*report)
    rows = list(csv.DictReader((tmp_path / "report" / "verdicts.csv").read_text().splitlines()))

    assert first == second == pytest.ExitCode.OK
    assert (record.stat().st_mtime_ns, record.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert {row["cell"] for row in rows if row["verdict"] == "✔ holds (smoke)"} == COUNTED
    assert {row["verdict"] for row in rows if row["claim"] != "parameter-counts"} == {"not run"}
    assert {row["seeds"] for row in rows if row["claim"] == "parameter-counts"} == {"2"}
    assert "Settings differ from the profile&#39;s: --seeds=2" in (tmp_path / "report" / "index.html").read_text()
    assert "claims at SMOKE scale, no reproduction with --seeds=2" in output


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        ({}, "reports/smoke"),
        ({"--report": Path("mine"), "keyword": "knn"}, "mine"),
        ({"keyword": "knn"}, "store/report"),
        ({"--set": ["model=gpt2"]}, "store/report"),
        ({"--epochs": 5}, "store/report"),
        ({"--llm": ["a/model"]}, "store/report"),
        ({"args": ["benchmarks/test_knn_accuracy.py"]}, "store/report"),
    ],
    ids=str,
)
def test_a_report_goes_where_it_replaces_no_other(root_conftest, arguments, folder):
    names = ("--report", "--width", "--epochs", "--seeds", "--expressions", "keyword")
    options = {**dict.fromkeys(names), "--set": [], "--llm": [], "--store": Path("store"), **arguments}
    config = SimpleNamespace(getoption=options.__getitem__, args=arguments.get("args", ["benchmarks"]))

    assert root_conftest.report_folder(config, smoke()) == Path(folder).resolve()


def test_a_corrupt_record_is_made_again_and_the_claims_are_judged(run, tmp_path):
    report = ["--report", str(tmp_path / "report"), "-k", "parameter", "--seeds", "1"]
    run(*report)
    (record,) = (tmp_path / "store").rglob("record.json")
    record.write_text(record.read_text() + " ")

    code, output = run(*report)

    assert code == pytest.ExitCode.OK
    assert "record.json differs from its sum; moved to" in output


def test_a_crash_in_a_quarantined_cell_is_no_known_finding(run, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise RuntimeError("disk is gone")

    monkeypatch.setattr("taskclust.runs.obtain_all", broken)
    paper = ["--profile", "paper", "--width", "256", "--device", "cpu", "--report", str(tmp_path / "report")]

    code, output = run(*paper, "-k", "knn_percentage")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "disk is gone" in output
    assert "xfailed" not in output


def test_workers_are_the_processes_that_run_at_once(run, monkeypatch, tmp_path):
    asked = []

    def obtain_all(_runner, configs, workers=None, **_):
        asked.append((len(configs), workers))
        raise StoreError("not today")

    monkeypatch.setattr("taskclust.runs.obtain_all", obtain_all)

    run("--workers", "3", "--seeds", "2", "-k", "knn", "--report", str(tmp_path / "report"))

    assert asked == [(2, 3)]


def test_records_of_another_number_of_threads_are_served_and_named(root_conftest):
    made = [{"provenance": {"threads": threads}} for threads in (1, 2, 1)]

    def line(device, threads, records):
        runner = SimpleNamespace(device=device, threads=threads)
        return root_conftest.of_other_threads(SimpleNamespace(runner=runner, records={"scores": records}))

    assert line("cpu", 2, made) == (
        "threads: 2 of 3 records were made with 1 and are served as they are; --recompute makes them with 2"
    )
    assert line("cpu", 1, made[:1]) == line("cuda", 4, made) == line("cpu", 1, []) == ""


def test_recompute_makes_the_record_anew(run, tmp_path):
    report = ["--report", str(tmp_path / "report"), "-k", "parameter"]
    run(*report)
    (record,) = (tmp_path / "store").rglob("record.json")
    before = record.stat().st_mtime_ns

    code, _ = run("--recompute", *report)

    assert code == pytest.ExitCode.OK
    assert record.stat().st_mtime_ns > before


@pytest.mark.parametrize(("found_at", "more", "expected"), [
    ("paper-256", [], "1 failed, 3 passed"),
    ("paper-256", ["--seeds", "1"], "1 xpassed"),  # a finding is about all seeds
    ("paper-256", ["--epochs", "5"], "1 xpassed"),  # and about the whole schedule
    ("paper-256 model=gpt2", ["--set", "model=gpt2"], "1 failed, 3 passed"),
    ("paper-256", ["--set", "model=gpt2"], "4 passed"),
    ("paper-768", [], "4 passed"),
    ("paper", [], "4 passed"),
])  # fmt: skip
def test_a_finding_belongs_to_its_width(run, root_conftest, monkeypatch, tmp_path, found_at, more, expected):
    finding = SimpleNamespace(reason="too many", evidence="a record")
    monkeypatch.setitem(root_conftest.QUARANTINE, (found_at, "parameter-counts", "width-32"), finding)

    _, output = run("--report", str(tmp_path / "report"), "-k", "parameter", "--profile", "paper", "--width", "256",
                    "--device", "cpu", *more)  # fmt: skip

    assert expected in output
    assert ("(known finding)" in (tmp_path / "report" / "verdicts.md").read_text()) == (expected != "4 passed")


def test_a_finding_says_nothing_of_another_setting(run, root_conftest, monkeypatch, tmp_path):
    finding = SimpleNamespace(reason="too many", evidence="a record")
    monkeypatch.setitem(root_conftest.QUARANTINE, ("smoke", "parameter-counts", "width-32"), finding)
    report = ["--report", str(tmp_path / "report"), "-k", "parameter"]

    assert "1 failed, 3 passed" in run(*report)[1]
    assert "4 passed" in run(*report, "--set", "model=gpt2")[1]
    assert "Settings differ from the profile's: --set model=gpt2." in (tmp_path / "report" / "verdicts.md").read_text()


def test_counts_and_sizes_are_of_the_changed_setting(run, tmp_path):
    """Tied tokens with sinusoids miss Table 8 at width 32; without totals the draw misses Table 3's sizes."""
    changes = ["--set", "model.tied_head=True", "--set", "data.distribution_totals=()"]

    _, output = run("--report", str(tmp_path / "report"), "-k", "parameter or statistics", *changes)

    assert "parameters 53,216" in output
    assert re.search(r"size-validation .*✘", output)


def test_what_failed_is_not_tried_again_by_the_other_cells(run, monkeypatch, tmp_path):
    tried = []

    def fails(*_arguments):
        tried.append(1)
        raise RuntimeError("the device is gone")

    monkeypatch.setattr("taskclust.runs.Runner.parameters", fails)

    code, output = run("--report", str(tmp_path / "report"), "-k", "parameter")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert len(tried) == 1
    assert "parameters: RuntimeError: the device is gone" in output
    assert "4 failed" in output


def test_replaying_on_a_cpu_is_refused(run):
    code, output = run("--replay", "--device", "cpu", "-k", "parameter")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--replay: a CPU has no launches to save; leave it out, or run on a GPU" in output


def test_claims_in_processes_of_xdist_are_refused(run):
    pytest.importorskip("xdist")

    code, output = run("--numprocesses=2")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--numprocesses: claims are judged together, in one process; use --workers" in output


def test_a_finding_is_expected_to_fail_and_its_success_fails_the_run(run, root_conftest, monkeypatch, tmp_path):
    finding = SimpleNamespace(reason="too many", evidence="a record")
    monkeypatch.setitem(root_conftest.QUARANTINE, ("smoke", "parameter-counts", "width-32"), finding)

    code, output = run("--report", str(tmp_path / "report"), "-k", "parameter")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "[XPASS(strict)] too many (a record)" in output
    assert "1 failed, 3 passed" in output
