"""Timing two or more ways of the same work in turn, A B A B, and a table of their medians and ratios.

Speed drifts on shared machines, so a ratio is taken round by round and its median reported; a case's equality with its
baseline is the business of the tests, not of this folder.
"""

import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from taskclust.models.precision import native_bfloat16
from taskclust.report.tables import markdown, plain
from taskclust.runs.provenance import processor

ROWS = pytest.StashKey[list[dict[str, Any]]]()


def interleaved(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each case in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, run in cases.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: Any) -> Callable[..., dict[str, float]]:
    """Time the cases in turn, add a row for each to the table, and return how many times the first beats each."""

    def _compare(
        work: str,
        cases: dict[str, Callable[[], object]],
        *,
        units: float,
        unit: str,
        rounds: int = 3,
        flops: float = 0.0,
    ) -> dict[str, float]:
        seconds = benchmark.pedantic(interleaved, args=(cases, rounds), rounds=1, iterations=1, warmup_rounds=0)
        ours = next(iter(cases))
        ratios = {
            name: statistics.median(b / a for a, b in zip(seconds[ours], taken, strict=True))
            for name, taken in seconds.items()
        }
        for name, taken in seconds.items():
            median = statistics.median(taken)
            row = {
                "work": work,
                "case": name,
                "seconds": f"{median:.4g}",
                "range": f"{min(taken):.3g}-{max(taken):.3g}",
                "per second": f"{units / median:,.0f} {unit}",
                "TFLOP/s": f"{flops / median / 1e12:.3f}" if flops else "",
                "ours is faster by": "" if name == ours else f"{ratios[name]:.1f}x",
                "peak memory (MB)": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
            }
            request.config.stash.setdefault(ROWS, []).append(row)
        benchmark.extra_info.update(seconds=seconds, ratios=ratios)
        return ratios

    return _compare


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table; with ``--report DIR`` write it there as perf.md."""
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("speed: medians of interleaved rounds")
    terminalreporter.write_line(plain(rows))
    folder: Path | None = config.getoption("--report")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        threads = torch.get_num_threads()
        machine = f"{processor()}, {threads} threads, bfloat16 by {native_bfloat16()}, torch {torch.__version__}"
        command = " ".join(["pytest", *config.invocation_params.args])
        (folder / "perf.md").write_text(f"Made by `{command}` on {machine}.\n\n{markdown(rows)}\n")
