"""Does k-means miss clusters of tasks that others find? F1 by task of other algorithms on the embeddings of records.

``python -m taskclust.runs.clusterings TABLE.md RECORD.json...`` writes a table.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from taskclust.config import SPLITS
from taskclust.probes.algorithms import ALGORITHMS, task_f1
from taskclust.runs.store import read_json


def clustering_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each width, place of the norm and split: the mean over seeds and, in brackets, the highest."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for record in records:
        model = record["config"]["model"]
        groups.setdefault((model["width"], model["norm"]), []).append(record)
    rows = []
    for (width, norm), group in sorted(groups.items()):
        for split in SPLITS:
            found = []
            for record in group:
                points = np.array(record["scores"][split]["top_embedding"][-1])
                found.append(task_f1(points, np.array(record["identities"][split]["task"])))
            f1 = {name: [row[name] for row in found] for name in ALGORITHMS}
            cells = {name: f"{np.mean(values):.2f} ({max(values):.2f})" for name, values in f1.items()}
            rows.append({"width": width, "norm": norm, "seeds": len(group), "split": split, **cells})
    return rows


def main(to: str, *paths: str) -> None:
    """Write the table of the records at ``paths``."""
    records = [read_json(Path(path)) for path in paths]
    text = (
        f"Made by `python -m taskclust.runs.clusterings {to} {' '.join(paths)}`.\n\nF1 by task of other algorithms "
        "on the t-SNE of the top layer's last states, all told the number of tasks: the mean over seeds and, in "
        "brackets, the highest.\n\n"
    )
    Path(to).write_text(
        text + tabulate(clustering_rows(records), headers="keys", tablefmt="github", disable_numparse=True) + "\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
