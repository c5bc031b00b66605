"""Time several ways of the same work in turn, each with its own peak of memory."""

import ctypes
import gc
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

#: A case's name.
Case = TypeVar("Case", str, int)


def interleaved(
    cases: Mapping[Case, Callable[[], object]], rounds: int, warmed: Iterable[Case] | None = None
) -> dict[Case, list[tuple[float, float]]]:
    """Seconds and peak memory (MB) of each case in each round.

    Before that, the cases of ``warmed`` run once and are not counted; by default these are all cases.
    """
    for name in cases if warmed is None else warmed:
        cases[name]()
    gc.collect()  # what earlier tests held
    taken: dict[Case, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, run in cases.items():
            forget_peak()
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken[name].append((time.perf_counter() - started, peak_megabytes()))
    return taken


def forget_peak() -> None:
    """Let the peak of this process's memory start from what it uses now (Linux; elsewhere the peak is of its life)."""
    if Path("/proc/self/clear_refs").exists():
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps what earlier cases freed
        if trim is not None:
            trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_megabytes() -> float:
    """The most memory held since :func:`forget_peak`, on the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))
