"""Several settings in one command: what is read, refused before anything runs, and written."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from taskclust import profiles, sweep
from taskclust.config import ConfigError
from taskclust.report.comparison import MARK
from taskclust.sweep import read_sweep
from tests.helpers import command
from tests.report.test_comparison import BASE, write
from tests.test_plugin import plain_repository

TWO = '[settings.plain]\n[settings.before]\nmodel.norm = "before"\n'


@pytest.fixture
def write_sweep(tmp_path):
    def _write(text, name="sweep.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return _write


@pytest.fixture
def ran(monkeypatch):
    """Replace runs: note their commands, write their reports, and return the given exit codes."""
    noted = []

    def run(words, **_):
        noted.append(words[3:])
        dry = "--dry-run" in words
        folder = next((Path(word.removeprefix("--report=")) for word in words if word.startswith("--report=")), None)
        code = 0 if dry else run.codes.pop(0)
        if folder is not None and code in (0, 1) and not run.silent:
            write(folder, BASE)
        return SimpleNamespace(returncode=code, stdout="plan\n", stderr="")

    run.codes, run.noted, run.silent = [0, 0], noted, False
    monkeypatch.setattr(subprocess, "run", run)
    return run


# --- what is read


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (TWO, {"plain": (), "before": ("model.norm=before",)}),
        (
            '[settings.a]\n"model.norm" = "before"\ntraining.learning_rate = 3e-4\n[settings.b]\nmodel = "gpt2"\n',
            {"a": ("model.norm=before", "training.learning_rate=0.0003"), "b": ("model=gpt2",)},
        ),
        (
            '[grid]\nmodel.norm = ["before", "after"]\n"training.warmup_epochs" = [0, 5]\n',
            {
                f"norm={norm},warmup_epochs={n}": (f"model.norm={norm}", f"training.warmup_epochs={n}")
                for norm in ("before", "after")
                for n in (0, 5)
            },
        ),
        (
            "[grid]\ndata.distribution_totals = [[[3, 6], [5, 10]], []]\n",
            {
                "distribution_totals=3-6-5-10": ("data.distribution_totals=((3, 6), (5, 10))",),
                "distribution_totals=": ("data.distribution_totals=()",),
            },
        ),
        (
            "[settings.plain]\n[grid]\nmodel.tied_head = [true]\n",
            {"plain": (), "tied_head=True": ("model.tied_head=True",)},
        ),
        (
            "[grid]\nmodel.dropout = [0.1, 0.2]\nother.dropout = [1]\n",
            {f"model.dropout={d},other.dropout=1": (f"model.dropout={d}", "other.dropout=1") for d in (0.1, 0.2)},
        ),
    ],
    ids=["named", "quoted and nested", "grid", "lists", "both", "fields of one last name"],
)
def test_settings_are_read_as_options(write_sweep, text, settings):
    assert read_sweep(write_sweep(text)) == settings


def test_json_is_read_too(write_sweep):
    file = write_sweep('{"settings": {"a": {}, "b": {"model": {"norm": "before"}}}}', "sweep.json")

    assert read_sweep(file) == {"a": (), "b": ("model.norm=before",)}


def test_values_pass_through_the_option_unchanged(write_sweep):
    """Strings that look like numbers stay strings."""
    file = write_sweep('[settings.a]\nx.y = "1"\nx.z = [[1, 2.5], ["p"]]\nx.w = true\n[settings.b]\n')

    read = {field: profiles._read(text) for field, _, text in (one.partition("=") for one in read_sweep(file)["a"])}

    assert read == {"x.y": "1", "x.z": ((1, 2.5), ("p",)), "x.w": True}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"sweep=.*: write tables"),
        ("[settings.a]\n", r"sweep=.*: write two settings or more"),
        ("[other]\n", r"sweep=.*: write tables"),
        ("settings = 1\n", r"sweep=.*: write tables"),
        ("[settings]\na = 1\n", r"a=1: write a table of FIELD = VALUE"),
        ("[grid]\nmodel.norm = 'before'\n", r"model\.norm='before': write a list of values"),
        ("[grid]\nmodel.norm = []\n", r"model\.norm=\[\]: write a list of values"),
        ("[settings.'../a']\n[settings.b]\n", r"sweep='\.\./a': name a setting with letters"),
        ("[settings.'index.html']\n[settings.b]\n", r"sweep='index\.html': name a setting"),
        ("[settings.A]\n[settings.a]\n", r"sweep='A, a': these names differ only by case"),
        ("[settings.a]\nx.y = 2020-01-01\n[settings.b]\n", r"x\.y=datetime.*: use a text, a number"),
        ("[settings.'n=1']\n[grid]\nx.n = [1, 2]\n", r"sweep='n=1': two settings get this name"),
        ("[grid]\n" + "".join(f"x.f{n} = [1, 2]\n" for n in range(11)), r"grid=2048: use at most 1,000"),
        ("[settings\n", r"sweep=.*: it is not valid TOML"),
    ],
    ids=lambda value: value[:20],
)
def test_an_invalid_file_is_refused(write_sweep, text, said):
    with pytest.raises(ConfigError, match=f"^{said}"):
        read_sweep(write_sweep(text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^sweep=.*nowhere.toml': it cannot be read"):
        read_sweep(tmp_path / "nowhere.toml")


# --- what is run


def test_all_settings_are_tried_before_the_first_is_run(write_sweep, ran, tmp_path):
    code = sweep.sweep(write_sweep(TWO), tmp_path / "out", ["benchmarks", "--seeds=2"])

    assert code == 0
    common = ["benchmarks", "--seeds=2"]
    tries = [[*common, *more, "--dry-run", "-p", "no:cacheprovider"] for more in ([], ["--set=model.norm=before"])]
    assert sorted(ran.noted[:2]) == sorted(tries)
    assert ran.noted[2:] == [
        [*common, f"--report={tmp_path / 'out' / 'plain'}"],
        [*common, "--set=model.norm=before", f"--report={tmp_path / 'out' / 'before'}"],
    ]


@pytest.mark.parametrize(
    ("codes", "code", "compared"),
    [([0, 1], 1, True), ([1, 0], 1, True), ([0, 3], 3, False), ([4, 1], 4, False), ([0, -9], 137, False)],
)
def test_reports_are_compared_and_the_worst_exit_code_is_returned(write_sweep, ran, tmp_path, codes, code, compared):
    ran.codes = list(codes)

    assert sweep.sweep(write_sweep(TWO), tmp_path / "out", ["benchmarks"]) == code
    assert (tmp_path / "out" / "index.html").exists() is compared


def test_the_page_links_every_report(write_sweep, ran, tmp_path):
    ran.codes = [0] * 3
    file = write_sweep(TWO + "[settings.'a+b']\n")

    sweep.sweep(file, tmp_path / "out", ["benchmarks"])

    page = (tmp_path / "out" / "index.html").read_text()
    assert MARK in page
    for link in ("plain/index.html", "before/index.html", "a%2Bb/index.html"):
        assert f'href="{link}"' in page
    assert "before against plain" in page


def test_a_dry_run_shows_what_each_would_run(write_sweep, ran, tmp_path, capsys):
    assert sweep.sweep(write_sweep(TWO), tmp_path / "out", ["benchmarks", "--dry-run"]) == 0

    assert capsys.readouterr().out == "plain\nplan\n\nbefore\nplan\n\n"
    assert all("--dry-run" in words for words in ran.noted)


def test_a_setting_that_pytest_refuses_is_named_and_none_is_run(write_sweep, ran, tmp_path, monkeypatch):
    def refuse(words, **_):
        ran.noted.append(words)
        is_wrong = any("before" in word for word in words)
        return SimpleNamespace(returncode=4 * is_wrong, stdout="", stderr="ERROR: model.norm='before': not today\n")

    monkeypatch.setattr(subprocess, "run", refuse)

    with pytest.raises(ConfigError, match=r"^sweep='before': model.norm='before': not today$"):
        sweep.sweep(write_sweep(TWO), tmp_path / "out", ["benchmarks"])
    assert len(ran.noted) == 2


def test_other_files_are_not_replaced(write_sweep, ran, tmp_path):
    out = tmp_path / "out"
    (out / "before").mkdir(parents=True)
    (out / "before" / "mine.txt").write_text("mine")

    with pytest.raises(ConfigError, match="before': it has other files"):
        sweep.sweep(write_sweep(TWO), out, ["benchmarks"])

    (out / "before" / "mine.txt").rename(out / "index.html")
    (out / "before").rmdir()
    with pytest.raises(ConfigError, match=r"index\.html': it is not a page of comparisons"):
        sweep.sweep(write_sweep(TWO), out, ["benchmarks"])
    assert (out / "index.html").read_text() == "mine"
    assert ran.noted == []


@pytest.mark.parametrize("word", ["--report", "--report=there"])
def test_a_report_folder_after_the_dashes_is_refused(write_sweep, ran, tmp_path, word):
    with pytest.raises(ConfigError, match=f"^report='{word}': every setting has its own"):
        sweep.sweep(write_sweep(TWO), tmp_path / "out", ["benchmarks", word, "there"])
    assert ran.noted == []


def test_a_second_run_replaces_its_own(write_sweep, ran, tmp_path):
    ran.codes = [0] * 4
    out = tmp_path / "out"

    for _ in range(2):
        assert sweep.sweep(write_sweep(TWO), out, ["benchmarks"]) == 0

    assert {path.name for path in out.iterdir()} == {"plain", "before", "index.html"}


def test_an_earlier_report_is_not_counted_for_a_run_that_wrote_none(write_sweep, ran, tmp_path, capsys):
    """pytest ends with 1 and without a report if no record could be had, e.g. on a full disk."""
    file, out = write_sweep(TWO), tmp_path / "out"
    sweep.sweep(file, out, ["benchmarks"])
    assert "compared: nothing" not in capsys.readouterr().out
    ran.codes, ran.silent = [1, 1], True

    assert sweep.sweep(file, out, ["benchmarks"]) == 1

    assert "compared: nothing" in capsys.readouterr().out
    assert (out / "plain" / "verdicts.json").exists()


def test_a_sweep_is_a_command(write_sweep, tmp_path, monkeypatch, capfd):
    """In new processes, on a user's claim: the training subset is smaller with one setting."""
    folder = plain_repository(tmp_path / "own", name="test_own")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    file = write_sweep("[settings.plain]\n[settings.fewer]\ndata.n_mappings = 2\n")
    words = ["sweep", file, "--", "--strict-markers", "--seeds=1", "-p", "no:cacheprovider"]

    first = command(*words)
    printed = capfd.readouterr().out

    assert first == 1, printed  # with fewer mappings there are fewer instances than the claim asks for
    reports = folder / "reports" / "sweep"
    assert {path.name for path in reports.iterdir()} == {"plain", "fewer", "index.html"}
    assert "fewer against plain" in (reports / "index.html").read_text()
    assert "data.n_mappings=2" in (reports / "fewer" / "verdicts.md").read_text()
    assert "data.n_mappings" not in (reports / "plain" / "verdicts.md").read_text()
    assert f"compared: {Path('reports') / 'sweep' / 'index.html'}" in printed
