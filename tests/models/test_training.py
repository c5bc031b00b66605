"""The training loop learns, depends only on its seed, and continues after a stop as if there had been none."""

import copy
import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from taskclust.models import Trainer, TrainingDiverged
from taskclust.models.alignment import freeze_trunk
from taskclust.models.batches import Instructions, plain_batch
from taskclust.models.decoder import Decoder
from taskclust.models.training import batch_loss
from tests.helpers import assert_close

EPOCHS = 4


def run(trainer, epochs=EPOCHS):
    while trainer.epoch < epochs:
        trainer.run_epoch()
    return trainer


def same_history(first, second):
    """Bit for bit, NaN included."""
    return [list(map(repr, row.items())) for row in first] == [list(map(repr, row.items())) for row in second]


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def same_weights(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("norm", ["before", "after"])
def test_a_tiny_data_set_is_learned_by_heart(dataset, experiment, norm):
    """In 31 runs accuracy rises from at most 0.2 to 1, and the loss falls to 0.042 ± 0.001 of its initial value."""
    model = {"width": 32, "feed_forward": 64, "heads": 4, "dropout": 0.0, "norm": norm}
    config = experiment(model=model, epochs=120, schedule_epochs=120, learning_rate=5e-3, batch_instructions=4)
    trainer = Trainer(config, dataset)

    run(trainer, 120)

    first, last = trainer.history[0], trainer.history[-1]
    assert first["subset_accuracy"] < 0.5
    assert last["subset_accuracy"] > 0.8
    assert last["hard_accuracy"] > 0.6
    assert last["loss"] < trainer.history[1]["loss"] / 10


def test_same_seed_gives_the_same_history_and_weights_bit_for_bit(dataset, experiment):
    first, second = (run(Trainer(experiment(seed=3), dataset)) for _ in range(2))

    assert same_history(first.history, second.history)
    assert same_weights(weights(first), weights(second))


def test_global_generators_are_not_used(dataset, experiment):
    first = run(Trainer(experiment(), dataset))

    torch.rand(3)
    np.random.default_rng().random()
    second = run(Trainer(experiment(), dataset))

    assert same_weights(weights(first), weights(second))


def test_another_seed_gives_another_history_and_other_weights(dataset, experiment):
    first, second = (run(Trainer(experiment(seed=seed), dataset)) for seed in (3, 4))

    assert not same_history(first.history, second.history)
    assert not same_weights(weights(first), weights(second))


def test_each_epoch_has_its_own_order_and_dropout(dataset, experiment):
    trainer = Trainer(experiment(learning_rate=1e-30, weight_decay=0.0), dataset)

    losses = [trainer.run_epoch()["loss"] for _ in range(3)]

    assert len(set(losses)) == 3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stopped", range(EPOCHS + 1))
def test_a_resumed_run_equals_an_uninterrupted_one(dataset, experiment, stopped, precision):
    config = experiment(precision=precision)
    unbroken = run(Trainer(config, dataset))
    tensors, values = copy.deepcopy(run(Trainer(config, dataset), stopped).state())
    continued = Trainer(config, dataset)

    continued.load_state(tensors, values)
    run(continued)

    assert continued.epoch == EPOCHS
    assert same_history(continued.history, unbroken.history)
    assert same_weights(weights(continued), weights(unbroken))
    assert torch.equal(continued.parameters.master, unbroken.parameters.master)
    assert torch.equal(continued.state()[0]["best"], unbroken.state()[0]["best"])


def test_a_resumed_run_without_optimizer_state_is_distinguished(dataset, experiment):
    unbroken = run(Trainer(experiment(), dataset))
    tensors, values = copy.deepcopy(run(Trainer(experiment(), dataset), 2).state())
    continued = Trainer(experiment(), dataset)

    continued.load_state({**tensors, "exp_avg": torch.zeros_like(tensors["exp_avg"])}, values)

    assert not same_weights(weights(run(continued)), weights(unbroken))


@pytest.fixture
def spied(dataset, experiment, monkeypatch):
    """A trainer that records the learning rate and gradient norm of each autograd step."""

    def make(**training):
        trainer = Trainer(experiment(**training), dataset, compiled=False)
        step, rates, norms = trainer._optimizer.step, [], []

        def noting_step():
            rates.append(trainer._optimizer.param_groups[0]["lr"])
            norms.append(float(torch.linalg.vector_norm(trainer.parameters.master.grad)))
            return step()

        monkeypatch.setattr(trainer._optimizer, "step", noting_step)
        return trainer, rates, norms

    return make


def test_learning_rate_falls_from_the_full_rate_to_nothing_as_a_cosine(spied):
    trainer, rates, _ = spied(learning_rate=0.01)

    run(trainer)

    steps = EPOCHS * math.ceil(50 / 8)
    assert rates[0] == 0.01
    assert rates[-1] < 0.01 * (math.pi / steps) ** 2
    assert_close(rates, 0.01 * (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2)


def test_learning_rate_of_a_run_cut_short_follows_the_whole_schedule(spied):
    trainer, rates, _ = spied(learning_rate=0.01, epochs=2, schedule_epochs=4)

    run(trainer, 2)

    assert_close(rates, 0.01 * (1 + np.cos(np.pi * np.arange(14) / 28)) / 2)


def test_learning_rate_rises_linearly_over_the_warmup_and_then_falls_to_nothing(spied):
    trainer, rates, _ = spied(learning_rate=0.01, warmup_epochs=2)

    run(trainer)

    steps = math.ceil(50 / 8)
    rest = (EPOCHS - 2) * steps
    assert_close(rates[: 2 * steps], 0.01 * np.arange(1, 2 * steps + 1) / (2 * steps))
    assert_close(rates[2 * steps :], 0.01 * (1 + np.cos(np.pi * np.arange(rest) / rest)) / 2)


def test_gradient_is_clipped(spied):
    trainer, _, norms = spied(max_gradient_norm=0.01)

    run(trainer, 1)

    assert_close(norms, np.full(7, 0.01), rtol=1e-3)


def test_a_gradient_below_the_bound_is_unchanged(spied):
    trainer, _, norms = spied(max_gradient_norm=1e6)

    run(trainer, 1)

    assert 0.1 < max(norms) < 1e5
    assert len(set(norms)) == len(norms)


def test_best_epoch_is_the_first_of_the_best(dataset, experiment):
    trainer = Trainer(experiment(), dataset)

    trainer.history = [{"validation_accuracy": value} for value in (0.1, 0.9, 0.4, 0.9, 0.8)]

    assert trainer.best_epoch == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_loss_that_is_nan_ends_the_training_and_names_the_rate(dataset, experiment, precision):
    trainer = Trainer(experiment(learning_rate=0.125, precision=precision), dataset)
    trainer.run_epoch()
    trainer.parameters.load(torch.full_like(trainer.parameters.master, math.nan))

    with pytest.raises(TrainingDiverged, match=r"learning_rate=0\.125: the loss became nan in epoch 2; lower the rate"):
        trainer.run_epoch()

    assert len(trainer.history) == 2


def test_an_extreme_learning_rate_diverges(dataset, experiment):
    with pytest.raises(TrainingDiverged, match="learning_rate"):
        run(Trainer(experiment(learning_rate=1e30), dataset))


# ---------------------------------------------------------------- checkpoints


def opened(folder):
    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_checkpoint_opens_as_the_live_model(dataset, experiment, tmp_path, tied, precision):
    trainer = run(Trainer(experiment(model={"tied_head": tied}, precision=precision), dataset), 1)

    trainer.save_checkpoint(tmp_path)

    assert same_weights(dict(opened(tmp_path).state_dict()), weights(trainer))
    assert opened(tmp_path).token_embedding.weight.dtype == getattr(torch, precision)


def test_checkpoint_of_an_untied_head_has_that_head(dataset, experiment, tmp_path):
    tied = experiment(model={"tied_head": True})
    model = freeze_trunk(Decoder.create(dataset.config, tied.model, torch.Generator().manual_seed(0)))
    trainer = run(Trainer(tied, dataset, model=model), 1)

    trainer.save_checkpoint(tmp_path)

    assert same_weights(dict(opened(tmp_path).state_dict()), weights(trainer))
    assert not torch.equal(opened(tmp_path).head.weight, opened(tmp_path).token_embedding.weight)


@pytest.fixture
def scripted(dataset, experiment, monkeypatch):
    """A trainer whose validation accuracy is best after epoch 2, and its weights after each epoch."""
    scripted = iter((0.1, 0.2, 0.9, 0.3, 0.9))
    monkeypatch.setattr(Trainer, "_measure", lambda self, loss: {"loss": loss, "validation_accuracy": next(scripted)})
    trainer = Trainer(experiment(), dataset)
    after = [weights(trainer)]
    while trainer.epoch < EPOCHS:
        trainer.run_epoch()
        after.append(weights(trainer))
    return trainer, after


def test_best_checkpoint_has_the_weights_of_the_best_epoch(scripted, tmp_path):
    trainer, after = scripted

    trainer.save_checkpoint(tmp_path, best=True)

    assert trainer.best_epoch == 2
    assert same_weights(dict(opened(tmp_path).state_dict()), after[2])


def test_best_checkpoint_leaves_the_live_weights_unchanged(scripted, tmp_path):
    trainer, after = scripted
    assert not same_weights(after[2], after[4])

    trainer.save_checkpoint(tmp_path, best=True)

    assert same_weights(weights(trainer), after[4])


# ---------------------------------------------------------------- measures


@torch.no_grad()
def naive_hits(model, split):
    """For each instance, read by itself as [I, x]: is its output the most likely token, and may rounding decide it?

    Rounding may decide if the second most likely token is within a thousandth of the logits' standard deviation.
    """
    hits, unsure = [], []
    for row in range(len(split.lengths)):
        for x, y in zip(split.inputs[row], split.outputs[row], strict=True):
            ids = torch.tensor([[*split.instructions[row, : split.lengths[row]], x]])
            logits = model.eval()(ids).logits[0, -1]
            first, second = logits.topk(2).values
            hits.append(int(logits.argmax()) == y)
            unsure.append(bool(first - second < 1e-3 * logits.std()))
    return np.array(hits), np.array(unsure)


def test_accuracies_equal_a_naive_loop(dataset, experiment):
    config = experiment(model={"dropout": 0.0}, learning_rate=1e-2, epochs=40, schedule_epochs=40)
    trainer = run(Trainer(config, dataset), 40)

    is_hard = dataset.subset.labels("is_hard")
    for name, chosen, measure in (
        ("validation", slice(None), "validation_accuracy"),
        ("subset", slice(None), "subset_accuracy"),
        ("subset", is_hard, "hard_accuracy"),
    ):
        hits, unsure = (found[chosen] for found in naive_hits(trainer.model, dataset.splits[name]))
        assert unsure.mean() < 0.1
        assert trainer.history[-1][measure] == pytest.approx(hits.mean(), abs=unsure.mean() + 1e-6)
        assert (trainer._correct(name).numpy()[chosen] == hits)[~unsure].all()
        assert name == "validation" or 0 < hits.mean() < 1


def test_history_begins_with_the_untrained_model(dataset, experiment):
    trainer = Trainer(experiment(), dataset)

    assert len(trainer.history) == 1
    assert math.isnan(trainer.history[0]["loss"])
    assert trainer.best_epoch == 0


def test_training_loss_of_one_batch_is_the_plain_batchs(dataset, experiment):
    config = experiment(model={"dropout": 0.0}, batch_instructions=50)
    trainer, untrained = Trainer(config, dataset), Trainer(config, dataset)
    everything = plain_batch(Instructions(dataset.train), np.arange(50))

    row = trainer.run_epoch()

    assert row["loss"] == pytest.approx(batch_loss(untrained.model, everything).item(), rel=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_an_epoch_passes_once_over_the_training_set(dataset, experiment, monkeypatch, compiled):
    seen = []
    trainer = Trainer(experiment(), dataset, compiled=compiled)
    step = trainer.train_step
    monkeypatch.setattr(trainer, "train_step", lambda indices, rate: seen.extend(indices) or step(indices, rate))

    trainer.run_epoch()

    assert sorted(seen) == list(range(50))
    assert seen != sorted(seen)


def test_an_epoch_of_instances_passes_once_over_each(dataset, experiment, monkeypatch):
    seen = []
    trainer = Trainer(experiment(shuffled="instances", batch_instructions=7), dataset)
    step = trainer.train_step
    monkeypatch.setattr(trainer, "train_step", lambda indices, rate: seen.append(indices) or step(indices, rate))

    trainer.run_epoch()

    assert sorted(np.concatenate(seen)) == list(range(dataset.train.n_instances))
    assert {len(indices) for indices in seen} == {7, dataset.train.n_instances % 7}
