"""What tests share: the one tolerance and the smallest data set that has every part."""

from typing import Any

import numpy as np
import torch

from taskclust.config import DataConfig, PairedDataConfig


def assert_close(actual: Any, expected: Any, *, rtol: float = 1e-5, atol: float = 1e-8) -> None:
    """Fail unless both have one shape and ``|actual - expected| <= atol + rtol * |expected|`` everywhere."""
    actual, expected = (x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x for x in (actual, expected))
    assert np.shape(actual) == np.shape(expected), f"shape {np.shape(actual)} is not {np.shape(expected)}"
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def tiny_data(**changes: Any) -> DataConfig:
    """Four tasks of one or two distributions, two of them held out in part, imitated and in the subset."""
    settings = {
        "n_tasks": 4,
        "max_distributions": 2,
        "n_mappings": 3,
        "n_subset_tasks": 2,
        "n_validation_tasks": 2,
        "n_hard_tasks": 2,
        "n_task_symbols": 10,
        "distribution_totals": (),
    }
    return DataConfig(**{**settings, **changes})


def tiny_pairs(**changes: Any) -> PairedDataConfig:
    """Two sources, their two targets and two other tasks, of one or two distributions; one task without validation."""
    settings = {
        "n_tasks": 6,
        "n_pairs": 2,
        "max_distributions": 2,
        "n_mappings": 3,
        "n_subset_tasks": 2,
        "n_validation_tasks": 5,
        "n_task_symbols": 14,
    }
    return PairedDataConfig(**{**settings, **changes})


def read_instructions(split: Any) -> list[tuple[int, ...]]:
    """The instructions of a split, as tuples of tokens."""
    return [tuple(row[:n].tolist()) for row, n in zip(split.instructions, split.lengths, strict=True)]
