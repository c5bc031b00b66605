"""Numbers in prose equal their sources, and an unknown key is refused by name."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from studies import numbers
from studies.numbers import Sources, differences, filled, plain, sources, typed, value
from taskclust.config import ConfigError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KNOWN = sources()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_number_of_a_page_is_what_its_source_has(page):
    assert differences(page.name, page.read_text("utf-8"), KNOWN) == []


def test_the_pages_quote_hundreds_of_numbers_and_hardly_type_any():
    texts = [page.read_text("utf-8") for page in PAGES]

    assert sum(len(numbers.MARK.findall(text)) for text in texts) >= 600
    assert sum(map(typed, texts)) <= 60


def test_every_name_is_quoted_somewhere():
    keys = [one[1].rpartition(":") for page in PAGES for one in numbers.MARK.finditer(page.read_text("utf-8"))]
    runs, names = {run.strip() for run, *_ in keys}, {rest.split(",")[0].strip() for *_, rest in keys}

    assert [run for run in (*KNOWN.runs, *KNOWN.searches) if run not in runs] == []
    assert [one for one in (*KNOWN.checks, *KNOWN.records, *KNOWN.rows, *KNOWN.cells) if one not in names] == []


def test_a_runs_records_are_those_of_its_report():
    """Both have the final values of the same seeds, so a record of another run, or a missing one, is noticed."""
    for run in KNOWN.runs:
        if not (ROOT / "reports" / run).is_dir():
            continue
        with (ROOT / "reports" / run / "values.csv").open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row["check"] == "late f1"]
        reported = {
            split: [float(row["value"]) for row in rows if (row["claim"], row["cell"]) == ("cluster-emergence", split)]
            for split in ("validation", "subset")
        }
        for split, name in (("validation", "f1"), ("subset", "subset f1")):
            quoted = value(f"{run}: {name}, seeds, 9 digits", KNOWN).split(", ")
            np.testing.assert_allclose([float(one) for one in quoted], reported[split], atol=1e-8)


#: F1 of two seeds by epoch and layer, highest at different epochs.
APART = ([[0.1], [0.5], [0.2]], [[0.1], [0.2], [0.5]])


@pytest.fixture
def made(tmp_path):
    """A report of one check over three seeds, a search of two runs, and a table."""
    (tmp_path / "reports" / "a-run").mkdir(parents=True)
    (tmp_path / "reports" / "search").mkdir()
    (tmp_path / "reports" / "a-run" / "checks.csv").write_text(
        "claim,cell,check,mean,low,high,control\nc,a cell,level,0.4567,0.1,0.8,-0.0001\n"
    )
    (tmp_path / "reports" / "a-run" / "values.csv").write_text(
        "claim,cell,check,seed,value\n" + "".join(f"c,a cell,level,{n},{x}\n" for n, x in enumerate((0.1, 0.2, 1.2)))
    )
    rows = [
        {
            "setting": "start",
            "width": 128,
            "seed": seed,
            "best_epoch": 10,
            "epochs": [0, 10, 20],
            "f1": [[0.1, 0.2], [0.3, 0.9], [0.5, 0.4 + seed / 1000]],
            "accuracy": {"hard": [0.0] * 20 + [0.75]},
            "bag": 0.25,
            "end": [0.125, float("nan")],
        }
        for seed in (100, 101)
    ]
    rows += [{**rows[0], "width": 64, "seed": n, "epochs": [0, 9, 20], "f1": f} for n, f in enumerate(APART)]
    (tmp_path / "reports" / "search" / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "table.md").write_text("| name | size |\n|---|---|\n| a | 0.5 (1,200) |\n| b | 3 |\n| b | 4 |\n")
    return Sources(
        searches={"start": ["start", 128, 100, 101], "apart": ["start", 64, 0, 1]},
        checks={"level": ["c", "a cell", "level"]},
        rows={"f1": "f1", "hard": "accuracy.hard", "bag": "bag", "end": "end.0", "lost": "end.1"},
        cells={
            "size": {"file": "table.md", "row": ["a"], "column": "size"},
            "second": {"file": "table.md", "row": ["a"], "column": "size", "part": 1},
            "twice": {"file": "table.md", "row": ["b"], "column": "size"},
        },
        root=tmp_path,
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("a-run: level", "0.50"),
        ("a-run: level, 0 digits", "0"),
        ("a-run: level, interval, 1 digits", "0.5 [-1.0, 2.0]"),
        ("a-run: level, range", "0.10 to 1.20"),
        ("a-run: level, seeds", "0.10, 0.20, 1.20"),
        ("a-run: level, seed 2", "1.20"),
        ("a-run: level, control", "0.00"),
        ("start: f1, 4 digits", "0.5005"),
        ("start: f1, seed 101, 4 digits", "0.5010"),
        ("start: f1, untrained", "0.20"),
        ("start: f1, best", "0.90"),
        ("start: f1, at 10, layer 0", "0.30"),
        ("start: f1, highest", "0.90"),
        ("start: f1, when highest, 0 digits", "10"),
        ("apart: f1, when highest, seeds, 0 digits", "9, 20"),
        ("apart: f1, when highest, range, 0 digits", "9 to 20"),
        ("start: f1, layers, 4 digits", "0.5000, 0.5005"),
        ("start: hard", "0.75"),
        ("start: bag", "0.25"),
        ("start: end, 3 digits", "0.125"),
        ("size", "0.5 (1,200)"),
        ("size, 2 digits", "0.50 (1,200)"),
        ("second", "1,200"),
    ],
)
def test_a_number_is_read_as_its_key_says(key, text, made):
    assert value(key, made) == text


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("a-run: nothing", "numbers.toml has no 'nothing'"),
        ("another: level", "there is no checks.csv of this run"),
        ("a-run: level, sometimes", "'sometimes' is not an option"),
        ("a-run: level, at 10", "a check has no epochs"),
        ("a-run: level, seed 7", "use one of the seeds 0, 1, 2"),
        ("begin: f1", "use one of the searches start, apart"),
        ("start: f1, at 15", "it was not measured there; use one of 0, 10, 20"),
        ("apart: f1, when highest", "seeds differ in this epoch; add seeds or range"),
        ("apart: f1, when highest, interval", "seeds differ in this epoch; add seeds or range"),
        ("start: bag, highest", "it has no epochs"),
        ("start: f1, control", "only checks have a control"),
        ("start: f1, layers, interval", "layers are means over seeds"),
        ("start: hard, layer 0", "it has no layers"),
        ("start: lost", "or is NaN"),
        ("twice", "2 rows of table.md"),
        ("second, interval", "takes only the option for digits"),
        ("size, 0 digits", "rounding twice may be wrong"),
    ],
)
def test_an_unknown_key_is_refused_with_what_to_do(key, message, made):
    with pytest.raises(ConfigError, match=message) as refused:
        value(key, made)

    assert repr(key) in str(refused.value)


def test_a_page_is_filled_and_readers_see_the_numbers_only(made):
    page = "It is <!--=a-run: level-->?<!--=--> here, <!--=second-->1<!--=--> there.\n"

    text = filled(page, made)

    assert plain(text) == "It is 0.50 here, 1,200 there.\n"
    assert filled(text, made) == text
    assert differences("page", page, made) == [
        "page: a-run: level: '?' is '0.50' today",
        "page: second: '1' is '1,200' today",
    ]
    assert differences("page", text, made) == []


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("It is <!--=a-run: level-->0.50.\n", "a number's mark has no end"),
        ("It is\n<!--=a-run: level-->0.50<!--=-->.\n", "it begins a line"),
        ("- It is\n  <!--=a-run: level-->0.50<!--=-->.\n", "it begins a line"),
    ],
    ids=["half", "at a line's start", "at an item's line's start"],
)
def test_a_mark_that_markdown_would_misread_is_refused(page, message, made):
    with pytest.raises(ConfigError, match=message):
        filled(page, made)

    assert any(message in line for line in differences("page", page, made))


def test_typed_decimals_are_counted_outside_of_marks_tables_and_code():
    page = (
        "# Title\n\n0.5 and .5, but not 1, §3.2, 1.2.3, `0.5` or <!--=a: b-->0.5<!--=-->\n\n"
        "```sh\n0.5\n```\n<!-- a:begin -->\n0.5\n<!-- a:end -->\n"
    )

    assert typed(page) == 2
    assert typed(f"# Title\n\nMade by `a command`.\n\n{page}") == 0


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"checks": {"a": ["c", "d", "e"]}, "rows": {"a": "b"}}, "these names occur twice"),
        ({"rows": {"a, b": "c"}}, "must not have a comma or a colon"),
    ],
)
def test_ambiguous_names_are_refused(tables, message):
    with pytest.raises(ConfigError, match=message):
        Sources(**tables)


def test_an_unknown_table_is_refused(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "numbers.toml").write_text('[chekcs]\na = ["b", "c", "d"]\n')

    with pytest.raises(ConfigError, match=r"chekcs.*use the tables runs, searches, checks"):
        sources(tmp_path / "docs" / "numbers.toml")


@pytest.fixture
def command(monkeypatch, made):
    """The module as a command, on the made sources."""
    monkeypatch.setattr(numbers, "sources", lambda: made)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["numbers", *map(str, words)])
        numbers.main()

    return run


def test_the_command_rewrites_checks_and_counts(command, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("It is <!--=second-->?<!--=--> or 0.5.\n")

    with pytest.raises(SystemExit, match=r"second: '\?' is '1,200' today"):
        command(page, "--check")
    command(page)
    command(page, "--check")
    command(page, "--count")

    assert page.read_text() == "It is <!--=second-->1,200<!--=--> or 0.5.\n"
    assert "1 typed, 1 by key" in capsys.readouterr().out


def test_no_page_is_rewritten_where_one_has_an_unknown_key(command, tmp_path):
    first, second = tmp_path / "first.md", tmp_path / "second.md"
    first.write_text("It is <!--=second-->?<!--=-->.\n")
    second.write_text("It is <!--=third-->?<!--=-->.\n")

    with pytest.raises(SystemExit, match="no 'third'"):
        command(first, second)

    assert "?" in first.read_text()
