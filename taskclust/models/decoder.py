"""The paper's decoder: six blocks "following the GPT-2 architecture" (§3.1, Table 5), as a transformers model.

Two choices that this leaves open are options: the norm's placement (before or after each branch) and the kind of
positions (learned or sinusoidal). With norm before and learned positions it *is* GPT-2: the same weights give the same
logits and hidden states (tests/models/test_decoder.py).

Shapes: B rows, T tokens, D width, H heads, V vocabulary, L layers.
"""

import math
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from taskclust.models.interface import Dropout, Model, Settings


class DecoderConfig(Settings):
    """The decoder's settings, saved with its weights."""

    model_type = "taskclust-decoder"


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
        """Attend to the tokens that ``bias`` allows."""
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
        """Transform each token independently."""
        return self.dropout(self.down(F.gelu(self.up(x), approximate="tanh")))


class Block(nn.Module):
    """Attention and feed-forward branches, each with a norm before it or after its sum."""

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


class Decoder(Model):
    """Causal language model over instruction and task symbols.

    Args:
        config: the settings; weights are drawn by :meth:`initialize`, from an explicit generator.
    """

    config_class = DecoderConfig
    _tied_weights_keys: ClassVar[dict[str, str]] = {"head.weight": "token_embedding.weight"}

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.max_positions, config.width)
        else:  # saved, because from_pretrained would leave an unsaved buffer unset
            self.register_buffer("sinusoids", sinusoids(config.max_positions, config.width))
        self.dropout = Dropout.at("embedding", config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.LayerNorm(config.width) if config.norm == "before" else nn.Identity()
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.post_init()

    def initialize(self, generator: torch.Generator) -> Self:
        """Draw every weight from ``generator`` (a CPU generator gives the same weights on any device)."""
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

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding, for transformers."""
        return self.token_embedding

    def get_output_embeddings(self) -> nn.Linear:
        """The language head, for transformers."""
        return self.head

    def set_output_embeddings(self, head: nn.Linear) -> None:
        """Set another language head, for transformers."""
        self.head = head

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B 1 T T"] | Int[Tensor, "B T"] | Bool[Tensor, "B T"] | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        output_hidden_states: bool = False,
        select: Int[Tensor, " P"] | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """Predict the next token at every position; see :meth:`taskclust.models.interface.Model.forward`."""
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
    """0 where a token is seen, else the lowest number (minus infinity would give NaN if a row sees no token)."""
    if mask is None or mask.dim() == 2:
        causal = torch.ones(T, T, dtype=torch.bool, device=like.device).tril()
        seen = causal if mask is None else causal & mask.bool()[:, None, None, :]
    else:
        seen = mask
    bias = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
    return bias.masked_fill(~seen, torch.finfo(like.dtype).min).expand(B, 1, T, T)


def sinusoids(n: int, width: int) -> Float[Tensor, "T D"]:
    """The fixed positions of Vaswani et al. (2017): sines and cosines interleaved."""
    place = torch.arange(n)[:, None].float()
    rate = torch.exp(-math.log(1e4) * torch.arange(0, width, 2) / width)
    return torch.stack([(place * rate).sin(), (place * rate).cos()], dim=-1).reshape(n, width)
