"""Records of §4.1: their content, that they are found again, and that a stop changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from taskclust import runner as runner_module
from taskclust.config import (
    ARMS,
    SPLITS,
    IdentityDataConfig,
    PretrainingConfig,
    ProbeConfig,
)
from taskclust.data import generate
from taskclust.data.identities import identity_dataset
from taskclust.experiments.pretraining import run as module
from taskclust.models import Trainer, open_checkpoint
from taskclust.models.decoder import Decoder
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.hidden import hidden_states
from taskclust.runner import Runner
from taskclust.store import Store, encode
from tests.experiments.small import MODEL, SHORT, measured, training
from tests.helpers import tiny_data


def pretraining(**changes):
    plain = tiny_data(regex=SHORT, n_hard_tasks=0)
    return PretrainingConfig(
        data=IdentityDataConfig(**{name: getattr(plain, name) for name in plain.__slots__}),
        model=MODEL,
        pretraining=training(3, checkpoints=(0, 3)),
        training=training(3),
        probe=ProbeConfig(perplexity=2, iterations=60, tsne_restarts=2, kmeans_restarts=2),
        **changes,
    )


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(Store(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def pretrained(runner):
    return runner.record("pretraining", pretraining())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- what records hold


def test_every_arm_is_tuned_and_all_but_none_are_pretrained(pretrained):
    assert list(pretrained.tuning) == list(ARMS)
    assert list(pretrained.pretraining) == [arm for arm in ARMS if arm != "none"]
    assert {column.shape for stage in pretrained.tuning.values() for column in stage.history.values()} == {(4,)}
    assert pretrained.failure is None
    assert pretrained.config == pretraining()
    assert pretrained.seconds.keys() == {
        "probe",
        *(f"tuning {arm}" for arm in pretrained.tuning),
        *(f"pretraining {arm}" for arm in pretrained.pretraining),
    }


@pytest.mark.parametrize("best", [1, 2])
def test_the_control_trains_until_the_identity_arms_best_epoch(tmp_path, monkeypatch, best):
    monkeypatch.setattr(Trainer, "best_epoch", property(lambda self: min(best, self.epoch)))

    record = Runner(Store(tmp_path)).record("pretraining", pretraining())

    lasts = {arm: len(stage.history["loss"]) - 1 for arm, stage in record.pretraining.items()}
    assert lasts == {"identity": 3, "instruction": 3, "shuffled": best}


def test_no_pretraining_is_the_plain_training(pretrained):
    config = pretraining()
    trainer = Trainer(config.stage("training"), generate(config.data, 0))
    for _ in range(3):
        trainer.run_epoch()

    recorded = {arm: pretrained.tuning[arm].history["loss"][1:].tolist() for arm in ARMS}

    plain = pytest.approx([row["loss"] for row in trainer.history][1:], rel=1e-4)
    assert recorded["none"] == plain
    assert recorded["instruction"] != plain
    assert recorded["shuffled"] != plain


def test_clusters_are_probed_at_every_checkpoint_and_split(pretrained):
    assert pretrained.epochs.raw == pretrained.epochs.tsne == [0, 3]
    for split in SPLITS:
        scores = pretrained.scores[split]
        of_each = scores.starts["task"]["ari"]
        assert of_each.shape == (2, MODEL.layers + 1, 2)
        np.testing.assert_allclose(scores.tsne["task"]["ari"], of_each.mean(axis=-1), atol=1e-4)
        assert scores.raw["task"]["ari"].shape == (2, MODEL.layers + 1)
        assert (scores.mapping, scores.divergence, scores.top_embedding) == ({}, None, None)


def test_few_embeddings_are_those_of_the_first_and_the_last_checkpoint(tmp_path):
    config = pretraining()
    dataset = generate(config.data, 0)
    for n in (0, 1, 3):
        Decoder.create(config.data, MODEL, generator(n)).save_pretrained(tmp_path / f"{n:04d}")
    few = replace(config, probe=replace(config.probe, tsne_at="few"))

    (some_epochs, some), (every_epochs, every) = (
        module.probe_identities(tmp_path, dataset, c, "cpu") for c in (few, config)
    )

    assert (some_epochs.raw, some_epochs.tsne, every_epochs.tsne) == ([0, 1, 3], [0, 3], [0, 1, 3])
    for split in SPLITS:
        assert encode(some[split].raw) == encode(every[split].raw)
        np.testing.assert_array_equal(some[split].tsne["task"]["f1"], every[split].tsne["task"]["f1"][[0, 2]])


# ---------------------------------------------------------------- what goes where, each also shown to fail


def check_probe_reads_the_triggers_states_of_each_checkpoint(folder, _patch):
    """Scores of pre-training are those of the trigger's states, split by split and epoch by epoch."""
    config = pretraining()
    dataset = generate(config.data, 0)
    marked = identity_dataset(dataset)
    models = {n: Decoder.create(config.data, MODEL, generator(n)) for n in (0, 3)}
    for n, model in models.items():
        model.save_pretrained(folder / f"{n:04d}")

    _, record = module.probe_identities(folder, dataset, config, "cpu")

    for name in SPLITS:
        found = record[name].raw["task"]["label_inertia"]
        for row, model in zip(found, models.values(), strict=True):
            split = marked.splits[name]
            states = hidden_states(model, split).input_token
            scores = cluster_scores(states, split, config.probe, with_tsne=True, seed=0)
            assert row == pytest.approx(scores.raw["task"]["label_inertia"]), f"{name}: something else is probed"


def check_arms_are_tuned_on_the_task_alone(folder, patch):
    """Every arm is tuned on the plain data set."""
    config, tuners, real = pretraining(), [], module.tuner

    def spied(*args):
        tuners.append(real(*args))
        return tuners[-1]

    patch.setattr(module, "tuner", spied)
    Runner(Store(folder)).record("pretraining", config)

    plain = Trainer(config.stage("training"), generate(config.data, 0))
    for trainer in tuners:
        for name, split in plain._data.items():
            assert torch.equal(trainer._data[name].inputs, split.inputs), "tuned on something else"
    assert len(tuners) == len(ARMS)


def open_first_checkpoint(folder):
    return open_checkpoint(folder.with_name("0000"))


PROBE, TUNING = check_probe_reads_the_triggers_states_of_each_checkpoint, check_arms_are_tuned_on_the_task_alone
COMPOSITION_FAULTS = {
    "first-checkpoint-for-all": ("open_checkpoint", open_first_checkpoint, PROBE),
    "plain-data-probed": ("identity_dataset", lambda dataset: dataset, PROBE),
    "last-instruction-token-probed": (
        "hidden_states",
        lambda *args, **kwargs: (found := hidden_states(*args, **kwargs))._replace(input_token=found.instruction_end),
        PROBE,
    ),
    "identities-in-tuning": (
        "tuner",
        lambda config, data, *rest, real=module.tuner: real(config, identity_dataset(data), *rest),
        TUNING,
    ),
}


@pytest.mark.parametrize("check", [PROBE, TUNING], ids=lambda check: check.__name__)
def test_composition_holds(check, tmp_path, monkeypatch):
    check(tmp_path, monkeypatch)


@pytest.mark.parametrize(("name", "fault", "check"), COMPOSITION_FAULTS.values(), ids=COMPOSITION_FAULTS)
def test_planted_fault_is_caught(name, fault, check, tmp_path, monkeypatch):
    monkeypatch.setattr(module, name, fault)

    with pytest.raises(AssertionError, match="something else"):
        check(tmp_path, monkeypatch)


# ---------------------------------------------------------------- the store


def test_a_record_is_computed_once(runner, pretrained, monkeypatch):
    monkeypatch.setattr(module, "run", None)  # called again, it would raise

    record = runner.record("pretraining", pretraining())

    assert runner.is_stored("pretraining", pretraining())
    assert not runner.is_stored("pretraining", pretraining(seed=9))
    assert encode(record) == encode(pretrained)


@pytest.mark.parametrize("change", ["pretraining", "training"])
def test_each_stages_settings_are_part_of_the_key(change, runner):
    config = pretraining()
    other = replace(config, **{change: replace(getattr(config, change), learning_rate=0.5)})

    assert runner.key("pretraining", config) != runner.key("pretraining", other)


@pytest.mark.parametrize("stop", [2, 5, 8])
def test_a_stopped_pretraining_continues_to_the_same_record(stop, pretrained, tmp_path, monkeypatch):
    runner, config, count = Runner(Store(tmp_path)), pretraining(), iter(range(1000))
    real = Trainer.epoch_steps
    monkeypatch.setattr(runner_module, "SAVE_EVERY", -1.0)

    def stopping(self):
        if next(count) == stop:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Trainer, "epoch_steps", stopping)
    with pytest.raises(KeyboardInterrupt):
        runner.record("pretraining", config)
    monkeypatch.setattr(Trainer, "epoch_steps", real)

    assert measured(runner.record("pretraining", config)) == measured(pretrained)
    assert not list((tmp_path / "unfinished").iterdir())


def test_a_diverging_arm_gives_a_record_that_says_so(tmp_path):
    config = pretraining()
    config = replace(config, training=replace(config.training, learning_rate=1e30))

    with pytest.warns(RuntimeWarning, match="the loss became"):
        record = Runner(Store(tmp_path)).record("pretraining", config)

    assert "learning_rate=1e+30" in record.failure
