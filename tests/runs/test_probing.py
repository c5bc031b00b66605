"""What a checkpoint's row of scores is made of: each number recomputed by hand from that checkpoint and that split."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from taskclust.config import SPLITS, DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, RegexConfig, TrainingConfig
from taskclust.data import Dataset, generate
from taskclust.models import Decoder
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.codes import task_f1_without
from taskclust.probes.hidden import hidden_states
from taskclust.probes.metrics import contingency, matched_f1_score
from taskclust.probes.tsne import tsne
from taskclust.runs import Runner, Store
from taskclust.runs.probing import bag_of_symbols, by_mapping, measures_from_data, probe_checkpoint

DATA = DataConfig(
    regex=RegexConfig(n_symbols=12, max_characters=4, max_length=20),
    n_tasks=4,
    n_mappings=3,
    n_validation_tasks=3,
    n_subset_tasks=2,
    n_hard_tasks=2,
    n_task_symbols=6,
    distribution_totals=((2, 3), (2, 3)),
)
PROBE = ProbeConfig(perplexity=5, iterations=300, tsne_restarts=4, kmeans_restarts=3, neighbors=5)
MODEL = ModelConfig(width=16, feed_forward=32, layers=2, heads=4, token_std=0.5, weight_std=0.3)


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

    assert row["scores"][split]["raw"] == expected["raw"]


def test_codes_are_taken_out_of_the_top_layer(model, dataset):
    top = {name: hidden_states(model, split).input_token[-1] for name, split in dataset.splits.items()}

    row = probe_checkpoint(model, dataset, PROBE, with_tsne=False, seed=1)

    assert row["f1_without"] == task_f1_without(top, dataset, restarts=PROBE.kmeans_restarts, seed=1)
    assert len(set(row["f1_without"]["validation"].values())) > 1


def test_neighbors_are_sought_in_the_training_set_alone(model, dataset):
    queries = hidden_states(model, dataset.validation).input_token[-1].numpy()
    references = hidden_states(model, dataset.train).input_token[-1].numpy()
    distances = ((queries[:, None] - references[None]) ** 2).sum(-1)
    found = np.argsort(distances, axis=1)[:, : PROBE.neighbors]
    same = dataset.train.labels("task")[found] == dataset.validation.labels("task")[:, None]

    row = probe_checkpoint(model, dataset, PROBE, with_tsne=False)

    assert row["knn"]["percentage"][-1] == pytest.approx(same.mean(), abs=2e-3)


def test_the_top_layer_has_its_own_embedding(model, dataset):
    states = hidden_states(model, dataset.validation).input_token
    few = replace(PROBE, iterations=30, tsne_restarts=1)  # so few that rounding cannot lead elsewhere
    generator = torch.Generator().manual_seed(0)
    expected = tsne(states[-1:], generator=generator, perplexity=PROBE.perplexity, iterations=30, restarts=1).best()[0]

    scores = cluster_scores(states, dataset.validation, few, with_tsne=True, seed=1)

    np.testing.assert_allclose(scores["top_embedding"], expected.numpy(), atol=0.02)


def test_the_last_checkpoint_is_the_trained_model(tmp_path):
    training = TrainingConfig(
        epochs=3, schedule_epochs=3, learning_rate=1e-2, batch_instructions=4, checkpoints=(0, 3), precision="float32"
    )
    config = ExperimentConfig(data=DATA, model=replace(MODEL, dropout=0.0), training=training, probe=PROBE)

    folder = Runner(Store(tmp_path)).trajectory(config)
    first, last = (Decoder.from_pretrained(folder / "checkpoints" / name) for name in ("0000", "0003"))

    assert not torch.equal(first.blocks[0].feed_forward.up.weight, last.blocks[0].feed_forward.up.weight)


# ---------------------------------------------------------------- from the data and the embeddings


def test_neighbours_of_bags_of_symbols_are_the_nearest(dataset):
    unseen, seen = (bag_of_symbols(dataset, split).double() for split in ("validation", "train"))
    near = torch.cdist(unseen, seen).argsort(stable=True)[:, : PROBE.neighbors].numpy()
    same = dataset.train.labels("task")[near] == dataset.validation.labels("task")[:, None]

    found = measures_from_data(planted(dataset, "task"), dataset, PROBE)["bag_knn"]

    assert found["percentage"] == pytest.approx(same.mean(), abs=0.1)  # equals may fall otherwise
    assert 0 < found["accuracy"] < 1


def planted(data: Dataset, label: str) -> dict[str, Any]:
    """A record whose first checkpoint's top layer has a place for each of the labels and whose last has noise alone."""
    rng = np.random.default_rng(0)
    scores = {}
    for name in SPLITS:
        labels = np.unique(data.splits[name].labels(label), return_inverse=True)[1]
        points = rng.normal(size=(2, len(labels), 3))
        points[0] += 1000 * rng.normal(size=(labels.max() + 1, 3))[labels]
        scores[name] = {"top_embedding": points.tolist()}
    return {"scores": scores}


def test_merging_is_that_of_the_top_layers_embeddings(dataset):
    merging = measures_from_data(planted(dataset, "task"), dataset, PROBE)["merging"]

    assert merging["states"][0] == pytest.approx(1)
    assert abs(merging["states"][1]) < 0.5


@pytest.mark.parametrize("split", SPLITS)
def test_clusters_by_mapping_are_those_of_the_top_layers_embeddings(dataset, split):
    found = measures_from_data(planted(dataset, "mapping"), dataset, PROBE)["by_mapping"][split]

    assert found["f1"]["states"][0] == pytest.approx(1)
    assert found["f1"]["states"][1] < 0.6


def test_codes_of_input_and_output_alone_are_clusters_by_mapping():
    data = generate(DataConfig(), 0)
    part, rng = data.validation, np.random.default_rng(0)
    codes = (rng.normal(size=(data.config.vocab_size, 50))[part.labels(name)] for name in ("input", "output"))

    found = by_mapping(torch.as_tensor(sum(codes))[None], part, PROBE, torch.Generator().manual_seed(0))

    assert found["f1"]["bag"] == pytest.approx(1)  # the last of the points are the bag's


@pytest.mark.parametrize("split", SPLITS)
def test_by_mapping_unmerged_is_what_places_that_know_no_task_get(split):
    """Each distribution has a place for each of its mappings, drawn anew here: more places than clusters."""
    data = generate(DataConfig(), 0)

    found = measures_from_data(planted(data, "task"), data, PROBE)["by_mapping"][split]

    rng = np.random.default_rng(1)
    places = np.unique(data.splits[split].labels("distribution_mapping"), return_inverse=True)[1]
    mappings = data.splits[split].labels("mapping")
    points = rng.normal(size=(places.max() + 1, 30))[places]
    clusters = KMeans(len(np.unique(mappings)), n_init=10, random_state=0).fit_predict(points)
    assert found["f1"]["bag"] < 0.4  # by distribution: it reads every input alike
    assert found["f1"]["unmerged"] == pytest.approx(matched_f1_score(contingency(mappings, clusters)), abs=0.08)
    assert abs(found["merging"]["unmerged"]) < 0.05


@pytest.mark.parametrize("split", SPLITS)
def test_a_bag_of_symbols_counts_what_an_instance_reads(dataset, split):
    part = dataset.splits[split]

    found = bag_of_symbols(dataset, split)

    expected = np.zeros((part.n_instances, DATA.vocab_size))
    for instance in range(part.n_instances):
        row, j = divmod(instance, DATA.n_mappings)
        for symbol in [*part.instructions[row, : part.lengths[row]], part.inputs[row, j]]:
            expected[instance, symbol] += 1
    assert found.tolist() == expected.tolist()
