"""Class means that were added to states are ablated, and nothing else is."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from taskclust.config import ConfigError, ProbeConfig
from taskclust.data import generate
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.codes import CODES, additive_codes, task_f1_without, without
from taskclust.probes.components import variance_components
from tests.helpers import assert_close, tiny_data
from tests.probes.test_components import design, planted

SIZES = {"task": 1.0, "distribution": 0.5, "input": 2.0, "output": 1.5}


@pytest.fixture(scope="module")
def splits():
    """Labels of instances to fit on, and of others with the same tasks and distributions."""
    identities = design(n_tasks=20, n_distributions=3, n_instructions=4)
    labels = {name: identities[name] for name in CODES}
    rows = np.arange(len(labels["task"]))
    return [
        SimpleNamespace(labels=lambda name, chosen=chosen: labels[name][chosen])
        for chosen in (rows[rows % 4 > 0], rows[rows % 4 == 0])
    ]


@pytest.fixture(scope="module")
def states(splits):
    """States of both splits, made from the same class means."""
    whole = {name: np.concatenate([s.labels(name) for s in splits]) for name in CODES}
    both = planted(whole, SIZES)[0]
    n = len(splits[0].labels("task"))
    return both[:n], both[n:]


@pytest.mark.parametrize("name", ["input", "output", "distribution", "task"])
def test_an_ablated_class_mean_leaves_no_variance_of_its_own(splits, states, name):
    codes = additive_codes(states[0], splits[0])

    left = without(states[1], splits[1], codes, (name,))

    identities = {n: splits[1].labels(n) for n in CODES}
    before = {n: float(v[0]) for n, v in variance_components(states[1][None], identities).items()}
    after = {n: float(v[0]) for n, v in variance_components(left[None], identities).items()}
    assert before[name] > 0.08
    assert -0.06 < after[name] < 0.02  # a task's class mean includes the mean of its three distributions
    others = [n for n in CODES if n != name]
    rest = sum(before[n] for n in others)
    assert_close([after[n] for n in others], [before[n] / rest for n in others], rtol=0, atol=0.06)


def test_ablating_all_class_means_leaves_nothing_of_their_sum(splits, states):
    codes = additive_codes(states[0], splits[0])

    left = without(states[1], splits[1], codes, CODES)

    assert float(left.std(0).norm()) < 1e-3 * float(states[1].std(0).norm())


def test_distributions_add_nothing_to_their_task_on_average(splits, states):
    codes = additive_codes(states[0], splits[0])

    task_of = dict(zip(splits[0].labels("distribution"), splits[0].labels("task"), strict=True))
    owners = np.array([task_of[d] for d in codes.identities["distribution"]])
    sums = torch.stack([codes.vectors["distribution"][torch.as_tensor(owners == t)].sum(0) for t in set(owners)])
    assert_close(sums, torch.zeros_like(sums), atol=1e-4)


def test_ablating_nothing_changes_nothing(splits, states):
    codes = additive_codes(states[0], splits[0])

    assert without(states[1], splits[1], codes, ()) is states[1]


def test_an_identity_that_was_not_fitted_is_named(splits, states):
    codes = additive_codes(states[0], splits[0])
    stranger = SimpleNamespace(labels=lambda _name: np.full(len(states[1]), 999))

    with pytest.raises(ConfigError, match=r"input=\[999\]: fit the class means on a split that has it"):
        without(states[1], stranger, codes, ("input",))


def test_tasks_hidden_by_inputs_are_found_once_inputs_are_ablated():
    """The negative control: without ablation k-means finds inputs, not tasks."""
    dataset = generate(tiny_data(n_tasks=12, n_task_symbols=14, n_validation_tasks=6), seed=1)
    ids = {n: np.concatenate([dataset.train.labels(n), dataset.validation.labels(n)]) for n in CODES}
    both = planted(ids, {"task": 1.0, "input": 6.0})[0]
    train, unseen = both[: dataset.train.n_instances], both[dataset.train.n_instances :]
    probe = ProbeConfig(kmeans_restarts=10)

    def f1(points):
        scores = cluster_scores(points[None], dataset.validation, probe, with_tsne=False, seed=0)
        return scores.raw["task"]["f1"][0]

    codes = additive_codes(train, dataset.train)
    states = {"train": train, "validation": unseen, "subset": planted_tasks(dataset.subset)}
    found = task_f1_without(states, dataset, restarts=10, seed=0)

    assert f1(unseen) < 0.6
    assert f1(without(unseen, dataset.validation, codes, ("input",))) > 0.95
    assert found["validation"]["nothing"] < 0.6
    assert found["validation"]["output"] < 0.6
    assert found["validation"]["input"] > 0.95
    assert found["validation"]["input and output"] > 0.95
    assert found["subset"]["nothing"] > 0.95


def planted_tasks(split):
    """States of another split that encode only its tasks."""
    return planted({n: split.labels(n) for n in CODES}, {"task": 1.0})[0]
