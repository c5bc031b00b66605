"""A training step of the decoder on a CPU without autograd: products by PyTorch, all between them by compiled kernels.

The same as :meth:`taskclust.models.training.Trainer` computes with autograd, but for rounding and the draw of dropout
(tests/models/test_compiled.py). It is faster for four reasons: no row is padded, and attention is computed only where a
token is seen; what lies between two products is one pass over the rows; gradients are written where the optimizer reads
them, in the weights' precision; and clipping, AdamW and the refresh of bfloat16 weights are one pass over the
parameters. With several threads each computes some of every product's columns, so that none prepares a weight that
another prepares too; all else it computes for its part of the instructions, and at the end for its part of the
parameters.

Shapes: R rows (a row a token), D width, F feed-forward width, V vocabulary, S instructions.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor, nn

from taskclust.models import kernels
from taskclust.models.batches import Instructions
from taskclust.models.precision import FlatParameters, buffer

#: Numbers of rows are multiples of this, with rows of zeros: few sizes, so that few products have to be prepared, and
#: such as bfloat16's instructions take whole (a weight's gradient of 104 rows took 1.8 times that of 96).
ROUND = 32
#: Columns that a thread computes of a product are a multiple of this.
_COLUMNS = 16
#: How often at most and at least a thread looks whether the others have come before it lets go of its processor: up to
#: some tenths of a millisecond, but less where others were late, as they are if threads are more than processors.
_LOOKS, _FEWEST_LOOKS = 1_000_000, 1_000
#: Seconds that it lets go for, the first time and at most.
_PAUSE, _LONGEST_PAUSE = 2e-5, 1e-3
#: How often the second thread looks when all have come, the third twice and others three times as often (some
#: microseconds).
_APART = 10_000


class Part(NamedTuple):
    """One thread's share: instructions for attention, and rows for all else; after the last thread's, rows of zeros."""

    instructions: ndarray
    first: int
    last: int
    end: int


class Rows(NamedTuple):
    """A step's instructions one after the other, each followed by its inputs."""

    tokens: ndarray
    positions: ndarray
    targets: ndarray  # the token that follows; -1 at an instruction's end, which predicts each of its inputs
    weights: ndarray  # of each prediction
    starts: ndarray  # an instruction's first row
    lengths: ndarray
    places: ndarray  # where one head's attention weights begin
    pairs: int  # attention weights of one head
    parts: list[Part]
    number: int  # of rows
    end: int  # of the rows of zeros after them
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

    def most(self, n: int) -> tuple[int, int]:
        """Rows and attention weights of one head that suffice for any ``n`` of the instructions."""
        n = min(n, len(self.lengths))
        rows = np.sort(self.sizes)[-n:].sum() + ROUND
        return int(rows), int(np.sort(self.pairs)[-n:].sum())

    def rows(self, indices: ndarray, threads: int = 1) -> Rows:
        """The rows of these instructions, in parts of about equal sizes."""
        sizes, pairs = self.sizes[indices], self.pairs[indices]
        ends = np.cumsum(sizes)
        starts, end = ends - sizes, -(-int(ends[-1]) // ROUND) * ROUND
        bounds = np.linspace(0, ends[-1], threads + 1).astype(int).tolist()
        shares = _shares(pairs, threads)
        parts = [Part(share, first, last, last) for share, (first, last) in zip(shares, pairwise(bounds), strict=True)]
        parts[-1] = parts[-1]._replace(end=end)
        within = np.repeat(self.starts[indices] - starts, sizes) + np.arange(ends[-1])
        return Rows(
            tokens=self.tokens[within],
            positions=self.positions[within],
            targets=self.targets[within],
            weights=self.weights[within],
            starts=starts,
            lengths=self.lengths[indices],
            places=np.cumsum(pairs) - pairs,
            pairs=int(pairs.sum()),
            parts=parts,
            number=int(ends[-1]),
            end=end,
            total_weight=float(self.totals[indices].sum()),
        )


def _shares(costs: ndarray, threads: int) -> list[ndarray]:
    """Numbers of instructions for each thread, so that the costs of all are about equal: the dearest first."""
    if threads == 1:
        return [np.arange(len(costs))]
    shares: list[list[int]] = [[] for _ in range(threads)]
    sums = [0] * threads
    for number in np.argsort(-costs, kind="stable").tolist():
        least = sums.index(min(sums))
        shares[least].append(number)
        sums[least] += int(costs[number])
    return [np.array(share, np.int64) for share in shares]


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
    gradients of the two products' results, in buffers that branches share.
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
    middle_numbers: ndarray = field(init=False)
    inner_numbers: ndarray = field(init=False)
    d_middle_numbers: ndarray = field(init=False)
    d_out_numbers: ndarray = field(init=False)

    def __post_init__(self) -> None:
        for name in ("middle", "inner", "d_middle", "d_out"):
            setattr(self, f"{name}_numbers", numbers(getattr(self, name)))


@dataclass(slots=True)
class Site:
    """A place of the residual stream: its sum h, and what is read there, y, after a norm or not."""

    norm: tuple[Matrix, Matrix] | None
    h: ndarray
    moments: ndarray
    stream: ndarray  # what the next branch is added to
    normed: ndarray  # y in float32
    y: Tensor
    y_numbers: ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.y_numbers = numbers(self.y)

    @property
    def norm_after_branch(self) -> tuple[Matrix, Matrix]:
        """Its norm; only the embedding may be read without one."""
        assert self.norm is not None, "every branch has a norm before or after it"
        return self.norm


class Product(NamedTuple):
    """A matrix product and the place of its result."""

    result: Tensor
    left: Tensor
    right: Tensor


class Products(NamedTuple):
    """One thread's columns of a step's products, by branch its first and its last (backward: its last and its first).

    After the branches' comes the head's.
    """

    forward: list[Product]
    backward: list[tuple[Product, Product]]  # with the gradient of the weight
    head: slice  # rows of the head's gradient


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
        self._gradient = buffer(len(low), low.dtype)
        self._gradient_numbers = numbers(self._gradient)
        self._dtype, self._low = low.dtype, numbers(low)
        R, pairs = self._layout.most(n)
        self._groups = -(-config.heads // kernels.LANES)
        self._pairs = pairs * self._groups

        def matrix(module: nn.Module, name: str = "weight") -> Matrix:
            return Matrix(getattr(module, name), low, self._gradient)

        def table(width: int) -> Tensor:
            return torch.zeros(R, width, dtype=low.dtype)

        def site(layer_norm: nn.Module | None) -> Site:
            h, y = np.zeros((R, D), np.float32), table(D)
            normed = h if layer_norm is None else np.zeros((R, D), np.float32)
            if layer_norm is not None and low.dtype == torch.float32:
                normed = numbers(y)
            stream = h if self._is_before else normed
            pair = None if layer_norm is None else (matrix(layer_norm), matrix(layer_norm, "bias"))
            return Site(pair, h, np.zeros((R, 2), np.float32), stream, normed, y)

        norms: list[nn.Module | None] = [None] if not self._is_before else []
        d_middle, d_out = {width: table(width) for width in (3 * D, config.feed_forward)}, table(D)
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
                        middle=table(first.out_features),
                        inner=table(last.in_features),
                        d_middle=d_middle[first.out_features],
                        d_out=d_out,
                        weights=np.zeros(self._pairs * kernels.LANES if is_attention else 0, np.float32),
                    )
                )
                norms.append(block.attention_norm if is_attention else block.feed_forward_norm)
        if self._is_before:
            norms.append(model.final_norm)
        self._sites = [site(layer_norm) for layer_norm in norms]
        self._token = matrix(model.token_embedding)
        self._learned = matrix(model.position_embedding) if config.positions == "learned" else None
        self._places = model.sinusoids.numpy() if self._learned is None else self._learned.numbers
        self._factor = np.float32(D**0.5 if config.scale_tokens else 1.0)
        self._head = matrix(model.head)
        self._is_tied = self._head.span == self._token.span
        self._logits, self._branch_out, self._dy = table(config.vocab_size), table(D), table(D)
        self._logits_numbers, self._branch_out_numbers = numbers(self._logits), numbers(self._branch_out)
        self._dy_numbers = numbers(self._dy)
        self._residual = np.zeros((R, D), np.float32)
        self._noise = torch.zeros(-(-len(self._sites) * R * D // 8) + config.layers * self._pairs, dtype=torch.int64)
        self._bytes = self._noise.view(torch.uint8).numpy()
        self._vectors = [each for site in self._sites if site.norm for each in site.norm]
        self._vectors += [bias for branch in self._branches for bias in (branch.first_bias, branch.last_bias)]
        self._sums = [_Sums(self, config.vocab_size, len(self._places), D) for _ in range(self._threads)]
        self._products: dict[int, list[Products]] = {}
        size = low.numel()
        self.step = torch.zeros(())
        self.exp_avg, self.exp_avg_sq = buffer(size, torch.float32), buffer(size, torch.float32)
        self._pool = ThreadPoolExecutor(self._threads, initializer=_alone) if self._threads > 1 else None

    def state(self) -> dict[str, Tensor]:
        """The optimizer's state, by AdamW's names; nothing before the first step."""
        return {} if self.step == 0 else {name: getattr(self, name) for name in ("step", "exp_avg", "exp_avg_sq")}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state` gave."""
        for name in ("step", "exp_avg", "exp_avg_sq"):
            getattr(self, name).copy_(tensors[name])
        for read in (*(site.y for site in self._sites), *(branch.inner for branch in self._branches)):
            read.zero_()  # what a training that diverged has left in rows that no instruction is in

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
        squares = np.zeros(self._threads)
        bounds = np.linspace(0, len(self._low), self._threads + 1).astype(int).tolist()
        step = int(self.step) + 1

        def move(part: int, meeting: _Meeting) -> None:
            squares[part] = kernels.sum_of_squares(bounds[part], bounds[part + 1], self._gradient_numbers)
            meeting.wait()
            factor = min(1.0, max_norm / (float(squares.sum()) ** 0.5 + 1e-6))
            self._move(bounds[part], bounds[part + 1], factor, rate, decay, step)

        loss = self._share(indices, generator, move)
        self.step += 1
        return loss

    def gradient(self, indices: ndarray, generator: torch.Generator) -> tuple[float, Tensor]:
        """The loss and its gradient, in the order of the parameters, without a step."""
        loss = self._share(indices, generator, lambda *_: None)
        return loss, self._gradient.to(torch.float32, copy=True)

    def _share(self, indices: ndarray, generator: torch.Generator, then: Callable[[int, "_Meeting"], None]) -> float:
        """Have every thread do its part of the loss and the gradient, and ``then`` what follows; the loss."""
        rows = self._layout.rows(indices, self._threads)
        if rows.end > len(self._residual) or rows.pairs * self._groups > self._pairs:
            raise ValueError(f"indices: {len(indices)} instructions are more than a step was made for; take fewer")
        drawn = self._draw(rows, generator)
        products = self._products.get(rows.end) or self._prepare(rows.end)
        losses = np.zeros(self._threads)

        def work(part: int, meeting: _Meeting) -> None:
            losses[part] = self._pass(rows, rows.parts[part], self._sums[part], drawn, products[part], meeting)
            meeting.wait()
            self._weigh(part, products[part].head)
            meeting.wait()
            then(part, meeting)

        if self._pool is None:
            work(0, _Meeting(1))
        else:
            threads = torch.get_num_threads()
            try:
                together(self._pool, work, self._threads)
            finally:
                torch.set_num_threads(threads)  # for threads to come: those of the pool have said one for all
        return float(losses.sum()) / rows.total_weight

    def _prepare(self, end: int) -> list["Products"]:
        """Each thread's products on ``end`` rows, made once: cutting a tensor takes as long as a small product."""
        self._products[end] = [self._cut(end, part) for part in range(self._threads)]
        return self._products[end]

    def _cut(self, end: int, part: int) -> "Products":
        def columns(n: int) -> slice:
            blocks = -(-n // _COLUMNS)
            return slice(*(min(n, blocks * p // self._threads * _COLUMNS) for p in (part, part + 1)))

        def product(result: Tensor, read: Tensor, weight: Tensor) -> Product:
            of = columns(weight.shape[1])
            return Product(result[:end, of], read[:end], weight[:, of])

        def gradient(matrix: Matrix, d_result: Tensor, read: Tensor) -> Product:
            of = columns(len(matrix.gradient))
            return Product(matrix.gradient[of], d_result[:end, of].t(), read[:end])

        forward, backward = [], []
        places = [site.y for site in self._sites]
        for branch, read in zip(self._branches, places, strict=False):
            first, last = branch.first.weight, branch.last.weight
            d_inner = self._branch_out if branch.is_attention else branch.d_middle
            forward.append(product(branch.middle, read, first.t()))
            forward.append(product(self._branch_out, branch.inner, last.t()))
            backward.append((product(d_inner, branch.d_out, last), gradient(branch.last, branch.d_out, branch.inner)))
            backward.append((product(self._dy, branch.d_middle, first), gradient(branch.first, branch.d_middle, read)))
        head = self._head.weight
        forward.append(product(self._logits, places[-1], head.t()))
        backward.append((product(self._dy, self._logits, head), gradient(self._head, self._logits, places[-1])))
        return Products(forward, backward, columns(len(head)))

    def _draw(self, rows: Rows, generator: torch.Generator) -> dict[str, int]:
        """Draw every dropout's noise, eight bytes at once; how many of 256 cases are dropped at each place.

        The draw depends on the instructions alone, neither on threads nor on :data:`ROUND`.
        """
        block = self._model.blocks[0]
        dropouts = {
            "embedding": self._model.dropout,
            "attention": block.attention.weight_dropout,
            "branch": block.attention.dropout,
        }
        cuts = {name: dropout.cut if self._model.training else 0 for name, dropout in dropouts.items()}
        if any(cuts.values()):
            R, D = rows.number, self._residual.shape[1]
            n = -(-len(self._sites) * R * D // 8) + len(self._model.blocks) * rows.pairs * self._groups
            self._noise[:n].random_(-(2**63), None, generator=generator)
        return cuts

    def _noise_of(self, site: int, rows: Rows) -> ndarray:
        R, D = rows.number, self._residual.shape[1]
        return self._bytes[site * R * D : (site + 1) * R * D].reshape(R, D)

    def _noise_of_weights(self, layer: int, rows: Rows) -> ndarray:
        R, D = rows.number, self._residual.shape[1]
        pairs = rows.pairs * self._groups
        at = -(-len(self._sites) * R * D // 8) + layer * pairs
        return self._bytes[at * kernels.LANES : (at + pairs) * kernels.LANES]

    def _pass(
        self,
        rows: Rows,
        part: Part,
        sums: "_Sums",
        cuts: dict[str, int],
        products: "Products",
        meeting: "_Meeting",
    ) -> float:
        """Forward and backward through one part's rows; its part of the loss, not yet divided by the weights.

        Threads meet before and after each product, which reads all rows and gives some columns of all.
        """
        a, b, end = part.first, part.last, part.end
        heads, mappings = self._heads, self._layout.mappings
        instructions = (rows.starts, rows.lengths, mappings, rows.places, heads)
        sums.clear()
        first = self._sites[0]
        kernels.embed(a, b, rows.tokens, rows.positions, self._token.numbers, self._places, self._factor,
                      self._noise_of(0, rows), cuts["embedding"], first.h)  # fmt: skip
        self._read(first, a, b)
        for number, branch in enumerate(self._branches):
            before, after = self._sites[number], self._sites[number + 1]
            meeting.multiply(products.forward[2 * number])
            if branch.is_attention:
                noise = self._noise_of_weights(number // 2, rows)
                kernels.attention(part.instructions, *instructions, branch.middle_numbers, branch.first_bias.numbers,
                                  noise, cuts["attention"], branch.weights, branch.inner_numbers)  # fmt: skip
            else:
                kernels.gelu(a, b, branch.middle_numbers, branch.first_bias.numbers, branch.inner_numbers)
            meeting.multiply(products.forward[2 * number + 1])
            weight, bias = after.norm_after_branch
            kernels.join(a, b, before.stream, self._branch_out_numbers, branch.last_bias.numbers,
                         self._noise_of(number + 1, rows), cuts["branch"], after.h, weight.numbers, bias.numbers,
                         after.moments, after.normed, after.y_numbers)  # fmt: skip
        meeting.multiply(products.forward[-1])
        loss = kernels.cross_entropy(a, b, end, rows.tokens, rows.targets, rows.weights, mappings,
                                     np.float32(1 / rows.total_weight), self._logits_numbers)  # fmt: skip
        self._residual[a:b] = 0
        meeting.multiply(*products.backward[-1])
        for number in range(len(self._branches), 0, -1):
            site, branch = self._sites[number], self._branches[number - 1]
            weight, bias = site.norm_after_branch
            kernels.join_backward(a, b, end, self._dy_numbers, self._residual, not self._is_before, site.h,
                                  site.moments, weight.numbers, sums.of(weight), sums.of(bias),
                                  self._noise_of(number, rows), cuts["branch"], branch.d_out_numbers,
                                  sums.of(branch.last_bias))  # fmt: skip
            meeting.multiply(*products.backward[2 * number - 2])
            if branch.is_attention:
                noise = self._noise_of_weights((number - 1) // 2, rows)
                kernels.attention_backward(part.instructions, b, end, *instructions, branch.middle_numbers,
                                           branch.first_bias.numbers, noise, cuts["attention"], branch.weights,
                                           self._branch_out_numbers, branch.d_middle_numbers,
                                           sums.of(branch.first_bias))  # fmt: skip
            else:
                kernels.gelu_backward(a, b, end, branch.middle_numbers, branch.first_bias.numbers,
                                      branch.d_middle_numbers, sums.of(branch.first_bias))  # fmt: skip
            meeting.multiply(*products.backward[2 * number - 1])
        self._read_backward(first, a, b, sums)
        kernels.embed_backward(a, b, rows.tokens, rows.positions, self._factor, self._noise_of(0, rows),
                               cuts["embedding"], self._residual, sums.tokens, sums.positions)  # fmt: skip
        return float(loss)

    def _read(self, site: Site, a: int, b: int) -> None:
        """Fill in what is read at the embedding."""
        if site.norm is not None:
            weight, bias = site.norm
            kernels.norm(a, b, site.h, weight.numbers, bias.numbers, site.moments, site.normed)
        if self._dtype == torch.bfloat16 or site.norm is None:
            kernels.store(a, b, site.normed, site.y_numbers)

    def _read_backward(self, site: Site, a: int, b: int, sums: "_Sums") -> None:
        """Turn the residual stream's gradient after the embedding into that before it, with that of what was read."""
        if site.norm is None:
            kernels.add_backward(a, b, self._dy_numbers, self._residual)
            return
        weight, bias = site.norm
        kernels.norm_backward(a, b, self._dy_numbers, self._residual, not self._is_before, site.h, site.moments,
                              weight.numbers, sums.of(weight), sums.of(bias))  # fmt: skip

    def _weigh(self, part: int, head: slice) -> None:
        """Fill in a part of the gradients that are no products."""
        if self._is_tied:  # summed in float32, and rounded once
            of = self._head.gradient[head]
            total = of.float()
            for sums in self._sums:
                total += torch.from_numpy(sums.tokens[head])
            of.copy_(total)
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
        kernels.adamw(first, last, self._gradient_numbers, np.float32(factor), np.float32(rate), np.float32(decay),
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
    """Where one of several threads waits for the others; if one fails, all do.

    They look at a shared count instead of sleeping: a step has a hundred meetings, and waking up takes as long as what
    lies between two of them.

    Args:
        threads: how many meet.
        state: how often any of them came, and whether one failed; the same array for all.
        part: which of them this one is.
    """

    def __init__(self, threads: int, state: Int64[ndarray, " 2"] | None = None, part: int = 0) -> None:
        self._threads, self._state, self._awaited = threads, state, 0
        self._more, self._looks = _APART * min(part, 3), _LOOKS

    def wait(self) -> None:
        if self._state is None:
            return
        self._awaited += self._threads
        found = kernels.meet(self._state, self._awaited, True, self._looks, self._more)
        self._looks = max(self._looks // 4, _FEWEST_LOOKS) if found == 0 else min(self._looks * 2, _LOOKS)
        pause = _PAUSE
        while found == 0:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            found = kernels.meet(self._state, self._awaited, False, _FEWEST_LOOKS, self._more)
        if found < 0:
            raise threading.BrokenBarrierError

    def multiply(self, *products: Product) -> None:
        """This thread's columns of products, once what they read is there; wait for the others' columns."""
        self.wait()
        for result, left, right in products:
            torch.mm(left, right, out=result)
        self.wait()


def together(pool: ThreadPoolExecutor, work: Callable[[int, _Meeting], None], threads: int) -> None:
    """Have ``threads`` threads do their parts of a work in which they meet.

    Raises:
        Exception: the first error that was not raised because another thread failed.
        KeyboardInterrupt: once the threads are done, so that none works on what the caller sees.
    """
    state = np.zeros(2, np.int64)

    def run(part: int) -> None:
        try:
            if not state[1]:  # a thread of this work could not be started
                work(part, _Meeting(threads, state, part))
        except BaseException:
            state[1] = 1
            raise

    jobs: list[Future[None]] = []
    try:
        jobs.extend(pool.submit(run, part) for part in range(threads))
    except BaseException:
        state[1] = 1  # or those that were started would wait for ever
        wait(jobs)
        raise
    try:
        wait(jobs)
    except BaseException:
        wait(jobs)
        raise
    failed = [error for error in (job.exception() for job in jobs) if error is not None]
    for error in sorted(failed, key=lambda each: isinstance(each, threading.BrokenBarrierError)):
        raise error


def _alone() -> None:
    """Products of this thread use no other."""
    torch.set_num_threads(1)
