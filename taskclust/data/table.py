"""A data set as a table, one row an instance with all its identities: for other people's models."""

from collections.abc import Iterator
from typing import Any

from taskclust.data.regexes import SYMBOLS
from taskclust.data.synthetic import Dataset


def instance_rows(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Each instance of each split, in the order of its arrays.

    Of one row: ``split``; ``instruction`` as text, a character a symbol; ``tokens``, the instance ``[I; x; y]`` as
    our models read it; ``input`` and ``output`` as words ("x12" and "x7" of one vocabulary); the identities ``task``,
    ``distribution``, ``mapping`` and ``distribution_mapping``; ``is_hard``; ``pattern``, the regular expression that
    the instruction was sampled from (a hard one's original's).
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
