"""Timing two or more ways of the same work in turn, A B A B, and a table of their medians and ratios.

Speed drifts on shared machines, so a ratio is taken round by round and its median reported; a case's equality with its
baseline is the business of the tests, not of this folder. ``pytest benchmarks/perf --threads 2 --report reports/perf``
writes the tables; the thresholds asserted are far below what is measured: they notice a fast path that is fast no more.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_limits

from benchmarks.perf.tables import growth_rows, page, peak, timed
from benchmarks.perf.timing import interleaved
from taskclust.formats import Rows, aligned_columns
from taskclust.models.memory import keep_freed_memory
from taskclust.models.precision import matmul_flops, native_bfloat16
from taskclust.store.provenance import processor

COMPARISONS, GROWTH = pytest.StashKey[Rows](), pytest.StashKey[Rows]()


@pytest.fixture(autouse=True)
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Use the threads asked for, and memory as runs do: every case of a comparison has the same."""
    keep_freed_memory()
    before, threads = torch.get_num_threads(), request.config.getoption("--threads")
    torch.set_num_threads(threads)
    with threadpool_limits(threads):  # scikit-learn's, which PyTorch does not set
        yield
    torch.set_num_threads(before)


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
        warmed: Iterable[str] | None = None,
        flops: float = 0.0,
        dtype: torch.dtype = torch.float32,
        divergence: Callable[[str], float] | None = None,
    ) -> dict[str, float]:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        taken = benchmark.pedantic(interleaved, args=(cases, rounds, warmed), rounds=1, iterations=1, warmup_rounds=0)
        seconds = {name: [s for s, _ in both] for name, both in taken.items()}
        ours = next(iter(cases))
        ratios = {
            name: statistics.median(b / a for a, b in zip(seconds[ours], other, strict=True))
            for name, other in seconds.items()
        }
        for name, values in seconds.items():
            median = statistics.median(values)
            speed = flops / median
            row = {
                "work": work,
                "case": name,
                **timed(taken[name]),
                "per second": f"{units / median:,.0f} {unit}",
                "ours is faster by": "" if name == ours else f"{ratios[name]:.1f}x",
                "TFLOP/s": f"{speed / 1e12:.3f}" if flops else "",
                "of the product's": f"{speed / matmul_flops(dtype, device):.0%}" if flops and name == ours else "",
                "divergence": f"{divergence(name):.4f}" if divergence is not None else "",
                "peak memory (MB)": peak(taken[name]),
            }
            request.config.stash.setdefault(COMPARISONS, []).append(row)
        megabytes = {name: max(m for _, m in both) for name, both in taken.items()}
        benchmark.extra_info.update(seconds=seconds, ratios=ratios, megabytes=megabytes)
        return ratios

    return _compare


@pytest.fixture
def grow(request: pytest.FixtureRequest, benchmark: Any) -> Callable[..., dict[int, float]]:
    """Time the same work at several sizes in turn, add a row for each to the table, and return their seconds."""

    def _grow(
        work: str,
        grows_with: str,
        cases: dict[int, Callable[[], object]],
        *,
        fitted: Sequence[int] | None,
        rounds: int = 3,
        warmed: Iterable[int] | None = None,
    ) -> dict[int, float]:
        taken = benchmark.pedantic(interleaved, args=(cases, rounds, warmed), rounds=1, iterations=1, warmup_rounds=0)
        request.config.stash.setdefault(GROWTH, []).extend(growth_rows(work, grows_with, taken, fitted))
        return {size: statistics.median(seconds for seconds, _ in both) for size, both in taken.items()}

    return _grow


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the tables; with ``--report DIR`` write them there as perf.md."""
    comparisons, growth = config.stash.get(COMPARISONS, []), config.stash.get(GROWTH, [])
    if not comparisons and not growth:
        return
    terminalreporter.section("speed: medians of interleaved rounds")
    for rows in filter(None, (comparisons, growth)):
        terminalreporter.write_line(aligned_columns(rows) + "\n")
    folder: Path | None = config.getoption("--report")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        threads = config.getoption("--threads")
        machine = f"{processor()}, {threads} thread(s), bfloat16 by {native_bfloat16()}, torch {torch.__version__}"
        command = " ".join(["pytest", *config.invocation_params.args])
        device = "cuda" if torch.cuda.is_available() else "cpu"  # as the rows: one product is timed, once
        ceiling = ", ".join(
            f"{str(dtype).removeprefix('torch.')} {matmul_flops(dtype, device) / 1e12:.2f} TFLOP/s"
            for dtype in (torch.float32, torch.bfloat16)
        )
        made = f"Made by `{command}` on {machine}. A square matrix product of 1024, timed here: {ceiling}."
        (folder / "perf.md").write_text(page(made, comparisons, growth), encoding="utf-8")
