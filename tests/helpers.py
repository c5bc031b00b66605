"""Helpers for tests, e.g. comparison with a tolerance, and the smallest data set that has every part."""

from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from taskclust.cli import main
from taskclust.config import DataConfig, PairedDataConfig


def assert_close(actual: Any, expected: Any, *, rtol: float = 1e-5, atol: float = 1e-8) -> None:
    """Fail unless both have one shape and ``|actual - expected| <= atol + rtol * |expected|`` everywhere."""
    actual, expected = (x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x for x in (actual, expected))
    assert np.shape(actual) == np.shape(expected), f"shape {np.shape(actual)} is not {np.shape(expected)}"
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def command(*words: Any) -> int | str:
    """The exit code of ``taskclust`` with these arguments, or the line that it passes to Python."""
    try:
        main([str(word) for word in words])
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, str) else int(stopped.code or 0)
    return 0


def tiny_data(**changes: Any) -> DataConfig:
    """Four tasks of one or two distributions; two have validation and hard instances and are in the training subset."""
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


def small_tokenizer(begin: str = "", end: str = "") -> PreTrainedTokenizerFast:
    """A tokenizer without a pad token: letters and "name" are one token each, longer words are split into letters.

    ``begin`` and ``end`` ("<s>", "</s>") are put around every text.
    """
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<unk>", "<s>", "</s>", "name", *letters, *(f"##{letter}" for letter in letters[:10])]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    around = [(word, words.index(word)) for word in (begin, end) if word]
    if around:
        single = " ".join(part for part in (begin, "$A", end) if part)
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=around)
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
