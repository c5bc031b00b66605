"""A report is read back as written; other files are refused in one line."""

import json
import math
from pathlib import Path

import pytest

from taskclust.config import ConfigError
from taskclust.report import write_report
from taskclust.report.saved import read_report
from tests.report.test_tables import CLAIMS, results

COMMITTED = sorted(path.parent for path in (Path(__file__).parents[2] / "reports").glob("*/verdicts.json"))


def saved(folder, **changes):
    """A folder with a verdicts.json of one condition, one check and two seeds, with the changes."""
    check = {"name": "f1", "values": [0.5, 0.75], "mean": 0.625, "low": None, "high": None, "criterion": "≥ 0.8"}
    cell = {"claim": "a", "cell": "b", "scale": "smoke", "seeds": [0, 1], "verdict": "fails (smoke)"}
    cell |= {"checks": [{**check, "verdict": "fails (smoke)"}]}
    document = {"profile": "smoke", "command": "pytest", "provenance": {}, "results": [{**cell, **changes}]}
    folder.mkdir()
    (folder / "verdicts.json").write_text(json.dumps(document))
    return folder


def test_a_report_is_read_back_as_judged(tmp_path):
    made = results("paper")
    write_report(tmp_path / "report", "paper", made, CLAIMS, {}, command="pytest benchmarks")

    report = read_report(tmp_path / "report")

    assert (report.profile, report.command, report.provenance) == ("paper", "pytest benchmarks", {})
    assert [(cell.claim, cell.cell, cell.seeds, cell.verdict) for cell in report.results] == [
        (result.claim, result.cell, result.seeds, result.verdict) for result in made
    ]
    for cell, result in zip(report.results, made, strict=True):
        assert [check.values for check in cell.checks] == [check.values for check in result.checks]


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: path.name)
def test_every_committed_report_is_read(folder):
    report = read_report(folder)

    assert report.results
    assert all(check.values for cell in report.results for check in cell.checks)


def test_missing_numbers_are_nan(tmp_path):
    check = {
        "name": "f1",
        "values": [None, 0.5],
        "mean": None,
        "low": None,
        "high": None,
        "criterion": "",
        "verdict": "",
    }

    (cell,) = read_report(saved(tmp_path / "report", checks=[check])).results

    assert math.isnan(cell.by_seed(cell.checks[0])[0])
    assert cell.by_seed(cell.checks[0])[1] == 0.5


def test_a_number_that_older_reports_wrote_as_nan_is_read(tmp_path):
    folder = saved(tmp_path / "report")
    file = folder / "verdicts.json"
    file.write_text(file.read_text().replace("0.625", "NaN"))

    assert read_report(folder).results[0].checks[0].mean is None


@pytest.mark.parametrize("where", ["nowhere", ".", "file", "n" * 300, "latin"])
def test_a_folder_without_a_report_is_refused_in_one_line(tmp_path, where):
    (tmp_path / "file").write_text("x")
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "verdicts.json").write_bytes(b"\xe9")

    with pytest.raises(ConfigError, match=r"^report='[^\n]*': [^\n]*; name a report's folder$"):
        read_report(tmp_path / where)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"seeds": [0]}, "a, b: not one value per seed"),
        ({"seeds": [1, 1]}, "a, b: a seed occurs twice"),
        ({"checks": [{}]}, "missing required field"),
        ({"verdict": 1}, "Expected `str`"),
    ],
    ids=["fewer seeds", "a seed twice", "no check", "no text"],
)
def test_an_incomplete_report_is_refused_in_one_line(tmp_path, changes, fault):
    with pytest.raises(
        ConfigError, match=rf"^report='.*' *: its verdicts.json is not a report \([^\n]*{fault}[^\n]*\); make"
    ):
        read_report(saved(tmp_path / "report", **changes))


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, '{"results": '])
def test_another_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "verdicts.json").write_text(content)

    with pytest.raises(
        ConfigError, match=r"^report='[^\n]*': its verdicts.json is not a report [^\n]*; make the report again$"
    ):
        read_report(tmp_path)
