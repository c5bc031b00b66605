"""The arms of §4.1 differ only in their pre-training and are selected as the paper says; tuning sees no identity."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from taskclust.config import ARMS, IdentityDataConfig, ModelConfig, PretrainingConfig, ProbeConfig, TrainingConfig
from taskclust.data import generate
from taskclust.data.identities import instruction_dataset
from taskclust.experiments.pretraining import arms
from taskclust.experiments.pretraining.arms import pretrainer, tuner
from taskclust.models import Trainer
from taskclust.models.batches import Instructions, packed_batch
from taskclust.models.training import batch_loss
from tests.helpers import tiny_data


def small(**changes):
    """A pre-training that takes a moment."""
    training = TrainingConfig(
        epochs=2, schedule_epochs=2, learning_rate=3e-3, batch_instructions=8, checkpoints=(0,), precision="float32"
    )
    plain = tiny_data()
    return PretrainingConfig(
        data=IdentityDataConfig(**{name: getattr(plain, name) for name in plain.__slots__}),
        model=ModelConfig(width=16, feed_forward=32, layers=2, heads=2, weight_std=0.1, dropout=0.1),
        pretraining=replace(training, checkpoints=(0, 2)),
        training=training,
        probe=ProbeConfig(perplexity=3, iterations=100, tsne_restarts=1, kmeans_restarts=2),
        **changes,
    )


@pytest.fixture(scope="module")
def config():
    return small()


@pytest.fixture(scope="module")
def dataset(config):
    return generate(config.data, config.seed)


def run(trainer):
    while trainer.epoch < trainer.config.training.epochs:
        trainer.run_epoch()
    return trainer


def stages(config, dataset):
    """Every arm's two trainers; the second starts from the first one's best epoch."""
    for arm in ARMS:
        first = arms.pretrainer(arm, config, dataset)
        model = None if first is None else run(first).best_model()
        yield arm, first, arms.tuner(config, dataset, model)


def tokens(trainer, split="train"):
    """All that a trainer reads or predicts in a split."""
    data = trainer._data[split]
    batch = packed_batch(data, np.arange(len(data)))
    return set(batch.tokens.unique().tolist()) | set(batch.targets.unique().tolist())


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# ---------------------------------------------------------------- what must hold, each also shown to fail


def check_tuning_sees_no_identity(config, dataset):
    """No arm's tuning data has a trigger or an identity."""
    for arm, _, second in stages(config, dataset):
        leaked = {t for split in ("train", "validation") for t in tokens(second, split) if t >= config.data.trigger}
        assert not leaked, f"identities leak into the tuning of {arm}"


def check_pretraining_sees_no_mapping(config, dataset):
    """No task symbol is read or predicted before tuning."""
    symbols = range(1 + config.data.regex.n_symbols, config.data.trigger)
    for arm, first, _ in stages(config, dataset):
        assert first is None or not tokens(first).intersection(symbols), f"mappings leak into pre-training {arm}"


def check_null_has_no_identities(config, dataset):
    """The shuffled arm's identities are mostly not those of the instructions."""
    split = {arm: arms.pretrainer(arm, config, dataset)._data["train"].outputs for arm in ("identity", "shuffled")}
    assert (split["identity"] == split["shuffled"]).float().mean() < 0.5, "the null knows the identities"


def check_arms_are_paired(config, dataset):
    """Every arm has the same data set, seed, schedule and initial model."""
    trainers = list(stages(config, dataset))
    assert len({repr(second.config) for *_, second in trainers}) == 1, "arms are tuned differently"
    fresh = [arms.pretrainer(arm, config, dataset) for arm in ARMS if arm != "none"]
    begun = [weights(t.model) for t in (*fresh, arms.tuner(config, dataset, None))]
    assert all(same(begun[0], other) for other in begun), "arms begin with other weights"


def check_tuning_begins_with_the_selected_model(config, dataset):
    """The second stage starts from the first one's best epoch."""
    for arm in ("identity", "instruction"):
        first, after = arms.pretrainer(arm, config, dataset), []
        rows = [{"validation_accuracy": score, "validation_loss": -score} for score in (0.2, 0.9, 0.1)]
        first.history = rows[:1]
        first._measure = lambda loss, rows=rows, after=after: rows[len(after) + 1]  # epoch 1 is best by both criteria
        while first.epoch < 2:
            first.run_epoch()
            after.append(weights(first.model))
        second = arms.tuner(config, dataset, first.best_model())
        assert same(weights(second.model), after[0]), "tuning begins with another epoch's weights"


CHECKS = [
    check_tuning_sees_no_identity,
    check_pretraining_sees_no_mapping,
    check_null_has_no_identities,
    check_arms_are_paired,
    check_tuning_begins_with_the_selected_model,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_holds(check, config, dataset):
    check(config, dataset)


def leak(config, dataset, model, device="cpu"):
    """Tuning in which every instruction begins with its identity."""
    marked = dataset.train.instructions.copy()
    marked[:, 0] = config.data.trigger + 1 + dataset.train.task
    return tuner(config, replace(dataset, train=replace(dataset.train, instructions=marked)), model, device)


def other_seed(config, dataset, model, device="cpu"):
    """Tuning in another order if there was a pre-training."""
    return tuner(config if model is None else replace(config, seed=1), dataset, model, device)


FAULTS = {
    "identities-in-tuning": ("tuner", leak, check_tuning_sees_no_identity, "leak into the tuning"),
    "mappings-in-pretraining": (
        "identity_dataset",
        lambda dataset, shuffle=None: dataset,
        check_pretraining_sees_no_mapping,
        "mappings leak",
    ),
    "null-not-shuffled": (
        "identity_dataset",
        lambda dataset, shuffle=None, real=arms.identity_dataset: real(dataset),
        check_null_has_no_identities,
        "the null knows",
    ),
    "arms-not-paired": ("tuner", other_seed, check_arms_are_paired, "tuned differently"),
    "last-epoch-kept": (
        "Trainer.best_model",
        lambda self: self.model.float().eval(),
        check_tuning_begins_with_the_selected_model,
        "another epoch",
    ),
}


@pytest.mark.parametrize(("name", "fault", "check", "message"), FAULTS.values(), ids=FAULTS)
def test_planted_fault_is_caught(name, fault, check, message, config, dataset, monkeypatch):
    monkeypatch.setattr(f"{arms.__name__}.{name}", fault)

    with pytest.raises(AssertionError, match=message):
        check(config, dataset)


# ---------------------------------------------------------------- the rest


def test_arms_are_the_papers_three_and_the_negative_control(config, dataset):
    firsts = {arm: pretrainer(arm, config, dataset) for arm in ARMS}

    assert [arm for arm, first in firsts.items() if first is None] == ["none"]
    assert {arm: first.criterion for arm, first in firsts.items() if first} == {
        "identity": "accuracy",
        "instruction": "loss",
        "shuffled": "last",
    }


def test_the_control_trains_as_long_as_the_identity_arm(config, dataset):
    """Its identities cannot be predicted, so its own best epoch would be arbitrary."""
    first = run(pretrainer("shuffled", config, dataset, epochs=1))
    longer = replace(config, pretraining=replace(config.pretraining, epochs=2, schedule_epochs=2, checkpoints=()))
    second = run(pretrainer("shuffled", longer, dataset, epochs=2))

    assert (first.epoch, first.best_epoch) == (1, 1)
    assert (second.epoch, second.best_epoch) == (2, 2)
    assert same(weights(second.best_model()), weights(second.model))
    assert pretrainer("shuffled", config, dataset, epochs=0).config.training.epochs == 1
    assert second.config.training.checkpoints == ()


def test_identities_are_learned(config, dataset):
    """All twelve instances of the training subset, over 24 seeds; shuffled identities reach 0.1 ± 0.07."""
    model = replace(config.model, width=32, feed_forward=64, norm="before", dropout=0.0)
    stage = replace(config.pretraining, epochs=120, schedule_epochs=120, learning_rate=5e-3, batch_instructions=4)
    longer = replace(config, model=model, pretraining=stage)

    trainer = run(pretrainer("identity", longer, dataset))

    assert trainer.history[0]["subset_accuracy"] < 0.5
    assert trainer.history[-1]["subset_accuracy"] > 0.6


def test_best_epoch_by_loss_is_the_first_of_the_lowest(config, dataset):
    trainer = pretrainer("instruction", config, dataset)

    trainer.history = [{"validation_loss": value, "validation_accuracy": 0.0} for value in (3.0, 1.0, 2.0, 1.0)]

    assert trainer.best_epoch == 1


def test_validation_loss_is_that_of_the_whole_split_without_dropout(config, dataset):
    trainer = pretrainer("instruction", config, dataset)
    data = Instructions(instruction_dataset(dataset).validation)
    expected = batch_loss(trainer.model.eval(), packed_batch(data, np.arange(len(data))))

    assert trainer.history[0]["validation_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_an_experiments_history_has_no_validation_loss(config, dataset):
    assert "validation_loss" not in Trainer(config.stage("training"), dataset).history[0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_best_model_is_float32_and_measured_as_recorded(config, dataset, precision):
    stage = replace(config.pretraining, precision=precision, epochs=6, schedule_epochs=6)
    trainer = run(pretrainer("identity", replace(config, pretraining=stage), dataset))
    best = max(row["validation_accuracy"] for row in trainer.history)

    model = trainer.best_model()

    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training
    if precision == "float32":
        assert trainer._correct("validation").float().mean().item() == best
