"""The wheel, unpacked outside the checkout, as a user has it."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from taskclust.claims import load_claims

ROOT = Path(__file__).parents[1]
#: The command of docs/running.md, without the options.
PAPER = ("-p", "taskclust.plugin", "--pyargs", "taskclust.benchmarks")
#: The modules of claims that take seconds.
CHEAP = ("taskclust.benchmarks.test_dataset_statistics", "taskclust.benchmarks.test_parameter_counts")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages with only the wheel's files."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def elsewhere(site, tmp_path):
    """Run pytest in a folder outside the checkout, with the wheel's package first on the path."""

    def run(*arguments, folder=tmp_path):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=folder,
            env={**kept, "PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def sources(folder):
    """The files of a folder without caches of Python and numba, with their modification times."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}


def conditions(output):
    """The claims' tests listed by ``--collect-only -q``: file name, function and condition."""
    return sorted(line.rpartition("/")[2] for line in output.splitlines() if "::" in line)


def rows(folder):
    """The table of verdicts of a report."""
    return list(csv.DictReader((folder / "verdicts.csv").read_text().splitlines()))


def test_the_wheel_has_only_the_package_and_the_papers_claims(site):
    ours = {path.relative_to(site) for path in site.rglob("*") if path.is_file()}
    claims = {path for path in ours if path.parts[:2] == ("taskclust", "benchmarks")}
    of_package = {p.relative_to(ROOT) for p in (ROOT / "taskclust").rglob("*.*") if "__pycache__" not in p.parts}

    assert {path.name for path in claims} == {path.name for path in (ROOT / "benchmarks").glob("*.py")}
    assert {path for path in ours - claims if not path.parts[0].endswith(".dist-info")} == of_package
    assert Path("taskclust/py.typed") in ours


def test_the_wheel_has_the_claims_of_the_checkout(site):
    assert load_claims(site / "taskclust" / "benchmarks").keys() == load_claims(ROOT / "benchmarks").keys()


def test_the_papers_claims_are_collected_as_in_the_checkout(elsewhere, tmp_path):
    only_collect = ("--collect-only", "-q", "--store", str(tmp_path / "store"))

    installed = elsewhere(*PAPER, *only_collect, "--strict-markers")
    here = elsewhere("benchmarks", *only_collect, folder=ROOT)

    assert installed.returncode == here.returncode == pytest.ExitCode.OK, installed.stdout + here.stdout
    assert conditions(installed.stdout) == conditions(here.stdout) != []


def test_some_of_the_papers_claims_are_judged_and_reported_in_the_users_folder(elsewhere, site, tmp_path):
    """Claims named by their modules are only some, so their report does not replace the full one."""
    before = sources(site)

    done = elsewhere(*PAPER[:-1], *CHEAP)

    assert done.returncode == 0, done.stdout + done.stderr
    judged = {row["claim"] for row in rows(tmp_path / ".taskclust" / "report") if row["verdict"] == "✔ holds (smoke)"}
    assert judged == {"dataset-statistics", "parameter-counts"}
    assert not (tmp_path / "reports").exists()
    assert sources(site) == before


def test_the_example_is_judged_with_its_control(elsewhere, tmp_path):
    folder = shutil.copytree(ROOT / "examples" / "own_claim", tmp_path / "own_claim")

    done = elsewhere(folder=folder)

    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = rows(folder / "reports" / "smoke")
    assert (row["claim"], row["verdict"], row["seeds"]) == ("fits-in-a-gigabyte", "✔ holds (smoke)", "6")
    assert "null 1.209" in row["deciding check"]
    assert "fits-in-a-gigabyte" in done.stdout
    assert "fits-in-a-gigabyte" in (folder / "reports" / "smoke" / "index.html").read_text()
