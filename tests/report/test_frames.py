"""A report is read as frames with the judged numbers."""

import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

import taskclust
from taskclust.claims import judge
from taskclust.config import ConfigError
from taskclust.report import write_report
from tests.records import SEEDS, perfect_record
from tests.report.test_tables import CLAIMS, results

JUDGED = CLAIMS["knn-accuracy"]


def written(folder, made):
    write_report(folder, "paper", made, CLAIMS, {}, command="pytest benchmarks")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("reports") / "paper", results("paper"))


def test_a_report_has_three_frames_with_the_judged_numbers(folder):
    pytest.importorskip("pandas")
    made = results("paper")
    checks = [check for result in made for check in result.checks]

    report = taskclust.load_report(folder)

    for column, name in (("mean", "mean"), ("low", "low"), ("high", "high"), ("control", "null_mean")):
        assert report.checks[column].tolist() == [getattr(check, name) for check in checks]
    assert report.checks.bound.tolist() == [check.terms.bound for check in checks]
    assert report.checks.control_fails.dtype == bool
    assert report.values.value.tolist() == [value for check in checks for value in check.values]
    assert report.values.seed.tolist() == list(SEEDS) * len(checks)
    assert set(report.verdicts.claim) == set(CLAIMS)
    with pytest.raises(FrozenInstanceError):
        report.values = report.checks


def test_means_of_the_values_are_the_checks_means(folder):
    pytest.importorskip("pandas")

    report = taskclust.load_report(str(folder))

    means = report.values.groupby(["claim", "cell", "check"], sort=False).value.mean()
    np.testing.assert_allclose(means.to_numpy(), report.checks["mean"].to_numpy())


def test_missing_numbers_are_nan_and_names_stay_text(tmp_path):
    pytest.importorskip("pandas")
    check = replace(JUDGED.cells["validation"][0], statistic=lambda record: np.nan, null_name="None", reason="")
    claim = replace(JUDGED, cells={"1": [check]})

    report = taskclust.load_report(written(tmp_path / "report", [judge(claim, "1", [perfect_record(0)], "paper")]))

    (row,) = report.checks.to_dict("records")
    assert np.isnan([row[name] for name in ("mean", "low", "high", "tolerance")]).all()
    assert (row["cell"], row["control_name"], row["reason"]) == ("1", "None", "")
    assert np.isnan(report.values.value).all()


def test_without_pandas_the_error_says_what_to_install(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ConfigError, match=r"^pandas=None: it is not installed; pip install 'pandas>=2'$"):
        taskclust.load_report(folder)


def test_a_folder_without_the_tables_is_refused(tmp_path):
    pytest.importorskip("pandas")
    (tmp_path / "checks.csv").write_text("claim\n")

    with pytest.raises(ConfigError, match=r"^report='.*': it has no values.csv and no verdicts.csv; name a report"):
        taskclust.load_report(tmp_path)


@pytest.mark.parametrize("content", ["", "claim,value\nname,high\n", 'a,b\n"c'], ids=["empty", "text", "torn"])
def test_a_file_that_is_not_a_reports_table_is_refused(folder, tmp_path, content):
    pytest.importorskip("pandas")
    for name in ("checks", "verdicts"):
        (tmp_path / f"{name}.csv").write_bytes((folder / f"{name}.csv").read_bytes())
    (tmp_path / "values.csv").write_text(content)

    with pytest.raises(ConfigError, match=r"^report='.*values.csv': (not a|it has no) .*; make the report again$"):
        taskclust.load_report(tmp_path)
