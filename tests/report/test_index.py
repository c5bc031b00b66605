"""The page over all reports has counts, the worst verdict of each claim and links; it replaces no other file."""

import json
import shutil
from pathlib import Path

import pytest

from taskclust.config import ConfigError
from taskclust.report.index import about, claims, write_index
from taskclust.report.saved import read_report
from tests.helpers import command

SMOKE = Path(__file__).parents[2] / "reports" / "smoke"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "other one").mkdir()
    (tmp_path / "no report").mkdir()
    shutil.copy(SMOKE / "verdicts.json", tmp_path / "first")
    report = json.loads((SMOKE / "verdicts.json").read_text())
    report["results"] = [cell for cell in report["results"] if cell["claim"] in ("inner-structure", "knn-accuracy")]
    for cell, verdict in zip(report["results"], ("holds (smoke)", "fails (smoke)", "unclear (smoke)"), strict=False):
        cell["verdict"] = verdict
    (tmp_path / "other one" / "verdicts.json").write_text(json.dumps(report))
    (tmp_path / "first" / "index.html").write_text("a page")
    return tmp_path


def test_a_report_may_be_named_like_the_column_of_claims(folder):
    reports = {"claim": read_report(folder / "first")}

    (row, *_) = claims(reports)

    assert list(row) == ["claim", "claim "]
    assert row["claim"] == "cluster-emergence"


def test_a_claim_has_the_worst_of_its_verdicts(folder):
    reports = {name: read_report(folder / name) for name in ("first", "other one")}

    rows = {row["claim"]: row for row in claims(reports)}

    assert rows["inner-structure"]["other one"] == "✘"
    assert rows["cluster-emergence"]["other one"] == "–"
    assert {row["first"] for row in rows.values()} <= set("✔✘?–")


def test_verdicts_are_counted(folder):
    report = read_report(folder / "other one")

    row = about("other one", report)

    assert [int(row[sign]) for sign in "✔✘?"] == [len(report.results) - 2, 1, 1]
    assert row["made by"] == report.command


def test_the_page_links_every_report_and_is_written_again(folder):
    for _ in range(2):
        assert command("index", folder) == 0

    page = (folder / "index.html").read_text()
    assert '<a href="first/index.html">first</a>' in page
    assert '<a href="other%20one/verdicts.md">other one</a>' in page
    assert "no report" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_another_page_is_not_replaced(folder):
    (folder / "index.html").write_text("mine")

    with pytest.raises(ConfigError, match="would be replaced"):
        write_index(folder)

    assert (folder / "index.html").read_text() == "mine"


def test_a_folder_without_reports_gives_one_line(tmp_path):
    assert "has a verdicts.json" in command("index", tmp_path)
