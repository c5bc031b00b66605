"""Freed memory stays in the process, so that the next step causes no page faults."""

import subprocess
import sys

import pytest

from taskclust.models.memory import keep_freed_memory

#: Two tensors of 40 MB per round, which glibc by default gets from the system each time. Prints the median of the
#: rounds' page faults, because the heap may still grow once if a small allocation has split the kept memory.
ROUNDS = """
import resource
import statistics
import torch
from taskclust.models.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(10_000_000) for _ in range(2)]
    del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{keep}
print(statistics.median_low(faults() for _ in range(13)))
"""


def faults(keep):
    script = ROUNDS.format(keep=keep)
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator alone is asked")
def test_kept_memory_causes_no_page_faults():
    assert faults("assert keep_freed_memory()") < faults("") / 100


def test_another_platform_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False
