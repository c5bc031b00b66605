"""A training step of the decoder on a CPU without autograd: products by PyTorch, all between them by compiled kernels.

The same as :meth:`taskclust.models.training.Trainer` computes with autograd, but for rounding and the draw of dropout
(tests/models/test_compiled.py). It is faster for four reasons: no row is padded, and attention is computed only where a
token is seen; what lies between two products is one pass over the rows; gradients are written where the optimizer reads
them, in the weights' precision; and clipping, AdamW and the refresh of bfloat16 weights are one pass over the
parameters. With several threads each has a part of the instructions, then of the weights' gradients, then of the
parameters.

Shapes: R rows (a row a token), D width, F feed-forward width, V vocabulary, S instructions.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from taskclust.models import kernels
from taskclust.models.batches import ROUND, Instructions
from taskclust.models.precision import FlatParameters


class Part(NamedTuple):
    """One thread's share: instructions and their rows, with rows of zeros up to a multiple of :data:`ROUND`.

    Few sizes, so that few products have to be prepared.
    """

    instructions: tuple[int, int]
    first: int
    last: int
    end: int

    @property
    def rows(self) -> slice:
        """The rows of a product."""
        return slice(self.first, self.end)


class Rows(NamedTuple):
    """A step's instructions one behind the other, each followed by its inputs; rows between two parts are not used."""

    tokens: ndarray
    positions: ndarray
    targets: ndarray  # the token that follows; -1 at an instruction's end, which predicts each of its inputs
    weights: ndarray  # of each prediction
    starts: ndarray  # an instruction's first row
    lengths: ndarray
    places: ndarray  # where one head's attention weights begin
    pairs: int  # attention weights of one head
    parts: list[Part]
    total_weight: float


class Layout:
    """All instructions of a split as rows, from which a step's are cut."""

    def __init__(self, data: Instructions) -> None:
        lengths, inputs = data.lengths.numpy().astype(np.int64), data.inputs.numpy()
        self.mappings = inputs.shape[1]
        self.lengths, self.sizes = lengths, lengths + self.mappings
        self.starts = np.cumsum(self.sizes) - self.sizes
        owner = np.repeat(np.arange(len(lengths)), self.sizes)
        step = np.arange(len(owner)) - self.starts[owner]
        is_input = step >= lengths[owner]
        read = np.concatenate([data.instructions.numpy(), inputs], axis=1)
        at = np.where(is_input, data.instructions.shape[1] + step - lengths[owner], step)
        self.tokens = read[owner, at].astype(np.int32)
        self.positions = np.minimum(step, lengths[owner]).astype(np.int32)
        outputs = data.outputs.numpy()[owner, np.maximum(step - lengths[owner], 0)]
        targets = np.where(is_input, outputs, np.append(self.tokens[1:], -1))
        self.targets = np.where(step == lengths[owner] - 1, -1, targets).astype(np.int32)
        symbol, given = data.symbol_weight, data.input_weight
        predicted = symbol * (lengths - 1) + given + 1
        share = 1 / predicted if data.per_sequence else np.ones(len(lengths))
        each = np.where(is_input, 1.0, np.where(self.targets < 0, given, symbol * self.mappings))
        self.weights = (each * share[owner]).astype(np.float32)
        self.totals = share * self.mappings * predicted
        #: attention weights of one head
        self.pairs = lengths * (lengths + 1) // 2 + self.mappings * (lengths + 1)

    def most(self, n: int, threads: int) -> tuple[int, int]:
        """Rows and attention weights of one head that suffice for any ``n`` of the instructions."""
        n = min(n, len(self.lengths))
        rows = np.sort(self.sizes)[-n:].sum() + 2 * ROUND * threads
        return int(rows), int(np.sort(self.pairs)[-n:].sum())

    def rows(self, indices: ndarray, threads: int = 1) -> Rows:
        """The rows of these instructions, in parts of about equal sizes."""
        sizes, pairs = self.sizes[indices], self.pairs[indices]
        ends = np.cumsum(sizes)
        cuts = np.searchsorted(ends, ends[-1] * np.arange(1, threads) / threads) + 1
        bounds = [0, *(int(cut) for cut in np.minimum(cuts, len(indices))), len(indices)]
        starts = ends - sizes
        parts, begin, shift = [], 0, np.zeros(len(indices), np.int64)
        for a, b in pairwise(bounds):
            shift[a:b] = begin - (starts[a] if a < b else 0)
            last = begin + int(sizes[a:b].sum())
            end = -(-last // ROUND) * ROUND
            parts.append(Part((a, b), begin, last, end))
            begin = end
        within = np.repeat(self.starts[indices] - starts, sizes) + np.arange(ends[-1])
        to = np.arange(ends[-1]) + np.repeat(shift, sizes) if threads > 1 else slice(None, ends[-1])

        def spread(values: ndarray) -> ndarray:
            if threads == 1:
                return values[within]
            wide = np.zeros(begin, values.dtype)
            wide[to] = values[within]
            return wide

        return Rows(
            tokens=spread(self.tokens),
            positions=spread(self.positions),
            targets=spread(self.targets),
            weights=spread(self.weights),
            starts=starts + shift,
            lengths=self.lengths[indices],
            places=np.cumsum(pairs) - pairs,
            pairs=int(pairs.sum()),
            parts=parts,
            total_weight=float(self.totals[indices].sum()),
        )


class Matrix:
    """A weight as PyTorch and NumPy see it, with its gradient; ``None`` for the parameter has neither."""

    def __init__(self, parameter: Tensor, low: Tensor, gradient: Tensor) -> None:
        at = (parameter.data_ptr() - low.data_ptr()) // low.element_size()
        self.span = slice(at, at + parameter.numel())
        self.weight, self.gradient = parameter.detach(), gradient[self.span].view(parameter.shape)
        self.numbers = numbers(self.weight)


def numbers(tensor: Tensor) -> ndarray:
    """The same memory for the kernels: float32, or the bits of bfloat16."""
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


@dataclass(slots=True)
class Branch:
    """A branch of a block: where it is read, its first and last matrix with their biases, and its buffers.

    ``middle`` is what the first matrix gives, ``inner`` what the last one reads, ``d_middle`` and ``d_out`` are the
    gradients of the two products' results.
    """

    is_attention: bool
    first: Matrix
    first_bias: Matrix
    last: Matrix
    last_bias: Matrix
    middle: Tensor
    inner: Tensor
    d_middle: Tensor
    d_out: Tensor
    weights: ndarray


@dataclass(slots=True)
class Site:
    """A place of the residual stream: its sum h, and what is read there, y, after a norm or not."""

    norm: tuple[Matrix, Matrix] | None
    h: ndarray
    moments: ndarray
    stream: ndarray  # what the next branch is added to
    normed: ndarray  # y in float32
    y: Tensor


class CompiledStep:
    """Training steps on some of the instructions.

    Args:
        model: of :mod:`taskclust.models.decoder`, its parameters views of ``parameters.low``.
        parameters: what is trained.
        data: the instructions.
        n: the most instructions of a step.
        threads: at once, each with about as many rows.
    """

    def __init__(self, model: Any, parameters: FlatParameters, data: Instructions, n: int, threads: int = 1) -> None:
        config = model.config
        self._model, self._parameters = model, parameters
        self._layout, self._threads = Layout(data), min(threads, n)
        self._heads, self._is_before = config.heads, config.norm == "before"
        low, D = parameters.low, config.width
        self._gradient = torch.zeros_like(low)
        self._dtype, self._low = low.dtype, numbers(low)
        R, pairs = self._layout.most(n, self._threads)
        self._groups = -(-config.heads // kernels.LANES)
        self._pairs = pairs * self._groups

        def matrix(module: nn.Module, name: str = "weight") -> Matrix:
            return Matrix(getattr(module, name), low, self._gradient)

        def buffer(width: int) -> Tensor:
            return torch.zeros(R, width, dtype=low.dtype)

        norms: list[nn.Module | None] = [None] if not self._is_before else []
        self._branches = []
        for block in model.blocks:
            for branch in (block.attention, block.feed_forward):
                is_attention = branch is block.attention
                first, last = (branch.query_key_value, branch.out) if is_attention else (branch.up, branch.down)
                self._branches.append(
                    Branch(
                        is_attention=is_attention,
                        first=matrix(first),
                        first_bias=matrix(first, "bias"),
                        last=matrix(last),
                        last_bias=matrix(last, "bias"),
                        middle=buffer(first.out_features),
                        inner=buffer(last.in_features),
                        d_middle=buffer(first.out_features),
                        d_out=buffer(D),
                        weights=np.zeros(self._pairs * kernels.LANES if is_attention else 0, np.float32),
                    )
                )
                norms.append(block.attention_norm if is_attention else block.feed_forward_norm)
        if self._is_before:
            norms.append(model.final_norm)
        self._sites = []
        for layer_norm in norms:
            h = np.zeros((R, D), np.float32)
            y = buffer(D)
            normed = h if layer_norm is None else np.zeros((R, D), np.float32)
            if layer_norm is not None and low.dtype == torch.float32:
                normed = numbers(y)
            stream = h if self._is_before else normed
            pair = None if layer_norm is None else (matrix(layer_norm), matrix(layer_norm, "bias"))
            self._sites.append(Site(pair, h, np.zeros((R, 2), np.float32), stream, normed, y))
        self._token = matrix(model.token_embedding)
        self._learned = matrix(model.position_embedding) if config.positions == "learned" else None
        self._places = model.sinusoids.numpy() if self._learned is None else self._learned.numbers
        self._factor = np.float32(D**0.5 if config.scale_tokens else 1.0)
        self._head = matrix(model.head)
        self._is_tied = self._head.span == self._token.span
        self._logits, self._branch_out, self._dy = buffer(config.vocab_size), buffer(D), buffer(D)
        self._residual = np.zeros((R, D), np.float32)
        self._noise = torch.zeros(-(-len(self._sites) * R * D // 8) + config.layers * self._pairs, dtype=torch.int64)
        self._bytes = self._noise.view(torch.uint8).numpy()
        self._vectors = [each for site in self._sites if site.norm for each in site.norm]
        self._vectors += [bias for branch in self._branches for bias in (branch.first_bias, branch.last_bias)]
        self._sums = [_Sums(self, config.vocab_size, len(self._places), D) for _ in range(self._threads)]
        places = [site.y for site in self._sites]
        products = [(self._head, self._logits, places[-1])]
        for branch, read in zip(self._branches, places, strict=False):
            products += [(branch.last, branch.d_out, branch.inner), (branch.first, branch.d_middle, read)]
        self._products = products
        size = low.numel()
        self.step = torch.zeros(())
        self.exp_avg, self.exp_avg_sq = torch.zeros(size), torch.zeros(size)
        self._pool = ThreadPoolExecutor(self._threads, initializer=_alone) if self._threads > 1 else None

    def state(self) -> dict[str, Tensor]:
        """The optimizer's state, by AdamW's names; nothing before the first step."""
        return {} if self.step == 0 else {name: getattr(self, name) for name in ("step", "exp_avg", "exp_avg_sq")}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state` gave."""
        for name in ("step", "exp_avg", "exp_avg_sq"):
            getattr(self, name).copy_(tensors[name])

    def update(
        self, indices: ndarray, rate: float, *, decay: float, max_norm: float, generator: torch.Generator
    ) -> float:
        """Make a step on these instructions, with dropout if the model is in training; its loss (nats a prediction).

        Args:
            indices: of the instructions.
            rate: the learning rate.
            decay: of the weights, as AdamW has it.
            max_norm: of the gradient.
            generator: of dropout.
        """
        self.step += 1
        rows = self._layout.rows(indices, self._threads)
        cuts = self._draw(rows, generator)
        meeting = _Meeting(self._threads)
        losses, squares = np.zeros(self._threads), np.zeros(self._threads)
        bounds = np.linspace(0, len(self._low), self._threads + 1).astype(int).tolist()
        step = int(self.step)

        def work(part: int) -> None:
            losses[part] = self._pass(rows, rows.parts[part], self._sums[part], cuts)
            meeting.wait()
            self._weigh(part, rows.parts[-1].end)
            meeting.wait()
            squares[part] = kernels.sum_of_squares(bounds[part], bounds[part + 1], numbers(self._gradient))
            meeting.wait()
            factor = min(1.0, max_norm / (float(squares.sum()) ** 0.5 + 1e-6))
            self._move(bounds[part], bounds[part + 1], factor, rate, decay, step)

        if self._pool is None:
            work(0)
        else:
            threads = torch.get_num_threads()
            list(self._pool.map(meeting.guarded(work), range(self._threads)))
            torch.set_num_threads(threads)  # for threads to come: those of the pool have said one for all
        return float(losses.sum()) / rows.total_weight

    def gradient(self, indices: ndarray, generator: torch.Generator) -> tuple[float, Tensor]:
        """The loss and its gradient, in the order of the parameters, without a step."""
        rows = self._layout.rows(indices, 1)
        loss = self._pass(rows, rows.parts[0], self._sums[0], self._draw(rows, generator))
        for sums in self._sums[1:]:
            sums.clear()
        for part in range(self._threads):
            self._weigh(part, rows.parts[0].end)
        return loss / rows.total_weight, self._gradient.float()

    def _draw(self, rows: Rows, generator: torch.Generator) -> dict[str, int]:
        """Draw every dropout's noise, eight bytes at once; how many of 256 cases are dropped at each place."""
        block = self._model.blocks[0]
        dropouts = {
            "embedding": self._model.dropout,
            "attention": block.attention.weight_dropout,
            "branch": block.attention.dropout,
        }
        cuts = {name: dropout.cut if self._model.training else 0 for name, dropout in dropouts.items()}
        if any(cuts.values()):
            R, D = rows.parts[-1].end, self._residual.shape[1]
            n = -(-len(self._sites) * R * D // 8) + len(self._model.blocks) * rows.pairs * self._groups
            self._noise[:n].random_(-(2**63), None, generator=generator)
        return cuts

    def _noise_of(self, site: int, rows: Rows) -> ndarray:
        R, D = rows.parts[-1].end, self._residual.shape[1]
        return self._bytes[site * R * D : (site + 1) * R * D].reshape(R, D)

    def _noise_of_weights(self, layer: int, rows: Rows) -> ndarray:
        R, D = rows.parts[-1].end, self._residual.shape[1]
        pairs = rows.pairs * self._groups
        at = -(-len(self._sites) * R * D // 8) + layer * pairs
        return self._bytes[at * kernels.LANES : (at + pairs) * kernels.LANES]

    def _pass(self, rows: Rows, part: Part, sums: "_Sums", cuts: dict[str, int]) -> float:
        """Forward and backward through one part's rows; its part of the loss, not yet divided by the weights."""
        a, b, end = part.first, part.last, part.end
        span, heads, mappings = part.rows, self._heads, self._layout.mappings
        instructions = (rows.starts, rows.lengths, mappings, rows.places, heads)
        sums.clear()
        first = self._sites[0]
        kernels.embed(a, b, rows.tokens, rows.positions, self._token.numbers, self._places, self._factor,
                      self._noise_of(0, rows), cuts["embedding"], first.h)  # fmt: skip
        self._read(first, a, b)
        for number, branch in enumerate(self._branches):
            before, after = self._sites[number], self._sites[number + 1]
            torch.mm(before.y[span], branch.first.weight.t(), out=branch.middle[span])
            middle, bias, inner = numbers(branch.middle), branch.first_bias.numbers, numbers(branch.inner)
            if branch.is_attention:
                noise = self._noise_of_weights(number // 2, rows)
                kernels.attention(*part.instructions, *instructions, middle, bias, noise, cuts["attention"],
                                  branch.weights, inner)  # fmt: skip
            else:
                kernels.gelu(a, b, middle, bias, inner)
            torch.mm(branch.inner[span], branch.last.weight.t(), out=self._branch_out[span])
            kernels.add_branch(a, b, before.stream, numbers(self._branch_out), branch.last_bias.numbers,
                               self._noise_of(number + 1, rows), cuts["branch"], after.h)  # fmt: skip
            self._read(after, a, b)
        torch.mm(self._sites[-1].y[span], self._head.weight.t(), out=self._logits[span])
        loss = kernels.cross_entropy(a, b, end, rows.tokens, rows.targets, rows.weights, mappings,
                                     np.float32(1 / rows.total_weight), numbers(self._logits))  # fmt: skip
        self._residual[a:b] = 0
        torch.mm(self._logits[span], self._head.weight, out=self._dy[span])
        for number in range(len(self._branches), 0, -1):
            site, branch = self._sites[number], self._branches[number - 1]
            self._read_backward(site, a, b, sums)
            kernels.branch_backward(a, b, end, self._residual, self._noise_of(number, rows), cuts["branch"],
                                    numbers(branch.d_out), sums.of(branch.last_bias))  # fmt: skip
            middle, bias, d_middle = numbers(branch.middle), branch.first_bias.numbers, numbers(branch.d_middle)
            if branch.is_attention:
                torch.mm(branch.d_out[span], branch.last.weight, out=self._branch_out[span])
                noise = self._noise_of_weights((number - 1) // 2, rows)
                kernels.attention_backward(*part.instructions, end, *instructions, middle, bias, noise,
                                           cuts["attention"], branch.weights, numbers(self._branch_out), d_middle,
                                           sums.of(branch.first_bias))  # fmt: skip
            else:
                torch.mm(branch.d_out[span], branch.last.weight, out=branch.d_middle[span])
                kernels.gelu_backward(a, b, end, middle, bias, d_middle, sums.of(branch.first_bias))
            torch.mm(branch.d_middle[span], branch.first.weight, out=self._dy[span])
        self._read_backward(first, a, b, sums)
        kernels.embed_backward(a, b, rows.tokens, rows.positions, self._factor, self._noise_of(0, rows),
                               cuts["embedding"], self._residual, sums.tokens, sums.positions)  # fmt: skip
        return float(loss)

    def _read(self, site: Site, a: int, b: int) -> None:
        """Fill in what a site's branch reads."""
        if site.norm is not None:
            weight, bias = site.norm
            kernels.norm(a, b, site.h, weight.numbers, bias.numbers, site.moments, site.normed)
        if self._dtype == torch.bfloat16 or site.norm is None:
            kernels.store(a, b, site.normed, numbers(site.y))

    def _read_backward(self, site: Site, a: int, b: int, sums: "_Sums") -> None:
        """Turn the residual stream's gradient behind a site into that before it, with the gradient of what was read."""
        dy = numbers(self._dy)
        if site.norm is None:
            kernels.add_backward(a, b, dy, self._residual)
            return
        weight, bias = site.norm
        kernels.norm_backward(a, b, dy, self._residual, not self._is_before, site.h, site.moments, weight.numbers,
                              sums.of(weight), sums.of(bias))  # fmt: skip

    def _weigh(self, part: int, end: int) -> None:
        """Fill in a part of the gradients: of every matrix some rows, and of all else what falls to this thread."""
        for matrix, d_result, read in self._products:
            n = len(matrix.gradient)
            rows = slice(n * part // self._threads, n * (part + 1) // self._threads)
            torch.mm(d_result[:end, rows].t(), read[:end], out=matrix.gradient[rows])
            if matrix is self._head and self._is_tied:  # summed in float32, and rounded once
                total = matrix.gradient[rows].float()
                for sums in self._sums:
                    total += torch.from_numpy(sums.tokens[rows])
                matrix.gradient[rows] = total
        rest = [(vector, [s.of(vector) for s in self._sums]) for vector in self._vectors]
        if not self._is_tied:
            rest.append((self._token, [s.tokens for s in self._sums]))
        if self._learned is not None:
            rest.append((self._learned, [s.positions for s in self._sums]))
        for vector, summands in rest[part :: self._threads]:
            vector.gradient.copy_(torch.from_numpy(sum(summands[1:], summands[0])))

    def _move(self, first: int, last: int, factor: float, rate: float, decay: float, step: int) -> None:
        low = self._low if self._dtype == torch.bfloat16 else None
        moved = self.exp_avg.numpy(), self.exp_avg_sq.numpy(), self._parameters.master.detach().numpy(), low
        kernels.adamw(first, last, numbers(self._gradient), np.float32(factor), np.float32(rate), np.float32(decay),
                      step, *moved)  # fmt: skip


class _Sums:
    """One thread's sums of gradients that are no products: of biases, norms and embeddings, in float32."""

    def __init__(self, step: CompiledStep, n_tokens: int, n_positions: int, width: int) -> None:
        sizes = [vector.weight.numel() for vector in step._vectors]  # noqa: SLF001 - its own half
        self._all = np.zeros(sum(sizes) + (n_tokens + n_positions) * width, np.float32)
        ends = np.cumsum(sizes)
        self._of = {id(v): self._all[e - n : e] for v, n, e in zip(step._vectors, sizes, ends, strict=True)}  # noqa: SLF001
        rest = self._all[sum(sizes) :].reshape(-1, width)
        self.tokens, self.positions = rest[:n_tokens], rest[n_tokens:]

    def clear(self) -> None:
        self._all[:] = 0

    def of(self, vector: Matrix) -> ndarray:
        return self._of[id(vector)]


class _Meeting:
    """Where threads wait for one another; if one fails, all do."""

    def __init__(self, threads: int) -> None:
        self._barrier = threading.Barrier(threads) if threads > 1 else None

    def wait(self) -> None:
        if self._barrier is not None:
            self._barrier.wait()

    def guarded(self, work: Callable[[int], None]) -> Callable[[int], None]:
        def run(part: int) -> None:
            try:
                work(part)
            except BaseException:
                assert self._barrier is not None, "guarded only with several threads"
                self._barrier.abort()
                raise

        return run


def _alone() -> None:
    """Products of this thread use no other."""
    torch.set_num_threads(1)
