"""Clustering algorithms beside k-means, on points that k-means has clustered (not in the paper)."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.mixture import GaussianMixture

from taskclust.probes.metrics import contingency, matched_f1_score

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
