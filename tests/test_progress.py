"""Stopped trainings continue from the newest complete state, as if they had not been stopped."""

import copy
import shutil
from dataclasses import replace

import pytest
import torch

from taskclust.data import generate
from taskclust.models import Trainer
from taskclust.progress import load_progress, save_once, save_progress
from taskclust.store.folders import is_sealed
from tests.experiments.small import CONFIG, DATA, EPOCHS, truncate


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset():
    return generate(DATA, CONFIG.seed)


def run(trainer, epochs):
    while trainer.epoch < epochs:
        trainer.run_epoch()
    return trainer


def same_tensors(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def of_precision(precision):
    return replace(CONFIG, training=replace(CONFIG.training, precision=precision))


def keep(trainer, folder, seconds):
    """Write what a training saves: its checkpoints, all from the current model, and its state."""
    for epoch in trainer.config.training.checkpoints:
        if epoch <= trainer.epoch:
            save_once(folder / "checkpoints" / f"{epoch:04d}", trainer.save_checkpoint)
    save_progress(trainer, folder, seconds=seconds)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stopped", [0, 1, 5, EPOCHS])
def test_a_saved_training_continues_as_if_it_had_not_stopped(dataset, tmp_path, precision, stopped):
    config = of_precision(precision)
    unbroken = run(Trainer(config, dataset), EPOCHS)
    keep(run(Trainer(config, dataset), stopped), tmp_path, seconds=12.5)
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
def test_an_incomplete_state_is_skipped_for_the_one_before(dataset, tmp_path, damaged):
    trainer = run(Trainer(CONFIG, dataset), 1)
    save_progress(trainer, tmp_path / "newer", seconds=2.0)
    expected = copy.deepcopy(trainer.state()[0])
    keep(trainer, tmp_path / "unfinished", seconds=1.0)
    keep(run(trainer, 2), tmp_path / "newer", seconds=2.0)
    shutil.copytree(tmp_path / "newer", tmp_path / "unfinished", dirs_exist_ok=True)
    truncate(tmp_path / "unfinished" / "state-0002" / damaged)
    continued = Trainer(CONFIG, dataset)

    assert load_progress(continued, tmp_path / "unfinished") == 1.0

    assert continued.epoch == 1
    assert same_tensors(continued.state()[0], expected)


def test_without_a_complete_state_a_training_begins_again(dataset, tmp_path):
    (tmp_path / "state-0002").mkdir()
    trainer = Trainer(CONFIG, dataset)

    assert load_progress(trainer, tmp_path) == 0.0
    assert trainer.epoch == 0


@pytest.mark.parametrize("lost", ["spoiled", "missing", "none"])
def test_a_training_with_incomplete_checkpoints_begins_again(dataset, tmp_path, lost):
    keep(run(Trainer(CONFIG, dataset), 2), tmp_path, seconds=1.0)
    first = min((tmp_path / "checkpoints").iterdir())
    if lost == "spoiled":
        weights = first / "model.safetensors"
        weights.write_bytes(bytes([*weights.read_bytes()[:-1], 7]))
    else:
        shutil.rmtree(first if lost == "missing" else first.parent)
    trainer = Trainer(CONFIG, dataset)

    with pytest.warns(UserWarning, match="a checkpoint kept there is not whole; the training begins again"):
        assert load_progress(trainer, tmp_path) == 0.0

    assert trainer.epoch == 0


def test_an_incomplete_checkpoint_is_made_again(tmp_path):
    saved = []

    def save(to):
        saved.append(to)
        to.mkdir(exist_ok=True)
        (to / "weights").write_text("heavy")

    place = tmp_path / "0001"
    for _ in range(2):
        save_once(place, save)
    assert len(saved) == 1
    truncate(place / "weights")

    save_once(place, save)

    assert len(saved) == 2
    assert (place / "weights").read_text() == "heavy"
    assert is_sealed(place)
    assert [path.name for path in tmp_path.iterdir()] == ["0001"]
