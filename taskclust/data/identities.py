"""Pre-training data: instructions only, or instructions with a trigger and the task's identity (§4.1).

A pre-training sequence has the form of an instance ``[I; x; y]``, so that both stages share a training loop and batch
format. Identity pre-training uses ``[I; trigger; identity]``. Instruction pre-training uses ``I``, with its last two
symbols as x and y; the loss over the whole sequence is the same. Neither uses a mapping.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from taskclust.config import ConfigError, IdentityDataConfig
from taskclust.data.synthetic import PAD, Dataset, Split


def identity_dataset(dataset: Dataset, *, shuffle: np.random.Generator | None = None) -> Dataset:
    """Every instruction once, with the trigger as x and the token of its task as y.

    Args:
        dataset: generated from an :class:`IdentityDataConfig`.
        shuffle: permutes the identities among the instructions of each split. This is the negative control: each
            identity is as frequent, but does not follow from the instruction.

    Raises:
        ConfigError: the data set's settings have no identity tokens.
    """
    config = dataset.config
    if not isinstance(config, IdentityDataConfig):
        raise ConfigError(f"config={type(config).__name__}: it has no identity tokens; use IdentityDataConfig")

    def mark(split: Split) -> Split:
        task = split.task if shuffle is None else shuffle.permutation(split.task)
        return replace(
            split, inputs=np.full((len(task), 1), config.trigger), outputs=(config.trigger + 1 + task)[:, None]
        )

    return _each(dataset, mark)


def instruction_dataset(dataset: Dataset) -> Dataset:
    """Every instruction once, with its last two symbols as x and y.

    Raises:
        ConfigError: an instruction has fewer than three symbols.
    """
    shortest = min(int(split.lengths.min(initial=3)) for split in dataset.splits.values())
    if shortest < 3:
        raise ConfigError(f"min_length={shortest}: one symbol is needed before the last two; use 3 or more")

    def cut(split: Split) -> Split:
        rows, lengths = np.arange(len(split.lengths)), split.lengths - 2
        places = np.arange(split.instructions.shape[1])
        return replace(
            split,
            instructions=np.where(places < lengths[:, None], split.instructions, PAD),
            lengths=lengths,
            inputs=split.instructions[rows, lengths][:, None],
            outputs=split.instructions[rows, lengths + 1][:, None],
        )

    return _each(dataset, cut)


def _each(dataset: Dataset, change: Callable[[Split], Split]) -> Dataset:
    train, subset, validation = (change(split) for split in dataset.splits.values())
    return replace(dataset, train=train, subset=subset, validation=validation)
