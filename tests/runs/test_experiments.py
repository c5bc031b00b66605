"""From a configuration to its records: their shapes, when they are computed, and that no stop or fault changes one."""

import copy
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from taskclust.config import (
    FEED_FORWARD,
    LABELS,
    METRICS,
    SPLITS,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    ProbeConfig,
    RegexConfig,
    TrainingConfig,
    digest,
    to_dict,
)
from taskclust.data import PAD, generate
from taskclust.models import Trainer
from taskclust.runs import Runner, Store, experiments
from taskclust.runs.experiments import count_parameters, describe, load_progress, save_progress
from taskclust.runs.store import CorruptRecordWarning, is_sealed, read_json, seal, write_json

ROOT = Path(__file__).parents[2]
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
LAYERS = 2
EPOCHS = 8
CONFIG = ExperimentConfig(
    data=DATA,
    model=ModelConfig(width=16, feed_forward=32, layers=LAYERS, heads=4, norm="before", token_std=0.5, weight_std=0.3),
    training=TrainingConfig(
        epochs=EPOCHS,
        schedule_epochs=EPOCHS,
        learning_rate=1e-2,
        batch_instructions=8,
        checkpoints=(0, 1, 2, EPOCHS),
        precision="float32",
    ),
    probe=ProbeConfig(perplexity=5, iterations=20, tsne_restarts=2, kmeans_restarts=3, neighbors=5),
    seed=3,  # its best epoch is none of the checkpoints
)
#: With as many starts as by default, as version 5 had records of.
BY_DEFAULT = replace(CONFIG, probe=replace(CONFIG.probe, tsne_restarts=10, kmeans_restarts=50))
LONG = replace(CONFIG, training=replace(CONFIG.training, epochs=40, schedule_epochs=40, checkpoints=(0, 3, 40)))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset():
    return generate(DATA, CONFIG.seed)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The store that holds the experiment's records; to be read only."""
    store = Store(tmp_path_factory.mktemp("store"))
    Runner(store).scores(CONFIG)
    return store


@pytest.fixture(scope="module")
def record(original):
    return Runner(original).scores(CONFIG)


@pytest.fixture
def store(original, tmp_path):
    """A copy to spoil."""
    shutil.copytree(original.root, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture
def without_training(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(experiments, "Trainer", refuse)


def folder(store, kind, config=CONFIG):
    return store.path(kind, Runner(store).keys(Runner(store).resolve(config))[kind])


def measured(record):
    """The record without what says when and where it was made."""
    made = ("seconds", "provenance", "training_provenance")
    return {name: value for name, value in record.items() if name not in made}


def checkpoints(trajectory):
    """The weights of every checkpoint, by epoch."""
    return {path.name: load_file(path / "model.safetensors") for path in (trajectory / "checkpoints").iterdir()}


def same_tensors(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# ---------------------------------------------------------------- what a record holds


def test_history_begins_untrained_and_has_a_row_an_epoch(record):
    names = {"loss", "validation_accuracy", "subset_accuracy", "hard_accuracy"}

    assert len(record["history"]) == EPOCHS + 1
    assert all(row.keys() == names for row in record["history"])
    assert record["history"][0]["loss"] is None
    assert record["history"][-1]["loss"] < record["history"][1]["loss"]


def test_checkpoints_are_those_asked_for_and_the_best(record):
    accuracies = [row["validation_accuracy"] for row in record["history"]]
    best = accuracies.index(max(accuracies))

    assert best not in CONFIG.training.checkpoints
    assert record["best_epoch"] == best
    assert record["epochs"] == dict.fromkeys(("raw", "tsne"), sorted({0, 1, 2, best, EPOCHS}))


def test_every_score_is_a_number_an_epoch_and_layer(record):
    assert record["scores"].keys() == set(SPLITS)
    for split in SPLITS:
        for space in ("raw", "tsne"):
            assert record["scores"][split][space].keys() == set(LABELS)
            for label in LABELS:
                scores = record["scores"][split][space][label]
                assert scores.keys() >= set(METRICS)
                assert {np.shape(values) for values in scores.values()} == {(5, LAYERS + 1)}


def test_every_starts_score_is_kept_and_the_score_is_their_mean(record):
    for split in SPLITS:
        scores = record["scores"][split]
        for label in LABELS:
            for metric in METRICS:
                starts = np.array(scores["starts"][label][metric])
                assert starts.shape == (5, LAYERS + 1, CONFIG.probe.tsne_restarts)
                np.testing.assert_allclose(scores["tsne"][label][metric], starts.mean(axis=-1), atol=1e-4)


def test_embeddings_have_a_divergence_a_restart_and_the_top_layer_is_kept(record, dataset):
    for split in SPLITS:
        scores = record["scores"][split]
        assert np.shape(scores["divergence"]) == (5, LAYERS + 1, 2)
        assert np.shape(scores["top_embedding"]) == (5, dataset.splits[split].n_instances, 3)


def test_components_and_neighbours_are_numbers_an_epoch_and_layer(record):
    tables = [record["knn"], *record["components"].values(), *record["instruction_end_components"].values()]

    assert record["components"].keys() == record["instruction_end_components"].keys() == set(SPLITS)
    assert record["knn"].keys() == {"percentage", "accuracy"}
    assert {np.shape(values) for table in tables for values in table.values()} == {(5, LAYERS + 1)}


def test_identities_are_those_of_the_instances(record, dataset):
    for split in SPLITS:
        part, m = dataset.splits[split], DATA.n_mappings
        assert record["identities"][split] == {
            "task": [int(task) for task in part.task for _ in range(m)],
            "is_hard": [bool(hard) for hard in part.is_hard for _ in range(m)],
        }


def test_bag_of_symbols_is_scored_once_for_each_label_as_states_are(record):
    for split in SPLITS:
        bag = record["bag_of_symbols"][split]
        assert bag.keys() == {"raw", "tsne", "starts", "mapping"}
        assert np.shape(bag["starts"]["task"]["f1"]) == (1, CONFIG.probe.tsne_restarts)
        for scores in (bag["raw"], bag["tsne"]):
            assert scores.keys() == set(LABELS)
            assert all(len(values) == 1 for table in scores.values() for values in table.values())


def test_a_record_says_what_was_run_and_on_what(record, dataset):
    assert record["config"] == to_dict(CONFIG)
    assert record["dataset"] == describe(dataset)
    assert record["failure"] is None
    assert record["seconds"].keys() == {"train", "probe"}
    assert min(record["seconds"].values()) > 0
    assert record["provenance"].keys() >= {"time", "commit", "uncommitted_changes", "torch", "device", "threads"}
    assert record["provenance"]["threads"] == 1


def test_scores_say_what_made_them_and_what_made_the_model(tmp_path, monkeypatch):
    runner = Runner(Store(tmp_path))
    for made in ("training", "probe"):
        monkeypatch.setattr(experiments, "provenance", lambda _device, made=made: {"commit": made})
        runner.trajectory(CONFIG) if made == "training" else runner.scores(CONFIG)

    record = runner.scores(CONFIG)

    assert record["provenance"] == {"commit": "probe"}
    assert record["training_provenance"] == {"commit": "training"}


def test_the_same_seed_gives_the_same_record_in_another_store(record, tmp_path):
    other = Runner(Store(tmp_path)).scores(CONFIG)

    assert measured(other) == measured(record)


def test_another_seed_gives_another_key_and_another_history(record, original, tmp_path):
    config = replace(CONFIG, seed=4)

    trained = read_json(Runner(Store(tmp_path)).trajectory(config) / "record.json")

    assert folder(original, "trajectory", config) != folder(original, "trajectory")
    assert trained["history"] != record["history"]


def test_the_key_says_the_precision_that_was_run(original):
    auto = replace(CONFIG, training=replace(CONFIG.training, precision="auto"))
    low = replace(CONFIG, training=replace(CONFIG.training, precision="bfloat16"))

    assert folder(original, "scores", auto) == folder(original, "scores")
    assert folder(original, "scores", low) != folder(original, "scores")


@pytest.fixture
def where_bfloat16_pays(monkeypatch):
    """A processor that does best in bfloat16, at any width."""
    monkeypatch.setattr(experiments, "precisions", lambda p, *_: ("bfloat16", "float32") if p == "auto" else (p,))


@pytest.mark.usefixtures("without_training", "where_bfloat16_pays")
def test_a_record_from_a_machine_of_another_precision_serves_auto(record, original):
    auto = replace(CONFIG, training=replace(CONFIG.training, precision="auto"))

    assert Runner(original).is_stored(auto)
    assert Runner(original).scores(auto) == record


@pytest.mark.usefixtures("where_bfloat16_pays")
@pytest.mark.parametrize("left", ["trajectory", "unfinished"])
def test_work_begun_in_another_precision_goes_on_in_it(store, left):
    auto = replace(CONFIG, training=replace(CONFIG.training, precision="auto"))
    trained = folder(store, "trajectory")
    shutil.rmtree(folder(store, "scores"))
    if left == "unfinished":
        place = store.unfinished("trajectory", trained.name)
        place.parent.mkdir(exist_ok=True)
        trained.replace(place)

    assert Runner(store).resolve(auto) == CONFIG
    shutil.rmtree(store.unfinished("trajectory", trained.name) if left == "unfinished" else trained)
    assert Runner(store).resolve(auto).training.precision == "bfloat16"


@pytest.mark.usefixtures("where_bfloat16_pays")
@pytest.mark.parametrize(
    ("changes", "recompute"), [({"seed": 4}, False), ({}, True)], ids=["none-is-stored", "computed-anew"]
)
def test_what_is_computed_is_in_the_precision_that_is_best_here(original, changes, recompute):
    auto = replace(CONFIG, training=replace(CONFIG.training, precision="auto"), **changes)

    settled = Runner(original, recompute=recompute).resolve(auto)

    assert settled.training.precision == "bfloat16"


# ---------------------------------------------------------------- what is computed, and when


@pytest.mark.usefixtures("without_training")
def test_what_is_stored_is_not_computed_again(record, original, monkeypatch):
    monkeypatch.setattr(experiments, "probe_checkpoint", None)
    before = (folder(original, "scores") / "record.json").stat()

    assert Runner(original).is_stored(CONFIG)
    assert Runner(original).scores(CONFIG) == record

    after = (folder(original, "scores") / "record.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.usefixtures("without_training")
def test_a_changed_probe_is_computed_from_the_stored_training(record, store):
    config = replace(CONFIG, probe=replace(CONFIG.probe, neighbors=1))
    assert not Runner(store).is_stored(config)

    other = Runner(store).scores(config)

    assert other["knn"] != record["knn"]
    assert {name: other[name] for name in ("history", "scores", "components")} == {
        name: record[name] for name in ("history", "scores", "components")
    }
    assert Runner(store).scores(CONFIG) == record


@pytest.mark.usefixtures("without_training")
def test_few_embeddings_are_those_of_the_first_the_best_and_the_last_checkpoint(record, store):
    few = Runner(store).scores(replace(CONFIG, probe=replace(CONFIG.probe, tsne_at="few")))

    first, *_, best, last = record["epochs"]["raw"]
    assert few["epochs"] == {"raw": record["epochs"]["raw"], "tsne": [first, best, last]}
    for split in SPLITS:
        some, every = few["scores"][split], record["scores"][split]
        assert some["raw"] == every["raw"]
        assert some["divergence"] == [every["divergence"][i] for i in (0, 3, 4)]
        for label in LABELS:
            assert some["tsne"][label]["f1"] == [every["tsne"][label]["f1"][i] for i in (0, 3, 4)]


def test_recompute_replaces_both_records_by_equal_ones(record, store):
    paths = [folder(store, kind) / "record.json" for kind in ("trajectory", "scores")]
    before = [path.stat().st_ino for path in paths]
    runner = Runner(store, recompute=True)

    again = runner.scores(CONFIG)

    assert not runner.is_stored(CONFIG)
    assert measured(again) == measured(record)
    assert again["seconds"] != record["seconds"]
    assert all(path.stat().st_ino != old for path, old in zip(paths, before, strict=True))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.usefixtures("without_training")
def test_a_corrupt_scores_record_is_put_aside_and_probed_again(record, store):
    truncate(folder(store, "scores") / "record.json")

    with pytest.warns(CorruptRecordWarning, match=r"scores record .*moved to .*quarantine"):
        again = Runner(store).scores(CONFIG)

    assert measured(again) == measured(record)
    assert len(list((store.root / "quarantine").glob("scores-*/record/record.json"))) == 1


def test_a_corrupt_trajectory_is_put_aside_and_trained_again(record, store):
    shutil.rmtree(folder(store, "scores"))
    truncate(folder(store, "trajectory") / "checkpoints" / "0002" / "model.safetensors")

    with pytest.warns(CorruptRecordWarning, match=r"trajectory record .*moved to .*quarantine"):
        again = Runner(store).scores(CONFIG)

    assert measured(again) == measured(record)
    assert len(list((store.root / "quarantine").glob("trajectory-*/record"))) == 1


# ---------------------------------------------------------------- trainings that fail


@pytest.fixture
def diverge_from(monkeypatch):
    """Let the learning rate explode at a step of the training."""

    def _diverge_from(first):
        sound = Trainer._learning_rate
        monkeypatch.setattr(Trainer, "_learning_rate", lambda self, step: 1e30 if step >= first else sound(self, step))

    return _diverge_from


@pytest.fixture(scope="module")
def steps(dataset):
    return math.ceil(len(dataset.train.lengths) / CONFIG.training.batch_instructions)


def test_a_training_that_diverges_keeps_what_it_had_and_says_why(record, diverge_from, steps, tmp_path):
    diverge_from(4 * steps)

    with pytest.warns(RuntimeWarning, match=r"^seed 3: learning_rate=0\.01: the loss became nan in epoch 5"):
        failed = Runner(Store(tmp_path)).scores(CONFIG)

    assert failed["failure"].startswith("learning_rate=0.01: the loss became nan in epoch 5")
    assert failed["history"] == record["history"][:5]
    assert failed["epochs"]["raw"] == sorted({0, 1, 2, failed["best_epoch"]})
    for split in SPLITS:
        for label in LABELS:
            some, every = (r["scores"][split]["tsne"][label]["ari"] for r in (failed, record))
            assert some[:3] == every[:3]


def test_a_training_that_never_gets_going_has_the_untrained_model(record, tmp_path):
    config = replace(CONFIG, training=replace(CONFIG.training, learning_rate=1e30))

    with pytest.warns(RuntimeWarning, match="^seed 3: .*the loss became nan in epoch 1"):
        failed = Runner(Store(tmp_path)).scores(config)

    assert failed["history"] == record["history"][:1]
    assert failed["epochs"] == {"raw": [0], "tsne": [0]}
    assert failed["knn"]["percentage"] == record["knn"]["percentage"][:1]


def test_a_failure_is_stored_and_not_tried_again(diverge_from, steps, tmp_path, monkeypatch):
    diverge_from(steps // 2)
    with pytest.warns(RuntimeWarning, match="^seed 3"):
        failed = Runner(Store(tmp_path)).scores(CONFIG)

    monkeypatch.setattr(experiments, "Trainer", None)

    assert Runner(Store(tmp_path)).scores(CONFIG) == failed


@pytest.mark.parametrize("epoch", [2, EPOCHS], ids=["at-a-checkpoint", "at-the-end"])
def test_a_training_that_diverges_in_the_last_step_of_an_epoch_is_a_failure_too(diverge_from, steps, tmp_path, epoch):
    diverge_from(epoch * steps - 1)

    with pytest.warns(RuntimeWarning, match="^seed 3: learning_rate"):
        failed = Runner(Store(tmp_path)).scores(CONFIG)

    assert failed["failure"].startswith("learning_rate=0.01")
    assert failed["epochs"]["raw"][0] == 0


# ---------------------------------------------------------------- trainings that are stopped


def run(trainer, epochs):
    while trainer.epoch < epochs:
        trainer.run_epoch()
    return trainer


def of_precision(precision):
    return replace(CONFIG, training=replace(CONFIG.training, precision=precision))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stopped", [0, 1, 5, EPOCHS])
def test_a_saved_training_goes_on_as_if_it_had_not_stopped(dataset, tmp_path, precision, stopped):
    config = of_precision(precision)
    unbroken = run(Trainer(config, dataset), EPOCHS)
    save_progress(run(Trainer(config, dataset), stopped), tmp_path, seconds=12.5)
    continued = Trainer(config, dataset)

    assert load_progress(continued, tmp_path) == 12.5
    assert continued.epoch == stopped
    run(continued, EPOCHS)

    assert repr(continued.history) == repr(unbroken.history)
    assert same_tensors(continued.state()[0], unbroken.state()[0])
    assert same_tensors(continued.model.state_dict(), unbroken.model.state_dict())


def test_only_the_last_saved_state_is_kept(dataset, tmp_path):
    trainer = Trainer(CONFIG, dataset)
    for epoch in range(3):
        save_progress(run(trainer, epoch), tmp_path, seconds=epoch)

    assert [path.name for path in tmp_path.iterdir()] == ["state-0002"]
    assert is_sealed(tmp_path / "state-0002")


@pytest.mark.parametrize("damaged", ["manifest.json", "state.json", "state.safetensors"])
def test_a_state_that_is_not_whole_is_passed_over_for_the_one_before(dataset, tmp_path, damaged):
    trainer = run(Trainer(CONFIG, dataset), 1)
    save_progress(trainer, tmp_path / "newer", seconds=2.0)
    expected = copy.deepcopy(trainer.state()[0])
    save_progress(trainer, tmp_path / "unfinished", seconds=1.0)
    save_progress(run(trainer, 2), tmp_path / "newer", seconds=2.0)
    shutil.copytree(tmp_path / "newer" / "state-0002", tmp_path / "unfinished" / "state-0002")
    truncate(tmp_path / "unfinished" / "state-0002" / damaged)
    continued = Trainer(CONFIG, dataset)

    assert load_progress(continued, tmp_path / "unfinished") == 1.0

    assert continued.epoch == 1
    assert same_tensors(continued.state()[0], expected)


def test_without_a_whole_state_a_training_begins_anew(dataset, tmp_path):
    (tmp_path / "state-0002").mkdir()
    trainer = Trainer(CONFIG, dataset)

    assert load_progress(trainer, tmp_path) == 0.0
    assert trainer.epoch == 0


def test_a_continued_training_counts_the_seconds_before_the_stop_and_leaves_nothing_unfinished(dataset, tmp_path):
    runner = Runner(Store(tmp_path))
    unfinished = runner.store.unfinished("trajectory", runner.keys(CONFIG)["trajectory"])
    save_progress(run(Trainer(CONFIG, dataset), EPOCHS - 1), unfinished, seconds=1000.0)

    trained = read_json(runner.trajectory(CONFIG) / "record.json")

    assert 1000 < trained["seconds"] < 1060
    assert not unfinished.exists()


KILLED = """
import sys
from taskclust.runs import Runner, Store, experiments
from tests.runs.test_experiments import LONG
experiments.SAVE_EVERY = 0
Runner(Store(sys.argv[1])).scores(LONG)
"""


def test_a_killed_training_goes_on_and_ends_as_one_that_was_not(tmp_path, monkeypatch):
    unbroken = Runner(Store(tmp_path / "unbroken")).trajectory(LONG)
    runner = Runner(Store(tmp_path / "killed"))
    unfinished = runner.store.unfinished("trajectory", runner.keys(LONG)["trajectory"])
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(runner.store.root)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not any(map(is_sealed, unfinished.glob("state-*"))):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not folder(runner.store, "trajectory", LONG).exists()
    begun = []
    epoch_steps = Trainer.epoch_steps
    monkeypatch.setattr(Trainer, "epoch_steps", lambda self: begun.append(self.epoch) or epoch_steps(self))

    continued = runner.trajectory(LONG)

    assert begun == list(range(begun[0], 40))
    assert begun[0] > 0
    histories = [read_json(path / "record.json")["history"] for path in (continued, unbroken)]
    assert histories[0] == histories[1]
    ours, theirs = checkpoints(continued), checkpoints(unbroken)
    assert ours.keys() == theirs.keys() >= {"0000", "0003", "0040"}
    assert all(same_tensors(ours[name], theirs[name]) for name in theirs)


# ---------------------------------------------------------------- data sets and models, counted


def test_a_described_data_set_is_counted_by_hand(dataset):
    found = describe(dataset)

    distributions = [len(task.distributions) for task in dataset.tasks[:4]]
    assert sum(distributions) == 6
    assert found["distributions"] == distributions
    assert (found["tasks"], found["hard_tasks"]) == (4, 2)
    held_out, hard, mappings = 3, 3, 3
    unseen = sum(distributions[:3]) * held_out
    imitations = sum(distributions[:2]) * hard
    assert found["sizes"] == {
        "train": (6 * 10 - unseen + imitations) * mappings,
        "subset": 2 * imitations * mappings,
        "validation": unseen * mappings,
    }
    assert (found["instructions"], found["hard_instructions"], found["mappings"]) == ([10], [3], [3])
    assert (found["validation_tasks"], found["subset_tasks"]) == (3, 2)
    assert (found["instruction_symbols"], found["task_symbols"]) == (12, 6)
    assert found["shared_mappings"] == found["leaked_instructions"] == 0
    assert set(found["metacharacters"]) <= {1, 2, 3}
    assert set(found["characters"]) <= {3, 4}
    assert len(found["example_patterns"]) == 6


def test_a_validation_instruction_that_is_trained_on_is_counted():
    dataset = generate(DATA, CONFIG.seed)
    length = dataset.validation.lengths[1]
    dataset.train.instructions[4] = PAD
    dataset.train.instructions[4, :length] = dataset.validation.instructions[1, :length]
    dataset.train.lengths[4] = length

    assert describe(dataset)["leaked_instructions"] == 1


def test_a_mapping_that_two_tasks_share_is_counted():
    dataset = generate(DATA, CONFIG.seed)
    dataset.tasks[1] = replace(dataset.tasks[1], function=dataset.tasks[0].function)

    assert describe(dataset)["shared_mappings"] == DATA.n_mappings


@pytest.fixture
def older(record, store):
    """A store that holds what version 5 left of the experiment: one embedding of each checkpoint, and no mapping."""
    version, before = experiments.OLDER["scores"]
    trained = Runner(store).keys(BY_DEFAULT)["trajectory"]
    path = store.path("scores", digest(version, trained, replace(BY_DEFAULT.probe, **before)))
    path.mkdir(parents=True)
    left = {name: value for name, value in record.items() if name not in ("bag_knn", "merging", "by_mapping")}
    left["scores"] = {
        split: {part: values for part, values in scores.items() if part not in ("starts", "mapping")}
        for split, scores in record["scores"].items()
    }
    write_json(path / "record.json", left)
    seal(path)
    return store


def test_an_older_record_answers_where_its_models_are_gone(older, record, without_training):  # noqa: ARG001
    runner = Runner(older)
    with_models = runner.is_stored(BY_DEFAULT)
    shutil.rmtree(folder(older, "trajectory"))

    found = runner.scores(BY_DEFAULT)

    assert not with_models, "it would be probed again"
    assert runner.is_stored(BY_DEFAULT)
    assert not replace(runner, recompute=True).is_stored(BY_DEFAULT)
    assert not runner.is_stored(replace(BY_DEFAULT, probe=replace(BY_DEFAULT.probe, tsne_restarts=4)))
    assert found["scores"]["validation"]["tsne"] == record["scores"]["validation"]["tsne"]
    assert "starts" not in found["scores"]["validation"]


def test_an_older_record_gets_what_depends_on_the_data_and_the_embeddings_only(older, record):
    shutil.rmtree(folder(older, "trajectory"))

    found = Runner(older).scores(BY_DEFAULT)

    n = len(record["epochs"]["tsne"])
    assert found["bag_knn"] == record["bag_knn"]
    assert len(found["merging"]["states"]) == n
    assert all(len(found["by_mapping"][split]["f1"]["states"]) == n for split in SPLITS)


def test_merging_and_clusters_by_mapping_are_means_over_starts(record):
    starts, mapping = (record["scores"]["validation"][part] for part in ("starts", "mapping"))

    assert record["merging"]["states"] == pytest.approx(np.mean(starts["task"]["merging"], axis=-1)[:, -1], abs=1e-4)
    for split in SPLITS:
        for score in ("f1", "merging"):
            means = np.mean(record["scores"][split]["mapping"][score], axis=-1)
            assert record["by_mapping"][split][score]["states"] == pytest.approx(means)
    assert np.shape(mapping["f1"]) == (len(record["epochs"]["tsne"]), CONFIG.probe.tsne_restarts)


def test_the_papers_models_have_the_parameters_of_table_8():
    counts = count_parameters(DataConfig(), ModelConfig(), FEED_FORWARD)

    assert counts == {"32": 55_168, "256": 3_193_856, "768": 23_734_272, "2048": 201_711_616}


def test_counts_of_a_data_set_and_of_parameters_are_stored(tmp_path, monkeypatch):
    runner = Runner(Store(tmp_path))
    counted, sized = runner.dataset(DATA, 5), runner.parameters(DATA, CONFIG.model)
    for name in ("generate", "count_parameters"):
        monkeypatch.setattr(experiments, name, None)

    assert runner.dataset(DATA, 5) == counted
    assert runner.parameters(DATA, CONFIG.model) == sized
    assert counted["seed"] == 5
    assert counted.items() >= describe(generate(DATA, 5)).items()
    assert all(sized["wide_counts"][width] > sized["counts"][width] for width in ("32", "768", "2048"))
