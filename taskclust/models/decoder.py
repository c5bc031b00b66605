"""The paper's decoder: six blocks "following the GPT-2 architecture" (§3.1, Table 5), as a transformers model.

What GPT-2's name leaves open here is an option: the norm's placement (before or after each branch) and the kind of
positions (learned or sinusoidal). Norm before with learned positions *is* GPT-2: the same weights give the same logits
and hidden states (tests/models/test_decoder.py).

Shapes: B rows, T tokens, D width, H heads, V vocabulary, L layers.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from taskclust.config import DataConfig, ModelConfig


class DecoderConfig(PretrainedConfig):
    """The decoder's settings as saved beside its weights; see :class:`taskclust.config.ModelConfig`."""

    model_type = "taskclust-decoder"
    attribute_map: ClassVar[dict[str, str]] = {
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "hidden_size": "width",
    }

    def __init__(
        self,
        vocab_size: int = 61,
        max_positions: int = 41,
        width: int = 768,
        feed_forward: int = 1024,
        layers: int = 6,
        heads: int = 8,
        dropout: float = 0.2,
        dropout_at: Sequence[str] = ("embedding", "attention", "branch"),
        norm: str = "after",
        positions: str = "sinusoidal",
        tie_word_embeddings: bool = False,
        token_std: float = 0.1,
        scale_tokens: bool = False,
        head_std: float = 0.1,
        weight_std: float = 0.02,
        scale_residual: bool = False,
        **kwargs: Any,
    ) -> None:
        self.vocab_size, self.max_positions = vocab_size, max_positions
        self.width, self.feed_forward, self.layers, self.heads = width, feed_forward, layers, heads
        self.dropout, self.dropout_at, self.norm, self.positions = dropout, list(dropout_at), norm, positions
        self.token_std, self.scale_tokens, self.head_std = token_std, scale_tokens, head_std
        self.weight_std, self.scale_residual = weight_std, scale_residual
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


def decoder_config(data: DataConfig, model: ModelConfig) -> DecoderConfig:
    """The decoder of ``model`` for the vocabulary and lengths of ``data``."""
    return DecoderConfig(
        vocab_size=data.vocab_size,
        max_positions=data.regex.max_length + 1,  # the input token follows the longest instruction
        width=model.width,
        feed_forward=model.feed_forward,
        layers=model.layers,
        heads=model.heads,
        dropout=model.dropout,
        dropout_at=model.dropout_at,
        norm=model.norm,
        positions=model.positions,
        tie_word_embeddings=model.tied_head,
        token_std=model.token_std,
        scale_tokens=model.scale_tokens,
        head_std=model.head_std,
        weight_std=model.weight_std,
        scale_residual=model.scale_residual,
    )


class Dropout(nn.Module):
    """Dropout whose mask comes from a given generator, drawn as bytes: the probability is a multiple of 1/256."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.cut = min(round(p * 256), 255)
        self.generator: torch.Generator | None = None

    @classmethod
    def at(cls, place: str, config: DecoderConfig) -> "Dropout":
        """The dropout of a place, nothing where the configuration has none."""
        return cls(config.dropout if place in config.dropout_at else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Drop and rescale while training; nothing otherwise."""
        if not self.training or self.cut == 0:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None, generator=self.generator)  # eight bytes a draw: far cheaper than a draw a byte
        scale = torch.empty_like(x, requires_grad=False)  # written directly: a bool that is turned costs twice the time
        torch.ge(words.view(torch.uint8)[: x.numel()].view(x.shape), self.cut, out=scale)
        return x * scale.mul_(256 / (256 - self.cut))


class Attention(nn.Module):
    """Multi-head self-attention under a given mask."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.weight_dropout = Dropout.at("attention", config)
        self.dropout = Dropout.at("branch", config)

    def forward(self, x: Float[Tensor, "B T D"], bias: Float[Tensor, "B 1 T T"]) -> Float[Tensor, "B T D"]:
        """Mix the tokens that ``bias`` lets through."""
        B, T, D = x.shape
        q, k, v = self.query_key_value(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, D/H)
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias  # (B, H, T, T)
        weights = self.weight_dropout(weights.softmax(-1))
        return self.dropout(self.out((weights @ v).transpose(1, 2).reshape(B, T, D)))


class FeedForward(nn.Module):
    """Two linear maps around GPT-2's GELU."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, config.width)
        self.dropout = Dropout.at("branch", config)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Transform each token by itself."""
        return self.dropout(self.down(F.gelu(self.up(x), approximate="tanh")))


class Block(nn.Module):
    """Attention and feed-forward branches, each with its norm before it or after its sum."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.norm_before = config.norm == "before"
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Float[Tensor, "B T D"], bias: Float[Tensor, "B 1 T T"]) -> Float[Tensor, "B T D"]:
        """Add both branches."""
        if self.norm_before:
            x = x + self.attention(self.attention_norm(x), bias)
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x, bias))
        return self.feed_forward_norm(x + self.feed_forward(x))


class Decoder(PreTrainedModel):
    """Causal language model over instruction and task symbols.

    Args:
        config: the settings; weights are drawn by :meth:`initialize`, from an explicit generator.
    """

    config_class = DecoderConfig
    base_model_prefix = ""
    _tied_weights_keys: ClassVar[dict[str, str]] = {"head.weight": "token_embedding.weight"}

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.max_positions, config.width)
        else:  # a buffer that is saved: one that is not would be left unset by from_pretrained
            self.register_buffer("sinusoids", sinusoids(config.max_positions, config.width))
        self.dropout = Dropout.at("embedding", config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.width) if config.norm == "before" else nn.Identity()
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def create(cls, data: DataConfig, model: ModelConfig, generator: torch.Generator) -> "Decoder":
        """A new model for the vocabulary and lengths of ``data``, its weights drawn from ``generator``."""
        return cls(decoder_config(data, model)).initialize(generator)

    def initialize(self, generator: torch.Generator) -> "Decoder":
        """Draw every weight anew from ``generator`` (a CPU generator gives the same weights on any device)."""
        config = self.config
        for name, parameter in self.named_parameters():
            if name.endswith("norm.weight"):
                nn.init.ones_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                std = config.weight_std
                if name in ("token_embedding.weight", "position_embedding.weight"):
                    std = config.token_std
                elif name == "head.weight":
                    std = config.head_std
                elif config.scale_residual and name.endswith(("out.weight", "down.weight")):
                    std /= math.sqrt(2 * config.layers)
                drawn = torch.randn(parameter.shape, generator=generator) * std
                with torch.no_grad():
                    parameter.copy_(drawn)
        return self

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: :meth:`initialize` draws from a generator, and from_pretrained loads every weight."""

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding, as transformers asks for it."""
        return self.token_embedding

    def get_output_embeddings(self) -> nn.Module:
        """The language head, as transformers asks for it."""
        return self.head

    def set_output_embeddings(self, head: nn.Linear) -> None:
        """Another language head, as transformers sets it."""
        self.head = head

    def set_generator(self, generator: torch.Generator | None) -> None:
        """Take every dropout mask from ``generator``, which lives on the model's device."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generator = generator

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B 1 T T"] | Int[Tensor, "B T"] | Bool[Tensor, "B T"] | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        output_hidden_states: bool = False,
        select: Int[Tensor, " P"] | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """Predict the next token at every place.

        Args:
            input_ids: tokens.
            attention_mask: 1 for tokens and 0 for padding, on top of the causal mask; or the whole mask, [B, 1, T, T],
                True where a query (row) sees a key (column).
            position_ids: places of the tokens; 0, 1, 2, ... by default.
            output_hidden_states: return L + 1 states as GPT-2 does: the embeddings, then each block's output, the last
                one behind the final norm.
            select: predict only at these places of the flattened rows; the logits are then [P, V].

        Returns:
            ``logits`` [B, T, V] (or [P, V]) and ``hidden_states``, a tuple of L + 1 tensors [B, T, D], or None.
        """
        B, T = input_ids.shape
        if position_ids is None:
            position_ids = torch.arange(T, device=input_ids.device).expand(B, T)
        x = self.token_embedding(input_ids)
        if self.config.scale_tokens:
            x = x * math.sqrt(self.config.width)
        if self.config.positions == "learned":
            x = x + self.position_embedding(position_ids)
        else:
            x = x + self.sinusoids[position_ids].to(x.dtype)
        x = self.dropout(x)
        bias = _attention_bias(attention_mask, B, T, x)
        states = [x]
        for block in self.blocks:
            x = block(x, bias)
            states.append(x)
        x = states[-1] = self.final_norm(x)
        if select is not None:
            x = x.reshape(B * T, -1)[select]
        return CausalLMOutput(logits=self.head(x), hidden_states=tuple(states) if output_hidden_states else None)


def _attention_bias(mask: Tensor | None, B: int, T: int, like: Tensor) -> Float[Tensor, "B 1 T T"]:
    """0 where a token is seen, the lowest number where it is not (minus infinity would make a blind row NaN)."""
    if mask is None or mask.dim() == 2:
        causal = torch.ones(T, T, dtype=torch.bool, device=like.device).tril()
        seen = causal if mask is None else causal & mask.bool()[:, None, None, :]
    else:
        seen = mask
    bias = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
    return bias.masked_fill(~seen, torch.finfo(like.dtype).min).expand(B, 1, T, T)


def sinusoids(n: int, width: int) -> Float[Tensor, "n width"]:
    """The fixed positions of Vaswani et al. (2017): sines and cosines interleaved."""
    place = torch.arange(n)[:, None].float()
    rate = torch.exp(-math.log(1e4) * torch.arange(0, width, 2) / width)
    return torch.stack([(place * rate).sin(), (place * rate).cos()], dim=-1).reshape(n, width)


AutoConfig.register(DecoderConfig.model_type, DecoderConfig)
AutoModelForCausalLM.register(DecoderConfig, Decoder)
