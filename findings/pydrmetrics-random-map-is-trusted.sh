#!/usr/bin/env bash
# pyDRMetrics 0.0.8: the trustworthiness of a map drawn at random is 1.00 at k = 1, and too high at every k.
#
# Behaviour: of 100 points and a random map of them, `DRMetrics(x, z).T`, which it plots from k = 1, begins with 1.00,
# 0.78, 0.70. By the definition (Venna and Kaski 2001), and by scikit-learn, it is 0.57, 0.55, 0.54. Of the k nearest
# neighbours only k - 1 are looked at, so that any map is perfect at 1, and what they cost is not divided by the largest
# possible sum: for k near half the points, by nearly twice that. So it is with continuity, `C`. Nothing is raised.
#
# Why it surprises: the scale is known: about 0.5 is chance and 1 is perfect. So 1.00, 0.78 and 0.70 read as a map that
# keeps the very nearest neighbours best, which is what one hopes of t-SNE, though the curve begins at 1 for any map. It
# is most wrong at the smallest k, and cannot be compared with scikit-learn's numbers at any.
#
# Output seen (CPython 3.11, scikit-learn 1.9.1, pandas 3.1.1):
#   k = 1: trustworthiness 0.57, pyDRMetrics 1.00; continuity 0.46, pyDRMetrics 1.00
#   k = 2: trustworthiness 0.55, pyDRMetrics 0.78; continuity 0.48, pyDRMetrics 0.73
#   k = 3: trustworthiness 0.54, pyDRMetrics 0.70; continuity 0.47, pyDRMetrics 0.66
#   k = 10: trustworthiness 0.52, pyDRMetrics 0.59; continuity 0.48, pyDRMetrics 0.55
#   k = 40: trustworthiness 0.53, pyDRMetrics 0.69; continuity 0.52, pyDRMetrics 0.68
#   k = 49: trustworthiness 0.48, pyDRMetrics 0.73; continuity 0.47, pyDRMetrics 0.73
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydrmetrics==0.0.8 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 \
    pandas==3.1.1 matplotlib==3.11.2 tqdm==4.70.1
MPLBACKEND=agg "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from pyDRMetrics.pyDRMetrics import DRMetrics
from scipy.spatial.distance import cdist
from sklearn.manifold import trustworthiness


def by_definition(x, z, k):
    n = len(x)
    ranks, near = (cdist(each, each).argsort(1).argsort(1) for each in (x, z))  # 0 is the point itself
    cost = np.where((near >= 1) & (near <= k), np.maximum(ranks - k, 0), 0).sum()
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * cost


random = np.random.default_rng(0)
x, z = random.normal(size=(100, 10)), random.normal(size=(100, 2))
given = DRMetrics(x, z)
for k in range(1, 50):
    right = by_definition(x, z, k), by_definition(z, x, k)
    assert np.allclose(right, [trustworthiness(x, z, n_neighbors=k), trustworthiness(z, x, n_neighbors=k)])
    found = given.T[k - 1], given.C[k - 1]
    if k in (1, 2, 3, 10, 40, 49):
        print(
            f"k = {k}: trustworthiness {right[0]:.2f}, pyDRMetrics {found[0]:.2f}; "
            f"continuity {right[1]:.2f}, pyDRMetrics {found[1]:.2f}"
        )
    assert min(np.subtract(found, right)) > 0.03, "it is no longer too high"
assert given.T[0] == given.C[0] == 1
PYTHON
echo "as described"
