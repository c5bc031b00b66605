#!/usr/bin/env bash
# torchmetrics 1.9.0: `adjusted_rand_score` of 200,000 points is 1.57, and of two clusters -0.41; both should be 0.09.
#
# Behaviour: `torchmetrics.functional.clustering.adjusted_rand_score` agrees with scikit-learn at 20,000 points. At
# 200,000 points it gives other numbers, and one is above 1. It counts pairs of points as 64-bit
# integers, which hold the counts, and multiplies two counts, which they do not. All other scores of the module that
# were tried (V-measure, Fowlkes-Mallows, Rand) agree with scikit-learn's.
#
# Why it surprises: the index cannot exceed 1, nothing is raised or warned, and a score of 0.3 instead of 0.1 looks
# plausible. A GPU library is used where there are many points: 200,000 are the tokens of a few hundred pages.
# scikit-learn mended the same fault in 2021 with integers of any length.
#
# Output seen (CPython 3.11, torch 2.13.0+cpu, scikit-learn 1.9.1):
#   20000 points, 10 clusters: torchmetrics 0.090, scikit-learn 0.090
#   200000 points, 10 clusters: torchmetrics 1.566, scikit-learn 0.089
#   200000 points, 2 clusters: torchmetrics -0.414, scikit-learn 0.089
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import torch
from sklearn.metrics import adjusted_rand_score as exact
from torchmetrics.functional.clustering import adjusted_rand_score

warnings.simplefilter("ignore")  # about sparse tensors
found = {}
for points, clusters in ((20_000, 10), (200_000, 10), (200_000, 2)):
    generator = torch.Generator().manual_seed(0)
    labels, others = torch.randint(clusters, (2, points), generator=generator)
    predicted = torch.where(torch.rand(points, generator=generator) < 0.3, labels, others)
    pair = float(adjusted_rand_score(predicted, labels)), float(exact(labels.numpy(), predicted.numpy()))
    print(f"{points} points, {clusters} clusters: torchmetrics {pair[0]:.3f}, scikit-learn {pair[1]:.3f}")
    found[points, clusters] = pair
assert abs(found[20_000, 10][0] - found[20_000, 10][1]) < 1e-3
assert found[200_000, 10][0] > 1 > 0.1 > found[200_000, 10][1] > 0.08, "no longer above 1"
assert abs(found[200_000, 2][0] - found[200_000, 2][1]) > 0.1, "no longer wrong for two clusters"
PYTHON
echo "as described"
