"""Scores of a clustering against known labels (Appendix B), from the contingency table of the two.

Higher is better. No score depends on the names of labels or clusters or on the order of instances.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import expected_mutual_information

from taskclust.config import ConfigError


class Agreement(NamedTuple):
    """The scores of one clustering; the field names are those of ``taskclust.config.METRICS``."""

    f1: float
    pairwise_f1: float
    ari: float
    ami: float


def contingency(
    labels_true: Int[np.ndarray, " N"], labels_pred: Int[np.ndarray, " N"]
) -> Int[np.ndarray, "class cluster"]:
    """The number of instances of each class (row) in each cluster (column).

    Raises:
        ConfigError: the two differ in length or are empty.
    """
    if len(labels_true) != len(labels_pred) or len(labels_true) == 0:
        raise ConfigError(
            f"labels_pred: {len(labels_pred)} for {len(labels_true)} labels_true; pass one of each per instance"
        )
    classes, row = np.unique(labels_true, return_inverse=True)
    clusters, column = np.unique(labels_pred, return_inverse=True)
    table = np.zeros((len(classes), len(clusters)), dtype=np.int64)
    np.add.at(table, (row, column), 1)
    return table


def f1_scores(table: Int[np.ndarray, "class cluster"]) -> Float[np.ndarray, "class cluster"]:
    """The F1 of each cluster (column) as a prediction of each class (row); 0 if neither has an instance."""
    return 2 * table / np.maximum(table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True), 1)


def matched_f1_score(table: Int[np.ndarray, "class cluster"]) -> float:
    """Macro F1 after the best one-to-one matching of clusters to classes, in [0, 1].

    The matching maximizes this F1, so the score does not depend on the order of ties. A class without a cluster scores
    0. Table 1's numbers show that this is the paper's "F1": with three classes, ARI 0.872 goes with 0.959 if clusters
    are matched one to one, not with the F1 over pairs. Chance is about 1/K and is not subtracted.
    """
    f1 = f1_scores(table)
    rows, columns = linear_sum_assignment(f1, maximize=True)
    return float(f1[rows, columns].sum() / len(table))


def pair_counts(table: Int[np.ndarray, "class cluster"]) -> tuple[int, int, int, int]:
    """The numbers of pairs of instances: in one class and cluster, in one class, in one cluster, and all."""

    def pairs(n: np.ndarray) -> int:
        return int((n * (n - 1) // 2).sum())

    return pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0)), pairs(table.sum(keepdims=True))


def pairwise_f1_score(table: Int[np.ndarray, "class cluster"]) -> float:
    """F1 of "these two instances belong together" over all pairs, in [0, 1]; 1 if neither side joins a pair."""
    both, in_classes, in_clusters, _ = pair_counts(table)
    return 2 * both / (in_classes + in_clusters) if in_classes + in_clusters else 1.0


def adjusted_rand_score(table: Int[np.ndarray, "class cluster"]) -> float:
    """The Rand index adjusted for chance, in [-0.5, 1]: 0 for random clusterings, 1 for the same partition."""
    both, in_classes, in_clusters, total = pair_counts(table)
    expected = in_classes * in_clusters / total if total else 0.0
    highest = (in_classes + in_clusters) / 2
    return (both - expected) / (highest - expected) if highest != expected else 1.0


def adjusted_mutual_info_score(table: Int[np.ndarray, "class cluster"]) -> float:
    """Mutual information adjusted for chance, at most 1: 0 for random clusterings, 1 for the same partition.

    It is scikit-learn's score of that name (arithmetic normalization), computed from the table without checks of
    labels, which would take several times as long as the score.
    """
    n = int(table.sum())
    if min(table.shape) == max(table.shape) == 1:
        return 1.0
    rows, columns = table.sum(axis=1) / n, table.sum(axis=0) / n
    joint = table / n
    held = joint > 0
    information = float((joint[held] * np.log(joint[held] / np.outer(rows, columns)[held])).sum())
    most = (_entropy(rows) + _entropy(columns)) / 2
    expected = float(expected_mutual_information(table, n))
    if abs(most - information) < 1e-12:  # the same partition, even if chance would give it
        return 1.0
    return (information - expected) / (most - expected)


def _entropy(shares: Float[np.ndarray, " K"]) -> float:
    """The entropy in nats; no share may be 0."""
    return float(-(shares * np.log(shares)).sum())


def merging_score(
    tasks: Int[np.ndarray, " N"], distributions: Int[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]
) -> float:
    """How far clusters join distributions of one task more than those of different tasks (§3.2), in [-1, 1].

    It is the fraction of pairs of instances with one task but different distributions that share a cluster, minus that
    fraction for pairs with different tasks. It is 1 for clusters equal to the tasks, and about 0 for clusters that join
    whole distributions by chance, which the matched F1 by task rewards. It is NaN if every task has one distribution.
    The score is not from the paper. Other classes and their parts can replace tasks and distributions, e.g. mappings.
    """
    in_task, task_pairs, in_cluster, every = pair_counts(contingency(tasks, clusters))
    in_distribution, distribution_pairs, _, _ = pair_counts(contingency(distributions, clusters))
    if task_pairs in (distribution_pairs, every):
        return float("nan")
    joined = (in_task - in_distribution) / (task_pairs - distribution_pairs)
    return joined - (in_cluster - in_task) / (every - task_pairs)


def agreement(labels_true: Int[np.ndarray, " N"], labels_pred: Int[np.ndarray, " N"]) -> Agreement:
    """All four scores: matched macro F1, pairwise F1, ARI, AMI."""
    table = contingency(labels_true, labels_pred)
    return Agreement(
        matched_f1_score(table),
        pairwise_f1_score(table),
        adjusted_rand_score(table),
        adjusted_mutual_info_score(table),
    )
