"""Packed rows are the plain ones without the repetition: the same loss, gradients, predictions and states."""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taskclust.data import PAD, Split
from taskclust.models.batches import ROUND, Instructions, host_batch, packed_batch, plain_batch
from taskclust.models.decoder import Decoder, DecoderConfig
from taskclust.models.training import batch_loss
from tests.helpers import assert_close

INSTRUCTION_SYMBOLS, TASK_SYMBOLS, LONGEST = 12, 9, 14
#: The largest difference of loss or gradient due to rounding, relative to the parameter's largest gradient.
ROUNDING = 1e-5


def random_split(rng, lengths, mappings):
    """Random tokens: inputs of an instruction are distinct, outputs may repeat inputs."""
    instructions = np.full((len(lengths), max(lengths)), PAD, dtype=np.int64)
    for row, n in enumerate(lengths):
        instructions[row, :n] = rng.integers(1, 1 + INSTRUCTION_SYMBOLS, n)
    first = 1 + INSTRUCTION_SYMBOLS
    inputs = np.stack([rng.permutation(TASK_SYMBOLS)[:mappings] for _ in lengths])
    outputs = rng.integers(0, TASK_SYMBOLS, inputs.shape)
    count = np.zeros(len(lengths), dtype=np.int64)
    return Split(instructions, np.array(lengths), inputs + first, outputs + first, count, count, count.astype(bool))


@functools.cache
def decoder(norm="after", positions="sinusoidal", tied=False, seed=0):
    """A decoder without dropout whose every parameter is random, in float32."""
    config = DecoderConfig(
        vocab_size=1 + INSTRUCTION_SYMBOLS + TASK_SYMBOLS,
        max_positions=LONGEST + 1,
        width=16,
        feed_forward=24,
        layers=2,
        heads=2,
        dropout=0.0,
        norm=norm,
        positions=positions,
        tie_word_embeddings=tied,
    )
    model = Decoder(config).train()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = batch_loss(model, batch)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def disagreement(model, packed, plain):
    """The largest difference of the two batches' losses and gradients, each relative to its size."""
    loss, gradients = loss_and_gradients(model, packed)
    expected_loss, expected = loss_and_gradients(model, plain)
    differences = [abs(loss - expected_loss) / abs(expected_loss)]
    for name, gradient in gradients.items():
        scale = expected[name].abs().max().clamp(min=1e-6)
        differences.append(((gradient - expected[name]).abs().max() / scale).item())
    return float(np.max(differences))


@st.composite
def cases(draw):
    """A split, some of its instructions in any order, and how to batch and read them."""
    lengths = draw(st.lists(st.integers(1, LONGEST), min_size=1, max_size=9))
    chosen = draw(st.permutations(range(len(lengths))))[: draw(st.integers(1, len(lengths)))]
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    split = random_split(rng, lengths, draw(st.integers(1, 5)))
    weight = draw(st.sampled_from([0.0, 0.3, 1.0, 2.0]))
    mean = draw(st.sampled_from(["tokens", "sequences"]))
    over = draw(st.sampled_from(["tokens", "outputs"]))
    data = Instructions(split, input_weight=weight, loss_mean=mean, loss_over=over)
    return data, np.array(chosen), draw(st.integers(1, 4))


norms, places = st.sampled_from(["before", "after"]), st.sampled_from(["learned", "sinusoidal"])


@settings(deadline=None, max_examples=60)
@given(cases(), norms, places, st.booleans())
def test_packed_loss_and_gradients_are_the_plain_ones(case, norm, positions, tied):
    data, chosen, per_row = case
    model = decoder(norm, positions, tied)

    difference = disagreement(model, packed_batch(data, chosen, per_row), plain_batch(data, chosen))

    assert difference < ROUNDING


@settings(deadline=None, max_examples=30)
@given(cases(), norms, places, st.integers(0, 3))
def test_padded_loss_and_gradients_are_the_plain_ones(case, norm, positions, spare):
    data, chosen, per_row = case
    room = data.room(len(chosen) + spare, per_row)
    padded = host_batch(data, chosen, per_row, room)

    assert padded.tokens.shape == room[:2]
    assert padded.predict_at.shape == padded.targets.shape == padded.weights.shape == room[2:]
    assert disagreement(decoder(norm, positions), padded, plain_batch(data, chosen)) < ROUNDING


def plain_places(lengths, mappings):
    """For each prediction of the plain batch, the packed one's of the same (instruction, mapping, place)."""
    within, first = [], 0
    for n in lengths:
        within += [*range(first, first + n - 1)] * mappings
        first += n - 1
    return np.array([*within, *range(first, first + 2 * len(lengths) * mappings)])


@settings(deadline=None, max_examples=25)
@given(cases(), norms, places)
@torch.no_grad()
def test_packed_predictions_and_states_are_the_plain_ones(case, norm, positions):
    data, chosen, per_row = case
    model, mappings = decoder(norm, positions), data.inputs.shape[1]
    packed, plain = packed_batch(data, chosen, per_row), plain_batch(data, chosen)
    same = plain_places(data.lengths[chosen].tolist(), mappings)

    ours, definition = (model(b.tokens, b.mask, b.positions, output_hidden_states=True) for b in (packed, plain))

    assert torch.equal(packed.targets[same], plain.targets)
    logits, expected = (o.logits.flatten(0, 1)[b.predict_at] for o, b in ((ours, packed), (definition, plain)))
    assert_close(logits[same], expected, atol=1e-5)
    for state, other in zip(ours.hidden_states, definition.hidden_states, strict=True):
        for name in ("input_at", "instruction_end_at"):
            a, b = (h.flatten(0, 1)[getattr(batch, name)] for h, batch in ((state, packed), (other, plain)))
            assert_close(a, b, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_batches_read_what_the_split_says(case):
    data, chosen, per_row = case
    instructions, inputs, outputs = (a[chosen] for a in (data.instructions, data.inputs, data.outputs))
    lengths = data.lengths[chosen]

    for batch in (packed_batch(data, chosen, per_row), plain_batch(data, chosen)):
        flat = batch.tokens.flatten()
        assert torch.equal(flat[batch.input_at], inputs.flatten())
        assert torch.equal(batch.targets[-inputs.numel() :], outputs.flatten())
        assert torch.equal(batch.predict_at[-inputs.numel() :], batch.input_at)
        assert torch.equal(flat[batch.instruction_end_at], instructions[range(len(chosen)), lengths - 1])
        assert torch.equal(batch.positions.flatten()[batch.input_at], lengths.repeat_interleave(inputs.shape[1]))


@settings(deadline=None, max_examples=50)
@given(cases())
def test_packed_rows_have_each_token_once_and_rounded_lengths(case):
    data, chosen, per_row = case

    batch = packed_batch(data, chosen, per_row)

    n_tokens = int(data.lengths[chosen].sum()) + len(chosen) * data.inputs.shape[1]
    assert int((batch.tokens != PAD).sum()) == n_tokens
    assert batch.tokens.shape[0] == math.ceil(len(chosen) / per_row)
    assert batch.tokens.shape[1] % ROUND == 0
    assert batch.tokens.shape[1] <= per_row * (int(data.lengths[chosen].max()) + data.inputs.shape[1]) + ROUND


def several(seed=0, n=16, mappings=5):
    rng = np.random.default_rng(seed)
    data = Instructions(random_split(rng, rng.integers(3, LONGEST + 1, n).tolist(), mappings))
    return data, np.arange(n)


def test_packed_rows_are_about_a_quarter_of_the_plain_ones():
    packed, plain = packed_batch(*several()), plain_batch(*several())

    assert packed.tokens.numel() < 0.4 * plain.tokens.numel()


def test_packed_weights_are_the_plain_ones_summed():
    data, chosen = several()
    packed, plain = packed_batch(data, chosen), plain_batch(data, chosen)
    summed = torch.zeros_like(packed.weights)

    summed.index_add_(0, torch.as_tensor(plain_places(data.lengths.tolist(), 5)), plain.weights)

    assert torch.equal(summed, packed.weights)


@pytest.mark.parametrize("make", [packed_batch, plain_batch])
@torch.no_grad()
def test_a_mean_over_sequences_is_the_mean_of_each_instances_own_mean(make):
    rng = np.random.default_rng(3)
    data = Instructions(random_split(rng, [2, 7, 4], 3), loss_mean="sequences")
    model = decoder("after", "sinusoidal")
    expected = []
    for instruction, n, inputs, outputs in zip(data.instructions, data.lengths, data.inputs, data.outputs, strict=True):
        for x, y in zip(inputs, outputs, strict=True):
            row = torch.cat([instruction[:n], x[None], y[None]])
            expected.append(torch.nn.functional.cross_entropy(model(row[None, :-1]).logits[0], row[1:]))

    loss = batch_loss(model, make(data, np.arange(3)))

    assert_close(loss, torch.stack(expected).mean())


# ---------------------------------------------------------------- planted faults


def input_sees_another(batch):
    mask = batch.mask.clone()
    row, place = divmod(int(batch.input_at[1]), mask.shape[-1])
    mask[row, 0, place, place - 1] = True
    return batch._replace(mask=mask)


def inputs_one_place_early(batch):
    positions = batch.positions.flatten().clone()
    positions[batch.input_at] -= 1
    return batch._replace(positions=positions.view_as(batch.positions))


def inputs_counted_on(batch):
    """The fault: the second input comes after the first, as in a plain row."""
    positions = batch.positions.flatten().clone()
    positions[batch.input_at[1]] -= 2
    return batch._replace(positions=positions.view_as(batch.positions))


def instruction_counted_once(batch):
    return batch._replace(weights=batch.weights.clamp(max=1.0))


def reads_the_output(batch):
    tokens = batch.tokens.flatten().clone()
    tokens[batch.input_at] = batch.targets[-len(batch.input_at) :]
    return batch._replace(tokens=tokens.view_as(batch.tokens))


def segments_see_each_other(batch):
    inputs = torch.zeros(batch.tokens.numel(), dtype=torch.bool)
    inputs[batch.input_at] = True
    width = batch.tokens.shape[1]
    earlier = torch.ones(width, width, dtype=torch.bool).tril() & ~inputs.view(-1, 1, 1, width)
    return batch._replace(mask=earlier | torch.eye(width, dtype=torch.bool))


def instruction_sees_its_future(batch):
    mask = batch.mask.clone()
    row, place = divmod(int(batch.instruction_end_at[0]), mask.shape[-1])
    mask[row, 0, place - 1, place] = True
    return batch._replace(mask=mask)


def end_predicts_one_input_only(batch):
    first = len(batch.targets) - 2 * len(batch.input_at)
    targets = batch.targets.clone()
    targets[first + 1] = targets[first]
    return batch._replace(targets=targets)


def padding_counts(batch):
    unused = torch.nn.functional.pad(batch.weights, (0, 3), value=1.0)
    predict_at, targets = (torch.nn.functional.pad(a, (0, 3)) for a in (batch.predict_at, batch.targets))
    return batch._replace(weights=unused, predict_at=predict_at, targets=targets)


FAULTS = [
    padding_counts,
    input_sees_another,
    inputs_one_place_early,
    inputs_counted_on,
    instruction_counted_once,
    reads_the_output,
    segments_see_each_other,
    instruction_sees_its_future,
    end_predicts_one_input_only,
]


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("norm", ["before", "after"])
@pytest.mark.parametrize("plant", FAULTS, ids=lambda f: f.__name__)
def test_planted_fault_is_seen(plant, norm, positions):
    data, chosen = several(n=6, mappings=3)
    model, packed, plain = decoder(norm, positions), packed_batch(data, chosen), plain_batch(data, chosen)

    assert disagreement(model, packed, plain) < ROUNDING
    assert disagreement(model, plant(packed), plain) > 100 * ROUNDING


@pytest.mark.parametrize("mean", ["tokens", "sequences"])
def test_a_loss_over_outputs_is_the_mean_of_theirs(mean):
    model, rng = decoder(), np.random.default_rng(8)
    split = random_split(rng, [3, 7, 1], 3)

    loss = batch_loss(model, packed_batch(Instructions(split, loss_mean=mean, loss_over="outputs"), np.arange(3)))

    batch = plain_batch(Instructions(split), np.arange(3))
    logits = model(batch.tokens, batch.mask, batch.positions, select=batch.input_at).logits
    assert_close(loss, torch.nn.functional.cross_entropy(logits, torch.as_tensor(split.outputs.ravel())))


def test_single_instances_are_the_same_and_have_the_same_loss():
    model, rng = decoder(), np.random.default_rng(9)
    split = random_split(rng, [3, 7, 1], 3)

    single = split.one_by_one()

    assert single.inputs.shape == (9, 1)
    for name in ("task", "distribution_mapping", "input", "output", "is_hard"):
        assert np.array_equal(single.labels(name), split.labels(name))
    losses = [batch_loss(model, packed_batch(Instructions(s), np.arange(len(s.lengths)))) for s in (split, single)]
    assert_close(losses[0], losses[1])
