#!/usr/bin/env bash
# scikit-learn 1.9.1: TSNE's `kl_divergence_` is far below zero where points are repeated.
#
# Behaviour: of 8 points, each 50 times, `TSNE(2, perplexity=10, method="barnes_hut", init="pca")`, the default method and
# start, ends with kl_divergence_ = -10.1; the exact method, which has the same objective, ends with 0.004. Of a random
# start Barnes-Hut tells -0.07. Copies of a point start in one place and never part.
#
# Why it surprises: a Kullback-Leibler divergence cannot be negative, no warning is given, and the usual way to choose
# among several runs of t-SNE, the lowest `kl_divergence_`, takes the broken one. Repeated points are common: word
# embeddings of a corpus, or the layer 0 of a language model, where one last token has one state whatever is before it.
#
# Output seen (CPython 3.11, numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1):
#   barnes_hut pca -10.149
#   barnes_hut random -0.075
#   exact pca 0.004
#   exact random 0.004
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from sklearn.manifold import TSNE

points = np.repeat(np.random.default_rng(0).normal(size=(8, 20)), 50, axis=0)
found = {}
for method in ("barnes_hut", "exact"):
    for init in ("pca", "random"):
        fitted = TSNE(2, perplexity=10, method=method, init=init, random_state=0).fit(points)
        found[method, init] = float(fitted.kl_divergence_)
        print(method, init, round(found[method, init], 3))
assert found["barnes_hut", "pca"] < -1, "no longer far below zero"
assert found["barnes_hut", "random"] < 0, "no longer below zero"
assert 0 <= found["exact", "pca"] < 0.1
PYTHON
echo "as described"
