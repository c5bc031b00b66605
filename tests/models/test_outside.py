"""A causal language model of transformers is trained and probed like the decoder, or refused by name."""

import copy
import json
import textwrap
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig

from taskclust.config import ConfigError, ModelConfig
from taskclust.models import Trainer, open_checkpoint
from taskclust.models.batches import Instructions, plain_batch
from taskclust.models.outside import Outside, _seed, outside_model
from taskclust.models.registry import count_parameters, create, has_compiled_steps
from taskclust.probes.hidden import hidden_states
from tests.helpers import assert_close

SIZES = ModelConfig(width=16, feed_forward=32, layers=2, heads=2, dropout=0.2)
FAMILIES = ("gpt2", "gpt_neox", "llama", "mamba", "rwkv")

pytestmark = pytest.mark.filterwarnings("default")  # whatever transformers says of kernels that are not there


def made(kind, dataset, seed=0):
    config = outside_model(kind, SIZES, dataset.config)
    return create(dataset.config, config, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", FAMILIES)
def test_logits_and_states_are_those_of_the_model_itself(kind, dataset):
    model = made(kind, dataset).eval()
    batch = plain_batch(Instructions(dataset.validation), torch.arange(3).numpy())

    out = model(batch.tokens, batch.mask, batch.positions, output_hidden_states=True, select=batch.predict_at)

    plain = model.inner(batch.tokens, output_hidden_states=True)
    assert_close(out.logits, plain.logits.flatten(0, 1)[batch.predict_at])
    assert len(out.hidden_states) == SIZES.layers + 1
    assert_close(out.hidden_states[-1], plain.hidden_states[-1])
    assert all(state.shape == (*batch.tokens.shape, SIZES.width) for state in out.hidden_states)


@pytest.mark.parametrize("kind", ["gptj", "codegen"])
def test_rotary_parts_are_no_wider_than_small_heads(kind, dataset):
    wide = outside_model(kind, replace(SIZES, width=160), dataset.config)

    assert made(kind, dataset).inner.config.rotary_dim == SIZES.width // SIZES.heads
    assert "rotary_dim" not in wide.outside  # which has room, and keeps its key


def test_states_before_the_last_norm_are_those_of_blocks_that_return_lists(dataset):
    model = made("openai-gpt", dataset)

    before = hidden_states(model, dataset.validation, before_final_norm=True).input_token

    assert torch.equal(before, hidden_states(model, dataset.validation).input_token)  # it has no last norm


@pytest.mark.parametrize("kind", ["llama", "mamba", "rwkv"])
def test_layer_0_is_the_embedding(kind, dataset):
    """Mamba's and RWKV's own first state is after the first block."""
    model = made(kind, dataset).eval()
    tokens = torch.tensor([[3, 4, 5], [6, 7, 5]])

    first, second, *_ = model(tokens, output_hidden_states=True).hidden_states

    assert_close(first[0, 2], first[1, 2])
    assert not torch.allclose(second[0, 2], second[1, 2])
    if kind != "rwkv":  # which norms it first
        assert_close(first, model.get_input_embeddings()(tokens))


@pytest.mark.parametrize("kind", FAMILIES)
def test_states_of_padded_rows_are_those_of_each_instance_alone(kind, dataset):
    model = made(kind, dataset)
    split = dataset.validation

    states = hidden_states(model, split).input_token

    row = int(split.lengths.argmin())
    length = int(split.lengths[row])
    tokens = torch.tensor([[*split.instructions[row, :length], split.inputs[row, 1]]])
    alone = model(tokens, output_hidden_states=True).hidden_states
    for layer, state in enumerate(alone):
        assert_close(states[layer, row * split.inputs.shape[1] + 1], state[0, -1], rtol=1e-4, atol=1e-5)


def test_the_top_layer_can_be_read_before_its_norm(dataset):
    model = made("llama", dataset)

    before, after = (
        hidden_states(model, dataset.validation, before_final_norm=early).input_token for early in (True, False)
    )

    assert torch.equal(before[:-1], after[:-1])
    assert_close(model.inner.model.norm(before[-1]), after[-1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before[-1], after[-1])


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_training_depends_only_on_its_seed_and_continues_after_a_stop(kind, dataset, experiment, tmp_path):
    config = replace(experiment(), model=outside_model(kind, SIZES, dataset.config))
    torch.manual_seed(1)
    first = Trainer(config, dataset)
    first.run_epoch()
    saved = copy.deepcopy(first.state())
    first.run_epoch()

    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = Trainer(config, dataset)
    second.load_state(*saved)
    second.run_epoch()

    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.parameters.master, second.parameters.master)
    assert first.history[2]["loss"] < first.history[1]["loss"]
    assert not torch.equal(first.parameters.master, Trainer(replace(config, seed=1), dataset).parameters.master)
    first.save_checkpoint(tmp_path / "kept")
    again = open_checkpoint(tmp_path / "kept")
    split = dataset.validation
    assert torch.equal(hidden_states(first.model, split).input_token, hidden_states(again, split).input_token)


def test_dropout_is_drawn_from_the_given_generator(dataset):
    model = made("gpt2", dataset).train()
    tokens = torch.tensor([[3, 4, 5]])
    generator = torch.Generator().manual_seed(3)
    model.set_generator(generator)

    first, second = (model(tokens).logits for _ in range(2))
    generator.manual_seed(3)
    again = model(tokens).logits

    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_kind_gets_the_sizes_of_the_model_it_replaces(dataset):
    config = outside_model("llama", SIZES, dataset.config)

    own = json.loads(config.outside)["config"]
    assert (config.width, config.layers, own["intermediate_size"], own["num_key_value_heads"]) == (16, 2, 32, 2)
    assert count_parameters(dataset.config, config) == made("llama", dataset).num_parameters()
    assert not has_compiled_steps(made("llama", dataset), torch.device("cpu"))


def test_a_file_keeps_its_sizes_but_not_its_vocabulary_or_lengths(dataset, tmp_path):
    AutoConfig.for_model(
        "llama", vocab_size=999, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=4, eos_token_id=500,
    ).save_pretrained(tmp_path)  # fmt: skip

    config = outside_model(str(tmp_path / "config.json"), SIZES, dataset.config)

    model = create(dataset.config, config, torch.Generator())
    assert (config.width, config.layers) == (24, 3)
    assert model.inner.config.vocab_size == dataset.config.vocab_size
    assert model.inner.config.max_position_embeddings == dataset.config.max_positions


@pytest.fixture
def function(tmp_path, monkeypatch):
    """Write a module with a function ``make`` of this body, and return its name for ``--model``."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, body):
        head = "from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaModel\nimport torch\n"
        text = head + "def make(vocab_size, max_positions):\n" + textwrap.indent(textwrap.dedent(body), "    ")
        (tmp_path / f"{name}.py").write_text(text)
        return f"{name}:make"

    return write


OWN = """\
sizes = dict(vocab_size=vocab_size, n_positions=max_positions, n_embd={}, n_layer=2, n_head=2)
return GPT2LMHeadModel(GPT2Config(**sizes))
"""
HEADLESS = """\
sizes = dict(vocab_size=vocab_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
return LlamaModel(LlamaConfig(**sizes))
"""


def test_a_functions_model_is_trained_and_its_code_is_part_of_the_key(function, dataset, experiment):
    first = outside_model(function("own_one", OWN.format(16)), SIZES, dataset.config)
    other = outside_model(function("own_two", OWN.format(16) + "  # another"), SIZES, dataset.config)

    trainer = Trainer(replace(experiment(), model=first), dataset)
    trainer.run_epoch()

    assert isinstance(trainer.model, Outside)
    codes = [json.loads(config.outside)["code"] for config in (first, other)]
    assert codes[0] != codes[1]
    assert all(len(code) == 64 for code in codes)


def test_the_architecture_without_a_model_is_refused(dataset):
    with pytest.raises(ConfigError, match="name the model with --model"):
        create(dataset.config, ModelConfig(architecture="outside"), torch.Generator())


@pytest.mark.parametrize("kind", FAMILIES)
def test_only_a_tied_head_has_two_names(kind, dataset):
    model = made(kind, dataset)

    assert len(model.tied_names()) <= 1
    assert all(name.startswith("inner.") for name in model.state_dict())


def test_seeds_of_a_generator_differ():
    generator = torch.Generator().manual_seed(0)

    assert len({_seed(generator) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nope", "there is no causal 'nope'"),
        ("t5", "there is no causal 't5'"),
        ("bert", "its states look ahead"),
        ("xlnet", "cannot be built"),
        ("gemma4_assistant", "it has no usual configuration"),
        ("missing.json", "not read as JSON"),
        ("no_such_package:make", "cannot be imported"),
        ("os:nothing", "cannot be imported"),
        ("os:sep", "not a function"),
    ],
)
def test_a_model_that_is_not_causal_is_refused_in_one_line(source, message, dataset):
    with pytest.raises(ConfigError, match=message) as raised:
        outside_model(source, SIZES, dataset.config)

    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"model={source!r}")


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("raising", "raise OSError('a disk')", "it raised OSError: a disk"),
        ("returning", "return 3", "it returned int"),
        ("small", OWN.format(16).replace("=vocab_size", "=5"), "it knows 5 tokens"),
        ("headless", HEADLESS, "no language head"),
    ],
)  # fmt: skip
def test_a_function_without_a_model_is_refused_in_one_line(name, body, message, function, dataset):
    with pytest.raises(ConfigError, match=message) as raised:
        outside_model(function(name, body), SIZES, dataset.config)

    assert "\n" not in str(raised.value)


def test_a_file_without_a_kind_is_refused(tmp_path, dataset):
    (tmp_path / "c.json").write_text('{"hidden_size": 4}')

    with pytest.raises(ConfigError, match="names no model_type"):
        outside_model(str(tmp_path / "c.json"), SIZES, dataset.config)
