"""What a training step on a CPU does between its matrix products, compiled by numba, each in one pass over the rows.

:mod:`taskclust.models.compiled` makes the step of them. Arrays are float32, or bfloat16 as its sixteen bits (NumPy has
no such numbers); all is computed in float32. A kernel works on rows ``first`` to ``last`` on one thread, without the
interpreter's lock. Loops write one or two arrays each, or the compiler takes numbers one by one: it would have to know
that the arrays do not overlap. All kernels are in one file, as numba's cache notices no change in another.

Shapes: T rows (a row a token), D a width, V vocabulary, S instructions here. A ``lane`` axis holds eight heads side by
side; in comments C is the width of a head.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy import ndarray

#: float32, or bfloat16 as bits.
Low = Any
_EPSILON = np.float32(1e-5)  # of nn.LayerNorm
_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
#: of GELU by tanh: the root of 2 / pi, and its cubic term
_SLOPE, _CUBIC = np.float32(0.7978845608028654), np.float32(0.044715)
#: Heads whose attention is computed side by side.
LANES = 8
#: Numbers of each array that fit into the nearest cache together.
_BLOCK = 2048
#: So few that the processor already fetches the next ones while it computes these (in blocks of 2,048: 1.4 times this).
_FEW = 64


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel at its first call, or take what an earlier process left beside the source or in a cache.

    Sums are taken in any order; a number that is none stays one, so that a training that diverged is noticed.
    """
    options = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "nogil": True, "error_model": "numpy"}
    with contextlib.suppress(RuntimeError):  # no folder can be written: compile in each process
        return njit(cache=True, **options)(function)
    return njit(**options)(function)


@intrinsic  # type: ignore[untyped-decorator]
def _widest(_: Any) -> tuple[Any, Callable[..., Any]]:
    """Let the loops of the function that calls it take sixteen numbers at once, see :mod:`taskclust.probes.forces`."""

    def write(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        with contextlib.suppress(TypeError):
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), write


@intrinsic  # type: ignore[untyped-decorator]
def _wide(_: Any, number: Any) -> tuple[Any, Callable[..., Any]]:
    """A stored number as float32: bfloat16 is its upper half."""

    def write(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if number == types.float32:
            return arguments[0]
        word = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(word, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(number), write


@intrinsic  # type: ignore[untyped-decorator]
def _stored(_: Any, _number: Any, array: Any) -> tuple[Any, Callable[..., Any]]:
    """A float32 as ``array`` stores it: rounded to the nearest bfloat16, of two the even one."""

    def write(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if array.dtype == types.float32:
            return arguments[0]
        i32 = ir.IntType(32)
        word = builder.bitcast(arguments[0], i32)
        odd = builder.and_(builder.lshr(word, ir.Constant(i32, 16)), ir.Constant(i32, 1))
        rounded = builder.add(builder.add(word, ir.Constant(i32, 0x7FFF)), odd)
        is_number = builder.fcmp_ordered("==", arguments[0], arguments[0])
        word = builder.select(is_number, rounded, ir.Constant(i32, 0x7FC00000))
        return builder.trunc(builder.lshr(word, ir.Constant(i32, 16)), ir.IntType(16))

    return array.dtype(types.float32, array), write


@intrinsic  # type: ignore[untyped-decorator]
def _power_of_two(_: Any, _exponent: Any) -> tuple[Any, Callable[..., Any]]:
    """2 to an int32 in [-126, 127], as float32."""

    def write(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        i32 = ir.IntType(32)
        biased = builder.add(arguments[0], ir.Constant(i32, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(i32, 23)), ir.FloatType())

    return types.float32(types.int32), write


@intrinsic  # type: ignore[untyped-decorator]
def _arrive(_: Any, state: Any) -> tuple[Any, Callable[..., Any]]:
    """Add one to the first number, whatever other threads do to it at the same time."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(state), write


@intrinsic  # type: ignore[untyped-decorator]
def _look(_: Any, state: Any, _index: Any) -> tuple[Any, Callable[..., Any]]:
    """A number as other threads have left it by now."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(builder.gep(data, [arguments[1]]), "seq_cst", 8)

    return types.int64(state, types.int64), write


@compiled
def meet(state: Int64[ndarray, " 2"], awaited: int, comes: bool, looks: int, more: int) -> int:
    """Wait until threads have come ``awaited`` times in all.

    Args:
        state: how often a thread came; not 0 if one failed.
        awaited: when to go on.
        comes: count this thread, too.
        looks: how often to look.
        more: how often to look once all have come: those who return at the same time wait for the interpreter's lock.

    Returns:
        1; or -1 if a thread failed, or 0 if the others have not come.
    """
    if comes:
        _arrive(state)
    for _ in range(looks):
        if _look(state, 1) != 0:
            return -1
        if _look(state, 0) >= awaited:
            for _ in range(more):
                if _look(state, 1) != 0:
                    return -1
            return 1
    return 0


@compiled
def _exp(x: np.float32) -> np.float32:
    """The exponential to a relative 1e-6, which loops can take many at a time (the library's they cannot)."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(x * np.float32(1.4426950408889634) + _HALF)
    r = x - n * np.float32(0.6931471805599453)
    series = _ONE + r * (
        _ONE
        + r
        * (
            _HALF
            + r * (np.float32(1 / 6) + r * (np.float32(1 / 24) + r * (np.float32(1 / 120) + r * np.float32(1 / 720))))
        )
    )
    return series * _power_of_two(np.int32(n))


@compiled
def _kept(noise: np.uint8, cut: int, scale: np.float32) -> np.float32:
    """What dropout multiplies by: 0 in ``cut`` of 256 cases."""
    return scale if noise >= cut else _ZERO


# ---------------------------------------------------------------- embeddings and norms


@compiled
def embed(
    first: int,
    last: int,
    tokens: Int32[ndarray, " T"],
    positions: Int32[ndarray, " T"],
    token_weight: Low,
    position_weight: Low,
    factor: np.float32,
    noise: UInt8[ndarray, "T D"],
    cut: int,
    h: Float32[ndarray, "T D"],
) -> None:
    """Fill in h, the embedding after its dropout."""
    _widest()
    scale = np.float32(256 / (256 - cut))
    for i in range(first, last):
        token, position, drawn, to = token_weight[tokens[i]], position_weight[positions[i]], noise[i], h[i]
        for c in range(len(to)):
            to[c] = (factor * _wide(token[c]) + _wide(position[c])) * _kept(drawn[c], cut, scale)


@compiled
def embed_backward(
    first: int,
    last: int,
    tokens: Int32[ndarray, " T"],
    positions: Int32[ndarray, " T"],
    factor: np.float32,
    noise: UInt8[ndarray, "T D"],
    cut: int,
    dh: Float32[ndarray, "T D"],
    d_token: Float32[ndarray, "V D"],
    d_position: Float32[ndarray, "T D"],
) -> None:
    """Add the gradients of the embeddings' rows."""
    _widest()
    scale = np.float32(256 / (256 - cut))
    for i in range(first, last):
        drawn, of = noise[i], dh[i]
        to_token, to_position = d_token[tokens[i]], d_position[positions[i]]
        for c in range(len(of)):
            of[c] *= _kept(drawn[c], cut, scale)
        for c in range(len(of)):
            to_token[c] += factor * of[c]
        for c in range(len(of)):
            to_position[c] += of[c]


@compiled
def add_branch(
    first: int,
    last: int,
    residual: Float32[ndarray, "T D"],
    branch: Low,
    bias: Low,
    noise: UInt8[ndarray, "T D"],
    cut: int,
    h: Float32[ndarray, "T D"],
) -> None:
    """Fill in h: the residual stream and, after its dropout, a branch with its bias."""
    _widest()
    scale = np.float32(256 / (256 - cut))
    for i in range(first, last):
        of, drawn, to, before = branch[i], noise[i], h[i], residual[i]
        for c in range(len(to)):
            to[c] = before[c] + (_wide(of[c]) + _wide(bias[c])) * _kept(drawn[c], cut, scale)


@compiled
def norm(
    first: int,
    last: int,
    h: Float32[ndarray, "T D"],
    weight: Low,
    bias: Low,
    moments: Float32[ndarray, "T 2"],
    y: Float32[ndarray, "T D"],
) -> None:
    """Fill in y, the layer norm of h, and each row's mean and inverse deviation."""
    _widest()
    D = h.shape[1]
    for i in range(first, last):
        of, to = h[i], y[i]
        total = squares = _ZERO
        for c in range(D):
            total += of[c]
        mean = total / np.float32(D)
        for c in range(D):
            squares += (of[c] - mean) * (of[c] - mean)
        inverse = _ONE / np.sqrt(squares / np.float32(D) + _EPSILON)
        moments[i, 0], moments[i, 1] = mean, inverse
        for c in range(D):
            to[c] = (of[c] - mean) * inverse * _wide(weight[c]) + _wide(bias[c])


@compiled
def store(first: int, last: int, numbers: Float32[ndarray, "T D"], to: Low) -> None:
    """Copy rows to an array of lower precision."""
    _widest()
    for i in range(first, last):
        of, target = numbers[i], to[i]
        for c in range(len(of)):
            target[c] = _stored(of[c], target)


@compiled
def norm_backward(
    first: int,
    last: int,
    dy: Low,
    residual: Float32[ndarray, "T D"],
    residual_is_after: bool,
    h: Float32[ndarray, "T D"],
    moments: Float32[ndarray, "T 2"],
    weight: Low,
    d_weight: Float32[ndarray, " D"],
    d_bias: Float32[ndarray, " D"],
) -> None:
    """Turn ``residual``, the gradient of the residual stream behind a norm, into the one before it.

    The stream goes on from the norm's result (``residual_is_after``) or from what it read.
    """
    _widest()
    D = h.shape[1]
    g, xhat = np.empty(D, np.float32), np.empty(D, np.float32)
    for i in range(first, last):
        of, stream, given = h[i], residual[i], dy[i]
        mean, inverse = moments[i, 0], moments[i, 1]
        behind = _ONE if residual_is_after else _ZERO
        for c in range(D):
            xhat[c] = (of[c] - mean) * inverse
        for c in range(D):
            g[c] = _wide(given[c]) + behind * stream[c]
        for c in range(D):
            d_weight[c] += g[c] * xhat[c]
        for c in range(D):
            d_bias[c] += g[c]
        total = along = _ZERO
        for c in range(D):
            g[c] *= _wide(weight[c])
            total += g[c]
            along += g[c] * xhat[c]
        total, along = total / np.float32(D), along / np.float32(D)
        past = _ONE - behind
        for c in range(D):
            stream[c] = inverse * (g[c] - total - xhat[c] * along) + past * stream[c]


@compiled
def add_backward(first: int, last: int, dy: Low, residual: Float32[ndarray, "T D"]) -> None:
    """Add to the gradient of the residual stream that of what is read from it without a norm."""
    _widest()
    for i in range(first, last):
        given, stream = dy[i], residual[i]
        for c in range(len(stream)):
            stream[c] += _wide(given[c])


@compiled
def branch_backward(
    first: int,
    last: int,
    end: int,
    residual: Float32[ndarray, "T D"],
    noise: UInt8[ndarray, "T D"],
    cut: int,
    d_branch: Low,
    d_bias: Float32[ndarray, " D"],
) -> None:
    """Fill in the gradient of a branch before its dropout, with zeros up to row ``end``, and add its bias's."""
    _widest()
    scale = np.float32(256 / (256 - cut))
    g = np.empty(residual.shape[1], np.float32)
    for i in range(first, last):
        stream, drawn, to = residual[i], noise[i], d_branch[i]
        for c in range(len(g)):
            g[c] = stream[c] * _kept(drawn[c], cut, scale)
        for c in range(len(g)):
            d_bias[c] += g[c]
        for c in range(len(g)):
            to[c] = _stored(g[c], to)
    d_branch[last:end] = 0


@compiled
def join(
    first: int,
    last: int,
    residual: Float32[ndarray, "T D"],
    branch: Low,
    branch_bias: Low,
    noise: UInt8[ndarray, "T D"],
    cut: int,
    h: Float32[ndarray, "T D"],
    weight: Low,
    bias: Low,
    moments: Float32[ndarray, "T 2"],
    normed: Float32[ndarray, "T D"],
    y: Low,
) -> None:
    """:func:`add_branch`, then :func:`norm`, whose result is stored as y, too, which may be ``normed`` itself."""
    add_branch(first, last, residual, branch, branch_bias, noise, cut, h)
    norm(first, last, h, weight, bias, moments, normed)
    store(first, last, normed, y)


@compiled
def join_backward(
    first: int,
    last: int,
    end: int,
    dy: Low,
    residual: Float32[ndarray, "T D"],
    residual_is_after: bool,
    h: Float32[ndarray, "T D"],
    moments: Float32[ndarray, "T 2"],
    weight: Low,
    d_weight: Float32[ndarray, " D"],
    d_bias: Float32[ndarray, " D"],
    noise: UInt8[ndarray, "T D"],
    cut: int,
    d_branch: Low,
    d_branch_bias: Float32[ndarray, " D"],
) -> None:
    """:func:`norm_backward`, then :func:`branch_backward`."""
    norm_backward(first, last, dy, residual, residual_is_after, h, moments, weight, d_weight, d_bias)
    branch_backward(first, last, end, residual, noise, cut, d_branch, d_branch_bias)


# ---------------------------------------------------------------- feed-forward


@compiled
def gelu(first: int, last: int, u: Low, bias: Low, g: Low) -> None:
    """Fill in GPT-2's GELU of u and its bias."""
    _widest()
    for i in range(first, last):
        of, to = u[i], g[i]
        for c in range(len(of)):
            x = _wide(of[c]) + _wide(bias[c])
            bent = _TWO * _SLOPE * x * (_ONE + _CUBIC * x * x)
            to[c] = _stored(x - x / (_ONE + _exp(bent)), to)


@compiled
def gelu_backward(first: int, last: int, end: int, u: Low, bias: Low, d: Low, d_bias: Float32[ndarray, " D"]) -> None:
    """Turn d from the gradient of GELU's result into that of what it read; zeros in rows ``last`` to ``end``."""
    _widest()
    g = np.empty(u.shape[1], np.float32)
    for i in range(first, last):
        of, to = u[i], d[i]
        for c in range(len(of)):
            x = _wide(of[c]) + _wide(bias[c])
            bent = _TWO * _SLOPE * x * (_ONE + _CUBIC * x * x)
            off = _ONE / (_ONE + _exp(bent))
            steep = _TWO * _SLOPE * (_ONE + np.float32(3) * _CUBIC * x * x)
            g[c] = (_ONE - off) * (_ONE + x * off * steep)
        for c in range(len(of)):
            g[c] *= _wide(to[c])
        for c in range(len(of)):
            d_bias[c] += g[c]
        for c in range(len(of)):
            to[c] = _stored(g[c], to)
    d[last:end] = 0


# ---------------------------------------------------------------- eight numbers at once


_EIGHT = ir.VectorType(ir.FloatType(), 8)
_FAST = ("contract", "reassoc", "nsz")


def _eight_at(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """A pointer to eight numbers of a vector."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _EIGHT.as_pointer())


def _load(builder: Any, pointer: Any) -> Any:
    return builder.load(pointer, align=4)


@intrinsic  # type: ignore[untyped-decorator]
def _multiply(_: Any, to: Any, t: Any, a: Any, i: Any, b: Any, j: Any) -> tuple[Any, Callable[..., Any]]:
    """``to[t:t+8] = a[i:i+8] * b[j:j+8]``."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        target, one, other = (_eight_at(context, builder, kinds[k], *arguments[k : k + 2]) for k in (0, 2, 4))
        product = builder.fmul(_load(builder, one), _load(builder, other), flags=_FAST)
        builder.store(product, target, align=4)
        return context.get_dummy_value()

    return types.void(to, t, a, i, b, j), write


@intrinsic  # type: ignore[untyped-decorator]
def _subtract(_: Any, to: Any, t: Any, a: Any, i: Any) -> tuple[Any, Callable[..., Any]]:
    """``to[t:t+8] -= a[i:i+8]``."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        target, one = (_eight_at(context, builder, kinds[k], *arguments[k : k + 2]) for k in (0, 2))
        builder.store(builder.fsub(_load(builder, target), _load(builder, one), flags=_FAST), target, align=4)
        return context.get_dummy_value()

    return types.void(to, t, a, i), write


@intrinsic  # type: ignore[untyped-decorator]
def _maximum(_: Any, to: Any, t: Any, a: Any, i: Any) -> tuple[Any, Callable[..., Any]]:
    """``to[t:t+8] = maximum(to[t:t+8], a[i:i+8])``."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        target, one = (_eight_at(context, builder, kinds[k], *arguments[k : k + 2]) for k in (0, 2))
        x, y = _load(builder, target), _load(builder, one)
        builder.store(builder.select(builder.fcmp_ordered("<", x, y), y, x), target, align=4)
        return context.get_dummy_value()

    return types.void(to, t, a, i), write


@intrinsic  # type: ignore[untyped-decorator]
def _products(_: Any, to: Any, t: Any, a: Any, i: Any, b: Any, j: Any, n: Any) -> tuple[Any, Callable[..., Any]]:
    """``to[t:t+8] = sum(a[i+8c:i+8c+8] * b[j+8c:j+8c+8] for c in range(n))``."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        target, one, other = (_eight_at(context, builder, kinds[k], *arguments[k : k + 2]) for k in (0, 2, 4))
        total = cgutils.alloca_once_value(builder, ir.Constant(_EIGHT, [0.0] * 8))
        with cgutils.for_range(builder, arguments[6]) as loop:
            x, y = (_load(builder, builder.gep(each, [loop.index])) for each in (one, other))
            product = builder.fmul(x, y, flags=_FAST)
            builder.store(builder.fadd(builder.load(total), product, flags=_FAST), total)
        builder.store(builder.load(total), target, align=4)
        return context.get_dummy_value()

    return types.void(to, t, a, i, b, j, n), write


@intrinsic  # type: ignore[untyped-decorator]
def _add_scaled(_: Any, to: Any, t: Any, a: Any, i: Any, b: Any, j: Any, n: Any) -> tuple[Any, Callable[..., Any]]:
    """``to[t+8c:t+8c+8] += a[i:i+8] * b[j+8c:j+8c+8] for c in range(n)``."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        target, one, other = (_eight_at(context, builder, kinds[k], *arguments[k : k + 2]) for k in (0, 2, 4))
        factor = _load(builder, one)
        with cgutils.for_range(builder, arguments[6]) as loop:
            place = builder.gep(target, [loop.index])
            product = builder.fmul(factor, _load(builder, builder.gep(other, [loop.index])), flags=_FAST)
            builder.store(builder.fadd(_load(builder, place), product, flags=_FAST), place, align=4)
        return context.get_dummy_value()

    return types.void(to, t, a, i, b, j, n), write


# ---------------------------------------------------------------- attention


@compiled
def _of_heads(
    rows: Low, bias: Low, which: int, group: int, heads: int, factor: np.float32, C: int, to: Float32[ndarray, " lane"]
) -> None:
    """Copy queries (0), keys (1) or values (2) of a group of heads, with their bias."""
    n, begin = min(LANES, heads - group * LANES), C * (which * heads + group * LANES)
    plain, shift = np.empty(n * C, np.float32), bias[begin : begin + n * C]
    for i in range(len(rows)):
        of, target = rows[i, begin : begin + n * C], to[i * C * LANES : (i + 1) * C * LANES]
        for x in range(n * C):
            plain[x] = factor * (_wide(of[x]) + _wide(shift[x]))
        for h in range(n):
            for c in range(C):
                target[c * LANES + h] = plain[h * C + c]


@compiled
def _to_heads(of: Float32[ndarray, " lane"], which: int, group: int, heads: int, C: int, rows: Low) -> None:
    """Copy what belongs to a group of heads to its places in the rows."""
    n, begin = min(LANES, heads - group * LANES), C * (which * heads + group * LANES)
    plain = np.empty(n * C, np.float32)
    for i in range(len(rows)):
        source, to = of[i * C * LANES : (i + 1) * C * LANES], rows[i, begin : begin + n * C]
        for h in range(n):
            for c in range(C):
                plain[h * C + c] = source[c * LANES + h]
        for x in range(n * C):
            to[x] = _stored(plain[x], to)


@compiled
def _products_with_seen(
    mine: Float32[ndarray, " lane"], theirs: Float32[ndarray, " lane"], i: int, L: int, C: int, to: Any
) -> None:
    """Fill in the products of row ``i`` with those of the tokens that it sees."""
    size = C * LANES
    for j in range(min(i + 1, L)):
        _products(to, j * LANES, mine, i * size, theirs, j * size, C)
    if i >= L:
        _products(to, L * LANES, mine, i * size, theirs, i * size, C)


@compiled
def _softmax(score: Float32[ndarray, " lane"]) -> None:
    highest, total, ones = score[:LANES].copy(), np.zeros(LANES, np.float32), np.ones(LANES, np.float32)
    for j in range(LANES, len(score), LANES):
        _maximum(highest, 0, score, j)
    for j in range(0, len(score), LANES):
        _subtract(score, j, highest, 0)
    for x in range(len(score)):
        score[x] = _exp(score[x])
    for j in range(0, len(score), LANES):
        _add_scaled(total, 0, ones, 0, score, j, 1)
    for h in range(LANES):
        total[h] = _ONE / total[h]
    for j in range(0, len(score), LANES):
        _multiply(score, j, score, j, total, 0)


@compiled
def attention(
    mine: Int64[ndarray, " I"],
    rows: Int64[ndarray, " S"],
    lengths: Int64[ndarray, " S"],
    mappings: int,
    places: Int64[ndarray, " S"],
    heads: int,
    qkv: Low,
    bias: Low,
    noise: UInt8[ndarray, " lane"],
    cut: int,
    weights: Float32[ndarray, " lane"],
    out: Low,
) -> None:
    """Fill in what each token of the instructions ``mine`` reads, and the weights before their dropout.

    An instruction of L symbols begins at its row, its inputs follow. A symbol sees those up to itself; an input sees
    the instruction and itself. Weights stand in this order from the instruction's place on, those of eight heads side
    by side, so that one operation works on all; of the last group some may be no head's, and are of no use.
    """
    _widest()
    C, groups, longest = out.shape[1] // heads, -(-heads // LANES), lengths.max() + mappings
    size = C * LANES
    Q, K = np.zeros(longest * size, np.float32), np.zeros(longest * size, np.float32)
    V, read = np.zeros(longest * size, np.float32), np.zeros(longest * size, np.float32)
    kept = np.empty(longest * LANES, np.float32)
    shrink, scale = _ONE / np.sqrt(np.float32(C)), np.float32(256 / (256 - cut))
    for s in mine:
        L, n, place = lengths[s], lengths[s] + mappings, places[s] * groups * LANES
        of, to = qkv[rows[s] : rows[s] + n], out[rows[s] : rows[s] + n]
        for group in range(groups):
            _of_heads(of, bias, 0, group, heads, shrink, C, Q)
            _of_heads(of, bias, 1, group, heads, _ONE, C, K)
            _of_heads(of, bias, 2, group, heads, _ONE, C, V)
            read[: n * size] = _ZERO
            for i in range(n):
                m = min(i + 1, L + 1)
                share, drawn = weights[place : place + m * LANES], noise[place : place + m * LANES]
                _products_with_seen(Q, K, i, L, C, share)
                _softmax(share)
                for x in range(m * LANES):
                    kept[x] = share[x] * _kept(drawn[x], cut, scale)
                for j in range(m):
                    other = j if j < L else i
                    _add_scaled(read, i * size, kept, j * LANES, V, other * size, C)
                place += m * LANES
            _to_heads(read, 0, group, heads, C, to)


@compiled
def _scores_backward(
    share: Float32[ndarray, " lane"],
    noise: UInt8[ndarray, " lane"],
    cut: int,
    d_score: Float32[ndarray, " lane"],
    kept: Float32[ndarray, " lane"],
) -> None:
    """Turn the gradient of the weights into that of the scores, and fill in the weights after their dropout."""
    along, scale = np.zeros(LANES, np.float32), np.float32(256 / (256 - cut))
    for x in range(len(share)):
        kept[x] = _kept(noise[x], cut, scale)
    for x in range(len(share)):
        d_score[x] *= kept[x]
    for j in range(0, len(share), LANES):
        _add_scaled(along, 0, share, j, d_score, j, 1)
    for j in range(0, len(share), LANES):
        _subtract(d_score, j, along, 0)
    for x in range(len(share)):
        d_score[x] *= share[x]
    for x in range(len(share)):
        kept[x] *= share[x]


@compiled
def attention_backward(
    mine: Int64[ndarray, " I"],
    last: int,
    end: int,
    rows: Int64[ndarray, " S"],
    lengths: Int64[ndarray, " S"],
    mappings: int,
    places: Int64[ndarray, " S"],
    heads: int,
    qkv: Low,
    bias: Low,
    noise: UInt8[ndarray, " lane"],
    cut: int,
    weights: Float32[ndarray, " lane"],
    d_out: Low,
    d_qkv: Low,
    d_bias: Float32[ndarray, " D"],
) -> None:
    """Fill in the gradients of queries, keys and values, zeros in rows ``last`` to ``end``; add that of their bias."""
    _widest()
    C, groups, longest = d_out.shape[1] // heads, -(-heads // LANES), lengths.max() + mappings
    size = C * LANES
    Q, K = np.zeros(longest * size, np.float32), np.zeros(longest * size, np.float32)
    V, given = np.zeros(longest * size, np.float32), np.zeros(longest * size, np.float32)
    dQ, dK, dV = np.empty_like(Q), np.empty_like(Q), np.empty_like(Q)
    d_score, kept = np.empty(longest * LANES, np.float32), np.empty(longest * LANES, np.float32)
    nothing, shrink = np.zeros(bias.shape, bias.dtype), _ONE / np.sqrt(np.float32(C))
    for s in mine:
        L, n, place = lengths[s], lengths[s] + mappings, places[s] * groups * LANES
        of, to = qkv[rows[s] : rows[s] + n], d_qkv[rows[s] : rows[s] + n]
        for group in range(groups):
            _of_heads(of, bias, 0, group, heads, shrink, C, Q)
            _of_heads(of, bias, 1, group, heads, shrink, C, K)
            _of_heads(of, bias, 2, group, heads, _ONE, C, V)
            _of_heads(d_out[rows[s] : rows[s] + n], nothing, 0, group, heads, _ONE, C, given)
            dQ[: n * size], dK[: n * size], dV[: n * size] = _ZERO, _ZERO, _ZERO
            for i in range(n):
                m = min(i + 1, L + 1)
                share, drawn = weights[place : place + m * LANES], noise[place : place + m * LANES]
                _products_with_seen(given, V, i, L, C, d_score)
                _scores_backward(share, drawn, cut, d_score, kept)
                for j in range(m):
                    other = (j if j < L else i) * size
                    _add_scaled(dV, other, kept, j * LANES, given, i * size, C)
                    _add_scaled(dK, other, d_score, j * LANES, Q, i * size, C)
                    _add_scaled(dQ, i * size, d_score, j * LANES, K, other, C)
                place += m * LANES
            _to_heads(dQ, 0, group, heads, C, to)
            _to_heads(dK, 1, group, heads, C, to)
            _to_heads(dV, 2, group, heads, C, to)
        _add_rows(to, d_bias)
    d_qkv[last:end] = 0


@compiled
def _add_rows(rows: Low, to: Float32[ndarray, " D"]) -> None:
    for i in range(len(rows)):
        of = rows[i]
        for c in range(len(to)):
            to[c] += _wide(of[c])


# ---------------------------------------------------------------- loss and optimizer


@compiled
def cross_entropy(
    first: int,
    last: int,
    end: int,
    tokens: Int32[ndarray, " T"],
    targets: Int32[ndarray, " T"],
    weights: Float32[ndarray, " T"],
    mappings: int,
    per_weight: np.float32,
    z: Low,
) -> float:
    """Turn the logits into the gradient of the loss; its part of the loss (nats). Zeros in rows ``last`` to ``end``.

    A row's target is one token, or, where it is negative, each of the inputs that follow, with the row's weight each.
    """
    _widest()
    p = np.empty(z.shape[1], np.float32)
    loss = 0.0
    for i in range(first, last):
        row, target, weight = z[i], targets[i], weights[i]
        highest = total = _ZERO
        for c in range(len(p)):
            p[c] = _wide(row[c])
        highest = p[0]
        for c in range(1, len(p)):
            highest = max(highest, p[c])
        n = 1 if target >= 0 else mappings
        for j in range(n):
            loss += weight * (highest - p[target if target >= 0 else tokens[i + 1 + j]])
        for c in range(len(p)):
            p[c] = _exp(p[c] - highest)
            total += p[c]
        loss += n * weight * np.log(total)
        factor = np.float32(n) * weight * per_weight / total
        for c in range(len(p)):
            p[c] *= factor
        for j in range(n):
            p[target if target >= 0 else tokens[i + 1 + j]] -= weight * per_weight
        for c in range(len(p)):
            row[c] = _stored(p[c], row)
    z[last:end] = 0
    return loss


@compiled
def sum_of_squares(first: int, last: int, numbers: Low) -> float:
    """Of a part of a vector."""
    _widest()
    total = 0.0
    for begin in range(first, last, _BLOCK):
        block, part = numbers[begin : min(begin + _BLOCK, last)], np.float32(0)
        for i in range(len(block)):
            part += _wide(block[i]) * _wide(block[i])
        total += float(part)
    return total


@compiled
def adamw(
    first: int,
    last: int,
    gradient: Low,
    factor: np.float32,
    rate: np.float32,
    decay: np.float32,
    step: int,
    mean: Float32[ndarray, " parameter"],
    square: Float32[ndarray, " parameter"],
    master: Float32[ndarray, " parameter"],
    low: Low,
) -> None:
    """One step of AdamW on a part of the parameters, as torch.optim.AdamW takes it by default; ``low`` may be None."""
    _widest()
    b1, b2 = np.float32(0.9), np.float32(0.999)
    a1, a2 = np.float32(0.1), np.float32(0.001)
    size = np.float32(rate / (1 - 0.9**step))
    spread, keep = np.float32(1 / np.sqrt(1 - 0.999**step)), _ONE - rate * decay
    g = np.empty(_FEW, np.float32)
    for begin in range(first, last, _FEW):
        end = min(begin + _FEW, last)
        of, m, v, w = gradient[begin:end], mean[begin:end], square[begin:end], master[begin:end]
        for i in range(len(of)):
            g[i] = factor * _wide(of[i])
        for i in range(len(of)):
            m[i] = b1 * m[i] + a1 * g[i]
        for i in range(len(of)):
            v[i] = b2 * v[i] + a2 * g[i] * g[i]
        for i in range(len(of)):
            w[i] = keep * w[i] - size * m[i] / (np.sqrt(v[i]) * spread + np.float32(1e-8))
        if low is not None:
            rounded = low[begin:end]
            for i in range(len(of)):
                rounded[i] = _stored(w[i], rounded)
