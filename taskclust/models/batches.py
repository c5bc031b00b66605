"""Instances as rows of tokens: the plain way, and packed rows that share each instruction.

The five instances of an instruction repeat it. :func:`plain_batch` writes them out, one padded row ``[I, x]`` each: the
definition. :func:`packed_batch` writes the instruction once, ``[I, x1 .. x5]``, several to a row, under a mask in which
each x sees its instruction and itself: the same loss and gradients from about a quarter of the tokens
(tests/models/test_batches.py). The output y is never read, only predicted: nothing follows it.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from taskclust.data import PAD, Split

#: Row widths are multiples of this: few shapes, so that few kernels are made for them.
ROUND = 16


class Batch(NamedTuple):
    """Tokens to read and what to predict where; R rows, T tokens, P predictions, I instructions, M mappings.

    ``predict_at``, ``input_at`` and ``instruction_end_at`` are places in the flattened rows.
    """

    tokens: Int[Tensor, "R T"]
    positions: Int[Tensor, "R T"]
    mask: Bool[Tensor, "R 1 T T"]
    predict_at: Int[Tensor, " P"]
    targets: Int[Tensor, " P"]
    weights: Float[Tensor, " P"]  # how many rows of the plain batch make this prediction
    input_at: Int[Tensor, " N"]  # N = I x M, instance i * M + j
    instruction_end_at: Int[Tensor, " I"]


class Instructions:
    """A split's arrays on the device, from which batches are cut without a loop over instructions."""

    def __init__(
        self,
        split: Split,
        device: torch.device | str = "cpu",
        *,
        input_weight: float = 1.0,
        loss_mean: str = "tokens",
    ) -> None:
        def put(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, device=device)

        self.instructions, self.lengths = put(split.instructions), put(split.lengths)
        self.inputs, self.outputs = put(split.inputs), put(split.outputs)
        self.device, self.input_weight = torch.device(device), input_weight
        self.per_sequence = loss_mean == "sequences"
        self._lengths = split.lengths  # shapes are computed on the host, without waiting for the device

    def __len__(self) -> int:
        return len(self._lengths)

    def take(self, indices: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The chosen rows as a device index, and their lengths on the host."""
        return torch.as_tensor(indices, device=self.device), self._lengths[indices]


def packed_batch(data: Instructions, indices: np.ndarray, per_row: int = 2) -> Batch:
    """Pack the instructions ``indices``, ``per_row`` to a row, long ones beside short ones."""
    chosen, lengths = data.take(indices)
    n, mappings = len(indices), data.inputs.shape[1]
    sizes = lengths + mappings
    n_rows = -(-n // per_row)

    order = np.argsort(-sizes, kind="stable")
    lap, column = np.divmod(np.arange(n), n_rows)
    row = np.empty(n, dtype=np.int64)
    row[order] = np.where(lap % 2, n_rows - 1 - column, column)  # deal to and fro, so that rows end alike
    start = np.empty(n, dtype=np.int64)
    used = np.zeros(n_rows, dtype=np.int64)
    for i in order:
        start[i] = used[row[i]]
        used[row[i]] += sizes[i]
    width = -(-int(used.max()) // ROUND) * ROUND

    offset = np.concatenate([[0], np.cumsum(sizes)])
    owner = np.repeat(np.arange(n), sizes)  # [S] the instruction of each token, S tokens in all
    step = np.arange(offset[-1]) - offset[owner]  # place of the token in its own instruction
    place = row[owner] * width + start[owner] + step
    is_input = step >= lengths[owner]
    first_input = row * width + start + lengths

    def put(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, device=data.device)

    owner_t, step_t, place_t, is_input_t = put(owner), put(step), put(place), put(is_input)
    length_t = put(lengths)[owner_t]
    source = torch.cat([data.instructions[chosen], data.inputs[chosen]], dim=1)
    column_t = torch.where(is_input_t, data.instructions.shape[1] + step_t - length_t, step_t)
    read = source[owner_t, column_t]
    flat = n_rows * width
    tokens = torch.full((flat,), PAD, device=data.device).index_copy_(0, place_t, read)
    positions = torch.zeros_like(tokens).index_copy_(0, place_t, torch.minimum(step_t, length_t))
    segment = torch.full_like(tokens, -1).index_copy_(0, place_t, owner_t).view(n_rows, width)
    inputs_here = torch.zeros(flat, dtype=torch.bool, device=data.device).index_copy_(0, place_t, is_input_t)
    inputs_here = inputs_here.view(n_rows, width)

    same = segment[:, :, None] == segment[:, None, :]
    index = torch.arange(width, device=data.device)
    mask = same & ~inputs_here[:, None, :] & (index[None, :] <= index[:, None])
    mask = (mask | torch.eye(width, dtype=torch.bool, device=data.device))[:, None]

    within = np.flatnonzero(step < lengths[owner] - 1)  # instruction tokens that predict the next one
    end = put(first_input - 1)
    input_at = (put(first_input)[:, None] + torch.arange(mappings, device=data.device)).reshape(-1)
    within_t = put(within)
    share = _share(data.lengths[chosen], data)
    each = share.repeat_interleave(mappings)
    return Batch(
        tokens=tokens.view(n_rows, width),
        positions=positions.view(n_rows, width),
        mask=mask,
        predict_at=torch.cat([place_t[within_t], end.repeat_interleave(mappings), input_at]),
        targets=torch.cat([read[within_t + 1], data.inputs[chosen].reshape(-1), data.outputs[chosen].reshape(-1)]),
        # an instruction token is predicted in each of its M plain rows, an input or an output in one
        weights=torch.cat([mappings * share[owner_t[within_t]], data.input_weight * each, each]),
        input_at=input_at,
        instruction_end_at=end,
    )


def _share(lengths: Int[Tensor, " R"], data: Instructions) -> Float[Tensor, " R"]:
    """The weight of one prediction in a plain row of each length: alike, or so that every row weighs one."""
    return 1 / (lengths + data.input_weight) if data.per_sequence else torch.ones(len(lengths), device=data.device)


def plain_batch(data: Instructions, indices: np.ndarray) -> Batch:
    """Write every instance out as one row ``[I, x]``, padded on the right."""
    chosen, lengths = data.take(indices)
    mappings = data.inputs.shape[1]
    repeated = data.lengths[chosen].repeat_interleave(mappings)
    width = int(lengths.max()) + 1
    body = data.instructions[chosen].repeat_interleave(mappings, dim=0)[:, :width]
    tokens = torch.cat([body, body.new_full((len(body), width - body.shape[1]), PAD)], dim=1)
    rows = torch.arange(len(tokens), device=data.device)
    tokens[rows, repeated] = data.inputs[chosen].reshape(-1)
    index = torch.arange(width, device=data.device)
    mask = (index[None, :] <= index[:, None]) & (index[None, None, :] <= repeated[:, None, None])
    row, column = torch.nonzero(index[None, :] < repeated[:, None] - 1, as_tuple=True)
    end = rows * width + repeated - 1
    share = _share(repeated, data)
    return Batch(
        tokens=tokens,
        positions=index.expand(len(tokens), width),
        mask=mask[:, None],
        predict_at=torch.cat([row * width + column, end, end + 1]),
        targets=torch.cat([tokens[row, column + 1], data.inputs[chosen].reshape(-1), data.outputs[chosen].reshape(-1)]),
        weights=torch.cat([share[row], data.input_weight * share, share]),
        input_at=end + 1,
        instruction_end_at=end[::mappings],
    )
