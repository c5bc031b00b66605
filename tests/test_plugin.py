"""The plugin: what it refuses, and with what advice; what a run does and writes, here and in a user's folder."""

import ast
import csv
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from taskclust import plugin
from taskclust import session as sessions
from taskclust.claims import Claim, KnownFailure
from taskclust.config import ModelConfig
from taskclust.engines import EngineError
from taskclust.profiles import llm, paper, smoke
from taskclust.store import StoreError
from tests.helpers import small_tokenizer

ROOT = Path(__file__).parents[1]
TRAINED = ("alignment", "pretraining", "synthetic")
COUNTED = {"width-32", "width-256", "width-768", "width-2048"}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Unset xdist's variable, by which pytest-benchmark would take runs inside a worker for workers."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


@pytest.fixture
def choose():
    """The profile for the given options, with defaults for the others."""

    def _choose(**given):
        options = {"markexpr": "", "--llm": [], **dict.fromkeys(("--profile", "--width", "--epochs", "--seeds"))}
        options |= {"--expressions": None, "--untrained": None, "--model": None, "--set": []}
        named = {name if name == "markexpr" else f"--{name}": value for name, value in given.items()}
        assert named.keys() <= options.keys()
        return plugin.chosen_profile(SimpleNamespace(getoption={**options, **named}.__getitem__))

    return _choose


@pytest.fixture
def know(monkeypatch):
    """Give a condition of the claim about parameters a known failure at a scale."""

    def _know(scale, cell="width-32"):
        known = KnownFailure("too many", "a record")
        place = (scale, "parameter-counts", cell)
        monkeypatch.setattr(
            Claim, "known_failure", lambda claim, at, name: known if (at, claim.id, name) == place else None
        )

    return _know


@pytest.fixture
def run(capfd, monkeypatch, tmp_path):
    """Run the claims in this process, without CUDA; return the exit code and the output."""
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
def test_seeds_are_a_count_or_a_list(text, seeds):
    assert plugin.parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["1000000000", "1001", ",".join(map(str, range(1_001)))], ids=["huge", "count", "list"]
)
def test_too_many_seeds_are_refused_at_once(text):
    with pytest.raises(pytest.UsageError, match=r"^--seeds=[\d,]{4,20}: use at most 1,000$"):
        plugin.parse_seeds(text)


@pytest.mark.parametrize("threads", ["0", "-1", "1000000000"])
def test_invalid_threads_are_refused(run, threads):
    code, output = run("--threads", threads, "-k", "parameter")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert f"--threads={threads}: use 1 to 1,024" in output


@pytest.mark.parametrize("text", ["", ",", "0", "-1", "abc", "1.5", "0,0", "1,-2", "0,x", "1;2", "0,1,,2"])
def test_other_seeds_are_refused_with_an_example(text):
    with pytest.raises(pytest.UsageError, match=r"^--seeds='.*': give a count, .*or distinct seeds, e\.g\. 0,3,7"):
        plugin.parse_seeds(text)


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
        ({"markexpr": "llm", "llm": ["a"], "untrained": 9}, llm("a", untrained=9)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else value.name,
)
def test_profile_is_the_one_asked_for(choose, given, profile):
    assert choose(**given)[0] == profile


#: Values of -m, and the profile that each selects.
EXPRESSIONS = {
    "": "smoke",
    "   ": "smoke",
    "gpu": "paper",
    "slow": "paper",
    "gpu and slow": "paper",
    "not gpu": "smoke",
    "not smoke": "paper",
    "gpu or llm": "paper",
    "llm or gpu": "paper",
    "llm": "llm",
    "llm and not gpu": "llm",
    "not gpu and not smoke": "llm",
    "not (gpu or smoke)": "llm",
    "not (gpu or slow or smoke or llm)": "smoke",
    "smoke and not slow": "smoke",
    "smoke or gpu": "smoke",
    "((gpu))": "paper",
    " gpu ": "paper",
    "not not gpu": "paper",
    "not smoke and (gpu or llm)": "paper",
    "device(serial=1)": "smoke",
    "gpu and not device(serial=1)": "paper",
    "gpu or device(name='a b', n=None)": "paper",
    "elsewhere": "smoke",
    "gpus": "smoke",
    "GPU": "smoke",
    "True": "smoke",
    "not None": "smoke",
}


@pytest.mark.parametrize(("markexpr", "name"), EXPRESSIONS.items(), ids=map(repr, EXPRESSIONS))
def test_marks_ask_for_the_first_scale_whose_tests_they_choose(markexpr, name):
    assert plugin.profile_of(markexpr) == name


@pytest.mark.parametrize("markexpr", [e for e in EXPRESSIONS if e.strip()], ids=repr)
def test_marks_choose_as_pytest_does(markexpr, tmp_path, capfd):
    """Compared with pytest itself, with one test per scale."""
    marked = "\n".join(
        f"{''.join(f'@pytest.mark.{mark}{chr(10)}' for mark in marks)}def test_{name}(): pass"
        for name, marks in plugin.MARKS.items()
    )
    module = f"test_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{module}.py").write_text(f"import pytest\n{marked}\n")
    names = "\n".join("    " + mark for mark in ("smoke", "gpu", "slow", "llm", "device", "elsewhere"))
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers =\n{names}\n")

    pytest.main([str(tmp_path), "-m", markexpr, "--co", "-q", "-p", "no:cacheprovider", "-c", f"{tmp_path}/pytest.ini"])
    chosen = [line.rpartition("::test_")[2] for line in capfd.readouterr().out.splitlines() if "::test_" in line]

    assert plugin.profile_of(markexpr) == (chosen[0] if chosen else "smoke")


@pytest.mark.parametrize(
    "markexpr",
    ["gpu and", "(gpu", "gpu)", "gpu gpu", "and", "gpu == 1", "gpu if llm else gpu", "*", "\\", "'", "(" * 500, "\0"],
)
def test_invalid_marks_are_left_to_pytest(markexpr):
    assert plugin.profile_of(markexpr) == "smoke"


@pytest.mark.parametrize(
    "markexpr",
    [
        "__import__('os').abort()",
        "gpu or __import__('os').abort()",
        "[gpu for gpu in (1,)]",
        "(lambda: gpu)()",
        "gpu.__class__",
        "(gpu := 1)",
        "10 ** 10 ** 10",
    ],
)
def test_marks_are_never_executed(markexpr):
    assert plugin.profile_of(markexpr) == ("paper" if markexpr.startswith("gpu or") else "smoke")


def test_invalid_marks_give_pytests_message(run):
    code, output = run("-m", "gpu and")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "Wrong expression passed to '-m': gpu and" in output
    assert "Traceback" not in output


def test_seeds_and_epochs_change_nothing_else(choose):
    profile, whole = choose(seeds="0,3", epochs=7)
    (experiment, same) = (each.base("synthetic") for each in (profile, whole))

    assert profile.seeds == (0, 3)
    assert experiment.training == same.training.until(7)
    assert (experiment.data, experiment.model, experiment.probe) == (same.data, same.model, same.probe)
    assert whole == smoke()


def test_a_whole_model_applies_everywhere_and_fields_to_the_main_experiment(choose):
    changes = ["model=norm-after", "training.learning_rate=3e-4", "training.learning_rate=2e-4"]

    profile, whole = choose(profile="paper", width=256, set=changes, epochs=7)

    base = paper(256).base("synthetic")
    training = replace(base.training.until(7), learning_rate=2e-4)  # the last of two counts
    assert profile.base("synthetic") == replace(base, model=ModelConfig.norm_after(256), training=training)
    assert profile.base("paper_tables").model == ModelConfig.norm_after(768)
    for name in ("pretraining", "alignment"):
        assert whole.base(name) == replace(paper(256).base(name), model=ModelConfig.norm_after(256))
    assert whole == paper(256).changed(changes)
    changed = choose(set=["model.norm=before"])[0].base("synthetic")
    assert changed.model == replace(smoke().base("synthetic").model, norm="before")


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
        ({"llm": ["a/model"]}, r"^--llm: only for language models; add -m llm"),
        ({"markexpr": "gpu", "expressions": 3}, r"^--expressions: only for language models"),
        ({"markexpr": "llm", "llm": ["a"], "seeds": "2"}, r"^--seeds: language models are not trained here"),
        ({"markexpr": "llm", "llm": ["a"], "expressions": 1}, r"^n_expressions=1: use 2 to 1,000,000"),
        ({"markexpr": "llm", "llm": ["a"], "untrained": 0}, r"^untrained=0: use 1 to 100"),
        ({"untrained": 9}, r"^--untrained: only for language models; add -m llm"),
        ({"markexpr": "llm", "llm": ["a"], "expressions": 51}, r"^expressions=51: there are 50 of each task"),
        ({"markexpr": "llm", "llm": [""]}, r"^llm=\[''\]: name a model, or leave it out"),
        ({"markexpr": "llm", "llm": ["x/a", "y/a"]}, r"^llm=\['a', 'a'\]: give each model once"),
    ],
    ids=str,
)
def test_an_invalid_setting_is_refused_before_anything_runs(choose, given, message):
    with pytest.raises(pytest.UsageError, match=message):
        choose(**given)


# --- the command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "abc"], "--seeds='abc': give a count"),
        (["--seeds", "0,0"], "--seeds='0,0': give a count"),
        (["--profile", "wrong"], "invalid choice: 'wrong'"),
        (["--store", ""], "--store: name a folder"),
        (["--report", ""], "--report: name a folder"),
        (["--profile", "paper", "--width", "33"], "width=33: the paper has 32, 256, 768, 2048"),
        (["--width", "256"], "--width=256: only the paper profile has widths; add --profile paper"),
        (["--epochs", "0"], "epochs=0: use 1 to "),
        (["--workers", "0"], "--workers=0: use 1 or more"),
        (["--device", "cuda"], "--device=cuda: no CUDA device is visible; use --device cpu"),
        (["--dry-run", "--set", "model.architecture=foo"], "architecture='foo': "),
        (["--profile", "paper", "--set", "model.architecture=foo"], "architecture='foo': "),
        (["--store", "/dev/null/x"], "choose another folder with --store"),
        (["--engine", "cloud"], "invalid choice: 'cloud'"),
        (
            ["--engine", "slurm"],
            "engine='slurm': this machine has no srun; run where jobs are submitted, or add --slurm",
        ),
        (["--engine", "slurm", "--slurm", "partition"], "slurm='partition': write NAME=VALUE"),
        (["--slurm", "partition=gpu"], "slurm='partition=gpu': these are for Slurm; add --engine slurm"),
        (["--address", "auto"], "address='auto': only Ray has one; add --engine ray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_ends_at_once_with_what_to_do(run, tmp_path, arguments, message):
    code, output = run(*arguments)

    assert code == pytest.ExitCode.USAGE_ERROR
    assert message in output
    assert "Traceback" not in output
    assert not list(tmp_path.rglob("*.json"))


def test_paper_scale_without_cuda_is_refused_with_its_hours(run, monkeypatch):
    cost = SimpleNamespace(hours=11)
    monkeypatch.setattr("taskclust.estimate._one", lambda *_: cost)

    code, output = run("-m", "gpu", "--seeds", "3")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "no CUDA device is visible; add --device cpu" in output
    assert "about 99 core hours" in output  # three experiments that train


@pytest.mark.parametrize(
    ("arguments", "width", "seeds"),
    [(["--seeds", "0,3"], 64, (0, 3)), (["-m", "gpu", "--seeds", "1", "--width", "256"], 256, (0,))],
    ids=["smoke", "gpu"],
)
def test_dry_run_lists_runs_with_minutes_and_disk_and_runs_nothing(run, tmp_path, arguments, width, seeds):
    code, output = run("--dry-run", "--report", str(tmp_path / "report"), *arguments)

    rows = [line.split() for line in output.splitlines() if re.match("(synthetic|pretraining|alignment) +width", line)]
    table = [row[1:] for row in rows]
    assert code == pytest.ExitCode.OK
    assert "dry run: nothing was run" in output
    assert "estimated minutes" in output
    expected = [["width", str(width), "seed", str(seed)] for seed in seeds]
    assert [row[:4] for row in table] == 3 * expected
    assert [row[0] for row in rows] == [k for k in TRAINED for _ in seeds]
    assert all(int(minutes) >= 0 and int(megabytes) > 0 for *_, minutes, megabytes, _ in table)
    assert [row[-1] for row in table] == ["no"] * len(table)
    assert re.search(r"^all +\d+ +\d+ +no$", output, re.MULTILINE)
    assert not list(tmp_path.rglob("*.json"))
    assert not (tmp_path / "report").exists()


def spawn(arguments, folder):
    """Run pytest in a new process, as a user does, without CUDA."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_claims_are_judged_and_reported(tmp_path):
    """As a user runs them, in a new process."""
    folders = ["--store", str(tmp_path / "store"), "--report", str(tmp_path / "report")]

    done = spawn(["benchmarks", "-k", "parameter", "--seeds", "2", *folders], ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert "claims at SMOKE scale, no reproduction" in done.stdout
    assert f"report: {os.path.relpath(tmp_path / 'report' / 'index.html', ROOT)}" in done.stdout
    assert (tmp_path / "report" / "index.html").exists()
    assert len(list((tmp_path / "store" / "paper_tables").rglob("record.json"))) == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), r"No space left on device\); the records are kept, run"),
        (TypeError("no such\ncolor"), r"TypeError: no such\)"),
    ],
    ids=["full", "figure"],
)
def test_a_report_that_cannot_be_written_is_reported_in_one_line(run, tmp_path, monkeypatch, error, said):
    def write_report(*_, **__):
        raise error

    monkeypatch.setattr(sessions, "write_report", write_report)

    code, output = run("-k", "parameter and 32", "--report", str(tmp_path / "report"))

    assert code == pytest.ExitCode.INTERNAL_ERROR
    assert re.search(rf"report='.*report': not written \(.*{said}", output)
    assert "claims at SMOKE scale" in output
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output


@pytest.fixture
def model_folder(tmp_path):
    config = GPT2Config(vocab_size=64, n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    with torch.random.fork_rng():
        GPT2LMHeadModel(config).save_pretrained(tmp_path / "tiny")
    small_tokenizer().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_language_models_are_judged_separately(run, model_folder, tmp_path):
    report = tmp_path / "report"

    code, output = run("-m", "llm", "--llm", str(model_folder), "--expressions", "2", "--report", str(report))
    rows = list(csv.DictReader((report / "verdicts.csv").read_text().splitlines()))

    assert code == pytest.ExitCode.TESTS_FAILED  # random weights: everything fails
    assert "1 failed, 1 skipped" in output  # no LLaMa: no clusters by mapping are asserted
    assert [(row["claim"], row["cell"], row["verdict"]) for row in rows] == [
        ("open-llm-clusters", "tiny: task", "✘ fails (this model)"),
        ("open-llm-clusters", "tiny: distribution_mapping", "? unclear (this model)"),
    ]
    assert "claims on language models with --expressions=2" in output
    assert "LLaMa-2-7B-Instruct (paper)" in output


def test_a_path_that_is_not_utf_8_is_escaped(run, tmp_path):
    report, store = tmp_path / "report", tmp_path / "a\udcff"

    code, _output = run("-k", "parameter", "--report", str(report), "--store", str(store))

    assert code == pytest.ExitCode.OK
    assert "\\udcff" in (report / "tables.md").read_text("utf-8")


def test_a_language_model_that_cannot_be_opened_does_not_affect_others(run, model_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    models = ["--llm", "nobody/nothing", "--llm", str(model_folder)]

    code, output = run("-m", "llm", *models, "--expressions", "2", "--report", str(tmp_path / "report"))

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "llm='nobody/nothing': not found here, nor on the hub or in its cache" in output
    assert "another exception" not in output
    assert "direct cause" not in output
    assert "Traceback" not in output
    assert (tmp_path / "report" / "figures" / "language-layers-tiny.png").exists()


def test_the_language_models_file_is_not_skipped_without_its_mark(capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)

    code = pytest.main(["benchmarks/test_open_llm_clusters.py", "-p", "no:cacheprovider", "--store", str(tmp_path)])

    message = "test_open_llm_clusters.py: not a claim of the profile smoke; instead: run each model with -m llm"
    assert code == pytest.ExitCode.USAGE_ERROR
    assert message in capfd.readouterr().err


def test_a_trained_claim_is_not_judged_on_language_models(capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    named = ["benchmarks/test_knn_accuracy.py", "-m", "llm", "--llm", "some/model"]

    code = pytest.main([*named, "-p", "no:cacheprovider", "--store", str(tmp_path)])

    message = "test_knn_accuracy.py: not a claim of the profile llm; instead: leave out the option that chooses the"
    assert code == pytest.ExitCode.USAGE_ERROR
    assert message in capfd.readouterr().err


def test_an_unforeseen_failure_is_not_tried_again(run, model_folder, monkeypatch):
    tried = []

    def broken(*_, **__):
        tried.append(1)
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("taskclust.experiments.natural_language.run.probe_prompts", broken)

    code, output = run("-m", "llm", "--llm", str(model_folder), "--expressions", "2")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "2 failed" in output
    assert len(tried) == 1


def test_dry_run_lists_language_models(run, model_folder):
    code, output = run("-m", "llm", "--llm", str(model_folder), "--expressions", "2", "--dry-run")

    assert code == pytest.ExitCode.OK
    assert re.search(r"natural_language \S+tiny, 320 prompts +\d+ +– +–", output)


def test_another_architecture_is_named_and_has_its_own_report(run):
    code, output = run("--model", "llama", "-k", "knn_accuracy", "--dry-run")

    assert code == pytest.ExitCode.OK
    assert "synthetic width 64 seed 0" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "llama", "--set", "model.norm=before"), "--model=llama decides the whole model"),
        (("--model", "bert"), "its states look ahead"),
        (("--model", "nope"), "there is no causal 'nope'"),
        (("--model", "llama", "-m", "llm"), "--model: language models are not trained here"),
    ],
    ids=str,
)
def test_a_model_that_cannot_be_trained_is_refused_at_once(run, arguments, message):
    code, output = run(*arguments)

    assert code == pytest.ExitCode.USAGE_ERROR
    assert message in output


def test_a_second_run_uses_the_record_again_and_reports_what_was_not_run(run, tmp_path):
    report = ["--report", str(tmp_path / "report"), "-k", "parameter", "--seeds", "2"]

    first, _ = run(*report)
    record = min((tmp_path / "store").rglob("record.json"))
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
        ({"--report": Path("mine"), "is_part": True}, "mine"),
        ({"is_part": True}, "store/report"),
        ({"--set": ["model=gpt2"]}, "store/report"),
        ({"--epochs": 5}, "store/report"),
        ({"--seeds": "5"}, "store/report"),
        ({"--seeds": ",".join(map(str, smoke().seeds))}, "reports/smoke"),
        ({"--llm": ["a/model"]}, "store/report"),
    ],
    ids=str,
)
def test_a_partial_report_does_not_replace_a_full_one(arguments, folder):
    names = ("--report", "--model", "--width", "--epochs", "--seeds", "--expressions", "--untrained")
    options = {**dict.fromkeys(names), "--set": [], "--llm": [], "--store": Path("store"), **arguments}
    stash = {}
    config = SimpleNamespace(getoption=options.get, stash=stash)
    stash[plugin.SESSION] = SimpleNamespace(
        is_part=arguments.get("is_part", False), overrides=plugin.overrides(config, "smoke")
    )

    assert plugin.report_folder(config, smoke()) == Path(folder).resolve()


@pytest.mark.parametrize(
    "part",
    [
        ("-k", "parameter"),
        ("-m", "smoke and not slow", "-k", "parameter and 32"),
        ("--deselect", "benchmarks/test_parameter_counts.py::test_models_have_the_printed_numbers_of_parameters"),
    ],
    ids=["keyword", "mark", "deselected"],
)
def test_a_run_of_some_claims_is_a_part_however_they_were_chosen(run, monkeypatch, part):
    seen = []
    monkeypatch.setattr(plugin, "report_folder", lambda config, _: seen.append(config.stash[plugin.SESSION].is_part))
    monkeypatch.setattr(plugin, "check_folder", lambda _: None)
    monkeypatch.setattr(plugin, "pytest_sessionfinish", lambda session: None)

    run("--collect-only", "-q", *part)
    run("--collect-only", "-q")

    assert seen == [True, False]


@pytest.mark.parametrize(
    "named",
    [
        ("benchmarks/test_knn_accuracy.py",),
        ("benchmarks/test_knn_accuracy.py::test_nearest_training_instances_predict_the_output",),
        ("--pyargs", "benchmarks.test_knn_accuracy"),
    ],
    ids=["file", "test", "module"],
)
def test_a_claim_that_is_named_is_a_part(monkeypatch, tmp_path, named):
    seen = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(plugin, "report_folder", lambda config, _: seen.append(config.stash[plugin.SESSION].is_part))
    monkeypatch.setattr(plugin, "check_folder", lambda _: None)

    pytest.main([*named, "--collect-only", "-q", "-p", "no:cacheprovider", f"--store={tmp_path}"])

    assert seen == [True]


def test_a_corrupt_record_is_made_again_and_the_claims_are_judged(run, tmp_path):
    report = ["--report", str(tmp_path / "report"), "-k", "parameter", "--seeds", "1"]
    run(*report)
    (record,) = (tmp_path / "store").rglob("record.json")
    record.write_text(record.read_text() + " ")

    code, output = run(*report)

    assert code == pytest.ExitCode.OK
    assert "record.json differs from its sum; moved to" in output


def test_a_crash_is_not_excused_by_a_known_failure(run, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise RuntimeError("disk is gone")

    monkeypatch.setattr("taskclust.session.obtain_all", broken)
    paper = ["--profile", "paper", "--width", "256", "--device", "cpu", "--report", str(tmp_path / "report")]

    code, output = run(*paper, "-k", "knn_percentage")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "disk is gone" in output
    assert "xfailed" not in output


def test_workers_are_the_processes_that_run_at_once(run, monkeypatch, tmp_path):
    asked = []

    def obtain_all(_runner, experiment, configs, workers=None):
        asked.append((experiment, len(configs), workers))
        raise StoreError("not today")

    monkeypatch.setattr("taskclust.session.obtain_all", obtain_all)

    run("--workers", "3", "--seeds", "2", "-k", "knn", "--report", str(tmp_path / "report"))

    assert asked == [("synthetic", 2, 3)]


def test_an_engine_obtains_the_records_and_is_closed_at_the_end(run, monkeypatch, tmp_path):
    """It may have a device that this machine does not have."""
    done = []

    class Elsewhere:
        def obtain_all(self, runner, experiment, configs, workers):
            done.append((runner.device, experiment, len(configs), workers))
            raise EngineError("synthetic seed 0: its worker was lost")

        def close(self):
            done.append("closed")

    monkeypatch.setattr(
        "taskclust.engines.engine", lambda name, store, **options: done.append((name, options)) or Elsewhere()
    )
    words = ["--engine", "ray", "--address", "head:1", "--device", "cuda", "--profile", "paper", "--seeds", "2"]

    code, output = run(*words, "-k", "knn", "--report", str(tmp_path / "report"))

    assert code == pytest.ExitCode.TESTS_FAILED
    assert done == [("ray", {"address": "head:1", "slurm": ()}), ("cuda", "synthetic", 2, None), "closed"]
    assert "synthetic seed 0: its worker was lost" in output
    assert "Traceback" not in output


def test_recompute_makes_the_record_again(run, tmp_path):
    report = ["--report", str(tmp_path / "report"), "-k", "parameter", "--seeds", "1"]
    run(*report)
    (record,) = (tmp_path / "store").rglob("record.json")
    before = record.stat().st_mtime_ns

    code, _ = run("--recompute", *report)

    assert code == pytest.ExitCode.OK
    assert record.stat().st_mtime_ns > before


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A store for tests that need the data sets of the paper's scale, which take seconds to draw."""
    return str(tmp_path_factory.mktemp("drawn"))


@pytest.mark.parametrize(("found_at", "more", "expected"), [
    ("paper-256", [], "1 failed, 3 passed"),
    ("paper-256", ["--seeds", "1"], "1 xpassed"),  # a known failure is about all seeds
    ("paper-256", ["--epochs", "5"], "1 failed, 3 passed"),  # nothing is trained for these counts
    ("paper-256 model=norm-after", ["--set", "model=norm-after"], "1 failed, 3 passed"),
    ("paper-256", ["--set", "model=norm-after"], "4 passed"),
    ("paper-256", ["--set", "model=gpt2"], "1 failed, 3 passed"),  # the profile's own model
    ("paper-768", [], "4 passed"),
    ("paper", [], "4 passed"),
])  # fmt: skip
def test_a_known_failure_belongs_to_its_width(run, know, drawn, tmp_path, found_at, more, expected):
    know(found_at)

    _, output = run("--report", str(tmp_path / "report"), "-k", "parameter", "--profile", "paper", "--width", "256",
                    "--device", "cpu", "--store", drawn, *more)  # fmt: skip

    assert expected in output
    assert ("(known finding)" in (tmp_path / "report" / "verdicts.md").read_text()) == (expected != "4 passed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--width", "256", "--seeds", "5", "--set", "model=gpt2"],
            "Settings differ from the profile's: --width=256.\n",
        ),
        (["--seeds", "0,1,2,3,4", "--set", "model=gpt2"], ""),
        (["--seeds", "1,2,3,4,5"], "Settings differ from the profile's: --seeds=1,2,3,4,5.\n"),
        (["--width", "768"], ""),
    ],
    ids=["width", "none", "seeds", "own width"],
)
def test_only_options_that_change_the_profile_are_said_to(run, tmp_path, arguments, said):
    paper = ["--profile", "paper", "--device", "cpu", "-k", "parameter"]

    run(*paper, "--report", str(tmp_path / "report"), *arguments)

    first = (tmp_path / "report" / "verdicts.md").read_text().splitlines()[0] + "\n"
    assert first.endswith(said)
    assert ("Settings differ" in first) == bool(said)


def test_a_known_failure_does_not_apply_to_another_setting(run, know, tmp_path):
    know("smoke")
    report = ["--report", str(tmp_path / "report"), "-k", "parameter"]

    assert "1 failed, 3 passed" in run(*report)[1]
    assert "1 failed, 3 passed" in run(*report, "--set", "model=gpt2")[1], "which the counts are of anyway"
    assert "4 passed" in run(*report, "--set", "model=norm-after")[1]
    text = (tmp_path / "report" / "verdicts.md").read_text()
    assert "Settings differ from the profile's: --set model=norm-after." in text


def test_counts_and_sizes_are_of_the_changed_setting(run, tmp_path):
    """With tied tokens and sinusoids the counts miss Table 8 at width 32; without totals the sizes miss Table 3."""
    changes = [
        *("--set", "model=norm-after", "--set", "model.tied_head=True"),
        *("--set", "data.distribution_totals=()"),
    ]

    _, output = run("--report", str(tmp_path / "report"), "-k", "parameter or statistics", *changes)

    assert re.search(r"parameter-counts: width-32 .* 53,216 +about 55000", output)
    assert re.search(r"✘.* dataset-statistics: size-validation ", output)


def test_a_failure_is_not_tried_again_by_other_conditions(run, monkeypatch, tmp_path):
    tried = []

    def fails(*_):
        tried.append(1)
        raise RuntimeError("the device is gone")

    monkeypatch.setattr("taskclust.experiments.paper_tables.run.run", fails)

    code, output = run("--report", str(tmp_path / "report"), "-k", "parameter")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert len(tried) == 1
    assert "paper_tables: RuntimeError: the device is gone" in output
    assert "4 failed" in output


def test_replaying_on_a_cpu_is_refused(run):
    code, output = run("--replay", "--device", "cpu", "-k", "parameter")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--replay: a CPU has no launches to save; leave it out, or run on a GPU" in output


def test_claims_in_processes_of_xdist_are_refused(run, tmp_path):
    pytest.importorskip("xdist")

    code, output = run("--numprocesses=1", "--report", str(tmp_path / "report"))

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--numprocesses: claims are judged together, in one process; use --workers" in output
    assert "Traceback" not in output
    assert not list(tmp_path.rglob("*.json"))


def test_other_tests_run_in_processes_of_xdist(capfd, monkeypatch, tmp_path):
    pytest.importorskip("xdist")
    monkeypatch.chdir(ROOT)

    code = pytest.main(
        ["tests/test_config.py", "-k", "brief", "-n1", "-p", "no:cacheprovider", "--store", str(tmp_path / "store")]
    )

    assert code == pytest.ExitCode.OK
    assert "1 passed" in capfd.readouterr().out


def test_claims_are_judged_where_xdist_is_given_no_processes(run, tmp_path):
    pytest.importorskip("xdist")

    code, output = run("-n0", "-k", "parameter", "--seeds", "1", "--report", str(tmp_path / "report"))

    assert code == pytest.ExitCode.OK
    assert "4 passed" in output


def test_a_known_failure_is_expected_and_its_success_fails_the_run(run, know, tmp_path):
    know("smoke")

    code, output = run("--report", str(tmp_path / "report"), "-k", "parameter")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "[XPASS(strict)] too many (a record)" in output
    assert "1 failed, 3 passed" in output


# --- a user's repository

OWN = """
    from taskclust.claims import AtLeast, Check, Claim, KnownFailure


    def instances(split, bound):
        return Check(
            name="instances",
            statistic=lambda record: float(record.sizes[split]),
            null=lambda record: 0.0,
            null_name="none",
            paper=AtLeast(bound),
            smoke=AtLeast(bound),
            source="ours",
        )


    CLAIM = Claim(
        id="own-sizes",
        place="a stranger's notes",
        sentence="There are thousands of instances.",
        experiment="paper_tables",
        cells={"train": (instances("train", 7_000),), "validation": (instances("validation", 1_000),)},
        known_failures={"smoke": KNOWN},
    )


    def test_own(cell, decide):
        result = decide(CLAIM, cell)

        assert result.verdict == "reproduced", result.explain()


    def test_that_is_not_a_claim():
        assert CLAIM.id == "own-sizes"
"""
KNOWN_TO_FAIL = '{"validation": KnownFailure("there are 315", "Table 3")}'


def plain_repository(folder, known=KNOWN_TO_FAIL, name="test_own", claim=OWN, beside=""):
    """A repository that loads the plugin and has one claim, without an ini file."""
    folder.mkdir(exist_ok=True)
    (folder / "conftest.py").write_text('pytest_plugins = ["taskclust.plugin"]\n')
    (folder / f"{name}.py").write_text(textwrap.dedent(claim).replace("KNOWN", known))
    if beside:
        (folder / f"{name}_beside.py").write_text(beside)
    return folder


@pytest.fixture
def visit(capfd, monkeypatch, tmp_path):
    """Run a user's claim in this process; return the exit code and the output."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def _visit(*arguments, **repository):
        name = f"test_of_{tmp_path.name}_{len(list(tmp_path.iterdir()))}"  # what is imported once stays
        folder = plain_repository(tmp_path / name, name=name, **repository)
        monkeypatch.chdir(folder)
        capfd.readouterr()
        given = ["--strict-markers", "--import-mode=importlib", "-p", "no:cacheprovider", "--rootdir", str(folder)]
        code = pytest.main([*given, "--seeds", "5", *arguments])
        captured = capfd.readouterr()
        return code, captured.out + captured.err, folder

    return _visit


def test_a_users_claim_is_judged_and_reported_like_the_papers(tmp_path):
    """In a new process without any of our files; by default the report is the profile's."""
    folder = plain_repository(tmp_path / "own")

    done = spawn(["--strict-markers", "--seeds=5", "--report", "reports/smoke"], folder)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed, 1 xfailed" in done.stdout
    assert "taskclust: profile smoke, seeds 0,1,2,3,4, device cpu" in done.stdout
    assert "claims at SMOKE scale, no reproduction with --seeds=5" in done.stdout
    assert "report: reports/smoke/index.html" in done.stdout
    report = folder / "reports" / "smoke"
    rows = list(csv.DictReader((report / "verdicts.csv").read_text().splitlines()))
    assert [(row["claim"], row["cell"], row["where"], row["verdict"], row["seeds"]) for row in rows] == [
        ("own-sizes", "train", "a stranger's notes", "✔ holds (smoke)", "5"),
        ("own-sizes", "validation", "a stranger's notes", "✘ fails (smoke) (known finding)", "5"),
    ]
    assert {path.name for path in report.iterdir()} == {
        "verdicts.md", "verdicts.csv", "verdicts.json", "checks.csv", "values.csv", "tables.md", "tables.tex",
        "figures", "index.html",
    }  # fmt: skip
    page = (report / "index.html").read_text()
    assert "There are thousands of instances." in page
    assert "there are 315" in page
    assert "Table 8: parameters" in (report / "tables.md").read_text()
    assert len(list((folder / ".taskclust" / "paper_tables").glob("*/record.json"))) == 5


def test_a_users_failing_claim_says_why_and_fails_the_run(visit):
    code, output, folder = visit(known="{}")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 2 passed" in output
    assert "own-sizes[validation] at smoke scale, seeds [0, 1, 2, 3, 4]: fails (smoke)" in output
    assert "instances: 315 [315, 315], criterion ≥ 1000; null 0 (none): fails (smoke)" in output
    assert (folder / ".taskclust" / "report" / "verdicts.csv").exists()  # --seeds is another setting


def test_a_users_known_failure_that_passes_fails_the_run(visit):
    known = '{"train": KnownFailure("was thought", "nothing"), "validation": KnownFailure("there are 315", "Table 3")}'

    code, output, _ = visit("--seeds", "6", known=known)
    code_of_few, output_of_few, _ = visit(known=known)

    assert (code, code_of_few) == (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.OK)
    assert "[XPASS(strict)] was thought (nothing)" in output
    assert "1 xpassed" in output_of_few


def test_a_users_claims_are_chosen_by_the_plugins_marks(visit):
    code, output, _ = visit("-m", "smoke", "-k", "train")
    none, output_of_none, _ = visit("-m", "smoke and gpu", "--device", "cpu")

    assert code == pytest.ExitCode.OK
    assert "1 passed, 2 deselected" in output
    assert none == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "3 deselected" in output_of_none


def test_the_plugins_marks_are_listed_with_their_meaning(visit):
    code, output, _ = visit("--markers")

    assert code == pytest.ExitCode.OK
    for mark in ("smoke", "gpu", "llm", "slow"):
        assert f"@pytest.mark.{mark}: " in output


def test_a_users_claim_at_the_papers_scale_is_refused_without_cuda(visit):
    code, output, folder = visit("-m", "gpu")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "no CUDA device is visible; add --device cpu" in output
    assert not list(folder.rglob("record.json"))


def test_a_users_gpu_tests_are_not_claims(visit):
    own = """
        import pytest


        @pytest.mark.gpu
        def test_own():
            assert True
    """

    code, output, _ = visit("-m", "gpu", claim=own)

    assert code == pytest.ExitCode.OK
    assert "1 passed" in output


def test_a_users_claim_is_listed_by_a_dry_run_and_not_run(visit):
    code, output, folder = visit("--dry-run")

    assert code == pytest.ExitCode.OK
    assert "dry run: nothing was run" in output
    assert not list(folder.rglob("record.json"))
    assert not list(folder.rglob("verdicts.csv"))


def test_a_users_plain_tests_are_not_changed(visit):
    plain = """
        import pytest

        CLAIM = "a word"


        @pytest.mark.parametrize("cell", [1, 2])
        def test_own(cell):
            assert cell
    """

    code, output, folder = visit(claim=plain)

    assert code == pytest.ExitCode.OK
    assert "2 passed" in output
    assert "report:" not in output
    assert not list(folder.rglob("verdicts.csv"))


LANGUAGE = """
    from taskclust.claims import Claim

    CLAIM = Claim(
        id="own", place="", sentence="", experiment="natural_language", cells={}, elsewhere="-m llm"
    )


    def test_own(cell, decide):
        raise NotImplementedError
"""


def test_a_users_claim_of_another_scale_does_not_affect_plain_tests(visit):
    code, output, _ = visit(claim=LANGUAGE.replace("def test_own", "def test_claim"), beside="def test_plain(): pass")
    alone, output_alone, _ = visit(claim=LANGUAGE)

    assert code == pytest.ExitCode.OK
    assert "1 passed, 1 deselected" in output
    assert alone == pytest.ExitCode.USAGE_ERROR
    assert "not a claim of the profile smoke; instead: -m llm" in output_alone


def test_a_folder_of_other_files_is_refused_before_a_report_would_replace_it(visit, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")

    code, output, folder = visit(f"--report={tmp_path / 'mine'}")
    other, _, _ = visit(f"--report={tmp_path / 'mine'}", claim="def test_plain(): pass")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "mine': it has other files, which a report would replace; choose a new folder" in output
    assert not list(folder.rglob("record.json"))
    assert other == pytest.ExitCode.OK  # no claim, no report
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_an_unknown_experiment_is_named_before_anything_runs(visit):
    code, output, folder = visit(claim=OWN.replace("paper_tables", "paper_table"))

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "own-sizes: experiment='paper_table': unknown; use one of alignment, natural_language, " in output
    assert not list(folder.rglob("record.json"))


def test_two_claims_of_one_id_are_refused(visit):
    copy = textwrap.dedent(OWN).replace("KNOWN", "{}").replace("def test_", "def test_copied_")

    code, output, folder = visit(beside=copy)

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "own-sizes: two claims have this id; give each its own" in output
    assert not list(folder.rglob("record.json"))


def test_the_options_are_listed_in_a_group_of_their_own(visit):
    code, output, _ = visit("--help")

    group = output[output.index("claims of the paper:") :]
    assert code == pytest.ExitCode.OK
    assert all(option in group for option in ("--profile", "--seeds", "--store", "--report", "--dry-run", "--device"))


# --- what it is made of


def test_the_root_conftest_only_loads_the_plugin():
    tree = ast.parse((ROOT / "conftest.py").read_text())

    assert len((ROOT / "conftest.py").read_text().splitlines()) < 20
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["pytest_ignore_collect"]
    assert 'pytest_plugins = ["taskclust.plugin", "pytester"]' in ast.unparse(tree).replace("'", '"')


def test_nothing_private_of_pytest_is_used():
    files = [ROOT / "conftest.py", *(ROOT / "taskclust").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]

    assert {path.name for path in files if uses_private_pytest(path.read_text())} == set()


def uses_private_pytest(source):
    """Whether a source imports ``_pytest``, or uses a name of ``pytest`` that begins with an underscore."""
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pytest":
            modules = [f"pytest.{node.attr}"]
        if any(m.split(".")[0] in ("_pytest", "pytest") and "._" in f".{m}" for m in modules):
            return True
    return False


@pytest.mark.parametrize(
    "source", ["from _pytest.mark.expression import Expression", "import _pytest.mark", "import pytest\npytest._code"]
)
def test_a_planted_private_import_is_caught(source):
    assert uses_private_pytest(source)
    assert not uses_private_pytest("import pytest\npytest.main()")
