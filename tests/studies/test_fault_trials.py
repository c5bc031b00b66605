"""No fault of the process, the disk or a file changes a record, leaves a run stuck, or ends in an unforeseen error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies import fault_trials as F

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


def tried(*options, plant="pass"):
    """The table's rows and the command's exit code; ``plant`` runs first."""
    command = f"import sys; from studies import fault_trials as F; {plant}; sys.exit(F.main(sys.argv[1:]))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", command, *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:]]
    return {row[0]: list(map(int, row[1:])) for row in rows}, done


def test_every_twenty_ninth_fault_is_survived():
    rows, done = tried("--every", "29")

    assert done.returncode == 0, done.stdout + done.stderr
    assert set(rows) > set(F.DAMAGES)
    for n_tried, n_errors, *ends in rows.values():
        assert n_tried >= 2
        assert ends == [n_tried, 0, 0, 0]
        assert n_errors <= n_tried
    assert rows["errors of the disk from then on"][1] >= 4


PLANTS = {
    "sums are not looked at": ("from taskclust.store import folders; folders._file_fault = lambda *_: None", "35"),
    "a stopped training goes on from other weights": (
        "import taskclust.progress as p; l = p.load_file; p.load_file = lambda f: {n: 0 * t for n, t in l(f).items()}",
        "20",
    ),
    "nobody waits for another": (
        "import contextlib; from taskclust.store import Store; Store.lock = lambda *_: contextlib.nullcontext()", "35"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("plant", "every"), PLANTS.values(), ids=PLANTS)
def test_a_planted_fault_in_the_store_is_noticed(plant, every):
    _, done = tried("--every", every, plant=plant)

    assert done.returncode == 1, done.stdout


def test_the_page_says_how_it_was_made_and_that_nothing_was_lost():
    lines = (ROOT / "docs" / "faults.md").read_text("utf-8").splitlines()

    assert "python -m studies.fault_trials docs/faults.md" in lines[2]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][1:]
    assert sum(int(row[1]) for row in rows) > 400
    assert all(row[1] == row[3] and row[4:] == ["0", "0", "0"] for row in rows)
