"""Records are computed when needed, and no stop or fault changes one."""

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

from taskclust import runner as module
from taskclust.config import LABELS, SPLITS, ConfigError
from taskclust.data import generate
from taskclust.experiments.synthetic import run as synthetic
from taskclust.models import Trainer
from taskclust.runner import Runner, read_training
from taskclust.store import CorruptRecordWarning, RecordError, Store, encode
from taskclust.store.folders import is_sealed, read_json, seal
from tests.experiments.small import CONFIG, DATA, EPOCHS, LONG, folder, measured, truncate
from tests.test_progress import keep

ROOT = Path(__file__).parents[1]


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
    """The store with the experiment's records; only for reading."""
    store = Store(tmp_path_factory.mktemp("store"))
    Runner(store).record("synthetic", CONFIG)
    return store


@pytest.fixture(scope="module")
def record(original):
    return Runner(original).record("synthetic", CONFIG)


@pytest.fixture
def store(original, tmp_path):
    """A copy of the store that may be damaged."""
    shutil.copytree(original.root, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture
def without_training(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "Trainer", refuse)


def checkpoints(trajectory):
    """The weights of every checkpoint, by epoch."""
    return {path.name: load_file(path / "model.safetensors") for path in (trajectory / "checkpoints").iterdir()}


def same_tensors(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def histories(record):
    """The columns, to the bit."""
    return encode(record.history)


def run(trainer, epochs):
    while trainer.epoch < epochs:
        trainer.run_epoch()
    return trainer


# ---------------------------------------------------------------- seeds, keys and what depends on the device


def test_the_same_seed_gives_the_same_record_in_another_store(record, tmp_path):
    other = Runner(Store(tmp_path)).record("synthetic", CONFIG)

    assert measured(other) == measured(record)


def test_another_seed_gives_another_key_and_another_history(record, original, tmp_path):
    config = replace(CONFIG, seed=4)

    trained = read_training(Runner(Store(tmp_path)).trajectory(config))

    assert folder(original, "trajectory", config) != folder(original, "trajectory")
    assert [row["loss"] for row in trained.history[1:]] != record.history["loss"][1:].tolist()


def test_a_training_stores_its_configuration_and_whole_history(original, record):
    trained = read_training(folder(original, "trajectory"))
    written = read_json(folder(original, "trajectory") / "record.json")

    assert (trained.best_epoch, trained.failure, written["replayed"]) == (record.best_epoch, None, False)
    assert trained.history[0]["loss"] is None
    for name, column in record.history.items():
        assert [row[name] for row in trained.history[1:]] == column[1:].tolist()
    assert trained.seconds == record.seconds["train"] > 0
    assert trained.provenance == record.training_provenance


def test_the_key_says_the_precision_that_was_run(original):
    auto = replace(CONFIG, training=replace(CONFIG.training, precision="auto"))
    low = replace(CONFIG, training=replace(CONFIG.training, precision="bfloat16"))

    assert folder(original, "synthetic", auto) == folder(original, "synthetic")
    assert folder(original, "synthetic", low) != folder(original, "synthetic")


@pytest.fixture
def where_bfloat16_pays(monkeypatch):
    """A processor that is fastest in bfloat16, at any width."""
    monkeypatch.setattr(module, "precisions", lambda p, *_, **__: ("bfloat16", "float32") if p == "auto" else (p,))


@pytest.mark.usefixtures("without_training", "where_bfloat16_pays")
def test_a_record_from_a_machine_of_another_precision_serves_auto(record, original):
    auto = replace(CONFIG, training=replace(CONFIG.training, precision="auto"))

    assert Runner(original).is_stored("synthetic", auto)
    assert encode(Runner(original).record("synthetic", auto)) == encode(record)


@pytest.mark.usefixtures("where_bfloat16_pays")
@pytest.mark.parametrize("left", ["trajectory", "unfinished"])
def test_work_begun_in_another_precision_continues_in_it(store, left):
    auto = replace(CONFIG, training=replace(CONFIG.training, precision="auto"))
    trained = folder(store, "trajectory")
    shutil.rmtree(folder(store, "synthetic"))
    if left == "unfinished":
        place = store.unfinished("trajectory", trained.name)
        place.parent.mkdir(exist_ok=True)
        trained.replace(place)

    assert Runner(store).resolve("synthetic", auto) == CONFIG
    shutil.rmtree(store.unfinished("trajectory", trained.name) if left == "unfinished" else trained)
    assert Runner(store).resolve("synthetic", auto).training.precision == "bfloat16"


@pytest.mark.usefixtures("where_bfloat16_pays")
@pytest.mark.parametrize(
    ("changes", "recompute"), [({"seed": 4}, False), ({}, True)], ids=["none-is-stored", "computed-anew"]
)
def test_new_runs_use_the_fastest_precision_here(original, changes, recompute):
    auto = replace(CONFIG, training=replace(CONFIG.training, precision="auto"), **changes)

    settled = Runner(original, recompute=recompute).resolve("synthetic", auto)

    assert settled.training.precision == "bfloat16"


def test_an_unknown_architecture_is_refused_before_a_run(tmp_path):
    unknown = replace(CONFIG, model=replace(CONFIG.model, architecture="abacus"))

    with pytest.raises(ConfigError, match="abacus"):
        Runner(Store(tmp_path)).record("synthetic", unknown)

    assert not (tmp_path / "trajectory").exists()


# ---------------------------------------------------------------- what is computed, and when


@pytest.mark.usefixtures("without_training")
def test_stored_records_are_not_computed_again(record, original, monkeypatch):
    monkeypatch.setattr(synthetic, "probe_checkpoint", None)
    before = (folder(original, "synthetic") / "record.json").stat()

    assert Runner(original).is_stored("synthetic", CONFIG)
    assert encode(Runner(original).record("synthetic", CONFIG)) == encode(record)

    after = (folder(original, "synthetic") / "record.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.usefixtures("without_training")
def test_a_changed_probe_is_computed_from_the_stored_training(record, store):
    config = replace(CONFIG, probe=replace(CONFIG.probe, neighbors=1))
    assert not Runner(store).is_stored("synthetic", config)

    other = Runner(store).record("synthetic", config)

    assert encode(other.knn) != encode(record.knn)
    for name in ("history", "scores", "components"):
        assert encode(getattr(other, name)) == encode(getattr(record, name))
    assert encode(Runner(store).record("synthetic", CONFIG)) == encode(record)


def test_recompute_replaces_both_records_by_equal_ones(record, store):
    paths = [folder(store, kind) / "record.json" for kind in ("trajectory", "synthetic")]
    before = [path.stat().st_ino for path in paths]
    runner = Runner(store, recompute=True)

    again = runner.record("synthetic", CONFIG)

    assert not runner.is_stored("synthetic", CONFIG)
    assert measured(again) == measured(record)
    assert again.seconds != record.seconds
    assert all(path.stat().st_ino != old for path, old in zip(paths, before, strict=True))


@pytest.mark.usefixtures("without_training")
def test_a_corrupt_record_is_put_aside_and_probed_again(record, store):
    truncate(folder(store, "synthetic") / "record.json")

    with pytest.warns(CorruptRecordWarning, match=r"synthetic record .*moved to .*quarantine"):
        again = Runner(store).record("synthetic", CONFIG)

    assert measured(again) == measured(record)
    assert len(list((store.root / "quarantine").glob("synthetic-*/record/record.json"))) == 1


def test_a_corrupt_trajectory_is_put_aside_and_trained_again(record, store):
    shutil.rmtree(folder(store, "synthetic"))
    truncate(folder(store, "trajectory") / "checkpoints" / "0002" / "model.safetensors")

    with pytest.warns(CorruptRecordWarning, match=r"trajectory record .*moved to .*quarantine"):
        again = Runner(store).record("synthetic", CONFIG)

    assert measured(again) == measured(record)
    assert len(list((store.root / "quarantine").glob("trajectory-*/record"))) == 1


def test_a_sealed_file_that_is_not_a_record_is_named_with_its_fault(store):
    place = folder(store, "synthetic")
    (place / "record.json").write_text('{"schema": 7}')
    seal(place, "synthetic", place.name)

    with pytest.raises(RecordError, match=r"synthetic\.record\.Record: .*missing required field"):
        Runner(store).record("synthetic", CONFIG)


# ---------------------------------------------------------------- trainings that fail


@pytest.fixture
def diverge_from(monkeypatch):
    """Make the learning rate explode at a step of the training."""

    def _diverge_from(first):
        sound = Trainer._learning_rate
        monkeypatch.setattr(Trainer, "_learning_rate", lambda self, step: 1e30 if step >= first else sound(self, step))

    return _diverge_from


@pytest.fixture(scope="module")
def steps(dataset):
    return math.ceil(len(dataset.train.lengths) / CONFIG.training.batch_instructions)


def first_rows(record, n):
    return encode({name: column[:n] for name, column in record.history.items()})


def test_a_training_that_diverges_keeps_what_it_had_and_says_why(record, diverge_from, steps, tmp_path):
    diverge_from(4 * steps)

    with pytest.warns(RuntimeWarning, match=r"^seed 3: learning_rate=0\.01: the loss became nan in epoch 5"):
        failed = Runner(Store(tmp_path)).record("synthetic", CONFIG)

    assert failed.failure.startswith("learning_rate=0.01: the loss became nan in epoch 5")
    assert histories(failed) == first_rows(record, 5)
    assert failed.epochs.raw == sorted({0, 1, 2, failed.best_epoch})
    for split in SPLITS:
        for label in LABELS:
            some, every = (r.scores[split].tsne[label]["ari"] for r in (failed, record))
            np.testing.assert_array_equal(some[:3], every[:3])


def test_a_training_that_fails_at_once_has_the_untrained_model(record, tmp_path):
    config = replace(CONFIG, training=replace(CONFIG.training, learning_rate=1e30))

    with pytest.warns(RuntimeWarning, match="^seed 3: .*the loss became nan in epoch 1"):
        failed = Runner(Store(tmp_path)).record("synthetic", config)

    assert histories(failed) == first_rows(record, 1)
    assert (failed.epochs.raw, failed.epochs.tsne) == ([0], [0])
    np.testing.assert_array_equal(failed.knn.percentage, record.knn.percentage[:1])


def test_a_failure_is_stored_and_not_tried_again(diverge_from, steps, tmp_path, monkeypatch):
    diverge_from(steps // 2)
    with pytest.warns(RuntimeWarning, match="^seed 3"):
        failed = Runner(Store(tmp_path)).record("synthetic", CONFIG)

    monkeypatch.setattr(module, "Trainer", None)

    assert encode(Runner(Store(tmp_path)).record("synthetic", CONFIG)) == encode(failed)


@pytest.mark.parametrize("epoch", [2, EPOCHS], ids=["at-a-checkpoint", "at-the-end"])
def test_a_training_that_diverges_in_the_last_step_of_an_epoch_is_a_failure_too(diverge_from, steps, tmp_path, epoch):
    diverge_from(epoch * steps - 1)

    with pytest.warns(RuntimeWarning, match="^seed 3: learning_rate"):
        failed = Runner(Store(tmp_path)).record("synthetic", CONFIG)

    assert failed.failure.startswith("learning_rate=0.01")
    assert failed.epochs.raw[0] == 0


# ---------------------------------------------------------------- trainings that are stopped


def test_a_continued_training_counts_the_seconds_before_the_stop_and_leaves_nothing_unfinished(dataset, tmp_path):
    runner = Runner(Store(tmp_path))
    unfinished = runner.store.unfinished("trajectory", runner.key("trajectory", CONFIG))
    keep(run(Trainer(CONFIG, dataset), EPOCHS - 1), unfinished, seconds=1000.0)

    trained = read_training(runner.trajectory(CONFIG))

    assert 1000 < trained.seconds < 1060
    assert not unfinished.exists()


KILLED = """
import sys
from taskclust import runner
from taskclust.store import Store
from tests.experiments.small import LONG
runner.SAVE_EVERY = 0
runner.Runner(Store(sys.argv[1])).record("synthetic", LONG)
"""


def test_a_killed_training_continues_to_the_same_end(tmp_path, monkeypatch):
    unbroken = Runner(Store(tmp_path / "unbroken")).trajectory(LONG)
    runner = Runner(Store(tmp_path / "killed"))
    unfinished = runner.store.unfinished("trajectory", runner.key("trajectory", LONG))
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
    assert read_training(continued).history == read_training(unbroken).history
    ours, theirs = checkpoints(continued), checkpoints(unbroken)
    assert ours.keys() == theirs.keys() >= {"0000", "0003", "0040"}
    assert all(same_tensors(ours[name], theirs[name]) for name in theirs)


def test_other_checkpoints_are_not_in_a_trainings_record(dataset, tmp_path):
    runner = Runner(Store(tmp_path))
    unfinished = runner.store.unfinished("trajectory", runner.key("trajectory", CONFIG))
    keep(run(Trainer(CONFIG, dataset), 1), unfinished, seconds=1.0)
    shutil.copytree(unfinished / "checkpoints" / "0000", unfinished / "checkpoints" / "0777")
    (unfinished / "checkpoints" / "notes.txt").write_text("mine")

    trained = runner.trajectory(CONFIG)

    wanted = {*CONFIG.training.checkpoints, read_training(trained).best_epoch}
    assert {int(path.name) for path in (trained / "checkpoints").iterdir()} == wanted
