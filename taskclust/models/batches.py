"""Instances as rows of tokens: the plain way, and packed rows that share each instruction.

The five instances of an instruction repeat it. :func:`plain_batch` writes them out, one padded row ``[I, x]`` each: the
definition. :func:`packed_batch` writes the instruction once, ``[I, x1 .. x5]``, several to a row, under a mask in which
each x sees its instruction and itself: the same loss and gradients from about a quarter of the tokens
(tests/models/test_batches.py). The output y is never read, only predicted: nothing follows it.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from taskclust.data import PAD, Split

#: Row widths are multiples of this: few shapes, so that few kernels are made for them.
ROUND = 16


class Batch(NamedTuple):
    """Tokens to read and what to predict where; B rows, T tokens, P predictions, I instructions, M mappings.

    ``predict_at``, ``input_at`` and ``instruction_end_at`` are places in the flattened rows.
    """

    tokens: Int[Tensor, "B T"]
    positions: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B 1 T T"]
    predict_at: Int[Tensor, " P"]
    targets: Int[Tensor, " P"]
    weights: Float[Tensor, " P"]  # how many rows of the plain batch make this prediction
    input_at: Int[Tensor, " N"]  # N = I x M, instance i * M + j
    instruction_end_at: Int[Tensor, " I"]


class Room(NamedTuple):
    """A shape that any batch of so many instructions fits into; what is left over is padded and weighs nothing."""

    rows: int
    width: int
    predictions: int


class Instructions:
    """A split's arrays on the host, from which batches for a device are cut without a loop over instructions."""

    def __init__(
        self,
        split: Split,
        device: torch.device | str = "cpu",
        *,
        input_weight: float = 1.0,
        loss_mean: str = "tokens",
        loss_over: str = "tokens",
    ) -> None:
        self.instructions, self.lengths = torch.as_tensor(split.instructions), torch.as_tensor(split.lengths)
        self.inputs, self.outputs = torch.as_tensor(split.inputs), torch.as_tensor(split.outputs)
        self.device = torch.device(device)
        self.symbol_weight = 1.0 if loss_over == "tokens" else 0.0
        self.input_weight = input_weight * self.symbol_weight
        self.per_sequence = loss_mean == "sequences"

    def __len__(self) -> int:
        return len(self.lengths)

    def room(self, n: int, per_row: int = 2) -> Room:
        """Room for any ``n`` of the instructions, packed ``per_row`` to a row."""
        longest, mappings = int(self.lengths.max()), self.inputs.shape[1]
        width = _rounded(per_row * (longest + mappings))
        return Room(-(-n // per_row), width, n * (longest - 1 + 2 * mappings))


def batch_for(model: Any, data: Instructions, indices: np.ndarray) -> Batch:
    """The rows of the instructions that the model reads: packed ones if it can."""
    return packed_batch(data, indices) if model.reads_packed else plain_batch(data, indices)


def packed_batch(data: Instructions, indices: np.ndarray, per_row: int = 2) -> Batch:
    """Pack the instructions ``indices`` for the device, ``per_row`` to a row, long ones beside short ones."""
    batch = host_batch(data, indices, per_row)
    return Batch(*(tensor.to(data.device, non_blocking=True) for tensor in batch))


def host_batch(data: Instructions, indices: np.ndarray, per_row: int = 2, room: Room | None = None) -> Batch:
    """The packed batch on the host, padded to fill ``room`` where it is given.

    Raises:
        ValueError: the instructions do not fit into the room.
    """
    lengths, inputs, outputs = (a.numpy()[indices] for a in (data.lengths, data.inputs, data.outputs))
    n, mappings = inputs.shape
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
    width = _rounded(int(used.max()))
    n_predictions = int((lengths - 1).sum()) + 2 * n * mappings
    if room is None:
        room = Room(n_rows, width, n_predictions)
    elif not all(a <= b for a, b in zip((n_rows, width, n_predictions), room, strict=True)):
        raise ValueError(f"room={room}: {n} instructions need {Room(n_rows, width, n_predictions)}; use data.room({n})")
    width = room.width

    offset = np.concatenate([[0], np.cumsum(sizes)])
    owner = np.repeat(np.arange(n), sizes)  # the instruction of each token, one after another
    step = np.arange(offset[-1]) - offset[owner]  # place of the token in its own instruction
    place = row[owner] * width + start[owner] + step
    is_input = step >= lengths[owner]
    first_input = row * width + start + lengths

    source = np.concatenate([data.instructions.numpy()[indices], inputs], axis=1)
    read = source[owner, np.where(is_input, data.instructions.shape[1] + step - lengths[owner], step)]
    tokens, positions, segment = (np.full(room.rows * width, fill) for fill in (PAD, 0, -1))
    tokens[place], positions[place], segment[place] = read, np.minimum(step, lengths[owner]), owner
    inputs_here = np.zeros(room.rows * width, dtype=bool)
    inputs_here[place] = is_input
    owners, hidden = segment.reshape(-1, width), inputs_here.reshape(-1, width)

    mask = (owners[:, :, None] == owners[:, None, :]) & ~hidden[:, None, :] & np.tri(width, dtype=bool)
    mask |= np.eye(width, dtype=bool)

    within = np.flatnonzero(step < lengths[owner] - 1)  # instruction tokens that predict the next one
    end = first_input - 1
    input_at = (first_input[:, None] + np.arange(mappings)).reshape(-1)
    share = _share(data.lengths[indices], data).numpy()
    each = share.repeat(mappings)
    predict_at = np.concatenate([place[within], end.repeat(mappings), input_at])
    targets = np.concatenate([read[within + 1], inputs.reshape(-1), outputs.reshape(-1)])
    # an instruction token is predicted in each of its M plain rows, an input or an output in one
    symbols = data.symbol_weight * mappings * share[owner[within]]
    weights = np.concatenate([symbols, data.input_weight * each, each]).astype(np.float32)
    unused = (0, room.predictions - n_predictions)
    return Batch(
        tokens=torch.as_tensor(tokens.reshape(-1, width)),
        positions=torch.as_tensor(positions.reshape(-1, width)),
        mask=torch.as_tensor(mask[:, None]),
        predict_at=torch.as_tensor(np.pad(predict_at, unused)),
        targets=torch.as_tensor(np.pad(targets, unused)),
        weights=torch.as_tensor(np.pad(weights, unused)),
        input_at=torch.as_tensor(input_at),
        instruction_end_at=torch.as_tensor(end),
    )


def _rounded(width: int) -> int:
    return -(-width // ROUND) * ROUND


def _share(lengths: Int[Tensor, " B"], data: Instructions) -> Float[Tensor, " B"]:
    """The weight of one prediction in a plain row of each length: alike, or so that every row weighs one."""
    if not data.per_sequence:
        return torch.ones(len(lengths))
    return 1 / (data.symbol_weight * (lengths - 1) + data.input_weight + 1)


def plain_batch(data: Instructions, indices: np.ndarray) -> Batch:
    """Write every instance out as one row ``[I, x]``, padded on the right."""
    mappings = data.inputs.shape[1]
    repeated = data.lengths[indices].repeat_interleave(mappings)
    width = int(repeated.max()) + 1
    body = data.instructions[indices].repeat_interleave(mappings, dim=0)[:, :width]
    tokens = torch.cat([body, body.new_full((len(body), width - body.shape[1]), PAD)], dim=1)
    rows = torch.arange(len(tokens))
    tokens[rows, repeated] = data.inputs[indices].reshape(-1)
    index = torch.arange(width)
    mask = (index[None, :] <= index[:, None]) & (index[None, None, :] <= repeated[:, None, None])
    row, column = torch.nonzero(index[None, :] < repeated[:, None] - 1, as_tuple=True)
    end = rows * width + repeated - 1
    share = _share(repeated, data)
    batch = Batch(
        tokens=tokens,
        positions=index.expand(len(tokens), width),
        mask=mask[:, None],
        predict_at=torch.cat([row * width + column, end, end + 1]),
        targets=torch.cat(
            [tokens[row, column + 1], data.inputs[indices].reshape(-1), data.outputs[indices].reshape(-1)]
        ),
        weights=torch.cat([data.symbol_weight * share[row], data.input_weight * share, share]),
        input_at=end + 1,
        instruction_end_at=end[::mappings],
    )
    return Batch(*(tensor.to(data.device) for tensor in batch))
