"""How many starts of t-SNE are enough? Their part of a score's variance should be at most a fifth of the seeds'.

``python -m studies.starts reports/records/synthetic-*`` reads records with one embedding per checkpoint, which have the
lowest and the highest F1 of three starts; records of ten starts, which have every start's scores, are left out. The
range of three normal values is 1.693 deviations on average.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from taskclust.config import LABELS, SPLITS, digest
from taskclust.exchange import read_record
from taskclust.experiments.synthetic.record import Record

RANGE_OF_THREE = 1.693
STARTS = (1, 3, 10)


def deviation_of_starts(record: Record, split: str, label: str) -> float:
    """The standard deviation of the top layer's F1 over starts, from the ranges at the last three checkpoints."""
    scores = record.scores[split].tsne[label]
    ranges = (scores["f1_high"] - scores["f1_low"])[-3:, -1]
    return float(np.sqrt(np.mean(np.square(ranges)))) / RANGE_OF_THREE


def rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row per model with several seeds, split and identity: both deviations, and the starts' share of variance."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if not all("f1_high" in record.scores[split].tsne[label] for split in SPLITS for label in LABELS):
            continue
        config = replace(record.config.training, precision="auto")  # in which seeds of one model may differ
        groups.setdefault(digest(record.config.data, record.config.model, config), []).append(record)
    found = []
    for group in groups.values():
        model = group[0].config.model
        for split in SPLITS if len(group) > 1 else ():
            for label in LABELS:
                starts = float(np.mean([deviation_of_starts(record, split, label) ** 2 for record in group]))
                ends = [record.scores[split].tsne[label]["f1"][-1, -1] for record in group]
                seeds = float(np.var(ends, ddof=1))
                found.append({
                    "model": f"width {model.width}, norm {model.norm}",
                    "set": split,
                    "clusters by": label,
                    "seeds": len(group),
                    "deviation of starts": f"{np.sqrt(starts):.3f}",
                    "deviation of seeds": f"{np.sqrt(seeds):.3f}",
                    **{f"part of {n} starts": f"{starts / n / seeds:.2f}" for n in STARTS},
                })  # fmt: skip
    return found


def main(paths: Sequence[str]) -> None:
    """Print the table of the records at ``paths``."""
    records = [read_record(Path(path)) for path in paths]
    print("Made by `python -m studies.starts reports/records/synthetic-*`.\n")  # noqa: T201 - the result
    print(tabulate(rows(records), headers="keys", tablefmt="github", disable_numparse=True))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
