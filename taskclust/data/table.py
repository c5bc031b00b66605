"""A data set as a table with one row per instance and all its identities, for models of your own."""

from collections.abc import Iterator
from typing import Any

from taskclust.data.regexes import SYMBOLS
from taskclust.data.synthetic import Dataset


def instance_rows(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """One row per instance of each split, in the order of the arrays.

    A row has: ``split``; ``instruction`` as text, one character per symbol; ``tokens``, the instance ``[I; x; y]`` as
    our models read it; ``input`` and ``output`` as words ("x12" and "x7" of one vocabulary); the identities ``task``,
    ``distribution``, ``mapping`` and ``distribution_mapping``; ``is_hard``; ``pattern``, the regular expression of the
    instruction (for a hard example that of its original).
    """
    patterns = {d.identity: str(d.pattern) for task in dataset.tasks for d in task.distributions}
    first_task_symbol = 1 + dataset.config.regex.n_symbols
    for name, split in dataset.splits.items():
        identities = {label: split.labels(label).tolist() for label in _IDENTITIES}
        for n, (tokens, x, y) in enumerate(split.instances()):
            yield {
                "split": name,
                "instruction": "".join(SYMBOLS[token - 1] for token in tokens),
                "input": f"x{x - first_task_symbol}",
                "output": f"x{y - first_task_symbol}",
                "tokens": [*tokens, x, y],
                **{label: values[n] for label, values in identities.items()},
                "pattern": patterns[identities["distribution"][n]],
            }


_IDENTITIES = ("task", "distribution", "mapping", "distribution_mapping", "is_hard")
