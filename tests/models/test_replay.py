"""Steps of one shape equal plain steps, trainers do not affect each other, and a graph draws new randomness."""

import math

import numpy as np
import pytest
import torch

from taskclust.models import Trainer
from taskclust.models.batches import Instructions, host_batch
from taskclust.models.replay import WARM_UP, Replay, ReplayedTrainer
from taskclust.models.training import batch_loss
from tests.helpers import assert_close

EPOCHS = 4
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def run(trainer, epochs=EPOCHS):
    while trainer.epoch < epochs:
        trainer.run_epoch()
    return trainer


def master(trainer):
    return trainer.parameters.master.detach()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_padded_steps_train_as_plain_ones(dataset, experiment, precision):
    config = experiment(model={"dropout": 0.0}, precision=precision)
    plain, padded = (run(kind(config, dataset)) for kind in (Trainer, ReplayedTrainer))

    tolerance = {"float32": 1e-4, "bfloat16": 3e-2}[precision]
    assert [row["loss"] for row in padded.history[1:]] == pytest.approx(
        [row["loss"] for row in plain.history[1:]], rel=tolerance
    )
    moved = (master(plain) - master(Trainer(config, dataset))).norm()
    assert (master(padded) - master(plain)).norm() < 20 * tolerance * moved


def test_rates_of_padded_steps_are_the_schedules(dataset, experiment):
    config = experiment(model={"dropout": 0.0}, learning_rate=0.01, warmup_epochs=2)
    trainer = ReplayedTrainer(config, dataset)
    step, rates = trainer._optimizer.step, []

    def noting_step():
        rates.append(float(trainer._optimizer.param_groups[0]["lr"]))
        return step()

    trainer._optimizer.step = noting_step
    run(trainer)

    assert_close(rates, [trainer._learning_rate(i) for i in range(EPOCHS * math.ceil(50 / 8))], rtol=1e-6)


def test_a_resumed_run_equals_an_uninterrupted_one(dataset, experiment):
    unbroken = run(ReplayedTrainer(experiment(), dataset))
    stopped = run(ReplayedTrainer(experiment(), dataset), 2)
    continued = run(ReplayedTrainer(experiment(), dataset), 1)

    continued.load_state(*stopped.state())
    run(continued)

    assert torch.equal(master(continued), master(unbroken))


@pytest.mark.parametrize("kind", [Trainer, ReplayedTrainer])
def test_interleaved_trainers_do_not_affect_each_other(dataset, experiment, kind):
    configs = [experiment(seed=seed) for seed in (3, 4)]
    alone = [run(kind(config, dataset), 1) for config in configs]
    together = [kind(config, dataset) for config in configs]

    for _ in zip(*(trainer.epoch_steps() for trainer in together), strict=True):
        pass

    for one, other in zip(together, alone, strict=True):
        assert repr(one.history) == repr(other.history)
        assert torch.equal(master(one), master(other))


def test_a_batch_that_does_not_fit_says_what_it_needs(dataset):
    data = Instructions(dataset.train)

    with pytest.raises(ValueError, match=r"8 instructions need Room\(rows=4.*use data.room\(8\)"):
        host_batch(data, np.arange(8), room=data.room(6))


def graphed(config, dataset, *, warm_up):
    """A trainer whose steps are captured after ``warm_up`` plain ones on the same buffers."""
    trainer = ReplayedTrainer(config, dataset, "cuda")
    with trainer._beside_others():  # a graph is never captured on the default stream
        trainer._prepare([np.arange(8)], [0.0])
    trainer._replay._warm = WARM_UP - warm_up
    return trainer


@on_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_graph_replays_the_captured_steps(dataset, experiment, precision):
    config = experiment(model={"width": 32, "feed_forward": 64}, precision=precision)
    start = master(Trainer(config, dataset, "cuda"))
    plain, replayed = (run(graphed(config, dataset, warm_up=n)) for n in (10**6, WARM_UP))

    assert plain._replay._graph is None
    assert replayed._replay._graph is not None
    assert [row["loss"] for row in replayed.history[1:]] == pytest.approx(
        [row["loss"] for row in plain.history[1:]], rel=2e-2 if precision == "bfloat16" else 1e-4
    )
    assert (master(replayed) - master(plain)).norm() < 0.05 * (master(plain) - start).norm()


@on_gpu
def test_a_run_resumed_on_a_gpu_equals_an_uninterrupted_one(dataset, experiment):
    unbroken = run(ReplayedTrainer(experiment(), dataset, "cuda"))
    stopped = run(ReplayedTrainer(experiment(), dataset, "cuda"), 2)
    continued = run(ReplayedTrainer(experiment(), dataset, "cuda"), 1)  # a graph is captured, and dropped

    continued.load_state(*stopped.state())
    run(continued)

    assert [row["loss"] for row in continued.history[1:]] == pytest.approx(
        [row["loss"] for row in unbroken.history[1:]], rel=1e-4
    )


@on_gpu
def test_each_replay_draws_new_dropout(dataset, experiment):
    trainer = graphed(experiment(learning_rate=1e-30, weight_decay=0.0), dataset, warm_up=3)
    indices = np.arange(8)
    trainer.model.train()
    with trainer._beside_others():
        step = trainer._prepare([indices] * 8, [0.0] * 8)
        losses = [float(step(i)) for i in range(8)]

    assert len(set(losses)) == 8


@on_gpu
def test_parallel_trainers_on_a_gpu_do_not_affect_each_other(dataset, experiment):
    configs = [experiment(seed=seed) for seed in (3, 4)]
    alone = [run(ReplayedTrainer(config, dataset, "cuda"), 2) for config in configs]
    together = [ReplayedTrainer(config, dataset, "cuda") for config in configs]

    for _ in range(2):
        for _ in zip(*(trainer.epoch_steps() for trainer in together), strict=True):
            pass

    for one, other in zip(together, alone, strict=True):
        losses, expected = ([row["loss"] for row in t.history[1:]] for t in (one, other))
        assert losses == pytest.approx(expected, rel=1e-4)


def test_padding_has_no_weight(dataset, experiment):
    trainer = Trainer(experiment(model={"dropout": 0.0}), dataset)
    data = Instructions(dataset.train)
    tight, roomy = host_batch(data, np.arange(5)), host_batch(data, np.arange(5), room=data.room(9))
    seen = []

    def note(batch):
        seen.append(batch)
        return batch_loss(trainer.model, batch).detach()

    replay = Replay(data, 9, torch.zeros(()), torch.Generator())
    replay.load([np.arange(5)], [0.1])
    loss = replay.step(0, note)

    assert_close(loss, batch_loss(trainer.model, tight).detach(), rtol=1e-6)
    assert all(torch.equal(getattr(seen[0], name), getattr(roomy, name)) for name in ("tokens", "mask", "weights"))
    assert roomy.tokens.numel() > tight.tokens.numel()
