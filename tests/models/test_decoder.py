"""The decoder equals GPT-2 with GPT-2's options, and otherwise a naive version; its randomness is from generators."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from taskclust.config import DataConfig, ModelConfig, RegexConfig
from taskclust.models.decoder import Decoder, DecoderConfig, sinusoids
from taskclust.models.interface import Dropout
from taskclust.models.registry import count_parameters
from taskclust.profiles import paper
from tests.helpers import assert_close

SETTINGS = {"vocab_size": 23, "max_positions": 12, "width": 16, "feed_forward": 40, "layers": 3, "heads": 4}
VARIANTS = [(n, p, t) for n in ("before", "after") for p in ("learned", "sinusoidal") for t in (False, True)]
VARIANT_IDS = [f"{n}-{p}-{'tied' if t else 'untied'}" for n, p, t in VARIANTS]


def decoder(norm="before", positions="learned", tied=False, *, seed=0, **changes):
    """A small decoder whose every parameter, norms and biases too, is random."""
    config = DecoderConfig(**{**SETTINGS, "norm": norm, "positions": positions, "tie_word_embeddings": tied, **changes})
    model = Decoder(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def tokens(shape, seed=0):
    return torch.randint(SETTINGS["vocab_size"], shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- GPT-2


def gpt2(tied, seed=1):
    """transformers' GPT-2 of the same sizes, every parameter random."""
    config = GPT2Config(
        vocab_size=SETTINGS["vocab_size"],
        n_positions=SETTINGS["max_positions"],
        n_embd=SETTINGS["width"],
        n_inner=SETTINGS["feed_forward"],
        n_layer=SETTINGS["layers"],
        n_head=SETTINGS["heads"],
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )
    model = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def pairs(ours, theirs):
    """Each parameter of ours with GPT-2's, as a view of the same shape (its linear maps are transposed)."""
    yield ours.token_embedding.weight, theirs.transformer.wte.weight
    yield ours.position_embedding.weight, theirs.transformer.wpe.weight
    modules = [(ours.final_norm, theirs.transformer.ln_f)]
    for block, h in zip(ours.blocks, theirs.transformer.h, strict=True):
        modules += [(block.attention_norm, h.ln_1), (block.feed_forward_norm, h.ln_2)]
        linear = [
            (block.attention.query_key_value, h.attn.c_attn),
            (block.attention.out, h.attn.c_proj),
            (block.feed_forward.up, h.mlp.c_fc),
            (block.feed_forward.down, h.mlp.c_proj),
        ]
        for mine, other in linear:
            yield mine.weight, other.weight.T
            yield mine.bias, other.bias
    for mine, other in modules:
        yield mine.weight, other.weight
        yield mine.bias, other.bias
    yield ours.head.weight, theirs.lm_head.weight


@torch.no_grad()
def copy_weights(ours, theirs, direction):
    for mine, other in pairs(ours, theirs):
        if direction == "ours-to-gpt2":
            other.copy_(mine)
        else:
            mine.copy_(other)


@pytest.mark.parametrize("direction", ["ours-to-gpt2", "gpt2-to-ours"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@torch.no_grad()
def test_norm_before_with_learned_positions_is_gpt2(tied, direction):
    ours, theirs = decoder(tied=tied), gpt2(tied)
    copy_weights(ours, theirs, direction)
    ids = tokens((3, 12))

    mine, other = ours(ids, output_hidden_states=True), theirs(ids, output_hidden_states=True)

    assert_close(mine.logits, other.logits, atol=1e-5)
    assert len(mine.hidden_states) == len(other.hidden_states) == SETTINGS["layers"] + 1
    for state, expected in zip(mine.hidden_states, other.hidden_states, strict=True):
        assert_close(state, expected, atol=1e-5)


@torch.no_grad()
def test_padded_rows_are_those_of_gpt2():
    ours, theirs = decoder(), gpt2(tied=False)
    copy_weights(ours, theirs, "ours-to-gpt2")
    ids, mask = tokens((3, 12)), torch.ones(3, 12, dtype=torch.long)
    mask[1, 7:] = mask[2, 2:] = 0

    mine = ours(ids, mask, output_hidden_states=True)
    other = theirs(ids, attention_mask=mask, output_hidden_states=True)

    for state, expected in zip((mine.logits, *mine.hidden_states), (other.logits, *other.hidden_states), strict=True):
        assert_close(state[mask.bool()], expected[mask.bool()], atol=1e-5)


def test_copied_parameters_are_all_there_are():
    ours, theirs = decoder(), gpt2(tied=False)

    copied = sum(mine.numel() for mine, _ in pairs(ours, theirs))

    assert copied == sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


# ---------------------------------------------------------------- every variant


def naive_states(model, row):
    """Logits and states of one row of tokens by loops over heads and tokens, in float64."""
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    config = model.config
    size = config.width // config.heads

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def attend(x, name):
        q, k, v = np.split(linear(x, f"{name}.query_key_value"), 3, axis=-1)
        mixed = np.zeros_like(x)
        for start in range(0, config.width, size):
            head = slice(start, start + size)
            for t in range(len(x)):
                share = np.exp(log_softmax(k[: t + 1, head] @ q[t, head] / math.sqrt(size)))
                mixed[t, head] = share @ v[: t + 1, head]
        return linear(mixed, f"{name}.out")

    def feed(x, name):
        x = linear(x, f"{name}.up")
        x = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        return linear(x, f"{name}.down")

    places = weights["position_embedding.weight" if config.positions == "learned" else "sinusoids"]
    x = weights["token_embedding.weight"][row] + places[: len(row)]
    states = [x]
    for layer in range(config.layers):
        block = f"blocks.{layer}"
        if config.norm == "before":
            x = x + attend(norm(x, f"{block}.attention_norm"), f"{block}.attention")
            x = x + feed(norm(x, f"{block}.feed_forward_norm"), f"{block}.feed_forward")
        else:
            x = norm(x + attend(x, f"{block}.attention"), f"{block}.attention_norm")
            x = norm(x + feed(x, f"{block}.feed_forward"), f"{block}.feed_forward_norm")
        states.append(x)
    if config.norm == "before":
        states[-1] = norm(states[-1], "final_norm")
    return states[-1] @ weights["head.weight"].T, states


@pytest.mark.parametrize("variant", VARIANTS, ids=VARIANT_IDS)
@torch.no_grad()
def test_decoder_equals_a_naive_one(variant):
    model, ids = decoder(*variant).double(), tokens((2, 9))

    out = model(ids, output_hidden_states=True)

    for row in range(len(ids)):
        logits, states = naive_states(model, ids[row].numpy())
        assert_close(out.logits[row], logits, atol=1e-5)
        for state, expected in zip(out.hidden_states, states, strict=True):
            assert_close(state[row], expected, atol=1e-5)


def test_sinusoids_are_those_of_vaswani():
    table = sinusoids(50, 8)

    for place in range(50):
        for pair in range(4):
            angle = place / 10_000 ** (2 * pair / 8)
            assert_close(table[place, 2 * pair], np.float32(math.sin(angle)), atol=1e-5)
            assert_close(table[place, 2 * pair + 1], np.float32(math.cos(angle)), atol=1e-5)


@settings(deadline=None, max_examples=12)
@given(variant=st.sampled_from(VARIANTS), t=st.integers(0, 10), seed=st.integers(0, 1000))
@torch.no_grad()
def test_a_future_token_cannot_change_the_past(variant, t, seed):
    model, ids = decoder(*variant), tokens((1, 12), seed)
    changed = ids.clone()
    changed[:, t + 1 :] = (changed[:, t + 1 :] + 1) % SETTINGS["vocab_size"]

    before, after = (model(x, output_hidden_states=True) for x in (ids, changed))

    assert_close(after.logits[:, : t + 1], before.logits[:, : t + 1], atol=1e-5)
    for a, b in zip(after.hidden_states, before.hidden_states, strict=True):
        assert_close(a[:, : t + 1], b[:, : t + 1], atol=1e-5)
    assert not torch.allclose(after.logits[:, t + 1 :], before.logits[:, t + 1 :])


@pytest.mark.parametrize("variant", VARIANTS, ids=VARIANT_IDS)
@pytest.mark.parametrize("dtype", [torch.long, torch.bool], ids=["int", "bool"])
@torch.no_grad()
def test_padding_is_ignored(variant, dtype):
    model, ids = decoder(*variant), tokens((1, 7))
    padded = torch.cat([ids, tokens((1, 5), seed=9)], dim=1)
    mask = (torch.arange(12) < 7).to(dtype)[None]

    assert_close(model(padded, mask).logits[:, :7], model(ids).logits, atol=1e-5)


@torch.no_grad()
def test_a_row_without_tokens_gives_no_nan():
    logits = decoder()(tokens((2, 4)), torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])).logits

    assert logits.isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS, ids=VARIANT_IDS)
@torch.no_grad()
def test_a_whole_mask_equals_the_short_one(variant):
    model, ids = decoder(*variant), tokens((2, 6))
    short = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    whole = torch.ones(6, 6, dtype=torch.bool).tril() & short.bool()[:, None, None, :]

    assert_close(model(ids, whole).logits, model(ids, short).logits)


@torch.no_grad()
def test_selected_positions_have_the_same_logits():
    model, ids = decoder(), tokens((2, 6))
    select = torch.tensor([11, 0, 7, 0])

    assert_close(model(ids, select=select).logits, model(ids).logits.flatten(0, 1)[select])


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@torch.no_grad()
def test_given_positions_move_the_tokens(positions):
    model, ids = decoder(positions=positions), tokens((1, 4))
    usual, moved = torch.arange(4)[None], torch.arange(3, 7)[None]

    assert_close(model(ids, position_ids=usual).logits, model(ids).logits)
    assert not torch.allclose(model(ids, position_ids=moved).logits, model(ids).logits)


# ---------------------------------------------------------------- saving


@pytest.mark.parametrize("variant", VARIANTS, ids=VARIANT_IDS)
@torch.no_grad()
def test_saved_model_opens_by_its_folder_and_predicts_the_same(variant, tmp_path):
    model, ids = decoder(*variant), tokens((2, 12))
    model.save_pretrained(tmp_path)

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()

    assert isinstance(loaded, Decoder)
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert (loaded.head.weight is loaded.token_embedding.weight) is variant[2]
    assert loaded.num_parameters() == model.num_parameters()


def test_sinusoids_survive_saving(tmp_path):
    model = decoder(positions="sinusoidal")
    model.save_pretrained(tmp_path)

    loaded = Decoder.from_pretrained(tmp_path)

    assert torch.equal(loaded.sinusoids, sinusoids(SETTINGS["max_positions"], SETTINGS["width"]))


def test_settings_survive_saving(tmp_path):
    config = decoder("after", "learned", dropout=0.1, token_std=0.3, head_std=0.4, weight_std=0.5).config
    config.save_pretrained(tmp_path)

    loaded = DecoderConfig.from_pretrained(tmp_path)

    assert (loaded.norm, loaded.positions, loaded.dropout) == ("after", "learned", 0.1)
    assert (loaded.token_std, loaded.head_std, loaded.weight_std) == (0.3, 0.4, 0.5)
    assert {name: getattr(loaded, name) for name in SETTINGS} == SETTINGS


def test_transformers_names_of_the_sizes_are_known():
    config = DecoderConfig(**SETTINGS)

    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 3, 4)


# ---------------------------------------------------------------- initial weights


def created(seed=0, **changes):
    model = ModelConfig(
        **{
            "width": 128,
            "feed_forward": 256,
            "layers": 2,
            "token_std": 0.3,
            "head_std": 0.2,
            "weight_std": 0.05,
            **changes,
        }
    )
    return Decoder.create(DataConfig(), model, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_same_generator_seed_gives_the_same_weights(tied):
    first, again, other = (created(seed, tied_head=tied).state_dict() for seed in (5, 5, 6))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["token_embedding.weight"], other["token_embedding.weight"])


def test_initial_weights_do_not_use_the_global_generator():
    before = torch.get_rng_state()
    expected = created(3).head.weight

    torch.rand(7)
    actual = created(3).head.weight
    torch.set_rng_state(before)

    assert torch.equal(actual, expected)


def test_initialize_draws_every_weight_again():
    model = created(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)

    model.initialize(torch.Generator().manual_seed(0))

    fresh = created(0).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("scale_residual", [False, True], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_each_kind_of_weight_has_its_standard_deviation(positions, tied, scale_residual):
    model = created(norm="before", positions=positions, tied_head=tied, scale_residual=scale_residual)

    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name
        else:
            expected = 0.05
            if "embedding" in name:
                expected = 0.3
            elif name == "head.weight":
                expected = 0.2
            elif scale_residual and ("attention.out" in name or "down" in name):
                expected = 0.05 / math.sqrt(2 * 2)
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(parameter.mean().item()) < 5 * expected / math.sqrt(parameter.numel()), name


# ---------------------------------------------------------------- dropout


def dropped(p=0.2, seed=0, shape=(1000, 1000)):
    """A dropout in training mode, and its output for ones."""
    layer = Dropout(p)
    layer.generator = torch.Generator().manual_seed(seed)
    return layer, layer(torch.ones(shape))


def test_dropout_is_off_in_evaluation():
    layer, x = Dropout(0.5).eval(), torch.randn(3, 5, generator=torch.Generator().manual_seed(0))

    assert torch.equal(layer(x), x)


def test_zero_dropout_draws_nothing():
    layer, made = dropped(p=0.0, shape=(3, 5))

    assert torch.equal(made, torch.ones(3, 5))
    assert torch.equal(layer.generator.get_state(), torch.Generator().manual_seed(0).get_state())


@pytest.mark.parametrize("p", [0.05, 0.1, 0.2, 0.5, 0.9])
def test_dropout_drops_its_share_and_preserves_the_mean(p):
    _, made = dropped(p)

    share = float((made == 0).float().mean())
    assert share == pytest.approx(p, abs=1 / 512 + 5 * math.sqrt(p * (1 - p) / 1e6))
    assert float(made.mean()) == pytest.approx(1, abs=5 * math.sqrt(p / (1 - p) / 1e6) * 1.1)
    assert len(made.unique()) == 2


@pytest.mark.parametrize("p", [0.001, 0.5, 0.997, 0.999])
def test_every_dropout_the_configuration_allows_gives_numbers(p):
    ModelConfig(dropout=p)

    _, made = dropped(p, shape=(100, 100))

    assert made.isfinite().all()


def test_dropout_drops_places_independently():
    _, made = dropped(0.5)
    kept = (made > 0).float() - 0.5

    for step in range(1, 17):  # eight places share a draw
        correlation = float((kept.flatten()[step:] * kept.flatten()[:-step]).mean() * 4)
        assert abs(correlation) < 0.006, step


def test_two_calls_drop_different_places():
    layer, first = dropped(shape=(20, 20))

    assert not torch.equal(layer(torch.ones(20, 20)), first)


def test_same_generator_seed_drops_the_same_places():
    assert torch.equal(dropped(seed=4, shape=(20, 21))[1], dropped(seed=4, shape=(20, 21))[1])
    assert not torch.equal(dropped(seed=4, shape=(20, 21))[1], dropped(seed=5, shape=(20, 21))[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_gradient_flows_only_through_what_was_kept(dtype):
    layer = Dropout(0.25)
    layer.generator = torch.Generator().manual_seed(0)
    x = torch.ones(50, 50, dtype=dtype, requires_grad=True)

    made = layer(x)
    made.sum().backward()

    assert made.dtype == dtype
    assert torch.equal(x.grad, made.detach())
    assert 0 < int((x.grad == 0).sum()) < x.numel()


def test_generator_reaches_every_dropout():
    model = decoder(dropout=0.3).train()
    generator = torch.Generator().manual_seed(0)

    model.set_generator(generator)

    layers = [module for module in model.modules() if isinstance(module, Dropout)]
    assert len(layers) == 1 + 3 * SETTINGS["layers"]
    assert all(layer.generator is generator and layer.cut == round(0.3 * 256) for layer in layers)


@pytest.mark.parametrize(
    ("place", "n"), [("embedding", 1), ("attention", SETTINGS["layers"]), ("branch", 2 * SETTINGS["layers"])]
)
def test_dropout_acts_only_at_the_configured_places(place, n):
    model = decoder(dropout=0.3, dropout_at=[place])

    assert sum(module.cut > 0 for module in model.modules() if isinstance(module, Dropout)) == n


def test_scaled_tokens_are_the_tokens_times_the_root_of_the_width():
    plain, scaled, ids = (
        decoder(positions="sinusoidal"),
        decoder(positions="sinusoidal", scale_tokens=True),
        tokens((2, 8)),
    )

    places = plain.sinusoids[:8]
    first, other = (m(ids, output_hidden_states=True).hidden_states[0] for m in (plain, scaled))

    assert_close(other - places, (first - places) * math.sqrt(SETTINGS["width"]), atol=1e-5)


def test_training_uses_no_randomness_but_the_generators():
    model, ids = decoder(dropout=0.3).train(), tokens((2, 8))
    generator = torch.Generator()
    model.set_generator(generator)
    ambient = torch.get_rng_state()

    first, again, other = (model(ids).logits for seed in (1, 1, 2) if generator.manual_seed(seed))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), ambient)


# ---------------------------------------------------------------- sizes


def counted(width, feed_forward, rows, layers):
    """Parameters by hand: tables of ``rows`` rows in all, and in each block four linear maps and two norms."""
    attention = width * 3 * width + 3 * width + width * width + width
    feed = width * feed_forward + feed_forward + feed_forward * width + width
    return rows * width + layers * (attention + feed + 4 * width)


VOCABULARY = 1 + 35 + 25


@pytest.mark.parametrize(("width", "printed"), [(32, 54_592), (256, 3_189_248), (768, 23_720_448), (2048, 201_674_752)])
def test_paper_models_have_the_parameters_counted_by_hand(width, printed):
    """GPT-2 has tied tokens, a position per symbol and the input, and a last norm."""
    config = paper(width).base("synthetic")

    found = count_parameters(config.data, config.model)

    assert found == counted(width, config.model.feed_forward, rows=VOCABULARY + 40 + 1 + 2, layers=6) == printed


@pytest.mark.parametrize(("width", "printed"), [(32, 55_168), (256, 3_193_856), (768, 23_734_272), (2048, 201_711_616)])
def test_norm_after_models_have_the_parameters_counted_by_hand(width, printed):
    """They have tokens and a head."""
    model = ModelConfig.norm_after(width)

    found = count_parameters(DataConfig(), model)

    assert found == counted(width, model.feed_forward, rows=2 * VOCABULARY, layers=6) == printed


def test_decoder_is_sized_for_its_data():
    data = DataConfig(regex=RegexConfig(n_symbols=20, max_length=9), n_task_symbols=30)

    config = DecoderConfig.of(data, ModelConfig(tied_head=True))

    assert (config.vocab_size, config.max_positions, config.tie_word_embeddings) == (51, 10, True)
