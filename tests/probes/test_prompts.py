"""Clusters of prompts over layers: planted identities are found, and intervals are over instructions."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, f1_score

from taskclust.config import METRICS, SPACES, ConfigError, ProbeConfig
from taskclust.probes import prompts as P
from taskclust.probes import tsne as T
from taskclust.probes.metrics import agreement
from taskclust.probes.scores import LayerClusters
from tests.helpers import assert_close

#: So few iterations of t-SNE that rounding does not matter.
PROBE = ProbeConfig(iterations=20, tsne_restarts=2, perplexity=15)
#: 2 tasks x 2 distributions x 4 instructions x 3 mappings
TASK, DISTRIBUTION, INSTRUCTION, MAPPING = (
    part.ravel() for part in np.meshgrid(range(2), range(2), range(4), range(3), indexing="ij")
)
IDENTITIES = {
    "task": TASK,
    "distribution": 2 * TASK + DISTRIBUTION,
    "distribution_mapping": 6 * TASK + 3 * DISTRIBUTION + MAPPING,
}
INSTRUCTIONS = (16 * TASK + 4 * DISTRIBUTION + INSTRUCTION).tolist()
#: Two clusters each: F1 by task is 1, 3/4 (one of four instructions is misplaced), 1/2.
PERFECT, MIDDLING, CROSSED = TASK, np.where(INSTRUCTION == 0, 1 - TASK, TASK), INSTRUCTION % 2


def coded(*codes, noise=0.05, seed=0):
    """States that are a sum of class means, each given by (labels, scale)."""
    rng = np.random.default_rng(seed)
    states = noise * rng.standard_normal((len(TASK), 8))
    for labels, scale in codes:
        states += scale * rng.standard_normal((labels.max() + 1, 8))[labels]
    return torch.tensor(states, dtype=torch.float32)


def scored(*layers, identities=IDENTITIES, resamples=20, seed=0, probe=PROBE):
    probed = [P.probe_layer(states, identities, probe, seed=seed) for states in layers]
    return P.score_layers(probed, identities, INSTRUCTIONS, resamples=resamples, seed=seed)


def clustered(raw, *starts, mark=0.0):
    """A result of ``probe_layer`` with the given clusters by task, of the states and of each start.

    ``mark`` fills the embedding, so that it can be recognized.
    """
    clusters = {"raw": {"task": raw[None]}, "tsne": {"task": np.stack(starts)}}
    embedding = np.full((len(raw), 3), mark)
    return LayerClusters(clusters=clusters, divergence=np.ones(len(starts)), embedding=embedding, tsne_method="exact")


def scored_clusters(*layers, resamples=20):
    return P.score_layers(layers, IDENTITIES, INSTRUCTIONS, resamples=resamples, seed=0)


@pytest.fixture
def planted_starts(monkeypatch):
    """Replace t-SNE so that it gives these embeddings, one per start, with divergences 0, 1, 2, ..."""

    def plant(*starts):
        embedding = T.Embedding(torch.stack(starts)[None], torch.arange(len(starts), dtype=torch.float32)[None])
        monkeypatch.setattr(P, "tsne", lambda *_, **__: embedding)

    return plant


def test_a_planted_identity_is_found_at_its_layer(monkeypatch):
    """The states replace t-SNE's embedding, so that clusters are certain; other tests check t-SNE.

    The first layer encodes instruction and mapping, which all tasks share: its clusters have half of each task, and the
    best of two has F1 1/2.
    """
    monkeypatch.setattr(P, "tsne", lambda states, **_: T.Embedding(states[:, None], torch.zeros(1, 1)))
    shared, task = coded((3 * INSTRUCTION + MAPPING, 3.0)), coded((TASK, 3.0))
    mapping = coded((IDENTITIES["distribution_mapping"], 3.0))

    found = scored(shared, task, mapping)

    for space in SPACES:
        table = found.scores[space]
        assert found.best_layer[space] == 1
        assert table["task"]["f1"][1] == table["task"]["ari"][1] == pytest.approx(1)
        assert table["distribution_mapping"]["f1"][2] == table["distribution_mapping"]["ari"][2] == pytest.approx(1)
        assert table["task"]["f1"][0] < 0.5 + 1e-9
        assert table["distribution_mapping"]["f1"][0] == pytest.approx(1 / 4)


def test_the_settings_of_the_probe_reach_tsne_and_kmeans(monkeypatch):
    given = {}
    tsne, kmeans = P.tsne, P.kmeans
    monkeypatch.setattr(P, "tsne", lambda *args, **kwargs: given.update(tsne=kwargs) or tsne(*args, **kwargs))
    monkeypatch.setattr(P, "kmeans", lambda *args, **kwargs: given.update(kmeans=kwargs) or kmeans(*args, **kwargs))
    probe = replace(PROBE, tsne_restarts=3, kmeans_restarts=7, iterations=5)

    found = P.probe_layer(coded((TASK, 3.0)), IDENTITIES, probe, seed=0)

    assert {name: given["tsne"][name] for name in probe.tsne_settings()} == probe.tsne_settings()
    assert given["kmeans"]["restarts"] == 7
    assert np.shape(found.divergence) == (3,)
    assert np.shape(found.clusters["tsne"]["task"]) == (3, len(TASK))
    assert np.shape(found.clusters["raw"]["task"]) == (1, len(TASK))
    assert np.shape(found.embedding) == (len(TASK), 3)


def test_labels_with_equally_many_classes_share_a_clustering(monkeypatch):
    """k-means only depends on their number; a second run would only find another optimum."""
    asked, kmeans = [], P.kmeans
    monkeypatch.setattr(P, "kmeans", lambda *args, **kwargs: asked.append(args[1]) or kmeans(*args, **kwargs))

    found = P.probe_layer(coded((TASK, 3.0)), {"task": TASK, "other": TASK[::-1].copy()}, PROBE, seed=0)

    assert asked == [len(set(TASK.tolist()))] * 2  # of the states, then after t-SNE
    for space in SPACES:
        assert np.array_equal(found.clusters[space]["task"], found.clusters[space]["other"])


def test_states_and_every_start_are_clustered_separately(planted_starts):
    starts = PERFECT, MIDDLING, CROSSED
    planted_starts(*(coded((labels, 3.0), seed=n) for n, labels in enumerate(starts)))

    found = P.probe_layer(coded((CROSSED, 3.0)), {"task": TASK}, PROBE, seed=0).clusters

    assert [adjusted_rand_score(*pair) for pair in zip(starts, found["tsne"]["task"], strict=True)] == [1, 1, 1]
    assert [adjusted_rand_score(CROSSED, labels) for labels in found["raw"]["task"]] == [1]


@pytest.mark.parametrize("place", range(3))
def test_the_embedding_of_a_layer_is_the_start_whose_f1_is_nearest_the_mean(planted_starts, place):
    """In any position, and however low the divergences of the others."""
    starts = [coded((labels, 3.0)) for labels in (PERFECT, CROSSED)]
    starts.insert(place, coded((MIDDLING, 3.0)))
    planted_starts(*starts)

    found = P.probe_layer(coded((TASK, 3.0)), IDENTITIES, PROBE, seed=0)

    np.testing.assert_allclose(found.embedding, starts[place], atol=0.006)
    assert found.divergence.tolist() == [0, 1, 2]


def test_a_score_after_tsne_is_the_mean_over_starts():
    starts = PERFECT, MIDDLING, CROSSED

    found = scored_clusters(clustered(CROSSED, *starts), clustered(PERFECT, CROSSED, CROSSED, CROSSED))

    for metric in METRICS:
        of_each = [getattr(agreement(TASK, row), metric) for row in starts]
        assert found.starts["task"][metric][0] == pytest.approx(of_each, abs=1e-4)
        assert found.scores["tsne"]["task"][metric][0] == pytest.approx(np.mean(of_each))
    assert found.scores["tsne"]["task"]["f1"] == pytest.approx([3 / 4, 1 / 2])
    assert found.scores["raw"]["task"]["f1"] == pytest.approx([1 / 2, 1])
    assert found.best_layer == {"raw": 1, "tsne": 0}


def test_the_best_layer_has_the_highest_mean_over_starts():
    found = scored_clusters(clustered(PERFECT, PERFECT, CROSSED, CROSSED), clustered(PERFECT, *[MIDDLING] * 3))

    assert found.best_layer["tsne"] == 1


def test_resampled_draws_are_means_over_starts_of_the_same_instructions():
    starts = PERFECT, MIDDLING, CROSSED

    found = scored_clusters(clustered(MIDDLING, *starts))

    draws = [resampled(TASK, row, units(INSTRUCTIONS, IDENTITIES["distribution"].tolist()), 20, 0) for row in starts]
    assert found.resampled_f1["raw"]["task"] == pytest.approx(draws[1])
    assert found.resampled_f1["tsne"]["task"] == pytest.approx(np.mean(draws, axis=0))
    assert found.interval["tsne"]["task"]["f1"] == pytest.approx(np.percentile(np.mean(draws, axis=0), (2.5, 97.5)))
    assert len({tuple(drawn) for drawn in draws}) == 3


def test_scores_are_the_same_for_the_same_seed():
    layers = coded(noise=1.0), coded((TASK, 1.0), noise=0.7)

    one, same = (asdict(scored(*layers)) for _ in range(2))

    np.testing.assert_equal(same, one)


def test_another_seed_draws_other_instructions():
    one, other = (
        P.score_layers([clustered(MIDDLING, MIDDLING)], IDENTITIES, INSTRUCTIONS, resamples=20, seed=seed)
        for seed in (0, 1)
    )

    np.testing.assert_equal(other.scores, one.scores)
    for space in SPACES:
        assert not np.array_equal(other.resampled_f1[space]["task"], one.resampled_f1[space]["task"])


def test_the_embedding_is_the_best_layers_after_tsne():
    layers = clustered(PERFECT, CROSSED, mark=1.0), clustered(CROSSED, PERFECT, mark=2.0)

    for order in (layers, layers[::-1]):
        assert_close(scored_clusters(*order).embedding, np.full((len(TASK), 3), 2.0))


def test_each_draw_chooses_its_own_best_layer():
    """One layer misplaces the first instruction of each distribution, the other the second."""
    first, second = (np.where(number == INSTRUCTION, 1 - TASK, TASK) for number in (0, 1))

    both, one, other = (
        scored_clusters(*(clustered(labels, labels) for labels in layers), resamples=50)
        for layers in ((first, second), (first,), (second,))
    )

    for space in SPACES:
        of_one, of_other = one.resampled_f1[space]["task"], other.resampled_f1[space]["task"]
        assert (of_one > of_other).any()
        assert (of_one < of_other).any()
        np.testing.assert_array_equal(both.resampled_f1[space]["task"], np.maximum(of_one, of_other))


def test_intervals_contain_the_score_and_shrink_to_it_when_all_agree():
    found = scored_clusters(clustered(PERFECT, PERFECT), resamples=50)
    mixed = scored_clusters(clustered(MIDDLING, MIDDLING), resamples=200)

    assert found.interval["raw"]["task"]["f1"] == (1.0, 1.0)
    low, high = mixed.interval["raw"]["task"]["f1"]
    assert low < mixed.scores["raw"]["task"]["f1"][0] < high
    assert len(mixed.resampled_f1["raw"]["task"]) == 200


def test_a_label_of_nearly_every_prompt_is_left_out():
    found = scored(coded((TASK, 3.0)), identities={**IDENTITIES, "distribution_mapping": np.arange(len(TASK))})

    assert set(found.scores["raw"]) == set(found.interval["tsne"]) == {"task", "distribution"}


def test_too_few_prompts_for_the_perplexity_are_refused():
    few = {"task": np.array([0, 1, 0, 1])}

    with pytest.raises(ConfigError, match="perplexity=15"):
        P.probe_layer(torch.randn(4, 3), few, PROBE, seed=0)


# ---------------------------------------------------------------- resampling


def units(instructions, strata=None):
    return list(zip([0] * len(instructions) if strata is None else strata, instructions, strict=True))


def resampled(labels_true, labels_pred, units, resamples, seed):
    return P.resampled_f1(labels_true, labels_pred, P.resampled_rows(units, resamples, seed))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 100))
def test_resampling_keeps_instances_of_an_instruction_together(seed):
    """All prompts of an instruction are right, or all wrong, so every draw's F1 is that of its units."""
    right = np.random.default_rng(seed).integers(0, 2, size=16).astype(bool)
    unit_task = np.repeat([0, 1], 8)
    predicted = np.where(right, unit_task, 1 - unit_task)

    drawn = resampled(np.repeat(unit_task, 3), np.repeat(predicted, 3), units(np.repeat(np.arange(16), 3)), 5, seed)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(16, size=16) for _ in range(5)]

    matched = predicted if right.mean() >= 0.5 else 1 - predicted
    expected = [f1_score(unit_task[d], matched[d], average="macro") for d in draws]
    if right.mean() != 0.5:  # then both matchings are best
        np.testing.assert_allclose(drawn, expected, atol=1e-12)


def test_units_are_drawn_within_their_stratum():
    """Two strata of one class each: every draw has equally many of both, so a perfect clustering stays perfect."""
    stratum = np.repeat([0, 1], 40)

    drawn = resampled(stratum, stratum, units(np.arange(80), stratum), 10, 0)
    lone = resampled(stratum, np.zeros(80, dtype=int), units(np.arange(80), stratum), 10, 0)

    assert set(drawn) == {1.0}
    assert lone == pytest.approx([1 / 3] * 10)


def test_draws_of_two_clusterings_are_paired():
    """Over 400 seeds the mean of 30 draws is 0.008 ± 0.008 below the score."""
    clusters = np.where(np.arange(len(TASK)) % 7 == 0, 1 - TASK, TASK)

    first, second = (resampled(TASK, labels, units(INSTRUCTIONS), 30, 3) for labels in (clusters, 1 - clusters))

    np.testing.assert_allclose(first, second, atol=1e-12)
    assert np.mean(first) == pytest.approx(agreement(TASK, clusters).f1, abs=0.06)


@pytest.mark.parametrize("right", [0.0, 0.5])
def test_draws_lie_around_the_score_even_of_many_small_classes(right):
    """Matching again in every draw would raise F1 of 160 classes by 0.07 to 0.13.

    Over 25 seeds the mean of the draws is 0.02 ± 0.002 below the score.
    """
    rng = np.random.default_rng(0)
    distribution, instruction, word = (x.ravel() for x in np.meshgrid(range(16), range(3), range(10), indexing="ij"))
    classes = 10 * distribution + word
    clusters = np.where(rng.random(480) < right, classes, rng.integers(160, size=480))

    drawn = resampled(classes, clusters, units(instruction, distribution), 200, 0)

    assert np.mean(drawn) == pytest.approx(agreement(classes, clusters).f1, abs=0.04)


def test_the_spread_is_over_instructions_and_not_over_prompts():
    """Sixteen instructions, half of them entirely wrong: the spread is that of sixteen draws, not of 160.

    Over 30 seeds it is 3.1 to 3.9 times as large (3.5 ± 0.2).
    """
    task = np.repeat([0, 1], 80)
    wrong = np.repeat(np.arange(16) % 2 == 0, 10)
    predicted = np.where(wrong, 2 + task, task)
    by_unit = resampled(task, predicted, units(np.repeat(np.arange(16), 10)), 300, 0)
    by_prompt = resampled(task, predicted, units(range(160)), 300, 0)

    assert np.std(by_unit) > 2 * np.std(by_prompt)


def test_bag_of_tokens_counts():
    bag = P.bag_of_tokens([[7, 9, 7], [9], [12, 9]])

    assert bag.tolist() == [[2, 1, 0], [0, 1, 0], [0, 1, 1]]


# ---------------------------------------------------------------- many points


def test_one_instruction_per_distribution_has_no_interval():
    identities = {"task": TASK, "distribution": TASK}
    layer = P.probe_layer(coded((TASK, 3.0)), identities, PROBE, seed=0)

    with pytest.warns(UserWarning, match="every distribution has only one instruction, .* no intervals"):
        found = P.score_layers([layer], identities, [f"do {task}" for task in TASK], resamples=20, seed=0)

    assert found.interval == {"raw": {}, "tsne": {}}
    assert found.resampled_f1 == {"raw": {}, "tsne": {}}
    assert found.scores["raw"]["task"]["f1"][0] > 0.9
