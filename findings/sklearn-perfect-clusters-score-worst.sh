#!/usr/bin/env bash
# scikit-learn 1.9.1: perfect clusters get the worst Calinski-Harabasz score, useless ones the best Davies-Bouldin.
#
# Behaviour: of 8 points, each 50 times, k-means with 2 to 7 clusters gets 127 to 944 by `calinski_harabasz_score`,
# where more is better, and the perfect clustering, with 8, gets 1.0: where nothing is left within the clusters the
# ratio would be infinite, and 1 is returned. Where all clusters have one centre, so that none could be worse,
# `davies_bouldin_score`, where 0 is the best, gives 0.0; of centres a millionth apart it gives 2,828,427. Any
# clustering of data in units that make it small gets 0.0, too, as distances below 1e-8 count as none. No warning.
#
# Why it surprises: both docstrings say only what is better, and both scores are ratios, which units cannot change. Who
# takes the number of clusters with the best score rejects the right one, or takes anything. Repeated points are common:
# a corpus's word embeddings, or a language model's layer 0. The silhouette finds the eight.
#
# Output seen (CPython 3.11, numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1):
#   2 clusters: Calinski-Harabasz 127.4, silhouette 0.33
#   3 clusters: Calinski-Harabasz 162.0, silhouette 0.45
#   4 clusters: Calinski-Harabasz 211.8, silhouette 0.58
#   5 clusters: Calinski-Harabasz 272.1, silhouette 0.68
#   6 clusters: Calinski-Harabasz 407.3, silhouette 0.78
#   7 clusters: Calinski-Harabasz 944.2, silhouette 0.89
#   8 clusters: Calinski-Harabasz 1.0, silhouette 1.00
#   one centre: Davies-Bouldin 0.0
#   centres 1e-6 apart: Davies-Bouldin 2,828,427.1
#   noise in arbitrary clusters: Davies-Bouldin 19.2
#   the same noise in other units: Davies-Bouldin 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

states = np.random.default_rng(0).normal(size=(8, 20)).astype(np.float32)  # as a model gives them
points = np.repeat(states, 50, axis=0)
found = {}
for k in range(2, 9):
    clusters = KMeans(k, n_init=10, random_state=0).fit_predict(points)
    found[k] = calinski_harabasz_score(points, clusters)
    print(f"{k} clusters: Calinski-Harabasz {found[k]:.1f}, silhouette {silhouette_score(points, clusters):.2f}")
assert found[8] == 1 < 50 < min(found[k] for k in range(2, 8)), "the perfect clustering is not the worst now"

square = np.tile([[-1.0, -1], [1, 1], [-1, 1], [1, -1]], (10, 1))
diagonals = np.tile([0, 0, 1, 1], 10)
moved = square + 1e-6 * diagonals[:, None] * [1, 0]
noise, fours = np.random.default_rng(0).normal(size=(200, 5)), np.arange(200) % 4
cases = {
    "one centre": (square, diagonals),
    "centres 1e-6 apart": (moved, diagonals),
    "noise in arbitrary clusters": (noise, fours),
    "the same noise in other units": (noise * 1e-9, fours),
}
scores = [davies_bouldin_score(*case) for case in cases.values()]
for name, score in zip(cases, scores, strict=True):
    print(f"{name}: Davies-Bouldin {score:,.1f}")
assert scores[0] == scores[3] == 0, "useless clusters no longer score best"
assert scores[1] > 1e6 and scores[2] > 10
PYTHON
echo "as described"
