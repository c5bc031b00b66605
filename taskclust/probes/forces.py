"""The gradient descent of t-SNE on a CPU, compiled by numba for this processor, each pair of points in one pass.

:mod:`taskclust.probes.tsne` has the same descent in PyTorch, for a GPU and for other settings;
``tests/probes/test_tsne.py`` compares both with scikit-learn's. One thread computes all forces on a point, so the
number of threads does not change them. An embedding Y has three rows of coordinates, zero beyond its components. The
rows are passed separately, because only then does the compiler process sixteen points at once.
Shapes: N points, E affinities that are not zero.
"""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32
from numba import njit, types
from numba.extending import intrinsic
from numpy import ndarray
from scipy.sparse import csr_array

Embedding = Float32[ndarray, "3 N"]
Vector = Float32[ndarray, " N"]

#: Sums in any order, roots by an estimate and a Newton step: relative errors of 1e-6, as float32 has anyway.
_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(fastmath=True, nogil=True, error_model="numpy")
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_TINY = 2.2e-16  # scikit-learn's floor of a probability


class Schedule(NamedTuple):
    """The steps of a descent, by scikit-learn's schedule."""

    iterations: int
    exaggerated: int  # the number of first iterations with exaggerated affinities; then momentum starts from zero
    exaggeration: float
    rate: float
    dof_is_two: bool  # the degrees of freedom of the Student t: two or one


def exact_descent(P: Float32[ndarray, "N N"], Y: Embedding, schedule: Schedule) -> None:
    """Move Y in place on one thread, with attraction between all pairs of points."""
    _exact_descent(P, *Y, Y, *schedule)


def neighbor_descent(P: csr_array, Y: Embedding, schedule: Schedule, threads: int) -> float:
    """Move Y in place, with attraction only along affinities and repulsion from all; return its divergence (nats)."""
    iterations, exaggerated, exaggeration, rate, dof_is_two = schedule
    N = Y.shape[1]
    step, gain, pull, push = np.zeros_like(Y), np.ones_like(Y), np.zeros_like(Y), np.zeros_like(Y)
    mass = np.zeros(N, np.float32)
    affinities = P.indptr, P.indices, P.data
    ends = np.linspace(0, N, threads + 1).astype(int).tolist()

    def forces(part: int) -> None:
        where = ends[part], ends[part + 1], dof_is_two
        _repel(*Y, *where, push, mass)
        _attract(*affinities, *Y, *where, pull)

    with ThreadPoolExecutor(threads) as pool:
        for iteration in range(iterations + 1):
            list(pool.map(forces, range(threads)))
            if iteration < iterations:
                stage = iteration, exaggerated, exaggeration, rate, dof_is_two
                _move(Y, step, gain, pull, push, mass, *stage)
    return float(_divergence(*affinities, *Y, dof_is_two, mass))


@intrinsic  # type: ignore[untyped-decorator]
def _widest(_: Any) -> tuple[Any, Callable[..., Any]]:
    """Make the loops of the calling function use 512-bit vectors if the processor has them.

    LLVM uses 256 bits on most processors with AVX-512, because early ones slowed down for 512.
    """

    def write(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        with contextlib.suppress(TypeError):  # if attributes are no longer a set, only speed is lost
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), write


@_compiled
def _student_t(squared: np.float32, dof_is_two: bool) -> np.float32:
    """The kernel, with the power that scikit-learn also uses in the force; see ``tsne._Points.student_t``."""
    if dof_is_two:
        root = _ONE / np.sqrt(_ONE + _HALF * squared)
        return root * root * root
    return _ONE / (_ONE + squared)


@_compiled
def _exact_descent(
    P: Float32[ndarray, "N N"],
    x: Vector,
    y: Vector,
    z: Vector,
    Y: Embedding,
    iterations: int,
    exaggerated: int,
    exaggeration: float,
    rate: float,
    dof_is_two: bool,
) -> None:
    _widest()
    step, gain, pull, push = np.zeros_like(Y), np.ones_like(Y), np.zeros_like(Y), np.zeros_like(Y)
    mass = np.zeros_like(x)
    for iteration in range(iterations):
        _attract_and_repel(P, x, y, z, dof_is_two, pull, push, mass)
        _move(Y, step, gain, pull, push, mass, iteration, exaggerated, exaggeration, rate, dof_is_two)


@_compiled
def _attract_and_repel(
    P: Float32[ndarray, "N N"],
    x: Vector,
    y: Vector,
    z: Vector,
    dof_is_two: bool,
    pull: Embedding,
    push: Embedding,
    mass: Vector,
) -> None:
    """Fill in the attraction and repulsion of every point, and the sum of its kernels."""
    _widest()
    for i in range(len(x)):
        affinity, xi, yi, zi = P[i], x[i], y[i], z[i]
        total = to_x = to_y = to_z = from_x = from_y = from_z = _ZERO
        for j in range(len(x)):
            dx, dy, dz = xi - x[j], yi - y[j], zi - z[j]
            kernel = _student_t(dx * dx + dy * dy + dz * dz, dof_is_two)
            drawn, driven = affinity[j] * kernel, kernel * kernel
            total += kernel
            to_x += drawn * dx
            to_y += drawn * dy
            to_z += drawn * dz
            from_x += driven * dx
            from_y += driven * dy
            from_z += driven * dz
        mass[i] = total
        pull[0, i], pull[1, i], pull[2, i] = to_x, to_y, to_z
        push[0, i], push[1, i], push[2, i] = from_x, from_y, from_z


@_compiled
def _repel(
    x: Vector, y: Vector, z: Vector, first: int, last: int, dof_is_two: bool, push: Embedding, mass: Vector
) -> None:
    """Fill in the repulsion of some points, and the sum of their kernels."""
    _widest()
    for i in range(first, last):
        xi, yi, zi = x[i], y[i], z[i]
        total = from_x = from_y = from_z = _ZERO
        for j in range(len(x)):
            dx, dy, dz = xi - x[j], yi - y[j], zi - z[j]
            kernel = _student_t(dx * dx + dy * dy + dz * dz, dof_is_two)
            driven = kernel * kernel
            total += kernel
            from_x += driven * dx
            from_y += driven * dy
            from_z += driven * dz
        mass[i] = total
        push[0, i], push[1, i], push[2, i] = from_x, from_y, from_z


@_compiled
def _attract(
    ends: Int32[ndarray, " N+1"],
    neighbors: Int32[ndarray, " E"],
    affinity: Float32[ndarray, " E"],
    x: Vector,
    y: Vector,
    z: Vector,
    first: int,
    last: int,
    dof_is_two: bool,
    pull: Embedding,
) -> None:
    """Fill in the attraction of some points."""
    for i in range(first, last):
        xi, yi, zi = x[i], y[i], z[i]
        to_x = to_y = to_z = _ZERO
        for e in range(ends[i], ends[i + 1]):
            j = neighbors[e]
            dx, dy, dz = xi - x[j], yi - y[j], zi - z[j]
            drawn = affinity[e] * _student_t(dx * dx + dy * dy + dz * dz, dof_is_two)
            to_x += drawn * dx
            to_y += drawn * dy
            to_z += drawn * dz
        pull[0, i], pull[1, i], pull[2, i] = to_x, to_y, to_z


@_compiled
def _move(
    Y: Embedding,
    step: Embedding,
    gain: Embedding,
    pull: Embedding,
    push: Embedding,
    mass: Vector,
    iteration: int,
    exaggerated: int,
    exaggeration: float,
    rate: float,
    dof_is_two: bool,
) -> None:
    """Take one step, with momentum and one gain per coordinate."""
    early = iteration < exaggerated
    momentum = np.float32(0.5 if early else 0.8)
    factor = 3.0 if dof_is_two else 4.0  # 2 (dof + 1) / dof
    drawn = np.float32(factor * (exaggeration if early else 1.0))
    driven = np.float32(factor / _total(mass))
    for c in range(3):
        for i in range(Y.shape[1]):
            if iteration == exaggerated:
                step[c, i], gain[c, i] = _ZERO, _ONE
            gradient = drawn * pull[c, i] - driven * push[c, i]
            if step[c, i] * gradient < 0:
                gain[c, i] += np.float32(0.2)
            else:
                gain[c, i] = max(gain[c, i] * np.float32(0.8), np.float32(0.01))
            step[c, i] = momentum * step[c, i] - np.float32(rate) * gain[c, i] * gradient
            Y[c, i] += step[c, i]


@_compiled
def _total(mass: Vector) -> float:
    """The sum of kernels over all pairs of distinct points; a point's own kernel is 1."""
    total = 0.0
    for each in mass:
        total += each
    return total - len(mass)


@_compiled
def _divergence(
    ends: Int32[ndarray, " N+1"],
    neighbors: Int32[ndarray, " E"],
    affinity: Float32[ndarray, " E"],
    x: Vector,
    y: Vector,
    z: Vector,
    dof_is_two: bool,
    mass: Vector,
) -> float:
    total, divergence = _total(mass), 0.0
    for i in range(len(x)):
        for e in range(ends[i], ends[i + 1]):
            j = neighbors[e]
            squared = (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2 + (z[i] - z[j]) ** 2
            q = max(_student_t(squared, dof_is_two) / total, _TINY)
            divergence += affinity[e] * np.log(affinity[e] / q)
    return divergence
