"""The main experiment's record: its shapes, its means and its provenance."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from taskclust import runner as runner_module
from taskclust.config import LABELS, METRICS, SPLITS, ConfigError
from taskclust.data import generate
from taskclust.experiments.synthetic import run as module
from taskclust.runner import Runner
from taskclust.store import Store, encode
from tests.experiments.small import CONFIG, DATA, EPOCHS, LAYERS


@pytest.fixture(scope="module")
def dataset():
    return generate(DATA, CONFIG.seed)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The store with the experiment's records; only for reading."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def record(original):
    return Runner(original).record("synthetic", CONFIG)


def test_history_begins_untrained_and_has_one_row_per_epoch(record):
    assert record.history.keys() == {"loss", "validation_accuracy", "subset_accuracy", "hard_accuracy"}
    assert {column.shape for column in record.history.values()} == {(EPOCHS + 1,)}
    loss = record.history["loss"]
    assert np.isnan(loss[0])
    assert loss[-1] < loss[1]
    assert not any(np.isnan(column[1:]).any() for column in record.history.values())


@pytest.mark.parametrize(
    ("kept", "fault"), [((1, EPOCHS), "begin with 0, the untrained"), ((0, 1), f"end with the last epoch, {EPOCHS}")]
)
def test_checkpoints_without_the_first_or_the_last_are_refused(tmp_path, kept, fault):
    config = replace(CONFIG, training=replace(CONFIG.training, checkpoints=kept))

    with pytest.raises(ConfigError, match=rf"training.checkpoints=\({kept[0]}, {kept[1]}\): {fault}"):
        Runner(Store(tmp_path)).record("synthetic", config)

    assert not list(tmp_path.rglob("*.safetensors"))


def test_checkpoints_are_the_configured_ones_and_the_best(record):
    best = int(np.argmax(record.history["validation_accuracy"]))

    assert best not in CONFIG.training.checkpoints
    assert record.best_epoch == best
    assert record.epochs.raw == record.epochs.tsne == sorted({0, 1, 2, best, EPOCHS})


def test_every_score_is_one_number_per_epoch_and_layer(record):
    assert record.scores.keys() == set(SPLITS)
    for split in SPLITS:
        for table in (record.scores[split].raw, record.scores[split].tsne):
            assert table.keys() == set(LABELS)
            for label in LABELS:
                assert table[label].keys() >= set(METRICS)
                assert {np.shape(values) for values in table[label].values()} == {(5, LAYERS + 1)}


def test_every_starts_score_is_kept_and_the_score_is_their_mean(record):
    for split in SPLITS:
        scores = record.scores[split]
        for label in LABELS:
            for metric in METRICS:
                starts = scores.starts[label][metric]
                assert starts.shape == (5, LAYERS + 1, CONFIG.probe.tsne_restarts)
                np.testing.assert_allclose(scores.tsne[label][metric], starts.mean(axis=-1), atol=1e-4)


def test_embeddings_have_one_divergence_per_start_and_keep_the_top_layer(record, dataset):
    for split in SPLITS:
        scores = record.scores[split]
        assert scores.divergence.shape == (5, LAYERS + 1, 2)
        assert scores.top_embedding.shape == (5, dataset.splits[split].n_instances, 3)


def test_components_and_neighbours_are_numbers_per_epoch_and_layer(record):
    tables = [*record.components.values(), *record.instruction_end_components.values()]

    assert record.components.keys() == record.instruction_end_components.keys() == set(SPLITS)
    assert {np.shape(values) for table in tables for values in table.values()} == {(5, LAYERS + 1)}
    assert record.knn.percentage.shape == record.knn.accuracy.shape == (5, LAYERS + 1)


def test_f1_with_ablation_is_one_number_per_epoch_of_the_top_layer(record):
    assert record.f1_without.keys() == set(SPLITS)
    for part in record.f1_without.values():
        assert part.keys() == {"nothing", "input", "output", "input and output", "distribution"}
        assert {values.shape for values in part.values()} == {(5,)}


def test_identities_are_those_of_the_instances(record, dataset):
    for split in SPLITS:
        part, m = dataset.splits[split], DATA.n_mappings
        found = record.identities[split]
        assert found.task.tolist() == [int(task) for task in part.task for _ in range(m)]
        assert found.is_hard.tolist() == [bool(hard) for hard in part.is_hard for _ in range(m)]
        assert found.is_hard.dtype == bool


def test_bag_of_symbols_is_scored_once_for_each_label_as_states_are(record):
    for split in SPLITS:
        bag = record.bag_of_symbols[split]
        assert bag.starts["task"]["f1"].shape == (1, CONFIG.probe.tsne_restarts)
        assert bag.mapping.keys() == {"f1", "merging"}
        assert bag.divergence is bag.top_embedding is None
        for scores in (bag.raw, bag.tsne):
            assert scores.keys() == set(LABELS)
            assert all(values.shape == (1,) for table in scores.values() for values in table.values())


def test_merging_and_clusters_by_mapping_are_means_over_starts(record):
    scores = record.scores["validation"]

    assert record.merging.states == pytest.approx(scores.starts["task"]["merging"].mean(axis=-1)[:, -1], abs=1e-4)
    bag = record.bag_of_symbols["validation"]
    assert float(record.merging.bag) == pytest.approx(bag.starts["task"]["merging"].mean(), abs=1e-4)
    for split in SPLITS:
        for score in ("f1", "merging"):
            found = record.by_mapping[split][score]
            assert found.states == pytest.approx(record.scores[split].mapping[score].mean(axis=-1))
            assert float(found.bag) == pytest.approx(record.bag_of_symbols[split].mapping[score].mean())
    assert scores.mapping["f1"].shape == (len(record.epochs.tsne), CONFIG.probe.tsne_restarts)


def test_a_record_has_its_configuration_and_provenance(record):
    assert record.config == CONFIG
    assert record.failure is None
    assert record.seconds.keys() == {"train", "probe"}
    assert min(record.seconds.values()) > 0
    assert record.provenance.keys() >= {"time", "commit", "uncommitted_changes", "torch", "device", "threads"}
    assert record.provenance["threads"] == 1


def test_scores_have_their_own_and_the_trainings_provenance(tmp_path, monkeypatch):
    runner = Runner(Store(tmp_path))
    for made in ("training", "probe"):
        for place in (runner_module, module):
            monkeypatch.setattr(place, "provenance", lambda _device, made=made: {"commit": made})
        runner.trajectory(CONFIG) if made == "training" else runner.record("synthetic", CONFIG)

    record = runner.record("synthetic", CONFIG)

    assert record.provenance == {"commit": "probe"}
    assert record.training_provenance == {"commit": "training"}


def test_few_embeddings_are_those_of_the_first_the_best_and_the_last_checkpoint(
    record, original, tmp_path, monkeypatch
):
    monkeypatch.setattr(runner_module, "Trainer", None)  # the stored training is used
    shutil.copytree(original.root, tmp_path / "store")

    few = Runner(Store(tmp_path / "store")).record(
        "synthetic", replace(CONFIG, probe=replace(CONFIG.probe, tsne_at="few"))
    )

    kept = [0, 3, 4]
    assert few.epochs.raw == record.epochs.raw
    assert few.epochs.tsne == [record.epochs.raw[i] for i in kept] == [0, record.best_epoch, EPOCHS]
    for split in SPLITS:
        some, every = few.scores[split], record.scores[split]
        assert encode(some.raw) == encode(every.raw)
        np.testing.assert_array_equal(some.divergence, every.divergence[kept])
        np.testing.assert_array_equal(some.top_embedding, every.top_embedding[kept])
        for label in LABELS:
            np.testing.assert_array_equal(some.tsne[label]["f1"], every.tsne[label]["f1"][kept])
    np.testing.assert_array_equal(few.merging.states, record.merging.states[kept])
