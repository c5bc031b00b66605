"""Scores of states with planted identities, compared with the known answers."""

import dataclasses
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch

from taskclust import experiments
from taskclust.config import LABELS, METRICS, ConfigError, ProbeConfig
from taskclust.data import generate
from taskclust.probes import clusters as module
from taskclust.probes.clusters import cluster_scores, require_clustered
from taskclust.probes.scores import ClusterScores
from taskclust.probes.tsne import Embedding
from taskclust.runner import Runner
from taskclust.store import Store
from tests.helpers import assert_close, tiny_data

PROBE = ProbeConfig(perplexity=5.0, iterations=60, tsne_restarts=2, kmeans_restarts=4)
WIDTH = 32


@pytest.fixture(scope="module")
def dataset():
    """Three hard tasks and their originals in the subset, several distributions each."""
    data = tiny_data(n_tasks=5, n_hard_tasks=3, n_subset_tasks=3, n_validation_tasks=5, distribution_totals=((5, 8),))
    return generate(data, seed=0)


def codes(labels, *, noise=0.01, seed=0, scale=10.0):
    """States [N, D]: distant class means of each label, with little noise."""
    rng = np.random.default_rng(seed)
    values = np.unique(labels, return_inverse=True)[1]
    table = scale * rng.normal(size=(values.max() + 1, WIDTH))
    return torch.tensor(table[values] + noise * rng.normal(size=(len(labels), WIDTH)), dtype=torch.float32)


def score(states, split, *, with_tsne=False, probe=PROBE, seed=0):
    return cluster_scores(torch.stack(states), split, probe, with_tsne=with_tsne, seed=seed)


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("split", ["subset", "validation"])
def test_states_that_encode_only_one_identity_cluster_perfectly_by_it(dataset, split, name):
    split = dataset.splits[split]

    scores = score([codes(split.labels(name))], split).raw[name]

    assert {metric: scores[metric] for metric in METRICS} == {metric: pytest.approx([1.0]) for metric in METRICS}


def test_states_that_encode_the_task_separate_all_hard_examples(dataset):
    split = dataset.subset

    scores = score([codes(split.labels("task"))], split)

    assert scores.raw["task"]["f1"] == pytest.approx([1.0])
    assert scores.raw["task"]["hard_separated"] == [1.0]


def test_states_shared_with_the_original_separate_no_hard_example(dataset):
    """A hard instance and its original have the same state, as if the replaced symbol were ignored."""
    split = dataset.subset
    hard, original = split.hard_pairs()
    shared = codes(split.labels("distribution"), noise=1.0)
    shared[hard] = shared[original]

    scores = score([shared], split)

    assert scores.raw["task"]["hard_separated"] == [0.0]
    assert scores.raw["task"]["f1"][0] < 0.9


def test_the_separated_fraction_of_hard_examples_is_the_planted_one(dataset):
    """One hard task has its own point; the others share two points, distinguished by input, with their originals."""
    split = dataset.subset
    hard, original = split.hard_pairs()
    place = split.labels("task").copy()
    apart = place[hard] == place[hard].min()
    place[hard[~apart]] = place[original[~apart]]
    is_first_mapping = np.arange(split.n_instances) % split.inputs.shape[1] == 0
    place = 2 * place + (np.isin(place, place[hard[~apart]]) & is_first_mapping)
    assert len(np.unique(place)) == len(np.unique(split.labels("task"))), "as many clusters as are looked for"

    scores = score([codes(place)], split)

    assert 0 < apart.mean() < 1
    assert_close(scores.raw["task"]["hard_separated"], [apart.mean()])


def test_layers_are_scored_in_their_order(dataset):
    split = dataset.subset
    states = [codes(split.labels("input")), codes(split.labels("task")), codes(split.labels("distribution"))]

    scores = score(states, split).raw

    assert all(len(values) == 3 for table in scores.values() for values in table.values())
    assert np.argmax(scores["task"]["ari"]) == 1
    assert np.argmax(scores["distribution"]["ari"]) == 2


@pytest.mark.parametrize("name", LABELS)
def test_shuffled_labels_score_near_chance(dataset, name):
    split = dataset.subset
    k = len(np.unique(split.labels(name)))

    runs = [score([codes(split.labels(name))], split, seed=seed).raw[name] for seed in range(20)]

    assert_close(fmean(run["shuffled_ari"][0] for run in runs), 0.0, atol=0.03)
    assert fmean(run["shuffled_f1"][0] for run in runs) < min(0.6, 1 / k + 0.35)
    assert len({run["shuffled_ari"][0] for run in runs}) > 1


def test_states_of_noise_score_near_chance(dataset):
    split = dataset.subset
    noise = [torch.randn(split.n_instances, WIDTH, generator=torch.Generator().manual_seed(s)) for s in range(10)]

    scores = score(noise, split).raw

    for name in ("task", "distribution"):
        assert_close(fmean(scores[name]["ari"]), 0.0, atol=0.05)
        assert_close(fmean(scores[name]["ami"]), 0.0, atol=0.07)


def test_without_tsne_only_the_raw_states_are_scored(dataset):
    scores = score([codes(dataset.subset.labels("task"))], dataset.subset)

    assert set(scores.raw) == set(LABELS)
    assert scores == ClusterScores(raw=scores.raw)


def test_with_tsne_both_spaces_and_each_start_are_there(dataset):
    split = dataset.subset

    scores = score([codes(split.labels("task"), seed=s) for s in range(2)], split, with_tsne=True)

    common = {*METRICS, "shuffled_ari", "shuffled_f1", "label_inertia"}
    assert np.shape(scores.top_embedding) == (split.n_instances, PROBE.components)
    assert np.shape(scores.divergence) == (2, PROBE.tsne_restarts)
    assert {metric: len(values) for metric, values in scores.mapping.items()} == {
        "f1": PROBE.tsne_restarts,
        "merging": PROBE.tsne_restarts,
    }
    for name in LABELS:
        extra = {"hard_separated", "merging"} if name == "task" else set()
        assert set(scores.raw[name]) == set(scores.tsne[name]) == common | extra
        assert set(scores.starts[name]) == {*METRICS} | extra
        assert all(len(values) == 2 for values in scores.tsne[name].values())
        assert all(values.dtype == np.float64 for values in scores.tsne[name].values())
        assert all(np.shape(v) == (2, PROBE.tsne_restarts) for v in scores.starts[name].values())


def test_label_inertia_distinguishes_bad_states_from_bad_clustering(dataset):
    """By task, clusters have the inertia of the labels' partition; by input, the labels' partition has more."""
    split = dataset.subset

    scores = score([codes(split.labels(name), noise=1.0) for name in ("task", "input")], split).raw["task"]

    assert scores["label_inertia"][0] == pytest.approx(1.0, rel=1e-3)
    assert scores["label_inertia"][1] > 2


def test_split_without_hard_examples_has_no_share_of_separated_ones(dataset):
    split = dataset.validation

    assert "hard_separated" not in score([codes(split.labels("task"))], split).raw["task"]


def test_a_score_is_the_mean_over_starts_whatever_their_divergence(dataset, monkeypatch):
    """Of three planted starts one is perfect; the one of lowest divergence is noise, and so is the third."""
    split = dataset.subset
    perfect, *noise = codes(split.labels("task")), *(codes(np.arange(split.n_instances), seed=s) for s in (1, 2))
    planted = Embedding(torch.stack([perfect, *noise])[None], torch.tensor([[2.0, 1.0, 3.0]]))
    monkeypatch.setattr(module, "tsne", lambda *_, **__: planted)

    scores = score([perfect], split, with_tsne=True)

    for metric in (*METRICS, "merging", "hard_separated"):
        of_each = scores.starts["task"][metric][0]
        assert scores.tsne["task"][metric] == pytest.approx([fmean(of_each)], abs=1e-4)
    assert scores.starts["task"]["f1"][0][0] == 1
    assert scores.tsne["task"]["f1"][0] < 0.9


def test_the_figure_shows_the_start_nearest_the_mean(dataset, monkeypatch):
    split = dataset.subset
    perfect, noise = codes(split.labels("task")), codes(np.arange(split.n_instances))
    is_perfect = np.random.default_rng(0).random(split.n_instances) < 0.6
    middling = torch.where(torch.as_tensor(is_perfect)[:, None], perfect, noise)
    planted = Embedding(torch.stack([perfect, noise, middling])[None], torch.zeros(1, 3))
    monkeypatch.setattr(module, "tsne", lambda *_, **__: planted)

    scores = score([perfect], split, with_tsne=True)

    f1 = scores.starts["task"]["f1"][0]
    assert f1[1] < f1[2] < f1[0] == 1
    assert_close(scores.top_embedding, middling.numpy().round(2), atol=0.01)


@pytest.mark.parametrize("code", ["task", "distribution"])
def test_merging_and_clusters_by_mapping_follow_the_encoded_identities(dataset, code, monkeypatch):
    split = dataset.validation
    states = codes(split.labels(code)) if code == "task" else codes(split.labels("distribution_mapping"))
    planted = Embedding(states[None, None], torch.zeros(1, 1))
    monkeypatch.setattr(module, "tsne", lambda *_, **__: planted)

    scores = score([states], split, with_tsne=True)

    merging = scores.tsne["task"]["merging"][0]
    assert (merging == pytest.approx(1)) if code == "task" else (merging < 0.5)
    assert scores.mapping["f1"][0] < 1


def test_same_seed_gives_the_same_scores(dataset):
    split = dataset.subset
    noise = codes(np.arange(split.n_instances))

    one, same, other = (score([noise], split, with_tsne=True, seed=seed) for seed in (0, 0, 1))

    np.testing.assert_equal(dataclasses.asdict(same), dataclasses.asdict(one))
    with pytest.raises(AssertionError):
        np.testing.assert_equal(dataclasses.asdict(other), dataclasses.asdict(one))


def test_split_of_one_class_raises():
    data = tiny_data(n_tasks=1, n_hard_tasks=0, n_subset_tasks=1, n_validation_tasks=1)
    split = generate(data, seed=0).validation

    with pytest.raises(ConfigError, match=r"n_clusters=1: .* two classes or more"):
        score([codes(split.labels("input"))], split)


def test_perplexity_that_is_not_below_the_number_of_instances_raises(dataset):
    split = dataset.subset
    probe = replace(PROBE, perplexity=float(split.n_instances))

    with pytest.raises(ConfigError, match="perplexity"):
        score([codes(split.labels("task"))], split, with_tsne=True, probe=probe)


def test_states_that_are_not_finite_raise(dataset):
    states = codes(dataset.subset.labels("task"))
    states[0, 0] = torch.nan

    with pytest.raises(ConfigError, match="NaN or infinity"):
        score([states], dataset.subset)


@pytest.mark.parametrize(
    ("changes", "probe", "message"),
    [
        ({"n_validation_tasks": 1}, PROBE, "tasks of the validation set=1: clustering needs two"),
        ({"n_subset_tasks": 0}, PROBE, "tasks of the subset set=0: clustering needs two"),
        ({"n_hard_instructions": 0}, PROBE, "tasks of the subset set=0: clustering needs two"),
        ({"n_validation_instructions": 0}, PROBE, "tasks of the validation set=0: clustering needs two"),
        ({}, replace(PROBE, perplexity=900.0), "perplexity=900.0: must be below the validation set's"),
        ({}, replace(PROBE, neighbors=9_000), "neighbors=9000: the training set has"),
    ],
)
def test_splits_that_cannot_be_probed_are_refused_before_training(changes, probe, message):
    splits = generate(tiny_data(**changes), seed=0).splits

    with pytest.raises(ConfigError, match=message):
        require_clustered(splits, probe)


@pytest.mark.parametrize("kind", ["synthetic", "pretraining"])
def test_nothing_is_trained_if_splits_cannot_be_probed(kind, tmp_path, monkeypatch):
    runner, run = Runner(Store(tmp_path)), experiments.part(kind, "run")
    config = experiments.part(kind, "config").smoke()
    monkeypatch.setattr(Runner, "trajectory", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(Runner, "run", lambda *_: pytest.fail("trained"))

    with pytest.raises(ConfigError, match="perplexity"):
        run.run(replace(config, probe=replace(config.probe, perplexity=9_000.0)), runner, tmp_path)
