"""The compiled step is autograd's: the same loss, gradients and updates, with dropout too, however many threads."""

import copy
import math
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from taskclust.models import Trainer, kernels
from taskclust.models.alignment import freeze_trunk
from taskclust.models.batches import Instructions, packed_batch
from taskclust.models.compiled import ROUND, CompiledStep, Layout, numbers
from taskclust.models.decoder import Decoder, DecoderConfig
from taskclust.models.precision import FlatParameters
from taskclust.models.registry import has_compiled_steps
from taskclust.models.training import batch_loss
from tests.helpers import assert_close
from tests.models.test_batches import INSTRUCTION_SYMBOLS, LONGEST, TASK_SYMBOLS, random_split

OPTIONS = {
    "gpt2": {"norm": "before", "positions": "learned", "tie_word_embeddings": True},
    "norm after": {"norm": "after", "positions": "sinusoidal", "scale_tokens": True},
    "tied sinusoids": {"norm": "before", "positions": "sinusoidal", "tie_word_embeddings": True},
    "ten heads": {"norm": "after", "positions": "learned", "heads": 10, "width": 20},
    "one head": {"norm": "before", "positions": "learned", "heads": 1},
}
LENGTHS = (14, 1, 6, 2, 9, 9)


def made(name="gpt2", *, dropout=0.0, precision="float32", mappings=3, threads=1, **data):
    """A decoder whose every weight is random, its step, and what it is trained on."""
    sizes = {"width": 16, "feed_forward": 24, "layers": 2, "heads": 2}
    tokens = {"vocab_size": 1 + INSTRUCTION_SYMBOLS + TASK_SYMBOLS, "max_positions": LONGEST + 1}
    model = Decoder(DecoderConfig(**{**sizes, **tokens, "dropout": dropout, **OPTIONS[name]})).train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    parameters = FlatParameters(model, precision)
    instructions = Instructions(random_split(np.random.default_rng(2), LENGTHS, mappings), **data)
    return model, parameters, instructions, CompiledStep(model, parameters, instructions, len(LENGTHS), threads)


def by_autograd(model, parameters, loss):
    """The gradient of a loss, in the order of the flat buffer."""
    model.zero_grad()
    loss.backward()
    gradient = torch.cat([p.grad.float().flatten() for p in parameters._parameters])
    model.zero_grad()
    return gradient


def distance(actual, expected):
    return float((actual - expected).norm() / expected.norm())


# ---------------------------------------------------------------- loss and gradient


@pytest.mark.parametrize(
    "data", [{}, {"loss_mean": "sequences"}, {"input_weight": 5.0}, {"loss_over": "outputs"}], ids=str
)
@pytest.mark.parametrize("name", OPTIONS)
def test_loss_and_gradient_are_those_of_autograd(name, data):
    model, parameters, instructions, step = made(name, **data)
    indices = np.array([3, 0, 5, 1, 2])

    loss, gradient = step.gradient(indices, torch.Generator())

    expected = batch_loss(model, packed_batch(instructions, indices))
    assert_close(loss, float(expected.detach()))
    assert distance(gradient, by_autograd(model, parameters, expected)) < 1e-5


@pytest.mark.parametrize("name", OPTIONS)
def test_in_bfloat16_the_gradient_is_as_near_to_float32s_as_autograds(name):
    indices = np.arange(len(LENGTHS))
    _, _, _, exact = made(name)
    model, parameters, instructions, step = made(name, precision="bfloat16")

    _, gradient = step.gradient(indices, torch.Generator())

    _, expected = exact.gradient(indices, torch.Generator())
    rounded = by_autograd(model, parameters, batch_loss(model, packed_batch(instructions, indices)))
    assert 0 < distance(gradient, expected) < 1.2 * distance(rounded, expected)


def keep(noise, cut):
    return torch.from_numpy(np.where(noise >= cut, 256 / (256 - cut), 0.0).astype(np.float32))


def one_instruction(model, step, rows, number, cuts):
    """The definition: states of one instruction and its inputs, each dropout's mask read off the step's noise."""
    config = model.config
    first, L = int(rows.starts[number]), int(rows.lengths[number])
    n, D, H = L + step._layout.mappings, config.width, config.heads
    span = slice(first, first + n)
    seen = torch.ones(n, n, dtype=torch.bool).tril()
    seen[:, L:] = torch.eye(n, dtype=torch.bool)[:, L:]

    def masked(site, place):
        return keep(step._noise_of(site, rows)[span], cuts[place])

    tokens, positions = (torch.from_numpy(each[span].astype(np.int64)) for each in (rows.tokens, rows.positions))
    factor = math.sqrt(D) if config.scale_tokens else 1.0
    places = model.position_embedding.weight if config.positions == "learned" else model.sinusoids
    x = (factor * model.token_embedding(tokens) + places[positions]) * masked(0, "embedding")
    groups = -(-H // kernels.LANES)
    begin = int(rows.places[number]) * groups * kernels.LANES
    for layer, block in enumerate(model.blocks):
        noise = step._noise_of_weights(layer, rows)[begin:].reshape(-1, kernels.LANES)
        drawn = np.zeros((groups * kernels.LANES, n, n), np.uint8)
        at = 0
        for group in range(groups):
            for i in range(n):
                here = np.flatnonzero(seen[i].numpy())
                drawn[group * kernels.LANES : (group + 1) * kernels.LANES, i, here] = noise[at : at + len(here)].T
                at += len(here)
        read = block.attention_norm(x) if config.norm == "before" else x
        q, k, v = block.attention.query_key_value(read).view(n, 3, H, D // H).permute(1, 2, 0, 3)
        score = (q @ k.transpose(1, 2) / math.sqrt(D // H)).masked_fill(~seen, -math.inf)
        weights = score.softmax(-1) * keep(drawn[:H], cuts["attention"])
        x = x + block.attention.out((weights @ v).permute(1, 0, 2).reshape(n, D)) * masked(2 * layer + 1, "branch")
        x = x if config.norm == "before" else block.attention_norm(x)
        read = block.feed_forward_norm(x) if config.norm == "before" else x
        bent = F.gelu(block.feed_forward.up(read), approximate="tanh")
        x = x + block.feed_forward.down(bent) * masked(2 * layer + 2, "branch")
        x = x if config.norm == "before" else block.feed_forward_norm(x)
    logs = model.head(model.final_norm(x)).log_softmax(-1)
    loss = -logs[torch.arange(L - 1), tokens[1:L]].sum() * step._layout.mappings - logs[L - 1, tokens[L:]].sum()
    outputs = torch.from_numpy(rows.targets[first + L : first + n].astype(np.int64))
    return loss - logs[torch.arange(L, n), outputs].sum()


@pytest.mark.parametrize("name", OPTIONS)
def test_with_dropout_the_gradient_is_that_of_the_masks_drawn(name):
    model, parameters, _, step = made(name, dropout=0.3)
    indices = np.array([4, 0, 1, 2])

    loss, gradient = step.gradient(indices, torch.Generator().manual_seed(5))

    rows = step._layout.rows(indices)
    cuts = dict.fromkeys(("embedding", "attention", "branch"), model.dropout.cut)
    expected = sum(one_instruction(model, step, rows, i, cuts) for i in range(len(indices))) / rows.total_weight
    assert_close(loss, float(expected.detach()))
    assert distance(gradient, by_autograd(model, parameters, expected)) < 1e-5
    plain, _ = step.gradient(indices, torch.Generator().manual_seed(6))
    assert plain != loss


@pytest.mark.parametrize("place", ["embedding", "attention", "branch"])
def test_dropout_is_at_the_places_asked_for_and_nowhere_while_not_in_training(place):
    model, _, _, step = made(dropout=0.3)
    indices = np.arange(len(LENGTHS))
    off, _ = step.gradient(indices, torch.Generator())

    for module in model.modules():
        if hasattr(module, "cut"):
            module.cut = 0
    dropouts = {
        "embedding": [model.dropout],
        "attention": [block.attention.weight_dropout for block in model.blocks],
        "branch": [module.dropout for block in model.blocks for module in (block.attention, block.feed_forward)],
    }
    whole, _ = step.gradient(indices, torch.Generator())
    for dropout in dropouts[place]:
        dropout.cut = 77
    here, _ = step.gradient(indices, torch.Generator())
    model.eval()
    evaluated, _ = step.gradient(indices, torch.Generator())

    assert len({off, whole, here}) == 3
    assert evaluated == whole


@pytest.mark.parametrize("threads", [2, 3, 9])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_threads_share_a_step_and_change_rounding_only(n, threads):
    assert_threads_change_rounding_only(n, threads, 1e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_threads_share_a_step_of_every_model_in_bfloat16(name):
    assert_threads_change_rounding_only(4, 2, 2e-2, name=name, precision="bfloat16")


def assert_threads_change_rounding_only(n, threads, most, **options):
    found = []
    for at_once in (1, threads):
        model, parameters, _, step = made(dropout=0.3, threads=at_once, **options)
        step.gradient(np.arange(6), torch.Generator())  # leaves its rows behind
        model.train()
        before = parameters.master.detach().clone()
        masks = torch.Generator().manual_seed(1)
        loss = step.update(np.arange(n), 1e-2, decay=0.1, max_norm=0.5, generator=masks)
        found.append((loss, step._gradient.clone()))
        assert (parameters.master != before).float().mean() > 0.9

    (alone, one), (together, several) = found
    assert_close(together, alone, rtol=most, atol=0)
    assert distance(several.float(), one.float()) < most


def test_threads_of_others_keep_their_number():
    torch.set_num_threads(2)
    _, _, _, step = made(threads=2)
    step.update(np.arange(6), 1e-2, decay=0.0, max_norm=1.0, generator=torch.Generator())
    found = [torch.get_num_threads()]

    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()

    torch.set_num_threads(1)
    assert found == [2, 2]


def test_an_error_in_one_thread_ends_the_step_in_all(monkeypatch):
    _, _, _, step = made(threads=2)
    original = kernels.cross_entropy

    def failing(first, *others):
        if first > 0:
            raise MemoryError("planted")
        return original(first, *others)

    monkeypatch.setattr(kernels, "cross_entropy", failing)

    before = step._parameters.master.detach().clone()
    with pytest.raises(MemoryError, match="planted"):
        step.update(np.arange(6), 1e-2, decay=0.0, max_norm=1.0, generator=torch.Generator())

    assert step.step == 0
    assert torch.equal(step._parameters.master, before)

    monkeypatch.setattr(kernels, "cross_entropy", original)
    step.update(np.arange(6), 1e-2, decay=0.0, max_norm=1.0, generator=torch.Generator())
    assert not torch.equal(step._parameters.master, before)


def test_a_thread_that_cannot_be_started_leaves_none_waiting(monkeypatch):
    _, _, _, step = made(threads=2)
    submit, jobs = step._pool.submit, []

    def second_fails(*arguments):
        if jobs:
            raise RuntimeError("can't start new thread")
        jobs.append(submit(*arguments))
        return jobs[0]

    monkeypatch.setattr(step._pool, "submit", second_fails)

    with pytest.raises(RuntimeError, match="start new thread"):
        step.update(np.arange(6), 1e-2, decay=0.0, max_norm=1.0, generator=torch.Generator())

    assert jobs[0].done()


def test_too_many_instructions_are_refused():
    _, _, _, step = made()

    with pytest.raises(ValueError, match="indices"):
        step.update(np.repeat(np.arange(6), 9), 1e-2, decay=0.0, max_norm=1.0, generator=torch.Generator())


def test_nothing_of_a_diverged_training_is_left_once_a_state_is_loaded():
    _, parameters, _, step = made()
    step.update(np.arange(1), 1e-2, decay=0.0, max_norm=1.0, generator=torch.Generator())
    good, state = parameters.master.detach().clone(), {name: each.clone() for name, each in step.state().items()}
    parameters.load(torch.full_like(good, math.nan))
    step.gradient(np.arange(6), torch.Generator())

    parameters.load(good)
    step.load_state(state)
    _, gradient = step.gradient(np.arange(1), torch.Generator())

    assert torch.isfinite(gradient).all()


# ---------------------------------------------------------------- updates


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("max_norm", [1e-3, 1e6])
def test_updates_are_those_of_adamw_on_the_clipped_gradient(precision, max_norm):
    model, parameters, _, step = made(precision=precision)
    ours = torch.nn.Parameter(parameters.master.detach().clone())
    adamw = torch.optim.AdamW([ours], lr=1e-2, weight_decay=0.3)

    for index in range(4):
        indices = np.arange(index, 6)
        _, ours.grad = step.gradient(indices, torch.Generator())
        torch.nn.utils.clip_grad_norm_([ours], max_norm)
        adamw.step()
        step.update(indices, 1e-2, decay=0.3, max_norm=max_norm, generator=torch.Generator())

        assert_close(parameters.master, ours, rtol=1e-4, atol=2e-6)
        assert torch.equal(parameters.low, parameters.master.detach().to(parameters.low.dtype))
        with torch.no_grad():  # one step's rounding at a time
            ours.copy_(parameters.master)
    assert model.token_embedding.weight.data_ptr() == parameters.low.data_ptr()


def test_a_trainer_gives_each_step_the_schedules_rate_and_its_settings(dataset, experiment, monkeypatch):
    rates, others = [], []
    update = CompiledStep.update

    def noting(self, indices, rate, **settings):
        rates.append(rate)
        others.append((settings["decay"], settings["max_norm"], settings["generator"]))
        return update(self, indices, rate, **settings)

    monkeypatch.setattr(CompiledStep, "update", noting)
    trainer = Trainer(experiment(learning_rate=0.01, weight_decay=0.25, max_gradient_norm=2.0), dataset)

    while trainer.epoch < 4:
        trainer.run_epoch()

    steps = 4 * math.ceil(50 / 8)
    assert_close(rates, 0.01 * (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2)
    assert set(others) == {(0.25, 2.0, trainer._dropout)}


def test_a_trainer_without_dropout_has_autograds_history(dataset, experiment):
    config = experiment(model={"dropout": 0.0}, learning_rate=1e-3)
    compiled, plain = Trainer(config, dataset), Trainer(config, dataset, compiled=False)

    for _ in range(3):
        compiled.run_epoch()
        plain.run_epoch()

    assert_close([r["loss"] for r in compiled.history[1:]], [r["loss"] for r in plain.history[1:]], rtol=1e-4)
    moved = (plain.parameters.master - Trainer(config, dataset).parameters.master).norm()
    assert (compiled.parameters.master - plain.parameters.master).norm() < 1e-2 * moved


def test_either_kind_of_step_continues_a_training_of_the_other(dataset, experiment):
    config = experiment(model={"dropout": 0.0}, learning_rate=1e-3)
    unbroken = Trainer(config, dataset)
    for _ in range(2):
        unbroken.run_epoch()
    for before, after in ((True, False), (False, True)):
        first, second = Trainer(config, dataset, compiled=before), Trainer(config, dataset, compiled=after)
        first.run_epoch()

        second.load_state(*copy.deepcopy(first.state()))
        second.run_epoch()

        assert_close(second.history[-1]["loss"], unbroken.history[-1]["loss"], rtol=1e-4)
        assert float(second.state()[0]["step"]) == float(unbroken.state()[0]["step"])


def test_only_a_decoder_trained_as_a_whole_on_a_cpu_has_compiled_steps():
    class Other(Decoder):
        pass

    model, *_ = made()
    assert has_compiled_steps(model, torch.device("cpu"))
    assert not has_compiled_steps(model, torch.device("cuda"))
    assert not has_compiled_steps(Other(model.config), torch.device("cpu"))
    freeze_trunk(model)
    assert not has_compiled_steps(model, torch.device("cpu"))


# ---------------------------------------------------------------- rows


@given(
    lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=7),
    threads=st.integers(1, 9),
    data=st.data(),
)
@settings(deadline=None)
def test_rows_are_the_packed_batch_without_padding(lengths, threads, data):
    instructions = Instructions(random_split(np.random.default_rng(0), lengths, 3))
    indices = np.array(data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, unique=True)))
    layout = Layout(instructions)

    rows = layout.rows(indices, threads)

    batch = packed_batch(instructions, indices)
    used = np.concatenate([np.arange(part.first, part.last) for part in rows.parts])
    assert len(rows.parts) == threads
    assert rows.end == rows.parts[-1].end
    assert rows.end % ROUND == 0
    assert rows.end - len(used) < ROUND
    assert used.tolist() == list(range(len(used)))
    assert len(used) == sum(lengths[i] + 3 for i in indices)
    assert rows.end <= layout.most(len(indices))[0]
    assert sorted(np.concatenate([part.instructions for part in rows.parts])) == list(range(len(indices)))
    assert_close(rows.total_weight, float(batch.weights.sum()))
    assert_close(rows.weights[used].sum() + 2 * rows.weights[used][rows.targets[used] < 0].sum(), rows.total_weight)
    for number, index in enumerate(indices):
        at, n, symbols = rows.starts[number], lengths[index], instructions.instructions[index]
        inputs, outputs = instructions.inputs[index].tolist(), instructions.outputs[index].tolist()
        assert 0 <= at <= len(used) - n - 3
        assert rows.tokens[at : at + n + 3].tolist() == [*symbols[:n].tolist(), *inputs]
        assert rows.positions[at : at + n + 3].tolist() == [*range(n), n, n, n]
        assert rows.targets[at : at + n + 3].tolist() == [*symbols[1:n].tolist(), -1, *outputs]


@given(lengths=st.lists(st.integers(1, LONGEST), min_size=4, max_size=12), threads=st.integers(2, 4))
@settings(deadline=None)
def test_no_thread_has_more_attention_to_compute_than_one_instruction_explains(lengths, threads):
    layout = Layout(Instructions(random_split(np.random.default_rng(0), lengths, 3)))

    parts = layout.rows(np.arange(len(lengths)), threads).parts

    costs = [layout.pairs[part.instructions].sum() for part in parts]
    assert max(costs) - min(costs) <= layout.pairs.max()


# ---------------------------------------------------------------- numbers


def test_bfloat16_is_rounded_as_torch_does_it():
    drawn = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    ties = (np.arange(1, 1000, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3e38], np.float32)
    given = np.concatenate([drawn[~np.isnan(drawn)], ties, special])[None]
    to = torch.zeros(given.shape, dtype=torch.bfloat16)

    kernels.store(0, 1, given, numbers(to))

    expected = torch.from_numpy(given).bfloat16()
    same = to.view(torch.int16) == expected.view(torch.int16)
    assert (same | (to.isnan() & expected.isnan())).all()


def test_the_exponential_is_the_librarys():
    x = np.linspace(-87, 88, 100_001).astype(np.float32)

    found = np.array([kernels._exp(each) for each in x])

    assert_close(found, np.exp(x.astype(np.float64)), rtol=1e-5)
    near = np.abs(x) < 5
    assert_close(found[near], np.exp(x[near].astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_not_lost(bad):
    model, _, _, step = made()
    with torch.no_grad():
        model.blocks[0].feed_forward.up.weight[0, 0] = bad

    loss, _ = step.gradient(np.arange(6), torch.Generator())

    assert not math.isfinite(loss)
