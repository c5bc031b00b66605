"""Packed reading gives the same states as reading every instance by itself, the definition."""

import itertools

import pytest
import torch

from taskclust.config import ModelConfig
from taskclust.data import generate
from taskclust.models.decoder import Decoder
from taskclust.probes.hidden import hidden_states
from tests.helpers import assert_close, tiny_data

LAYERS = 2
KINDS = list(itertools.product(["before", "after"], ["learned", "sinusoidal"]))
SINGLE = {"rtol": 1e-4, "atol": 1e-5}  # float32


@pytest.fixture(scope="module")
def dataset():
    return generate(tiny_data(), seed=0)


def tiny_model(norm="after", positions="sinusoidal", dropout=0.2):
    """A model whose weights are large enough that every layer matters, and whose norms are not the identity."""
    config = ModelConfig(
        width=16,
        feed_forward=32,
        layers=LAYERS,
        heads=4,
        norm=norm,
        positions=positions,
        dropout=dropout,
        weight_std=0.3,
        token_std=1.0,
        head_std=1.0,
    )
    generator = torch.Generator().manual_seed(5)
    model = Decoder.create(tiny_data(), config, generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def model(request):
    return tiny_model(*request.param)


@torch.no_grad()
def read_alone(model, split):
    """States [L + 1, N, D] of the inputs, and [L + 1, I, D] of the instructions' ends."""
    model.eval()
    inputs, ends = [], []
    for row, length, symbols in zip(split.instructions, split.lengths, split.inputs, strict=True):
        for x in symbols:
            tokens = torch.tensor([[*row[:length], x]])
            out = model(tokens, output_hidden_states=True)
            states = torch.stack(out.hidden_states)[:, 0]  # (L + 1, T, D)
            inputs.append(states[:, -1])
        ends.append(states[:, length - 1])
    return torch.stack(inputs, dim=1), torch.stack(ends, dim=1)


@pytest.mark.parametrize("name", ["train", "subset", "validation"])
def test_states_equal_those_of_each_instance_read_separately(model, dataset, name):
    split = dataset.splits[name]

    found = hidden_states(model, split)

    inputs, ends = read_alone(model, split)
    assert_close(found.input_token, inputs, **SINGLE)
    assert_close(found.instruction_end, ends, **SINGLE)


def test_states_have_one_more_layer_than_blocks(model, dataset):
    split = dataset.train

    found = hidden_states(model, split)

    assert found.input_token.shape == (LAYERS + 1, split.n_instances, 16)
    assert found.instruction_end.shape == (LAYERS + 1, len(split.lengths), 16)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_states_do_not_depend_on_how_many_are_read_at_once(model, dataset, size):
    split = dataset.train

    one, other = hidden_states(model, split), hidden_states(model, split, batch_instructions=size)

    assert_close(other.input_token, one.input_token, **SINGLE)
    assert_close(other.instruction_end, one.instruction_end, **SINGLE)


def test_layer_zero_is_the_embedding(dataset):
    model, split = tiny_model(positions="learned"), dataset.train

    found = hidden_states(model, split)

    tokens = torch.tensor(split.inputs.reshape(-1))
    places = torch.tensor(split.lengths).repeat_interleave(split.inputs.shape[1])
    assert_close(found.input_token[0], model.token_embedding(tokens) + model.position_embedding(places), **SINGLE)


@pytest.mark.parametrize("size", [3, 64], ids=["many-batches", "one-batch"])
def test_top_layer_can_be_taken_before_the_final_norm(dataset, size):
    model, split = tiny_model(norm="before"), dataset.train

    after = hidden_states(model, split)
    before = hidden_states(model, split, before_final_norm=True, batch_instructions=size)

    for ours, theirs in zip(before, after, strict=True):
        assert_close(ours[:-1], theirs[:-1], **SINGLE)
        assert_close(model.final_norm(ours[-1]), theirs[-1], **SINGLE)
        assert (ours[-1] - theirs[-1]).abs().max() > 0.1


def test_before_the_final_norm_makes_no_difference_with_the_norm_after(dataset):
    model = tiny_model(norm="after")

    plain, before = (hidden_states(model, dataset.subset, before_final_norm=b) for b in (False, True))

    assert torch.equal(plain.input_token, before.input_token)
    assert torch.equal(plain.instruction_end, before.instruction_end)


def test_reading_has_no_dropout_or_gradients_and_leaves_no_hook(dataset):
    model = tiny_model(dropout=0.5).train()

    one, other = (hidden_states(model, dataset.subset) for _ in range(2))

    assert torch.equal(one.input_token, other.input_token)
    assert not one.input_token.requires_grad
    assert not model.final_norm._forward_pre_hooks


def test_lower_precision_is_read_in_float32(dataset):
    model = tiny_model()
    rounded = tiny_model().to(torch.bfloat16)

    found = hidden_states(rounded, dataset.subset)

    assert found.input_token.dtype == torch.float32
    assert_close(found.input_token, hidden_states(model, dataset.subset).input_token, rtol=0.2, atol=0.2)
