"""What is read before the task is: instructions alone, or with a trigger and the task's identity (§4.1).

A pre-training sequence takes the shape of an instance ``[I; x; y]``, so that one loop and one kind of batch serve both
stages. Identity pre-training reads ``[I; trigger; identity]``. Instruction pre-training reads ``I``, its last two
symbols in the places of x and y: the loss over the whole sequence is the same. No mapping is used by either.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from taskclust.config import ConfigError, IdentityDataConfig
from taskclust.data.synthetic import PAD, Dataset, Split


def identity_dataset(dataset: Dataset, *, shuffle: np.random.Generator | None = None) -> Dataset:
    """Every instruction with the trigger in the place of x and its task's token in that of y; one instance each.

    Args:
        dataset: generated from an :class:`IdentityDataConfig`.
        shuffle: deals the identities of each split anew to its instructions: the null, as many of each identity, none
            of them known from the instruction.

    Raises:
        ConfigError: the data set's settings have no identity tokens.
    """
    config = dataset.config
    if not isinstance(config, IdentityDataConfig):
        raise ConfigError(f"config={type(config).__name__}: has no identity tokens; use IdentityDataConfig")

    def mark(split: Split) -> Split:
        task = split.task if shuffle is None else shuffle.permutation(split.task)
        return replace(
            split, inputs=np.full((len(task), 1), config.trigger), outputs=(config.trigger + 1 + task)[:, None]
        )

    return _each(dataset, mark)


def instruction_dataset(dataset: Dataset) -> Dataset:
    """Every instruction without its last two symbols, which stand in the places of x and y; one instance each.

    Raises:
        ConfigError: an instruction has fewer than three symbols.
    """
    shortest = min(int(split.lengths.min(initial=3)) for split in dataset.splits.values())
    if shortest < 3:
        raise ConfigError(f"min_length={shortest}: a symbol must stand before the last two; use 3 or more")

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
