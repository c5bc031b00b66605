"""The base classes of every architecture (:mod:`taskclust.models.registry`): all that the project needs of a model.

An architecture is one file with two subclasses, one of :class:`Settings` that names its ``model_type`` and one of
:class:`Model`, and an entry in the registry. Training, probes and alignment use only what is defined here.

Shapes: B rows, T tokens, D width, V vocabulary, L layers, P predictions.
"""

import math
import threading
from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from taskclust.config import DataConfig, ModelConfig, as_before

_DATA = DataConfig()
#: Held by a thread that makes or opens a model: while transformers 5.24 opens one, models that other threads make are
#: not tied and their weights are not drawn.
MAKING = threading.RLock()


def capacity(model: PreTrainedModel) -> tuple[int, float]:
    """How many tokens a model of transformers knows, and how many it reads at most: infinite if it does not say."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return model.get_input_embeddings().weight.shape[0], limit or math.inf


class Settings(PretrainedConfig):
    """A model's settings, saved with its weights: the fields of :class:`taskclust.config.ModelConfig` by name.

    A field that an older file lacks has the value that was used then. The field ``architecture`` is not repeated here:
    it is the ``model_type``.

    Args:
        vocab_size: number of tokens, V.
        max_positions: number of positions of the longest instance.
        settings: fields of the model's configuration; others are passed to transformers.
    """

    #: our names for those of transformers, but for ``tied_head`` the reverse: files have ``tie_word_embeddings``
    attribute_map: ClassVar[dict[str, str]] = {
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "hidden_size": "width",
        "tied_head": "tie_word_embeddings",
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep this ``__init__``: later versions of transformers replace it in subclasses that do not define one."""
        own = cls.__dict__.get("__init__", Settings.__init__)
        super().__init_subclass__(**kwargs)
        cls.__init__ = own  # type: ignore[method-assign]

    def __init__(
        self,
        vocab_size: int = _DATA.vocab_size,
        max_positions: int = _DATA.max_positions,
        **settings: Any,
    ) -> None:
        self.vocab_size, self.max_positions = vocab_size, max_positions
        for name, value in _options(as_before(ModelConfig)).items():
            saved = self.attribute_map.get(name, name)
            setattr(self, saved, _plain(settings.pop(name, settings.pop(saved, value))))
        super().__init__(tie_word_embeddings=self.tie_word_embeddings, **settings)

    @classmethod
    def of(cls, data: DataConfig, model: ModelConfig) -> Self:
        """The settings of ``model`` for the vocabulary and lengths of ``data``."""
        return cls(vocab_size=data.vocab_size, max_positions=data.max_positions, **_options(asdict(model)))


def _options(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "architecture"}


def _plain(value: Any) -> Any:
    """The value as JSON would give it back."""
    return list(value) if isinstance(value, tuple) else value


class Dropout(nn.Module):
    """Dropout whose mask comes from a given generator, drawn as bytes: the probability is a multiple of 1/256."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.cut = min(round(p * 256), 255)
        self.generator: torch.Generator | None = None

    @classmethod
    def at(cls, place: str, config: Settings) -> "Dropout":
        """The dropout at a place in the model; zero if the configuration has none there."""
        return cls(config.dropout if place in config.dropout_at else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Drop and rescale during training; otherwise do nothing."""
        if not self.training or self.cut == 0:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None, generator=self.generator)  # eight bytes per draw: far cheaper than one
        scale = torch.empty_like(x, requires_grad=False)  # written directly: converting a bool takes twice as long
        torch.ge(words.view(torch.uint8)[: x.numel()].view(x.shape), self.cut, out=scale)
        return x * scale.mul_(256 / (256 - self.cut))


class Model(PreTrainedModel, ABC):
    """A causal language model that the project can train, probe and align.

    A subclass sets ``config_class``, builds its modules, ``final_norm`` included, in ``__init__`` (``post_init()``
    last), and defines the abstract methods. All its randomness comes from two generators: weights from that of
    :meth:`initialize`, dropout from that of :meth:`set_generator`. Alignment requires that its logits are
    :meth:`get_output_embeddings` applied to the last hidden state. ``num_parameters``, ``save_pretrained`` and
    ``from_pretrained`` are those of transformers.
    """

    config_class: type[Settings]
    base_model_prefix = ""
    #: whether it reads several instructions per row under a mask; otherwise it gets one instance per row
    reads_packed: ClassVar[bool] = True
    #: whether precision "auto" may choose bfloat16
    keeps_low_precision: ClassVar[bool] = True
    #: applied by ``forward`` to the top layer's state, [B, T, D], which probes read; ``nn.Identity()`` if there is none
    final_norm: nn.Module

    @classmethod
    def create(cls, data: DataConfig, model: ModelConfig, generator: torch.Generator) -> Self:
        """A new model for the vocabulary and lengths of ``data``, its weights drawn from ``generator``."""
        return cls(cls.config_class.of(data, model)).initialize(generator)

    @abstractmethod
    def initialize(self, generator: torch.Generator) -> Self:
        """Draw every weight from ``generator`` (a CPU generator gives the same weights on any device)."""

    def set_generator(self, generator: torch.Generator | None) -> None:
        """Draw every dropout mask from ``generator``, which is on the model's device."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generator = generator

    @abstractmethod
    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B 1 T T"] | Int[Tensor, "B T"] | Bool[Tensor, "B T"] | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        output_hidden_states: bool = False,
        select: Int[Tensor, " P"] | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """Predict the next token at every position.

        Args:
            input_ids: tokens.
            attention_mask: 1 for tokens and 0 for padding, in addition to the causal mask; or, for packed rows of
                several instructions, the whole mask, [B, 1, T, T], True where a query (row) sees a key (column).
            position_ids: positions of the tokens; 0, 1, 2, ... by default.
            output_hidden_states: return L + 1 states as GPT-2 does: the embeddings, then each layer's output, the last
                one after the final norm.
            select: predict only at these positions of the flattened rows; the logits are then [P, V].

        Returns:
            ``logits`` [B, T, V] (or [P, V]) and ``hidden_states``, a tuple of L + 1 tensors [B, T, D], or None.
        """

    @abstractmethod
    def get_input_embeddings(self) -> nn.Module:
        """The token embedding."""

    @abstractmethod
    def get_output_embeddings(self) -> nn.Linear:
        """The language head."""

    @abstractmethod
    def set_output_embeddings(self, head: nn.Linear) -> None:
        """Replace the language head."""

    def tied_names(self) -> list[str]:
        """The state's names of tied weights, which are saved under another name."""
        return list(self._tied_weights_keys or ()) if self.config.tie_word_embeddings else []

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: :meth:`initialize` draws from a generator, and from_pretrained loads every weight."""
