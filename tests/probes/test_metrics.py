"""Every metric has its registered invariants, and agrees with a reference and a hand-computed case."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import adjusted_mutual_info_score as sklearn_ami
from sklearn.metrics import adjusted_rand_score as sklearn_ari

from taskclust import config
from taskclust.config import ConfigError
from taskclust.probes.metrics import (
    adjusted_rand_score,
    agreement,
    contingency,
    matched_f1_score,
    merging_score,
    pair_counts,
    pairwise_f1_score,
)
from tests.helpers import assert_close
from tests.strategies import label_pairs

EXACT = {"rtol": 1e-12, "atol": 1e-12}
METRICS = {name: lambda true, pred, name=name: getattr(agreement(true, pred), name) for name in config.METRICS}
SYMMETRIC = {"pairwise_f1", "ari", "ami"}
ADJUSTED_FOR_CHANCE = {"ari", "ami"}


def check_perfect_is_one(metric, true, pred):
    assert_close(metric(true, true), 1.0)
    assert_close(metric(pred, pred), 1.0)


def check_renaming_labels_changes_nothing(metric, true, pred):
    renamed = 7 - 3 * true  # order reversed, gaps, a negative name

    assert_close(metric(renamed, pred), metric(true, pred), **EXACT)


def check_renaming_clusters_changes_nothing(metric, true, pred):
    renamed = 7 - 3 * pred

    assert_close(metric(true, renamed), metric(true, pred), **EXACT)


def check_order_of_instances_changes_nothing(metric, true, pred):
    order = np.random.default_rng(0).permutation(len(true))

    assert_close(metric(true[order], pred[order]), metric(true, pred), **EXACT)


def check_symmetric(metric, true, pred):
    assert_close(metric(pred, true), metric(true, pred), **EXACT)


def check_plain_float_of_at_most_one(metric, true, pred):
    score = metric(true, pred)

    assert type(score) is float
    assert -1 <= score <= 1 + 1e-12


INVARIANTS = {
    "perfect is one": (check_perfect_is_one, METRICS),
    "renaming labels": (check_renaming_labels_changes_nothing, METRICS),
    "renaming clusters": (check_renaming_clusters_changes_nothing, METRICS),
    "order of instances": (check_order_of_instances_changes_nothing, METRICS),
    "symmetric": (check_symmetric, SYMMETRIC),
    "plain float": (check_plain_float_of_at_most_one, METRICS),
}
TABLE = [(metric, name) for name, (_, metrics) in INVARIANTS.items() for metric in sorted(metrics)]


@pytest.mark.parametrize(("metric", "invariant"), TABLE, ids=[f"{m}-{i.replace(' ', '_')}" for m, i in TABLE])
@settings(deadline=None, max_examples=60)
@given(labels=label_pairs())
def test_metric_has_invariant(metric, invariant, labels):
    INVARIANTS[invariant][0](METRICS[metric], *labels)


def test_every_metric_of_the_configuration_is_an_agreement():
    assert set(agreement(np.array([0, 1]), np.array([0, 1]))._fields) == set(config.METRICS)


def test_matched_f1_is_not_symmetric():
    """This is why the table lacks it: the mean is over classes, and a class without a cluster scores 0."""
    one, three = np.zeros(3, dtype=int), np.arange(3)

    assert_close(METRICS["f1"](one, three), 1 / 2)
    assert_close(METRICS["f1"](three, one), 1 / 6)


# --- oracles


def naive_matched_f1(true, pred):
    """The best mean F1 of the classes over every one-to-one matching, including classes without a cluster."""
    classes, clusters = np.unique(true), np.unique(pred)
    room = [*clusters, *[None] * len(classes)]
    best = 0.0
    for chosen in set(itertools.permutations(room, len(classes))):
        total = 0.0
        for one, other in zip(classes, chosen, strict=True):
            both = int(((true == one) & (pred == other)).sum()) if other is not None else 0
            if both:
                precision, recall = both / (pred == other).sum(), both / (true == one).sum()
                total += 2 * precision * recall / (precision + recall)
        best = max(best, total / len(classes))
    return best


def naive_pairwise_f1(true, pred):
    """The pairwise F1 by a loop over all pairs of instances."""
    hits = misses = alarms = 0
    for i, j in itertools.combinations(range(len(true)), 2):
        in_class, in_cluster = true[i] == true[j], pred[i] == pred[j]
        hits += in_class and in_cluster
        misses += in_class and not in_cluster
        alarms += in_cluster and not in_class
    return 2 * hits / (2 * hits + misses + alarms) if hits + misses + alarms else 1.0


ORACLES = {
    "ari": (sklearn_ari, 8),
    "ami": (sklearn_ami, 8),
    "pairwise_f1": (naive_pairwise_f1, 8),
    "f1": (naive_matched_f1, 3),
}


@pytest.mark.parametrize("name", ORACLES)
def test_metric_equals_its_oracle(name):
    oracle, max_classes = ORACLES[name]

    @settings(deadline=None, max_examples=100)
    @given(labels=label_pairs(max_size=25, max_classes=max_classes))
    def check(labels):
        assert_close(METRICS[name](*labels), oracle(*labels), **EXACT)

    check()


@pytest.mark.parametrize("name", ["ami", "ari", "pairwise_f1"])
@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize(
    ("true", "pred"),
    [(np.zeros_like, np.zeros_like), (np.zeros_like, np.array), (np.array, np.zeros_like), (np.array, np.array)],
    ids=["one-one", "one-singletons", "singletons-one", "singletons-singletons"],
)
def test_metric_of_degenerate_partitions_equals_its_oracle(name, n, true, pred):
    labels = true(np.arange(n)), pred(np.arange(n))

    assert_close(METRICS[name](*labels), float(ORACLES[name][0](*labels)), **EXACT)


# --- null


@pytest.mark.parametrize("name", sorted(ADJUSTED_FOR_CHANCE))
@pytest.mark.parametrize("n_classes", [2, 6, 30])
def test_random_labels_score_near_zero_in_adjusted_scores(name, n_classes):
    rng = np.random.default_rng(n_classes)

    scores = [METRICS[name](*rng.integers(n_classes, size=(2, 180))) for _ in range(60)]

    assert_close(np.mean(scores), 0.0, atol=0.01)


def test_random_labels_score_one_over_k_or_a_little_more_in_matched_f1():
    rng = np.random.default_rng(0)

    for k in (2, 5, 10):
        score = np.mean([METRICS["f1"](*rng.integers(k, size=(2, 2_000))) for _ in range(20)])
        assert 1 / k < score < 1 / k + 0.06


# --- worked by hand

BY_HAND = {
    # table [[2, 1], [0, 3]]: F1 4/5 and 6/7; pairs 4 of 6 and 7; 6 * 7 / 15 = 2.8 expected of (6 + 7) / 2
    "one astray of six": (
        [0, 0, 0, 1, 1, 1],
        [5, 5, 9, 9, 9, 9],
        {"f1": (4 / 5 + 6 / 7) / 2, "pairwise_f1": 8 / 13, "ari": 1.2 / 3.7},
    ),
    # table of ones: no pair in both; mutual information 0 where ln(2) / 3 is expected of ln(2)
    "crossed": (
        [0, 0, 1, 1],
        [0, 1, 0, 1],
        {"f1": 1 / 2, "pairwise_f1": 0.0, "ari": -1 / 2, "ami": -1 / 2},
    ),
    # two classes lumped: F1 1, 2/3 and 0; pairs 3 of 3 and 1 + 6; 3 * 7 / 15 = 1.4 expected of 5
    "three classes, two clusters": (
        [0, 0, 1, 1, 2, 2],
        [0, 0, 1, 1, 1, 1],
        {"f1": (1 + 2 / 3) / 3, "pairwise_f1": 6 / 10, "ari": 1.6 / 3.6},
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_metric_equals_hand_computed_values(case):
    true, pred, expected = BY_HAND[case]

    scores = agreement(np.array(true), np.array(pred))

    for name, value in expected.items():
        assert_close(getattr(scores, name), value, **EXACT)


def test_contingency_counts_instances_of_each_class_in_each_cluster():
    table = contingency(np.array([4, 4, 4, 9, 9]), np.array([1, 1, 0, 0, 7]))

    assert table.tolist() == [[1, 2, 0], [1, 0, 1]]
    assert pair_counts(table) == (1, 4, 2, 10)


def test_scores_of_a_table_are_those_of_the_labels():
    true, pred = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 2])
    table = contingency(true, pred)

    scores = agreement(true, pred)

    assert scores[:3] == (matched_f1_score(table), pairwise_f1_score(table), adjusted_rand_score(table))


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        ([0, 1], [0, 1, 1], "labels_pred: 3 for 2 labels_true"),
        ([0, 1], [], "labels_pred: 0 for 2 labels_true"),
        ([], [], "labels_pred: 0 for 0 labels_true"),
    ],
    ids=["longer", "shorter", "empty"],
)
def test_labels_of_different_length_or_none_raise(true, pred, message):
    with pytest.raises(ConfigError, match=message):
        agreement(np.array(true, dtype=int), np.array(pred, dtype=int))


# --- merging


@settings(deadline=None)
@given(label_pairs())
def test_merging_equals_counting_pairs_one_by_one(pair):
    distributions, clusters = pair
    tasks = distributions // 2
    joined = {"one": [], "other": []}
    for a, b in itertools.combinations(range(len(tasks)), 2):
        if distributions[a] != distributions[b]:
            joined["one" if tasks[a] == tasks[b] else "other"].append(clusters[a] == clusters[b])

    found = merging_score(tasks, distributions, clusters)

    if all(joined.values()):
        assert_close(found, np.mean(joined["one"]) - np.mean(joined["other"]), **EXACT)
        assert_close(merging_score(tasks, distributions, tasks), 1.0)
        assert_close(merging_score(tasks, distributions, distributions), 0.0)
    else:
        assert np.isnan(found)


def test_merging_whole_distributions_by_chance_scores_zero_unlike_f1():
    """Within 5 standard errors; without the correction for chance it would be 11 away."""
    tasks, distributions = np.repeat(np.arange(10), 30), np.repeat(np.arange(20), 15)
    rng = np.random.default_rng(0)
    clusterings = [rng.permutation(20)[distributions] % 10 for _ in range(300)]

    merged = [merging_score(tasks, distributions, clusters) for clusters in clusterings]

    assert abs(np.mean(merged)) < 5 * np.std(merged) / np.sqrt(len(merged))
    assert np.mean([matched_f1_score(contingency(tasks, clusters)) for clusters in clusterings]) > 0.4
