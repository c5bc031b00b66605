"""The speed report: the exponents fitted, the rows and pages written, and what is timed."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from benchmarks.perf.tables import fitted_exponent, growth_rows, page
from benchmarks.perf.timing import interleaved
from studies.numbers import Sources, value

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0, 2.75])
def test_exponent_of_an_exact_power_is_found(exponent):
    assert fitted_exponent({n: 0.3 * n**exponent for n in (25, 50, 100, 200)}) == pytest.approx(exponent, abs=1e-12)


def test_exponent_is_the_least_squares_slope_between_logarithms():
    seconds = {300: 0.2, 1_000: 0.5, 4_000: 1.1, 16_000: 9.0}

    expected = np.polyfit(np.log([*seconds]), np.log([*seconds.values()]), 1)[0]

    assert fitted_exponent(seconds) == pytest.approx(expected)
    assert fitted_exponent({n: 60 * s for n, s in seconds.items()}) == pytest.approx(expected), "minutes have the same"


def test_one_size_has_no_exponent():
    with pytest.raises(ValueError, match="two data points"):
        fitted_exponent({25: 1.0})


#: Linear up to 100, with an outlier in the last round, and quadratic beyond.
TAKEN = {
    200: [(4.0, 900.0), (4.0, 800.0), (40.0, 850.0)],
    50: [(0.5, 500.0), (0.5, 510.0), (5.0, 505.0)],
    100: [(1.0, 600.0), (0.75, 600.0), (1.0, 600.0)],
    1_000: [(100.0, 1_000.0), (100.0, 1_234.0), (100.0, 1_000.0)],
}


def test_a_row_for_each_size_and_the_exponent_of_the_sizes_named():
    rows = growth_rows("an epoch", "tasks", TAKEN, [100, 200, 1_000])

    assert [row["size"] for row in rows] == ["50", "100", "200", "1,000"]
    assert [row["seconds"] for row in rows] == ["0.5", "1", "4", "100"]
    assert [row["range"] for row in rows] == ["0.5-5", "0.75-1", "4-40", "100-100"]
    assert [row["exponent"] for row in rows] == ["", "", "", "2.00"]
    assert [row["fitted over"] for row in rows] == ["", "", "", "100, 200, 1,000"]
    assert [row["peak memory (MB)"] for row in rows] == ["510", "600", "900", "1,234"]
    assert {row["speed-up"] for row in rows} == {""}
    assert {(row["work"], row["grows with"]) for row in rows} == {("an epoch", "tasks")}


def test_workers_have_a_speed_up_and_neither_an_exponent_nor_a_memory():
    rows = growth_rows("4 runs", "workers", {1: [(60.0, 9.0)], 2: [(40.0, 9.0)], 4: [(80.0, 9.0)]}, None)

    assert [row["speed-up"] for row in rows] == ["", "1.50x", "0.75x"]
    assert {row[name] for row in rows for name in ("exponent", "fitted over", "peak memory (MB)")} == {""}


def test_page_has_both_tables_and_pages_can_quote_them(tmp_path):
    growth = growth_rows("an epoch", "tasks", TAKEN, [100, 200, 1_000])
    (tmp_path / "perf.md").write_text(page("Made here.", [{"work": "steps", "case": "ours"}], growth), "utf-8")

    def quoted(size, column):
        cell = {"file": "perf.md", "row": ["an epoch", size], "column": column}
        return value("one", Sources(cells={"one": cell}, root=tmp_path))

    text = (tmp_path / "perf.md").read_text("utf-8")
    assert text.startswith("Made here.\n\n| work ")
    assert text.index("| steps") < text.index("## Cost as work grows") < text.index("| an epoch")
    assert (quoted("1,000", "exponent"), quoted("200", "seconds")) == ("2.00", "4")


def test_page_leaves_out_a_table_without_rows():
    assert "Cost" not in page("Made here.", [{"work": "steps"}], [])
    assert page("Made here.", [], growth_rows("an epoch", "tasks", TAKEN, [50, 100])).count("| work") == 1


@pytest.mark.parametrize(
    ("warmed", "order"), [(None, "ABABAB"), (["B"], "BABAB"), ((), "ABAB")], ids=["all", "one", "none"]
)
def test_cases_run_in_turn_and_what_is_warmed_up_is_not_counted(warmed, order):
    ran = []

    taken = interleaved({name: lambda name=name: ran.append(name) for name in "AB"}, 2, warmed)

    assert "".join(ran) == order
    assert {name: len(rounds) for name, rounds in taken.items()} == {"A": 2, "B": 2}


TESTS = """
def test_growing(grow):
    assert [*grow("nothing", "tasks", {25: int, 50: int}, fitted=[25, 50])] == [25, 50]

def test_comparing(compare, benchmark):
    compare("nothing", {"ours": int, "theirs": int}, units=1, unit="it", divergence={"ours": 1.5, "theirs": 2}.get)
    assert benchmark.extra_info["megabytes"].keys() == {"ours", "theirs"}

def test_memory_of_an_earlier_case_is_not_counted(compare, benchmark):
    import numpy as np
    compare("memory", {"ours": lambda: np.ones(5_000_000), "theirs": lambda: np.ones(50_000_000)}, units=1, unit="it")
    megabytes = benchmark.extra_info["megabytes"]
    assert 330 < megabytes["theirs"] - megabytes["ours"] < 390
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is of the process's life")
def test_report_is_written(tmp_path, monkeypatch):
    """The harness of benchmarks/perf, as a session of pytest, with work that takes no time."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "perf"
    folder.mkdir()
    (folder / "conftest.py").write_bytes((ROOT / "benchmarks" / "perf" / "conftest.py").read_bytes())
    (folder / "test_nothing.py").write_text(textwrap.dedent(TESTS), "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    words = ["-p", "taskclust.plugin", "perf", "--report", "made", "-p", "no:cacheprovider"]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "made" / "perf.md").read_text("utf-8")
    assert text.startswith("Made by `pytest -p taskclust.plugin perf --report made")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "nothing" in line]
    assert [row[:3] for row in rows if "tasks" in row] == [["nothing", "tasks", "25"], ["nothing", "tasks", "50"]]
    assert [row[-2] for row in rows if "ours" in row or "theirs" in row] == ["1.5000", "2.0000"]
    assert all(row[0] in done.stdout for row in rows)
