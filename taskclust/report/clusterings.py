"""Does k-means miss clusters of tasks that others find? F1 by task of other algorithms on the embeddings of records.

``python -m taskclust.report.clusterings TABLE.md RECORD.json...`` writes a table.
"""

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.mixture import GaussianMixture

from taskclust.config import SPLITS
from taskclust.probes.metrics import contingency, matched_f1_score
from taskclust.report.tables import markdown

#: Of N points, C clusters: scikit-learn's estimators, all told the number of tasks.
ALGORITHMS: dict[str, Callable[[int, int], Any]] = {
    "k-means": lambda _, c: KMeans(c, n_init=20, random_state=0),
    "Ward": lambda _, c: AgglomerativeClustering(c, linkage="ward"),
    "average linkage": lambda _, c: AgglomerativeClustering(c, linkage="average"),
    "complete linkage": lambda _, c: AgglomerativeClustering(c, linkage="complete"),
    "spectral": lambda n, c: SpectralClustering(
        c, affinity="nearest_neighbors", n_neighbors=min(10, n - 1), random_state=0
    ),
    "Gaussian mixture": lambda _, c: GaussianMixture(c, n_init=5, random_state=0),
}


def task_f1(points: Float[np.ndarray, "N C"], tasks: Int[np.ndarray, " N"]) -> dict[str, float]:
    """Matched F1 by task of each algorithm's clusters."""
    n_tasks = len(np.unique(tasks))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Graph is not fully connected")  # clusters that lie apart are what is sought
        found = {name: make(len(points), n_tasks).fit_predict(points) for name, make in ALGORITHMS.items()}
    return {name: matched_f1_score(contingency(tasks, clusters)) for name, clusters in found.items()}


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
    records = [json.loads(Path(path).read_text()) for path in paths]
    text = (
        f"Made by `python -m taskclust.report.clusterings {to} {' '.join(paths)}`.\n\nF1 by task of other algorithms "
        "on the t-SNE of the top layer's last states, all told the number of tasks: the mean over seeds and, in "
        "brackets, the highest.\n\n"
    )
    Path(to).write_text(text + markdown(clustering_rows(records)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
