"""Toxic source tasks, healthy target tasks, and the small data set that maps sources to targets (§4.2, Table 7)."""

from dataclasses import dataclass, replace

import numpy as np

from taskclust.config import PairedDataConfig
from taskclust.data.synthetic import Dataset, Split, generate


@dataclass(frozen=True, slots=True)
class AlignmentData:
    """The base model's data and the parts that alignment uses."""

    base: Dataset
    train: Split  # toxic training instructions with their targets' outputs: "the new and smaller data set"
    one_each: Split  # one training instance of each task that is not a source, M = 1
    validation: Split  # toxic instructions never trained on, with their targets' outputs
    others: Split  # validation instructions of all other tasks, targets included: accuracy may drop here


def generate_alignment(config: PairedDataConfig, seed: int) -> AlignmentData:
    """Sample the data of ``seed``.

    Raises:
        ConfigError: the settings cannot be satisfied in a bounded number of tries.
    """
    base = generate(config, seed)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0xA119]))

    def sources(split: Split) -> np.ndarray:
        return split.task < config.n_pairs

    return AlignmentData(
        base=base,
        train=_healed(base.train.take(sources(base.train)), base, config.n_pairs),
        one_each=_one_each(base.train.take(~sources(base.train)), rng),
        validation=_healed(base.validation.take(sources(base.validation)), base, config.n_pairs),
        others=base.validation.take(~sources(base.validation)),
    )


def _healed(toxic: Split, base: Dataset, n_pairs: int) -> Split:
    """The same instructions and inputs with the outputs of each source's target."""
    targets = base.tasks[n_pairs : 2 * n_pairs]
    outputs = np.array([task.function.outputs for task in targets]) + 1 + base.config.regex.n_symbols
    return replace(toxic, outputs=outputs[toxic.task])


def _one_each(split: Split, rng: np.random.Generator) -> Split:
    """One instruction of each task, with one of its mappings."""
    rows = np.array([rng.choice(np.flatnonzero(split.task == task)) for task in np.unique(split.task)])
    columns = rng.integers(split.inputs.shape[1], size=len(rows))
    return replace(
        split.take(rows), inputs=split.inputs[rows, columns][:, None], outputs=split.outputs[rows, columns][:, None]
    )
