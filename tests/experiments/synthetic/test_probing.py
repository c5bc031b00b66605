"""Scores of a checkpoint, each recomputed by hand from that checkpoint and split."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from taskclust.config import SPLITS, ConfigError, DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, TrainingConfig
from taskclust.data import Dataset, generate
from taskclust.experiments.synthetic.probing import (
    bag_neighbors,
    bag_of_symbols,
    bag_scores,
    by_mapping,
    clusters_as,
    merging_beside_bags,
    probe_checkpoint,
)
from taskclust.models.decoder import Decoder
from taskclust.probes import clusters
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.codes import task_f1_without
from taskclust.probes.hidden import hidden_states
from taskclust.probes.metrics import contingency, matched_f1_score
from taskclust.probes.scores import ClusterScores, stack
from taskclust.probes.tsne import Embedding, tsne
from taskclust.runner import Runner
from taskclust.store import Store, encode
from tests.experiments.small import DATA

PROBE = ProbeConfig(perplexity=5, iterations=300, tsne_restarts=4, kmeans_restarts=3, neighbors=5)
MODEL = ModelConfig.norm_after(16, layers=2, heads=4, token_std=0.5, weight_std=0.3)


@pytest.fixture(scope="module")
def dataset():
    return generate(DATA, seed=3)


@pytest.fixture(scope="module")
def model():
    return Decoder.create(DATA, MODEL, torch.Generator().manual_seed(5))


@pytest.mark.parametrize("split", ["validation", "subset"])
def test_a_splits_scores_come_from_its_own_states(model, dataset, split):
    states = hidden_states(model, dataset.splits[split]).input_token
    expected = cluster_scores(states, dataset.splits[split], PROBE, with_tsne=False, seed=1)

    row = probe_checkpoint(model, dataset, PROBE, with_tsne=False, seed=1)

    assert encode(row.scores[split].raw) == encode(expected.raw)


def test_class_means_are_ablated_from_the_top_layer(model, dataset):
    top = {name: hidden_states(model, split).input_token[-1] for name, split in dataset.splits.items()}

    row = probe_checkpoint(model, dataset, PROBE, with_tsne=False, seed=1)

    found = {split: {what: f1.item() for what, f1 in part.items()} for split, part in row.f1_without.items()}
    assert found == task_f1_without(top, dataset, restarts=PROBE.kmeans_restarts, seed=1)
    assert len(set(found["validation"].values())) > 1


def test_neighbors_are_searched_only_in_the_training_set(model, dataset):
    queries = hidden_states(model, dataset.validation).input_token[-1].numpy()
    references = hidden_states(model, dataset.train).input_token[-1].numpy()
    distances = ((queries[:, None] - references[None]) ** 2).sum(-1)
    found = np.argsort(distances, axis=1)[:, : PROBE.neighbors]
    same = dataset.train.labels("task")[found] == dataset.validation.labels("task")[:, None]

    row = probe_checkpoint(model, dataset, PROBE, with_tsne=False)

    assert row.knn.percentage[-1] == pytest.approx(same.mean(), abs=2e-3)


def test_the_top_layer_has_its_own_embedding(model, dataset):
    states = hidden_states(model, dataset.validation).input_token
    few = replace(PROBE, iterations=30, tsne_restarts=1)  # so few that rounding does not matter
    generator = torch.Generator().manual_seed(0)
    expected = tsne(states[-1:], generator=generator, perplexity=PROBE.perplexity, iterations=30, restarts=1).best()[0]

    scores = cluster_scores(states, dataset.validation, few, with_tsne=True, seed=1)

    np.testing.assert_allclose(scores.top_embedding, expected.numpy(), atol=0.02)


def test_a_model_that_cannot_read_the_data_is_refused(dataset):
    more = replace(DATA, regex=replace(DATA.regex, n_symbols=DATA.regex.n_symbols + 1))
    model = Decoder.create(DATA, ModelConfig(width=16, feed_forward=16, layers=1, heads=1), torch.Generator())

    with pytest.raises(ConfigError, match=r"^model='Linear': give a model of taskclust"):
        probe_checkpoint(torch.nn.Linear(1, 1), dataset, PROBE)
    with pytest.raises(ConfigError, match=rf"^dataset={DATA.vocab_size + 1}: it has more tokens than the model"):
        probe_checkpoint(model, replace(dataset, config=more), PROBE)
    with pytest.raises(ConfigError, match=r"^seed=-1: use 0 or more"):
        generate(DATA, -1)


def test_the_last_checkpoint_is_the_trained_model(tmp_path):
    training = TrainingConfig(
        epochs=3, schedule_epochs=3, learning_rate=1e-2, batch_instructions=4, checkpoints=(0, 3), precision="float32"
    )
    config = ExperimentConfig(data=DATA, model=replace(MODEL, dropout=0.0), training=training, probe=PROBE)

    folder = Runner(Store(tmp_path)).trajectory(config)
    first, last = (Decoder.from_pretrained(folder / "checkpoints" / name) for name in ("0000", "0003"))

    assert not torch.equal(first.blocks[0].feed_forward.up.weight, last.blocks[0].feed_forward.up.weight)


# ---------------------------------------------------------------- beside bags of symbols


def test_neighbours_of_bags_of_symbols_are_the_nearest(dataset):
    unseen, seen = (bag_of_symbols(dataset, split).double() for split in ("validation", "train"))
    near = torch.cdist(unseen, seen).argsort(stable=True)[:, : PROBE.neighbors].numpy()
    same = dataset.train.labels("task")[near] == dataset.validation.labels("task")[:, None]

    found = bag_neighbors(dataset, PROBE)

    assert found.percentage == pytest.approx(same.mean(), abs=0.1)  # ties are broken at random
    assert 0 < found.accuracy < 1


@pytest.fixture
def embedded_as_they_are(monkeypatch):
    """Replace t-SNE so that it returns the states."""

    def given(points, **_settings):
        return Embedding(points[:, None], torch.zeros(len(points), 1))

    monkeypatch.setattr(clusters, "tsne", given)


def planted(data: Dataset, label: str) -> dict[str, ClusterScores]:
    """Scores of two checkpoints: the first one's top layer has one point per label, everything else is noise."""
    rng = np.random.default_rng(0)
    scores = {}
    for name in SPLITS:
        split = data.splits[name]
        labels = np.unique(split.labels(label), return_inverse=True)[1]
        points = rng.normal(size=(2, 2, len(labels), 3))
        points[0, -1] += 1000 * rng.normal(size=(labels.max() + 1, 3))[labels]
        rows = [
            clusters.cluster_scores(torch.tensor(layers).float(), split, PROBE, with_tsne=True, seed=0)
            for layers in points
        ]
        scores[name] = stack(rows)
    return scores


def bags_of(dataset):
    return {split: bag_scores(dataset, split, PROBE) for split in SPLITS}


@pytest.mark.usefixtures("embedded_as_they_are")
def test_merging_is_that_of_the_top_layers_embeddings(dataset):
    bags = bags_of(dataset)

    found = merging_beside_bags(planted(dataset, "task"), bags)

    assert found.states[0] == pytest.approx(1)
    assert abs(found.states[1]) < 0.5
    assert found.bag == bags["validation"].tsne["task"]["merging"][0]


@pytest.mark.usefixtures("embedded_as_they_are")
@pytest.mark.parametrize("split", SPLITS)
def test_clusters_by_mapping_are_those_of_the_top_layers_embeddings(dataset, split):
    bags = bags_of(dataset)

    found = by_mapping(planted(dataset, "mapping"), bags, dataset, PROBE, seed=0)[split]

    assert found["f1"].states[0] == pytest.approx(1)
    assert found["f1"].states[1] < 0.6
    assert float(found["f1"].bag) == bags[split].mapping["f1"].mean()
    assert float(found["merging"].bag) == bags[split].mapping["merging"].mean()


def test_states_of_only_input_and_output_cluster_by_mapping():
    data = generate(DataConfig(), 0)
    part, rng = data.validation, np.random.default_rng(0)
    codes = (rng.normal(size=(data.config.vocab_size, 50))[part.labels(name)] for name in ("input", "output"))

    found = clusters_as(
        part.labels("mapping"), torch.as_tensor(sum(codes))[None], PROBE, torch.Generator().manual_seed(0)
    )

    assert matched_f1_score(contingency(part.labels("mapping"), found[0])) == pytest.approx(1)


@pytest.mark.parametrize("split", SPLITS)
def test_unmerged_scores_are_those_of_points_without_task(split):
    """Each pair of distribution and mapping has a random point, drawn again here: more points than clusters."""
    data = generate(DataConfig(), 0)
    few = replace(PROBE, tsne_restarts=1)
    bags = {name: bag_scores(data, name, few) for name in SPLITS}

    found = by_mapping(bags_as_states(bags), bags, data, few, seed=0)[split]

    rng = np.random.default_rng(1)
    places = np.unique(data.splits[split].labels("distribution_mapping"), return_inverse=True)[1]
    mappings = data.splits[split].labels("mapping")
    points = rng.normal(size=(places.max() + 1, 30))[places]
    of_places = KMeans(len(np.unique(mappings)), n_init=10, random_state=0).fit_predict(points)
    assert float(found["f1"].bag) < 0.4  # by distribution: it reads every input alike
    assert float(found["f1"].unmerged) == pytest.approx(matched_f1_score(contingency(mappings, of_places)), abs=0.08)
    assert abs(float(found["merging"].unmerged)) < 0.05


def bags_as_states(bags):
    """The baseline's scores in the form of one checkpoint's."""
    return {split: stack([scores]) for split, scores in bags.items()}


def test_baseline_scores_are_of_counts_and_keep_no_embedding(dataset):
    found = bag_scores(dataset, "validation", PROBE)

    counts = bag_of_symbols(dataset, "validation")[None]
    expected = cluster_scores(counts, dataset.validation, PROBE, with_tsne=True, seed=0)
    assert encode((found.raw, found.tsne, found.mapping)) == encode((expected.raw, expected.tsne, expected.mapping))
    assert found.divergence is found.top_embedding is None


def test_nothing_is_embedded_without_tsne(model, dataset):
    row = probe_checkpoint(model, dataset, PROBE, with_tsne=False)

    for scores in row.scores.values():
        assert (scores.tsne, scores.starts, scores.mapping) == ({}, {}, {})
        assert scores.divergence is scores.top_embedding is None


@pytest.mark.parametrize("split", SPLITS)
def test_a_bag_of_symbols_counts_an_instances_symbols(dataset, split):
    part = dataset.splits[split]

    found = bag_of_symbols(dataset, split)

    expected = np.zeros((part.n_instances, DATA.vocab_size))
    for instance in range(part.n_instances):
        row, j = divmod(instance, DATA.n_mappings)
        for symbol in [*part.instructions[row, : part.lengths[row]], part.inputs[row, j]]:
            expected[instance, symbol] += 1
    assert found.tolist() == expected.tolist()
