"""Pre-training sequences: the instruction with its identity, or only the instruction, and never a mapping."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from taskclust.config import ConfigError, IdentityDataConfig, digest
from taskclust.data import generate
from taskclust.data.identities import identity_dataset, instruction_dataset
from tests.helpers import read_instructions, tiny_data
from tests.strategies import data_configs, seeds

SPLITS = ("train", "subset", "validation")
modest = settings(deadline=None, max_examples=20)


def identified(config):
    """The same settings with identity tokens."""
    return IdentityDataConfig(**{name: getattr(config, name) for name in config.__slots__})


@pytest.fixture(scope="module")
def dataset():
    return generate(identified(tiny_data()), seed=0)


@modest
@given(config=data_configs(), seed=seeds)
def test_identity_tokens_change_nothing_else(config, seed):
    plain, marked = generate(config, seed), generate(identified(config), seed)

    for name in SPLITS:
        assert read_instructions(plain.splits[name]) == read_instructions(marked.splits[name])
        assert (plain.splits[name].outputs == marked.splits[name].outputs).all()
    assert marked.config.vocab_size == plain.config.vocab_size + 1 + len(plain.tasks)


def test_equal_settings_with_and_without_identity_tokens_have_different_keys():
    assert digest(tiny_data()) != digest(identified(tiny_data()))


@modest
@given(config=data_configs(), seed=seeds)
def test_each_instruction_ends_in_the_trigger_and_its_tasks_own_token(config, seed):
    dataset = generate(identified(config), seed)

    for name, split in identity_dataset(dataset).splits.items():
        assert read_instructions(split) == read_instructions(dataset.splits[name])
        assert (split.inputs == dataset.config.trigger).all()
        assert (split.outputs[:, 0] - dataset.config.trigger - 1 == split.task).all()
        assert (split.outputs < dataset.config.vocab_size).all()


def test_shuffled_identities_have_the_same_counts_and_are_mostly_wrong(dataset):
    right = identity_dataset(dataset).train
    shuffled = identity_dataset(dataset, shuffle=np.random.default_rng(0)).train

    assert sorted(shuffled.outputs.ravel()) == sorted(right.outputs.ravel())
    assert (shuffled.outputs == right.outputs).mean() < 0.5
    assert (shuffled.task == right.task).all()


def test_instruction_data_have_the_last_two_symbols_as_input_and_output(dataset):
    for name, split in instruction_dataset(dataset).splits.items():
        whole = [
            (*start, x, y)
            for start, (x,), (y,) in zip(read_instructions(split), split.inputs, split.outputs, strict=True)
        ]
        assert whole == read_instructions(dataset.splits[name])


def test_loss_over_an_instruction_is_that_of_all_its_next_symbols(dataset):
    from taskclust.config import ModelConfig
    from taskclust.models.batches import Instructions, packed_batch
    from taskclust.models.decoder import Decoder
    from taskclust.models.training import batch_loss

    model = Decoder.create(
        dataset.config, ModelConfig(width=16, feed_forward=16, layers=1, heads=2), torch.Generator().manual_seed(0)
    ).eval()
    losses = []
    for instruction in read_instructions(dataset.validation):
        ids = torch.tensor([instruction])
        losses.append(F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none"))

    data = Instructions(instruction_dataset(dataset).validation)
    loss = batch_loss(model, packed_batch(data, np.arange(len(data))))

    assert loss.item() == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)


def test_data_without_identity_tokens_are_refused():
    with pytest.raises(ConfigError, match="config=DataConfig: it has no identity tokens; use IdentityDataConfig"):
        identity_dataset(generate(tiny_data(), 0))


def test_instructions_of_two_symbols_are_refused(dataset):
    short = replace(dataset.validation, lengths=np.full_like(dataset.validation.lengths, 2))

    with pytest.raises(ConfigError, match="min_length=2: one symbol is needed before the last two; use 3 or more"):
        instruction_dataset(replace(dataset, validation=short))
