"""Other clustering algorithms than k-means, and more clusters than tasks, on the same points.

Not in the paper, which gives neither the number of clusters nor how F1 matches them to tasks.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.metrics import f1_score
from sklearn.mixture import GaussianMixture

from taskclust.probes.metrics import adjusted_rand_score, contingency, matched_f1_score

#: scikit-learn's estimators, given the number of points and of clusters, which is the number of tasks.
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
    """The matched F1 by task of each algorithm's clusters."""
    n_tasks = len(np.unique(tasks))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Graph is not fully connected")  # separate clusters are expected
        found = {name: make(len(points), n_tasks).fit_predict(points) for name, make in ALGORITHMS.items()}
    return {name: matched_f1_score(contingency(tasks, clusters)) for name, clusters in found.items()}


def majority_scores(
    points: Float[np.ndarray, "N C"], tasks: Int[np.ndarray, " N"], n_clusters: int
) -> tuple[float, float]:
    """The macro F1 by task if each k-means cluster is assigned to its majority's task, and the ARI.

    With more clusters than tasks this F1 is high if clusters are pure; the ARI also requires that tasks are not split.
    """
    clusters = KMeans(n_clusters, n_init=20, random_state=0).fit_predict(points)
    table = contingency(tasks, clusters)
    stands_for = np.unique(tasks)[table.argmax(axis=0)][np.unique(clusters, return_inverse=True)[1]]
    return float(f1_score(tasks, stands_for, average="macro")), adjusted_rand_score(table)
