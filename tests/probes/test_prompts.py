"""Clusters of prompts over layers: what is planted is found, and intervals are over instructions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score

from taskclust.config import ConfigError, ProbeConfig
from taskclust.probes import prompts as P
from taskclust.probes import tsne as T
from taskclust.probes.metrics import agreement

PROBE = ProbeConfig(iterations=500, tsne_restarts=1, perplexity=15)
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


def coded(*codes, noise=0.05, seed=0):
    """States that are a sum of codes, each (labels, scale)."""
    rng = np.random.default_rng(seed)
    states = noise * rng.standard_normal((len(TASK), 8))
    for labels, scale in codes:
        states += scale * rng.standard_normal((labels.max() + 1, 8))[labels]
    return torch.tensor(states, dtype=torch.float32)


def scored(*layers, identities=IDENTITIES, resamples=20, seed=0, probe=PROBE):
    probed = [P.probe_layer(states, identities, probe, seed=seed) for states in layers]
    return P.score_layers(probed, identities, INSTRUCTIONS, resamples=resamples, seed=seed)


def test_a_planted_identity_is_found_at_its_layer():
    """After t-SNE by less: of few points its clusters hang on rounding (five seeds: .92 to .98 and .18 to .44 more)."""
    noise, task = coded(noise=1.0), coded((TASK, 3.0), noise=0.6)
    mapping = coded((IDENTITIES["distribution_mapping"], 3.0), noise=0.6)

    found = scored(noise, task, mapping, probe=replace(PROBE, iterations=1000))

    for space, by_task, more_by_mapping in (("raw", 0.95, 0.5), ("tsne", 0.85, 0.1)):
        table = found["scores"][space]
        assert found["best_layer"][space] == 1
        assert table["task"]["f1"][1] > by_task
        assert table["distribution_mapping"]["f1"][2] - table["distribution_mapping"]["f1"][0] > more_by_mapping
        assert table["task"]["f1"][0] < 0.8
    assert found["scores"]["raw"]["task"]["ari"][1] == found["scores"]["raw"]["distribution_mapping"]["ari"][2] == 1


def test_scores_are_the_same_for_the_same_seed():
    layers = coded(noise=1.0), coded((TASK, 1.0), noise=0.7)

    assert scored(*layers) == scored(*layers)
    assert scored(*layers)["resampled_f1"] != scored(*layers, seed=1)["resampled_f1"]


def test_the_embedding_is_the_best_layers():
    found = scored(coded(noise=1.0), coded((TASK, 3.0)))
    points = np.array(found["embedding"])
    centers = [points[task == TASK].mean(axis=0) for task in (0, 1)]

    assert points.shape == (len(TASK), 3)
    assert np.linalg.norm(centers[0] - centers[1]) > points[TASK == 0].std()


def test_intervals_hold_the_score_and_shrink_to_it_when_all_agree():
    found = scored(coded((TASK, 3.0)), resamples=50)
    mixed = scored(coded((TASK, 0.6), noise=0.5), resamples=200)

    assert found["interval"]["raw"]["task"]["f1"] == [1.0, 1.0]
    low, high = mixed["interval"]["raw"]["task"]["f1"]
    assert low < mixed["scores"]["raw"]["task"]["f1"][0] < high
    assert len(mixed["resampled_f1"]["raw"]["task"]) == 200


def test_a_label_of_nearly_every_prompt_is_left_out():
    found = scored(coded((TASK, 3.0)), identities={**IDENTITIES, "distribution_mapping": np.arange(len(TASK))})

    assert set(found["scores"]["raw"]) == set(found["interval"]["tsne"]) == {"task", "distribution"}


def test_too_few_prompts_for_the_perplexity_are_refused():
    few = {"task": np.array([0, 1, 0, 1])}

    with pytest.raises(ConfigError, match="perplexity=15"):
        P.probe_layer(torch.randn(4, 3), few, PROBE, seed=0)


# ---------------------------------------------------------------- resampling


def units(instructions, strata=None):
    return list(zip([0] * len(instructions) if strata is None else strata, instructions, strict=True))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 100))
def test_resampling_keeps_instances_of_an_instruction_together(seed):
    """Within an instruction all prompts are right or all are wrong, so every draw's ARI is that of its units."""
    right = np.random.default_rng(seed).integers(0, 2, size=16).astype(bool)
    unit_task = np.repeat([0, 1], 8)
    predicted = np.where(right, unit_task, 1 - unit_task)

    drawn = P.resample(np.repeat(unit_task, 3), np.repeat(predicted, 3), units(np.repeat(np.arange(16), 3)), 5, seed)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(16, size=16) for _ in range(5)]

    expected = [adjusted_rand_score(np.repeat(unit_task[d], 3), np.repeat(predicted[d], 3)) for d in draws]
    np.testing.assert_allclose(drawn["ari"], expected, atol=1e-12)


def test_units_are_drawn_within_their_stratum():
    """Two strata of one class each: every draw has as many of both, so a perfect clustering stays perfect."""
    stratum = np.repeat([0, 1], 40)

    drawn = P.resample(stratum, stratum, units(np.arange(80), stratum), 10, 0)
    lone = P.resample(stratum, np.zeros(80, dtype=int), units(np.arange(80), stratum), 10, 0)

    assert set(drawn["f1"]) == {1.0}
    assert lone["f1"] == pytest.approx([1 / 3] * 10)


def test_draws_of_two_clusterings_are_paired():
    clusters = np.where(np.arange(len(TASK)) % 7 == 0, 1 - TASK, TASK)

    first, second = (P.resample(TASK, labels, units(INSTRUCTIONS), 30, 3)["f1"] for labels in (clusters, 1 - clusters))

    np.testing.assert_allclose(first, second, atol=1e-12)
    assert np.mean(first) == pytest.approx(agreement(TASK, clusters).f1, abs=0.03)


@pytest.mark.parametrize("right", [0.0, 0.5])
def test_draws_lie_around_the_score_even_of_many_small_classes(right):
    """Matching anew in every draw would lift F1 of 160 classes far above its own value."""
    rng = np.random.default_rng(0)
    distribution, instruction, word = (x.ravel() for x in np.meshgrid(range(16), range(3), range(10), indexing="ij"))
    classes = 10 * distribution + word
    clusters = np.where(rng.random(480) < right, classes, rng.integers(160, size=480))

    drawn = P.resample(classes, clusters, units(instruction, distribution), 200, 0)["f1"]

    assert np.mean(drawn) == pytest.approx(agreement(classes, clusters).f1, abs=0.03)


def test_spread_is_that_of_instructions_and_not_of_prompts():
    """Sixteen instructions, half of them wholly wrong: the spread is that of sixteen draws, not of 160."""
    task = np.repeat([0, 1], 80)
    wrong = np.repeat(np.arange(16) % 2 == 0, 10)
    predicted = np.where(wrong, 2 + task, task)
    by_unit = P.resample(task, predicted, units(np.repeat(np.arange(16), 10)), 300, 0)["ami"]
    by_prompt = P.resample(task, predicted, units(range(160)), 300, 0)["ami"]

    assert np.std(by_unit) > 2 * np.std(by_prompt)


def test_bag_of_tokens_counts():
    bag = P.bag_of_tokens([[7, 9, 7], [9], [12, 9]])

    assert bag.tolist() == [[2, 1, 0], [0, 1, 0], [0, 1, 1]]


# ---------------------------------------------------------------- many points


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "many"])
def test_many_points_are_embedded_by_scikit_learn_from_the_same_starts(monkeypatch, asked):
    states = torch.stack([coded((TASK, 3.0)), coded((IDENTITIES["distribution"], 3.0), seed=1)])
    settings = {"perplexity": 5.0, "iterations": 500, "restarts": 2}
    exact = T.tsne(states, generator=torch.Generator().manual_seed(0), **settings)
    starts, made = [], []

    def spied(*args, **kwargs):
        starts.append(kwargs["init"])
        made.append(TSNE(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(T, "TSNE", spied)
    if not asked:
        monkeypatch.setattr(T, "EXACT_POINTS", 10)

    found = T.tsne(states, generator=torch.Generator().manual_seed(0), barnes_hut=asked, **settings)

    assert found.points.shape == exact.points.shape == (2, 2, len(TASK), 3)
    assert not torch.equal(found.points[:, 0], found.points[:, 1])
    np.testing.assert_array_equal(starts[0], T.pca_start(states, 3)[0])
    np.testing.assert_array_equal(starts[2], T.pca_start(states, 3)[1])
    assert 0 < np.abs(starts[1] - starts[0]).max() < 1e-4
    np.testing.assert_array_equal(found.points.flatten(0, 1), [one.embedding_ for one in made])
    np.testing.assert_allclose(found.divergence.flatten(), [one.kl_divergence_ for one in made], rtol=1e-6)
    assert abs(found.divergence.mean() - exact.divergence.mean()) < 0.3 * exact.divergence.mean()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"components": 4, "degrees_of_freedom": 3.0}, "by Barnes-Hut, as more than 3,000 points are, only 3 comp"),
        ({"degrees_of_freedom": 1.0}, "by Barnes-Hut, as more than 3,000 points are, only 3 components or fewer"),
        ({"iterations": 299}, "iterations=299: scikit-learn's Barnes-Hut tells no divergence below 300"),
        ({"older": True}, "older=True: only 3,000 points or fewer, exactly"),
    ],
)
def test_what_barnes_hut_cannot_do_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        T.tsne(torch.randn(1, 48, 5), generator=torch.Generator(), perplexity=5.0, barnes_hut=True, **changes)
