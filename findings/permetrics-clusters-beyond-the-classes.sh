#!/usr/bin/env bash
# permetrics 2.1.0: clusters beyond the number of classes count as pure, so homogeneity of unrelated clusters is 0.80.
#
# Behaviour: the sum over clusters visits as many as there are classes and leaves out the others, as if each held one
# class. Of two classes spread evenly over ten clusters homogeneity should be 0, and it is with two clusters; with ten
# it is 0.80. V-measure and normalized mutual information disagree, though with the arithmetic mean, which both use, they
# are one number. Nothing is raised or warned.
#
# Why it surprises: more clusters than classes is the usual choice when one looks for inner structure, and a score of
# 0.80 is what one would like to see there.
#
# Output seen (CPython 3.11, scikit-learn 1.9.1):
#   2 clusters: homogeneity 0.00, scikit-learn 0.00
#   10 clusters: homogeneity 0.80, scikit-learn 0.00
#   four classes, five clusters: V-measure 0.43, normalized mutual information 0.40, scikit-learn 0.40 0.40
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet permetrics==2.1.0 scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from permetrics import ClusteringMetric
from sklearn import metrics


def scores(names, classes, clusters):
    metric = ClusteringMetric(y_true=classes, y_pred=clusters)
    both = [getattr(metric, name)() for name in names], [getattr(metrics, name)(classes, clusters) for name in names]
    return [[round(float(value), 2) for value in values] for values in both]


points = np.arange(1000)
found = {}
for count in (2, 10):
    found[count] = [value[0] for value in scores(["homogeneity_score"], points // 500, points % count)]
    print(f"{count} clusters: homogeneity {found[count][0]:.2f}, scikit-learn {found[count][1]:.2f}")
classes = points // 250  # four, in five clusters that mostly follow them
clusters = np.where(points % 3 == 0, points % 5, classes)
ours, theirs = scores(["v_measure_score", "normalized_mutual_info_score"], classes, clusters)
print(
    f"four classes, five clusters: V-measure {ours[0]:.2f}, normalized mutual information {ours[1]:.2f}, "
    f"scikit-learn {theirs[0]:.2f} {theirs[1]:.2f}"
)
assert found == {2: [0.0, 0.0], 10: [0.8, 0.0]}, "no longer as described"
assert theirs[0] == theirs[1] == ours[1] and ours[0] > ours[1] + 0.01, "no longer as described"
PYTHON
