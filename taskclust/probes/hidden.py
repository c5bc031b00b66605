"""Hidden states of the input token (the last token read) and of the last instruction token, at every layer (§3.2)."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from taskclust.data import Split
from taskclust.models.batches import Instructions, batch_for
from taskclust.models.interface import Model


class HiddenStates(NamedTuple):
    """The states of one split; layer 0 is the embedding. N instances, I instructions, L layers, D width."""

    input_token: Float[Tensor, "L1 N D"]
    instruction_end: Float[Tensor, "L1 I D"]


@torch.no_grad()
def hidden_states(
    model: Model, split: Split, *, before_final_norm: bool = False, batch_instructions: int = 64
) -> HiddenStates:
    """The states of ``model`` on a split, in float32.

    Args:
        model: a model of any precision; it is converted in place to float32 and put into evaluation mode.
        split: the split to read.
        before_final_norm: take the top layer before the last norm (no difference for a norm-after model).
        batch_instructions: number of instructions to read at once.
    """
    model = model.float().eval()
    unnormed: list[Tensor] = []
    hook = model.final_norm.register_forward_pre_hook(lambda _module, args: unnormed.append(args[0]))
    data = Instructions(split, model.device)
    inputs, ends = [], []
    try:
        for start in range(0, len(data), batch_instructions):
            batch = batch_for(model, data, np.arange(start, min(start + batch_instructions, len(data))))
            # the logits are not used; ``select`` limits them
            out = model(batch.tokens, batch.mask, batch.positions, output_hidden_states=True, select=batch.input_at)
            states = list(out.hidden_states)
            top = unnormed.pop()
            if before_final_norm:
                states[-1] = top
            flat = torch.stack([h.reshape(-1, h.shape[-1]) for h in states])
            inputs.append(flat[:, batch.input_at])
            ends.append(flat[:, batch.instruction_end_at])
    finally:
        hook.remove()
    return HiddenStates(torch.cat(inputs, 1), torch.cat(ends, 1))
