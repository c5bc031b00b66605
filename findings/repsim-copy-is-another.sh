#!/usr/bin/env bash
# repsim 0.1.5: by the unbiased estimators, the CKA of 768 features of 100 points and their copy is 0.12, not 1.
#
# Behaviour: `cka([x, x.copy()], "linear", "song")` has 1 on its diagonal and 0.12 beside it, though the two are equal.
# CKA is HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)). repsim's own `hsic` gives all three by the estimator asked for, and
# their ratio is 1. But `cka` takes the two below the root by the biased one, "gretton". The more features, and the
# fewer points, the larger is the bias, and the smaller the value. "lange" does the same. Nothing is raised or warned.
#
# Why it surprises: an unbiased estimator is chosen just because there are few points and many features, as the biased
# one calls unrelated noise similar (0.88 here). Two models, or two layers, with equal states then look unrelated, while
# the diagonal looks like a check that was passed; and the wider a layer, the less similar it is to all others.
#
# Output seen (CPython 3.11, numpy 2.4.6):
#   gretton, 5 features: copy 1.000, noise 0.047; by its hsic: copy 1.000, noise 0.047
#   gretton, 768 features: copy 1.000, noise 0.885; by its hsic: copy 1.000, noise 0.885
#   song, 5 features: copy 0.941, noise -0.001; by its hsic: copy 1.000, noise -0.001
#   song, 768 features: copy 0.117, noise 0.002; by its hsic: copy 1.000, noise 0.019
#   lange, 5 features: copy 0.942, noise -0.001; by its hsic: copy 1.000, noise -0.001
#   lange, 768 features: copy 0.126, noise 0.011; by its hsic: copy 1.000, noise 0.089
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet repsim==0.1.5 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from repsim import cka, hsic

copies = {}
for estimator in ("gretton", "song", "lange"):
    for width in (5, 768):
        x, noise = np.random.default_rng(0).normal(size=(2, 100, width))
        states = [x, x.copy(), noise]
        given = cka(states, "linear", estimator)
        parts = hsic(states, "linear", estimator)
        ratio = parts / np.sqrt(np.outer(parts.diagonal(), parts.diagonal()))
        copies[estimator, width] = given[0, 1]
        print(
            f"{estimator}, {width} features: copy {given[0, 1]:.3f}, noise {given[0, 2]:.3f}; "
            f"by its hsic: copy {ratio[0, 1]:.3f}, noise {ratio[0, 2]:.3f}"
        )
        assert np.allclose(given.diagonal(), 1) and np.isclose(ratio[0, 1], 1)
        biased = hsic(states, "linear", "gretton").diagonal()
        assert np.isclose(given[0, 1], parts[0, 1] / biased[0]), "it is no longer divided by the biased ones"
assert np.isclose(copies["gretton", 768], 1)
for estimator in ("song", "lange"):
    assert copies[estimator, 768] < 0.2, "the copy is the same now"
PYTHON
echo "as described"
