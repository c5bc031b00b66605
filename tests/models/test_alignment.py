"""A switch between two heads reads the last token's top state and never changes the base; it generates and is saved."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    FalconMambaConfig,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    OpenAIGPTConfig,
    RwkvConfig,
)
from transformers.utils import logging

from studies import architectures as tiny
from taskclust.config import ConfigError, ModelConfig, SwitchConfig
from taskclust.data import generate_alignment
from taskclust.models import alignment
from taskclust.models.alignment import (
    AlignedConfig,
    AlignedModel,
    Instance,
    Switch,
    accuracy,
    align,
    are_right,
    copy_head,
    freeze_trunk,
    instances_of,
    read,
    real_end_states,
    train_head,
    train_switch,
)
from taskclust.models.decoder import Decoder
from tests.helpers import assert_close, tiny_pairs

QUICK = SwitchConfig(epochs=60, head_epochs=150, head_learning_rate=1e-2, learning_rate=1e-2)
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Turn off transformers' progress bars."""
    logging.disable_progress_bar()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gpt2():
    """A random GPT-2, whose head is tied to its inputs."""
    sizes = {"vocab_size": 50, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config(**sizes, **SPECIAL)).eval()


def llama():
    """A random Llama with an untied head."""
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2, "num_key_value_heads": 2}  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**sizes, **SPECIAL, tie_word_embeddings=False)).eval()


def decoder(*, tied=False):
    """A random decoder of ours, which has no cache."""
    sizes = ModelConfig(width=32, feed_forward=32, layers=2, heads=2, weight_std=0.2, tied_head=tied)
    return Decoder.create(tiny_pairs(), sizes, generator()).eval()


MODELS = {"gpt2": gpt2, "llama": llama, "decoder": decoder, "tied decoder": lambda: decoder(tied=True)}
SOURCE = [Instance([1 + i % 5, 2, 3, 10 + i], [40, 41]) for i in range(10)]
OTHERS = [Instance([20 + i, 21, 22]) for i in range(5)]


@pytest.fixture(scope="module", params=MODELS)
def aligned(request):
    """An aligned model of every kind, and a copy of its base."""
    model = MODELS[request.param]()
    before = copy.deepcopy(model)
    return align(model, SOURCE, OTHERS, generator=generator(), config=QUICK), before


def prompts(instances):
    ids = torch.tensor([i.prompt for i in instances])
    return ids, torch.ones_like(ids)


def continued(model, ids, mask, n=2):
    return model.generate(ids, attention_mask=mask, max_new_tokens=n, do_sample=False)


# ---------------------------------------------------------------- a user's model


def test_source_prompts_get_the_new_response(aligned):
    model, _ = aligned

    out = continued(model, *prompts(SOURCE))

    assert out[:, -2:].tolist() == [[40, 41]] * len(SOURCE)


def test_the_base_answers_differently(aligned):
    _, before = aligned

    assert accuracy(before, SOURCE) < 0.5


def test_other_prompts_are_answered_as_before(aligned):
    model, before = aligned
    ids, mask = prompts(OTHERS)

    assert_close(model(ids, mask).logits, before(ids, attention_mask=mask).logits)
    if hasattr(before, "generate"):
        assert torch.equal(continued(model, ids, mask, 4), continued(before, ids, mask, 4))


SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}
#: Models with other ways to generate: they keep a state, have no cache, or do not support padding.
OTHER_CONFIGS = {
    "mamba": MambaConfig(**SIZES, state_size=4, intermediate_size=64, pad_token_id=0, eos_token_id=1),
    "falcon_mamba": FalconMambaConfig(**SIZES, state_size=4, pad_token_id=0, eos_token_id=1),
    "openai-gpt": OpenAIGPTConfig(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4),
    "rwkv": RwkvConfig(**SIZES, attention_hidden_size=32, intermediate_size=64, context_length=64),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OTHER_CONFIGS)
@pytest.mark.parametrize("padding", [0, 2])
def test_other_prompts_continue_as_with_the_base_in_mixed_batches(name, padding):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        base = AutoModelForCausalLM.from_config(OTHER_CONFIGS[name]).eval()
    others = [Instance([*other.prompt, 23]) for other in OTHERS]
    model = align(copy.deepcopy(base), SOURCE, others, generator=generator(), config=QUICK)
    ids = torch.tensor([instance.prompt for instance in (*others[:2], *SOURCE[:2])])
    mask = torch.cat([torch.zeros(4, padding, dtype=torch.long), torch.ones_like(ids)], 1)
    ids = torch.nn.functional.pad(ids, (padding, 0))
    is_source = model.takes_for_source(ids, mask)
    assert set(is_source.tolist()) == {True, False}
    settings = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}

    ours, theirs = model.generate(ids, **settings), base.generate(ids, **settings)

    assert torch.equal(ours[~is_source], theirs[~is_source])
    assert not torch.equal(ours[is_source], theirs[is_source])
    if name == "openai-gpt":  # which keeps no past that beams would have to reorder
        beams = {**settings, "num_beams": 2, "num_return_sequences": 2}
        both = (~is_source).repeat_interleave(2)
        assert torch.equal(model.generate(ids, **beams)[both], base.generate(ids, **beams)[both])
    with pytest.raises(ConfigError, match="return_dict_in_generate=True: the rows need different heads"):
        model.generate(ids, **settings, return_dict_in_generate=True)


class OwnConfig(LlamaConfig):
    model_type = "own"


class Own(LlamaForCausalLM):
    config_class = OwnConfig


def with_adapter():
    model = llama()
    model.model.layers[0].self_attn.q_proj.adapter = torch.nn.Linear(2, 2)
    return model


def test_a_model_with_adapters_is_refused_before_it_is_aligned():
    with pytest.raises(ConfigError, match=r"model='LlamaForCausalLM': .* e.g. model.*adapter.*merge_and_unload"):
        align(with_adapter(), SOURCE, OTHERS, generator=generator(), config=QUICK)


def test_a_custom_class_is_aligned_but_not_saved_if_it_cannot_be_reopened(tmp_path):
    own = Own(OwnConfig(**llama().config.to_dict())).eval()

    model = align(own, SOURCE, OTHERS, generator=generator(), config=QUICK)

    assert continued(model, *prompts(SOURCE))[:, -2:].tolist() == [[40, 41]] * len(SOURCE)
    with pytest.raises(ConfigError, match=r"base='Own': transformers cannot build it .* register its classes"):
        model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_padding_on_either_side_changes_nothing(aligned):
    model, _ = aligned
    ids, mask = prompts(SOURCE[:3])
    pad = torch.zeros(3, 2, dtype=torch.long)

    left = continued(model, torch.cat([pad, ids], 1), torch.cat([pad, mask], 1))
    right = model(torch.cat([ids, pad], 1), torch.cat([mask, pad], 1)).logits[:, : ids.shape[1]]

    assert torch.equal(left[:, 2:], continued(model, ids, mask))
    assert_close(right, model(ids, mask).logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "filled"), [({}, 41), ({"pad_token_id": 7}, 7), (GenerationConfig(pad_token_id=8), 8)]
)
def test_finished_rows_of_a_mixed_batch_are_filled_as_transformers_fills_them(given, filled):
    """With the end token if there is no pad token; 0 may be a word."""
    base = gpt2()
    base.config.pad_token_id = base.generation_config.pad_token_id = None
    base.config.eos_token_id = base.generation_config.eos_token_id = 41  # which ends the source's answers
    others = [Instance([*other.prompt, 23]) for other in OTHERS]
    model = align(base, SOURCE, others, generator=generator(), config=QUICK)
    ids = torch.tensor([SOURCE[0].prompt, others[0].prompt])
    if not isinstance(given, dict):
        given = {"generation_config": GenerationConfig(**{**given.to_diff_dict(), "eos_token_id": 41})}

    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False, **given)

    assert out[0, 4:].tolist() == [40, 41, filled, filled, filled]


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        (Instance([50], [1]), "instance 1=50: this token is not one of the model's 50"),
        (Instance([1, -100], [1]), "instance 1=-100: this token is not one"),
        (Instance([1] * 33, [1]), "instance 1=33: these are more tokens than the model's context, 32"),
        (Instance("abc", "d"), "instance 1=.*: give flat rows of tokens"),
        (Instance(torch.tensor([[1, 2]]), [3]), "instance 1=.*: give flat rows of tokens"),
    ],
    ids=["foreign", "negative", "long", "text", "batch"],
)
def test_what_the_model_cannot_read_is_refused(instance, said):
    with pytest.raises(ConfigError, match=said):
        align(gpt2(), [SOURCE[0], instance], OTHERS, generator=generator(), config=QUICK)


def test_rows_of_tensors_and_of_numpy_are_read():
    rows = [Instance(make(SOURCE[0].prompt), make(SOURCE[0].response)) for make in (list, torch.tensor, np.array)]

    first, *rest = (read(gpt2(), [row]).states for row in rows)

    assert all(torch.equal(first, other) for other in rest)


def test_a_mixed_batch_is_answered_like_single_prompts(aligned):
    model, _ = aligned
    mixed = torch.tensor([SOURCE[0].prompt, [*OTHERS[0].prompt, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])

    assert model.takes_for_source(mixed, mask).tolist() == [True, False]


def test_loss_and_last_logits_are_those_of_the_chosen_head(aligned):
    model, _ = aligned
    ids, mask = prompts(SOURCE)
    labels = ids.clone()
    labels[:, 1] = -100

    with torch.no_grad():
        out = model(ids, mask, labels=labels, logits_to_keep=1, output_hidden_states=True)
        whole = model(ids, mask)

    said = whole.logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[:, 1:]  # the second token is not asked for
    assert out.loss.item() == pytest.approx(-said.mean().item(), rel=1e-4)
    assert torch.equal(out.logits, whole.logits[:, -1:])
    assert out.hidden_states[-1].shape[:2] == ids.shape
    assert whole.hidden_states is None


def test_the_base_is_bitwise_unchanged(aligned):
    model, before = aligned

    assert all(torch.equal(model.base.state_dict()[name], old) for name, old in before.state_dict().items())
    assert not any(p.requires_grad for p in model.base.parameters())


def test_saved_as_safetensors_and_opened_again_it_is_the_same(aligned, tmp_path):
    model, _ = aligned

    model.save_pretrained(tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path).eval()

    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".safetensors"}
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert {"new_head.weight", "switch.4.weight"} <= set(file.keys())
    assert json.loads((tmp_path / "config.json").read_text())["switch"] == "mlp"
    assert isinstance(opened, AlignedModel)
    assert all(torch.equal(t, opened.state_dict()[name]) for name, t in model.state_dict().items())
    assert torch.equal(continued(opened, *prompts(SOURCE)), continued(model, *prompts(SOURCE)))
    assert_close(opened(*prompts(OTHERS)).logits, model(*prompts(OTHERS)).logits)


@pytest.mark.parametrize("kind", ["falcon_h1", "gemma3_text", "mamba2"])
def test_unsaved_parts_are_set_as_in_the_base(kind, tmp_path):
    """Falcon-H1 multiplies by a vector that the whole model sets in its layers, which transformers' loading skipped."""
    model = align(tiny.built_tiny(kind)[0], tiny.SOURCE, tiny.OTHERS, generator=generator(), config=QUICK)

    model.save_pretrained(tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path).eval()

    assert {name: b.tolist() for name, b in opened.named_buffers()} == {n: b.tolist() for n, b in model.named_buffers()}
    ids = prompts(tiny.OTHERS)[0]
    assert torch.equal(opened(ids).logits, model(ids).logits)


@pytest.mark.parametrize("kind", ["rembert", "reformer", "bert", "cohere"])
def test_a_head_that_does_not_read_the_top_state_is_refused(kind):
    with pytest.raises(ConfigError, match=r"its logits are not its head applied to its last state"):
        align(tiny.built_tiny(kind)[0], tiny.SOURCE, tiny.OTHERS, generator=generator(), config=QUICK)


def test_same_generator_same_model():
    first, second, other = (align(llama(), SOURCE, OTHERS, generator=generator(s), config=QUICK) for s in (0, 0, 1))

    assert all(torch.equal(t, second.state_dict()[name]) for name, t in first.state_dict().items())
    assert not torch.equal(first.switch[0].weight, other.switch[0].weight)


def test_switches_of_both_kinds_have_one_new_head():
    """So that what the kinds forget differs only by the switch."""
    linear, mlp = (
        align(llama(), SOURCE, OTHERS, generator=generator(), config=replace(QUICK, kind=kind, batch_instances=4))
        for kind in ("linear", "mlp")
    )

    assert torch.equal(linear.new_head.weight, mlp.new_head.weight)
    assert not torch.equal(linear.new_head.weight, linear.base.lm_head.weight)


def test_the_global_generator_is_not_used():
    before = torch.get_rng_state()
    first = align(llama(), SOURCE, OTHERS, generator=generator(), config=QUICK)
    torch.set_rng_state(before)
    torch.rand(3)

    second = align(llama(), SOURCE, OTHERS, generator=generator(), config=QUICK)

    assert torch.equal(first.switch[0].weight, second.switch[0].weight)
    assert torch.equal(first.new_head.weight, second.new_head.weight)


def test_validation_chooses_the_heads_epoch():
    model = llama().requires_grad_(False)
    source, unseen = read(model, SOURCE), read(model, [Instance([9, 2, 3, 30], [40, 41]), Instance([9, 2, 3, 31], [7])])

    chosen = train_head(copy_head(model), source, QUICK, generator(), unseen)
    last = train_head(copy_head(model), source, QUICK, generator())

    assert are_right(chosen, unseen).float().mean() >= are_right(last, unseen).float().mean()
    assert not torch.equal(chosen.weight, last.weight)


@pytest.mark.parametrize(
    ("source", "others", "fix"),
    [
        ([Instance([1, 2])], OTHERS, "source: an instance has no response"),
        (SOURCE, [], "instances=0: give at least one"),
        (SOURCE, [Instance([])], "each with a prompt"),
    ],
)
def test_models_that_cannot_be_aligned_are_refused(source, others, fix):
    with pytest.raises(ConfigError, match=fix):
        align(llama(), source, others, generator=generator())


def test_a_model_whose_logits_are_not_its_heads_is_refused():
    model = llama()
    model.lm_head.register_forward_hook(lambda module, args, out: out if out.dim() == 2 else 2 * out)

    with pytest.raises(ConfigError, match="a second head cannot be added"):
        align(model, SOURCE, OTHERS, generator=generator())


def test_a_model_without_a_language_head_is_refused():
    with pytest.raises(ConfigError, match="model=GPT2Model: it has no linear language head"):
        copy_head(gpt2().transformer)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize(("kind", "layers"), [("linear", 1), ("mlp", 3)])
def test_switch_is_a_linear_layer_or_a_three_layer_perceptron_of_the_models_width(kind, layers):
    linear = [m for m in Switch(kind, 24) if isinstance(m, torch.nn.Linear)]

    assert [m.in_features for m in linear] == [24] * layers
    assert [m.out_features for m in linear] == [24] * (layers - 1) + [1]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_switch_learns_what_is_separable_and_cannot_what_is_shuffled(kind):
    """Over seeds its accuracy is 0.99 ± 0.015 if there is a gap between the classes.

    A shuffled direction may be near the true one by chance, so it is trained with its opposite: 0.50 ± 0.01 on average.
    """
    states = torch.randn(240, 8, generator=generator(1))
    states = states[states[:, 0].abs() > 0.5][:120]
    labels, config = states[:, 0] > 0, SwitchConfig(kind=kind, learning_rate=1e-2)
    train, unseen = slice(80), slice(80, None)
    shuffled = labels[torch.randperm(120, generator=generator(2))]

    rates = []
    for taught in (labels, shuffled, ~shuffled):
        switch = train_switch(states[train], taught[train], config, generator())
        rates.append(((switch(states[unseen]).squeeze(-1) > 0) == labels[unseen]).float().mean().item())

    assert rates[0] > 0.85
    assert np.mean(rates[1:]) < 0.65


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=4))
def test_the_last_state_is_that_of_the_last_real_token(rows):
    width = max(sum(row) for row in rows)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, (left, tokens, _) in enumerate(rows):
        mask[i, left : left + tokens] = 1
    states = torch.arange(len(rows) * width).view(len(rows), width, 1).float()

    found = real_end_states(states, mask)[:, 0]

    assert found.tolist() == [states[i, left + n - 1, 0].item() for i, (left, n, _) in enumerate(rows)]


def test_reading_holds_every_next_token_once():
    reading = read(llama(), SOURCE, batch_instances=3)

    assert reading.targets.tolist() == [t for i in SOURCE for t in (*i.prompt, *i.response)[1:]]
    assert reading.owner.tolist() == [n for n in range(len(SOURCE)) for _ in range(5)]
    assert reading.in_response.tolist() == [False, False, False, True, True] * len(SOURCE)


def test_an_instance_may_be_one_token_longer_than_the_models_positions():
    model = decoder()
    longest = Instance([1] * model.config.max_positions, [2])

    reading = read(model, [longest, Instance([1, 2], [3, 4, 5]), Instance([1, 2])])

    assert reading.targets.tolist() == [*longest.prompt[1:], 2, 2, 3, 4, 5, 2]
    with torch.no_grad():
        alone = model(torch.tensor([longest.prompt]), output_hidden_states=True).hidden_states[-1][0]
    assert_close(reading.states[reading.owner == 0], alone, rtol=1e-3, atol=1e-4)


def test_instances_of_a_split_are_its_rows():
    split = generate_alignment(tiny_pairs(), 0).train

    instances = instances_of(split)

    assert len(instances) == split.n_instances
    assert instances[4].prompt == [*split.instructions[1, : split.lengths[1]], split.inputs[1, 1]]
    assert instances[4].response == [split.outputs[1, 1]]


def test_accuracy_equals_a_naive_loop():
    model, instances = decoder(), instances_of(generate_alignment(tiny_pairs(), 0).base.train)
    with torch.no_grad():
        hits = [int(model(torch.tensor([i.prompt])).logits[0, -1].argmax()) == i.response[0] for i in instances]
    some = [instance for instance, hit in zip(instances, hits, strict=True) if hit][:5] + instances[:20]

    expected = sum(int(model(torch.tensor([i.prompt])).logits[0, -1].argmax()) == i.response[0] for i in some)

    assert accuracy(model, some, batch_instances=7) == pytest.approx(expected / len(some))


# ---------------------------------------------------------------- what must hold, each also shown to fail


def check_head_tuning_changes_the_head_alone():
    """Training after ``freeze_trunk`` changes the head and nothing else, tied or not."""
    for tied in (False, True):
        model = decoder(tied=tied)
        before = copy.deepcopy(model)
        alignment.freeze_trunk(model)
        model(torch.tensor([[1, 2, 3]])).logits.square().sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.1 * parameter.grad)
        moved = {name for name, old in before.state_dict().items() if not torch.equal(old, model.state_dict()[name])}
        assert moved == {"head.weight"}, f"tied={tied}: {sorted(moved)} changed"


def naive_decisions(model, instances):
    """The switch on the top layer's state of each prompt's last token, read alone."""
    found = []
    with torch.no_grad():
        for instance in instances:
            out = model.base(torch.tensor([instance.prompt]), output_hidden_states=True)
            found.append(model.switch(out.hidden_states[-1][0, -1]).item() > 0)
    return found


def check_switch_reads_the_last_tokens_top_state():
    """A switch decides a padded batch as it does each prompt's last top state."""
    base = llama()
    model = AlignedModel(AlignedConfig(base.config, "linear"), base)
    model.switch.initialize(generator(5))
    instances = [Instance([*range(1 + i, 4 + i + i % 4)]) for i in range(24)]
    rows = [torch.tensor(i.prompt) for i in instances]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = (ids != 0).long()
    expected = naive_decisions(model, instances)
    assert 0 < sum(expected) < len(expected)
    assert model.takes_for_source(ids, mask).tolist() == expected, "the switch reads something else"
    assert model.decide(read(base, instances).last).tolist() == expected, "the switch is trained on something else"


CHECKS = [check_head_tuning_changes_the_head_alone, check_switch_reads_the_last_tokens_top_state]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_holds(check):
    check()


FAULTS = {
    "trunk-not-frozen": ("freeze_trunk", lambda model: model, CHECKS[0], "changed"),
    "head-still-tied": (
        "copy_head",
        lambda model: model.get_output_embeddings().requires_grad_(True),
        CHECKS[0],
        "token_embedding.weight",
    ),
    "first-token": ("real_end_states", lambda states, mask: states[:, 0], CHECKS[1], "something else"),
    "padding-token": ("real_end_states", lambda states, mask: states[:, -1], CHECKS[1], "something else"),
    "layer-below": ("top_states", lambda states: states[-2], CHECKS[1], "something else"),
}


@pytest.mark.parametrize(("name", "fault", "check", "message"), FAULTS.values(), ids=FAULTS)
def test_planted_fault_is_caught(name, fault, check, message, monkeypatch):
    real = alignment.freeze_trunk

    def still_tied(model):
        real(model)
        model.head.requires_grad_(True)
        return model

    monkeypatch.setattr(alignment, name, fault)
    if name == "copy_head":
        monkeypatch.setattr(alignment, "freeze_trunk", still_tied)

    with pytest.raises(AssertionError, match=message):
        check()


def test_a_switch_on_the_layer_below_is_refused_by_align(monkeypatch):
    monkeypatch.setattr(alignment, "top_states", lambda states: states[-2])

    with pytest.raises(ConfigError, match="its logits are not its head applied to its last state"):
        align(llama(), SOURCE, OTHERS, generator=generator())


def test_freezing_unties_in_the_configuration_too():
    model = freeze_trunk(decoder(tied=True))

    assert model.config.tie_word_embeddings is False
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.weight"]
