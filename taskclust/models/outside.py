"""Any causal language model of transformers, trained like ours to test the paper's claims on it (``--model``).

A model is given as a kind ("llama"), a configuration file, or your own function; the data set its vocabulary and
lengths. Each row is one instance, because not every architecture supports the mask of packed rows. Rows are padded on
the right, where a causal model cannot look. transformers draws weights and dropout from the global generator, which is
seeded from ours for each draw and restored afterwards.
"""

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from taskclust.config import ConfigError, DataConfig, ModelConfig, first_line, require
from taskclust.models.interface import Model, Settings
from taskclust.models.language import require_causal

#: The architecture's name in :mod:`taskclust.models.registry`.
NAME = "outside"
#: The names of sizes in configurations of transformers, and the field of ours that gives each its default.
SIZES = {
    **dict.fromkeys(("hidden_size", "attention_hidden_size"), "width"),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner"), "feed_forward"),
    "num_hidden_layers": "layers",
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads"), "heads"),
    **dict.fromkeys(
        ("attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "hidden_dropout", "hidden_dropout_prob",
         "attention_probs_dropout_prob", "resid_dropout", "dropout"), "dropout"),
}  # fmt: skip
#: Names of the maximum length in configurations.
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "context_length", "max_sequence_length", "max_seq_len")
#: Keys of a configuration that do not describe the model.
_SILENT = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")
#: The most characters of an error's text to show.
_SHOWN = 200


class OutsideSettings(Settings):
    """The settings of a model from outside; the field ``outside`` is its own configuration as JSON text."""

    model_type = "taskclust-outside"


class Outside(Model):
    """A causal language model of transformers or of your own classes, with the project's interface.

    Args:
        config: its field ``outside`` names the model; see :func:`outside_model`.
    """

    config_class = OutsideSettings
    reads_packed = False
    keeps_low_precision = False

    def __init__(self, config: OutsideSettings) -> None:
        super().__init__(config)
        require(bool(config.outside), "architecture", NAME, "name the model with --model, which sets model.outside")
        self.inner = _built(json.loads(config.outside), config.vocab_size, config.max_positions, seed=0)
        self.final_norm = _AsGiven()
        self._generator: torch.Generator | None = None
        self._ends = _ends(self.inner)

    def initialize(self, generator: torch.Generator) -> Self:
        """Draw every weight as transformers does, with a seed from ``generator``."""
        self.inner = _built(json.loads(self.config.outside), self.config.vocab_size, self.config.max_positions,
                            seed=_seed(generator))  # fmt: skip
        self._ends = _ends(self.inner)
        return self

    def set_generator(self, generator: torch.Generator | None) -> None:
        """Seed the dropout of each forward pass from ``generator``."""
        self._generator = generator

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding."""
        return self.inner.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Linear:
        """The language head."""
        return self.inner.get_output_embeddings()

    def set_output_embeddings(self, head: nn.Linear) -> None:
        """Replace the language head."""
        self.inner.set_output_embeddings(head)

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Tensor | None = None,  # noqa: ARG002 - rows are padded where a causal model cannot look
        position_ids: Tensor | None = None,  # noqa: ARG002 - they are 0, 1, 2, ...
        output_hidden_states: bool = False,
        select: Int[Tensor, " P"] | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """Predict the next token at every position; see :meth:`taskclust.models.interface.Model.forward`."""
        seed = _seed(self._generator) if self.training and self._generator is not None else None
        ends: list[Tensor] = []
        hooks = [
            self._ends[0].register_forward_pre_hook(
                lambda _module, args, named: ends.append(args[0] if args else named["hidden_states"]), with_kwargs=True
            ),
            self._ends[1].register_forward_hook(
                lambda _module, _args, result: ends.append(result[0] if isinstance(result, (tuple, list)) else result)
            ),
        ]
        try:
            with _seeded(seed, input_ids.device):
                out = self.inner(
                    input_ids, output_hidden_states=output_hidden_states, use_cache=False, return_dict=True
                )
        finally:
            for hook in hooks:
                hook.remove()
        logits = out.logits
        if select is not None:
            logits = logits.reshape(-1, logits.shape[-1])[select]
        states = None
        if output_hidden_states:
            *lower, top = _from_embedding(ends[0], out.hidden_states)
            states = (*lower, self.final_norm(ends[1], top))
        return CausalLMOutput(logits=logits, hidden_states=states)

    def tied_names(self) -> list[str]:
        """The state's names of tied weights, which are saved under another name."""
        seen: dict[int, str] = {}
        return [n for n, t in self.state_dict().items() if seen.setdefault(t.data_ptr(), n) != n and t.numel()]

    def save_pretrained(self, folder: str | Path, state_dict: dict[str, Tensor] | None = None, **_: Any) -> None:
        """Write settings and weights; tied weights are written once."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        tied = self.tied_names()
        state = {n: t.contiguous() for n, t in (state_dict or self.state_dict()).items() if n not in tied}
        save_file(state, Path(folder) / "model.safetensors", {"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder: str | Path, *_: Any, **__: Any) -> Self:
        """The model saved in ``folder``.

        Raises:
            ConfigError: weights are missing or unexpected.
        """
        model = cls(cls.config_class.from_pretrained(folder))
        found = model.load_state_dict(load_file(Path(folder) / "model.safetensors"), strict=False)
        wrong = sorted({*found.missing_keys, *found.unexpected_keys} - set(model.tied_names()))
        require(not wrong, "model", str(folder), f"its weights {', '.join(wrong[:3])} do not fit; train it again")
        return model.eval()


class _AsGiven(nn.Module):
    """A stand-in for the model's last norm, which the model computes itself; probes read its input."""

    def forward(self, before: Tensor, after: Tensor) -> Tensor:  # noqa: ARG002 - read by a hook
        """The state after the norm."""
        return after


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


@contextmanager
def _seeded(seed: int | None, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed the global generator and restore it afterwards; with None, do nothing."""
    if seed is None:
        yield
        return
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _layers(inner: PreTrainedModel) -> nn.ModuleList:
    """The model's blocks in order."""
    n = inner.config.get_text_config().num_hidden_layers
    found = [m for m in inner.modules() if isinstance(m, nn.ModuleList) and len(m) == n]
    require(bool(found), "model", type(inner).__name__, f"it has no list of its {n} layers; it cannot be probed")
    return found[0]


def _ends(inner: PreTrainedModel) -> tuple[nn.Module, nn.Module]:
    """The first and the last block, in a tuple so that they are not saved twice."""
    layers = _layers(inner)
    return layers[0], layers[-1]


def _from_embedding(first: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The states from the embedding on; Mamba and RWKV give them from the first block on, the top one twice."""
    if states[0].shape == first.shape and torch.equal(states[0], first):
        return states
    return (first, *states[:-2], states[-1])


# ---------------------------------------------------------------- which model


def outside_model(source: str, sizes: ModelConfig, data: DataConfig) -> ModelConfig:
    """The configuration that trains a model from outside on ``data``.

    Args:
        source: a kind as transformers names it ("llama"), which gets the width, layers, heads and dropout of ``sizes``
            if it has them; a configuration file (``config.json``), whose sizes are kept; or ``package:function``, a
            function of ``vocab_size`` and ``max_positions`` that returns an untrained model.
        sizes: the model that it replaces.
        data: gives the vocabulary and lengths.

    Raises:
        ConfigError: the model does not exist, cannot be built, is not causal, or does not give its hidden states.
    """
    if source.endswith(".json") or Path(source).is_file():
        spec = {"config": _of_file(Path(source))}
    elif ":" in source:
        spec = _of_function(source, data)
    else:
        spec = {"config": _of_kind(source, sizes)}
    try:
        model = _built(spec, data.vocab_size, data.max_positions, seed=0).eval()
    except ConfigError:
        raise
    except Exception as error:  # a class may raise anything for sizes it does not support
        fix = "give a configuration file with all sizes"
        raise ConfigError(f"model={source!r}: it cannot be built ({first_line(error)[:_SHOWN]}); {fix}") from error
    require_causal(model, source)
    layers = len(_layers(model))
    with torch.no_grad():
        out = model(torch.tensor([[1, 2, 3]]), output_hidden_states=True, use_cache=False, return_dict=True)
    shapes = [tuple(state.shape) for state in out.hidden_states or ()]
    fix = "its embedding and all of its layers must give states of one width"
    is_probed = len(shapes) == layers + 1 and len(set(shapes)) == 1 and len(shapes[0]) == 3
    require(
        is_probed, "model", source, f"{layers} layers with {len(shapes)} hidden states {sorted(set(shapes))}; {fix}"
    )
    return replace(
        ModelConfig.norm_after(768),  # what is not replaced has no effect here; it keeps the keys of earlier records
        width=shapes[0][-1],
        feed_forward=sizes.feed_forward,
        layers=layers,
        heads=1,
        architecture=NAME,
        outside=json.dumps(spec, sort_keys=True),
    )


def _of_file(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"model={str(path)!r}: not read as JSON ({first_line(error)})") from error
    require(isinstance(found, dict) and "model_type" in found, "model", str(path), "its JSON names no model_type")
    _require_kind(found["model_type"], str(path))
    return {name: value for name, value in found.items() if name not in _SILENT}


def _of_kind(kind: str, sizes: ModelConfig) -> dict[str, Any]:
    _require_kind(kind, kind)
    try:
        usual = AutoConfig.for_model(kind)
    except Exception as error:  # some kinds have no configuration without that of another model
        raise ConfigError(f"model={kind!r}: it has no usual configuration ({first_line(error)})") from error
    names = {usual.attribute_map.get(name, name): field for name, field in SIZES.items()}
    known = usual.to_dict()
    given = {name: getattr(sizes, field) for name, field in names.items() if name in known}
    if "head_dim" in known:
        given["head_dim"] = sizes.width // sizes.heads
    head_width = sizes.width // sizes.heads
    if known.get("rotary_dim", 0) > head_width:  # GPT-J's and CodeGen's own is too wide for small models
        given["rotary_dim"] = head_width
    return {"model_type": kind, **given}


def _require_kind(kind: Any, source: str) -> None:
    fix = "name a causal language model of transformers (llama, mamba, ...), a configuration file, or package:function"
    require(kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "model", source, f"there is no causal {kind!r}; {fix}")


def _of_function(source: str, data: DataConfig) -> dict[str, Any]:
    """The function's name, a hash of its file, and the configuration of the model that it returns."""
    model = _called(source, data.vocab_size, data.max_positions, seed=0)
    file = sys.modules[source.partition(":")[0]].__file__
    code = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    return {"function": source, "code": code, "config": _plain(model.config)}


def _function(source: str) -> Callable[..., Any]:
    module, _, name = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module in the current folder
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # an import may raise anything
        raise ConfigError(f"model={source!r}: it cannot be imported ({first_line(error)[:_SHOWN]})") from error
    require(callable(found), "model", source, "not a function; it is called with vocab_size and max_positions")
    return found


def _plain(config: PretrainedConfig) -> dict[str, Any]:
    found = json.loads(json.dumps(config.to_dict(), default=str))
    return {name: value for name, value in found.items() if name not in _SILENT}


def _called(source: str, vocab_size: int, max_positions: int, seed: int) -> PreTrainedModel:
    function = _function(source)
    try:
        with _seeded(seed):
            model = function(vocab_size=vocab_size, max_positions=max_positions)
    except Exception as error:  # a user's function may raise anything
        raise ConfigError(
            f"model={source!r}: it raised {type(error).__name__}: {first_line(error)[:_SHOWN]}"
        ) from error
    is_model = isinstance(model, PreTrainedModel)
    require(is_model, "model", source, f"it returned {type(model).__name__}; return a transformers.PreTrainedModel")
    require(model.get_output_embeddings() is not None, "model", source, "it has no language head")
    known = model.get_input_embeddings().weight.shape[0]
    require(known >= vocab_size, "model", source, f"it knows {known} tokens, and the data has {vocab_size}")
    return model


def _built(spec: dict[str, Any], vocab_size: int, max_positions: int, seed: int) -> PreTrainedModel:
    """An untrained model, the same for the same seed; the global generator is restored."""
    if "function" in spec:
        return _called(spec["function"], vocab_size, max_positions, seed)
    own = dict(spec["config"])
    config = AutoConfig.for_model(own.pop("model_type"), **own)
    text = config.get_text_config()
    text.vocab_size = vocab_size
    for name in _LENGTHS:
        if hasattr(text, name):
            setattr(text, name, max_positions)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(text, name, 0)  # the defaults are of another vocabulary
    with _seeded(seed):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False).float()
