"""t-SNE of many problems at once, on scikit-learn's schedule (Table 6).

Rounding can lead t-SNE of the same states to another optimum and a very different clustering. Each problem is therefore
embedded from several starts (the PCA start, then jittered copies of it), and a score is the mean over them. The
divergence does not tell which clustering is good: over the starts of smoke states it is not correlated with F1.
The tests compare with scikit-learn's TSNE (tests/probes/test_tsne.py).
Shapes: B problems, S starts, N points, D dimensions, C components.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from taskclust.config import ConfigError, require
from taskclust.probes.forces import Schedule, exact_descent, neighbor_descent

EXAGGERATION = 12.0
EXAGGERATED_ITERATIONS = 250
#: Above this number of points, only nearest neighbours attract a point, as by scikit-learn's default; all repel it.
EXACT_POINTS = 3_000
_TINY = 2.2e-16  # scikit-learn's floor of a probability


class Embedding(NamedTuple):
    """The embeddings from every start, and their divergences (nats)."""

    points: Float[Tensor, "B S N C"]
    divergence: Float[Tensor, "B S"]

    def kept(self) -> Int[Tensor, " B"]:
        """The start of lowest divergence for each problem."""
        return self.divergence.argmin(dim=1)

    def best(self) -> Float[Tensor, "B N C"]:
        """The embeddings of lowest divergence."""
        return self.points[torch.arange(len(self.points)), self.kept()]


def tsne(
    points: Float[Tensor, "B N D"],
    *,
    generator: torch.Generator,
    components: int = 3,
    perplexity: float = 10.0,
    iterations: int = 2_000,
    restarts: int = 10,
    degrees_of_freedom: float = 2.0,
    older: bool = False,
    barnes_hut: bool = False,
    chunk_elements: int | None = None,
) -> Embedding:
    """Embed each of B sets of points.

    Up to :data:`EXACT_POINTS` points, the affinities of all pairs are used, as by scikit-learn's exact method; above,
    those to the 3 x perplexity + 1 nearest neighbours, as by its default, Barnes-Hut. Barnes-Hut approximates the
    repulsion; here it is exact, and faster (benchmarks/perf/test_probing.py).

    Args:
        points: the sets, on any device; computed in float32.
        generator: draws the jitter, on the CPU, so that devices agree.
        components: C.
        perplexity: effective number of neighbours.
        iterations: gradient steps, 250 of them with early exaggeration.
        restarts: starts per problem.
        degrees_of_freedom: of the embedding's Student t: 1 in the original method; scikit-learn uses C - 1, so 2 in the
            paper's three dimensions.
        older: start and step as scikit-learn before 1.2: unscaled principal components, and a learning rate of 200.
        barnes_hut: use scikit-learn's default method.
        chunk_elements: N x N entries to hold at once in PyTorch; the default suits the cores' caches or a GPU.

    Raises:
        ConfigError: the perplexity is not below N; a state is not finite; Barnes-Hut does not support the settings
            (``older``, fewer than 251 iterations, other C or degrees of freedom than its own); or, for many points, C
            is above 3 or the degrees of freedom are not 1 or 2.
    """
    B, N, _ = points.shape
    if not perplexity < N:
        raise ConfigError(f"perplexity={perplexity}: must be below the number of points, {N}; lower it")
    if not torch.isfinite(points).all():
        raise ConfigError("points: hidden states contain NaN or infinity; the model has diverged, probe an earlier one")
    points = points.float()
    start = pca_start(points, components)[:, None].repeat(1, restarts, 1, 1)
    jitter = torch.randn(start.shape, generator=generator).to(points.device) * 1e-5  # a tenth of the start's scale
    jitter[:, 0] = 0
    if older:
        require(not barnes_hut, "older", older, "this version of scikit-learn's Barnes-Hut has another start")
        unscaled = principal_components(points, components)[..., :1].std(dim=1, keepdim=True)[:, None] / 1e-4
        start, jitter = start * unscaled, jitter * unscaled
    if barnes_hut:
        require(iterations > 250, "iterations", iterations, "scikit-learn's Barnes-Hut gives no divergence below 251")
        theirs = max(components - 1, 1)
        if components > 3 or degrees_of_freedom != theirs:
            raise ConfigError(
                f"components={components}, degrees_of_freedom={degrees_of_freedom:g}: by scikit-learn's Barnes-Hut "
                f"only 3 components or fewer are embedded, with {theirs} here"
            )
        return _barnes_hut(points, start + jitter, perplexity, iterations)
    rate = 200.0 if older else max(N / EXAGGERATION / 4, 50.0)
    is_compiled = components <= 3 and degrees_of_freedom in (1, 2)
    if N > EXACT_POINTS:
        if not is_compiled:
            raise ConfigError(
                f"components={components}, degrees_of_freedom={degrees_of_freedom:g}: more than {EXACT_POINTS:,} "
                "points are embedded in 3 components or fewer, with 1 or 2"
            )
        return _descend_among_neighbors(points, perplexity, start + jitter, iterations, degrees_of_freedom, rate)
    P = joint_probabilities(points, perplexity)
    if is_compiled and points.device.type == "cpu":
        return _descend_compiled(P, start + jitter, iterations, degrees_of_freedom, rate)
    flat = (start + jitter).reshape(B * restarts, N, components)
    owner = torch.arange(B, device=points.device).repeat_interleave(restarts)
    if chunk_elements is None:
        chunk_elements = 300_000 * torch.get_num_threads() if points.device.type == "cpu" else 300_000_000
    size = max(1, chunk_elements // N**2)
    parts = [
        _descend(P[owner[i : i + size]], flat[i : i + size], iterations, degrees_of_freedom, rate)
        for i in range(0, len(flat), size)
    ]
    embedded = torch.cat([p[0] for p in parts]).view(B, restarts, N, components)
    return Embedding(embedded, torch.cat([p[1] for p in parts]).view(B, restarts))


def _barnes_hut(
    points: Float[Tensor, "B N D"], starts: Float[Tensor, "B S N C"], perplexity: float, iterations: int
) -> Embedding:
    """scikit-learn's embedding of each problem from each start."""
    embedded, divergence = torch.empty_like(starts), starts.new_empty(starts.shape[:2])
    for b, problem in enumerate(points.cpu().numpy()):
        for s, start in enumerate(starts[b].cpu().numpy()):
            found = TSNE(starts.shape[-1], perplexity=perplexity, max_iter=iterations, init=start, n_jobs=1)
            embedded[b, s] = torch.as_tensor(found.fit_transform(problem))
            divergence[b, s] = found.kl_divergence_
    return Embedding(embedded, divergence)


def joint_probabilities(points: Float[Tensor, "B N D"], perplexity: float) -> Float[Tensor, "B N N"]:
    """Symmetric affinities P of all pairs."""
    distances = torch.cdist(points.double(), points.double()).square_()
    distances /= distances.mean(dim=(1, 2), keepdim=True).clamp(min=1e-300)  # bandwidths of order one
    distances.masked_fill_(torch.eye(points.shape[1], dtype=torch.bool, device=points.device), math.inf)
    P = conditional_probabilities(distances, perplexity)
    P = P + P.transpose(1, 2)
    return (P / P.sum(dim=(1, 2), keepdim=True)).clamp(min=_TINY).float()


def nearest_probabilities(points: Float[Tensor, "N D"], perplexity: float) -> csr_array:
    """The symmetric affinities P between every point and its 3 x perplexity + 1 nearest neighbors, N x N."""
    N, K = len(points), min(len(points) - 1, int(3 * perplexity + 1))
    centered = (points - points.mean(dim=0)).double().cpu().numpy()
    distances, neighbors = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(centered).kneighbors()
    squares = torch.from_numpy(distances).square_()
    squares /= squares.mean().clamp(min=1e-300)
    P = conditional_probabilities(squares, perplexity)
    P = csr_array((P.numpy().ravel(), neighbors.ravel(), np.arange(N + 1) * K), shape=(N, N))
    P = csr_array(P + P.T)
    P.sort_indices()
    P /= P.sum()
    P.data = P.data.clip(min=_TINY).astype(np.float32)
    return P


def conditional_probabilities(distances: Float[Tensor, "... N k"], perplexity: float) -> Float[Tensor, "... N k"]:
    """Each row's affinities, with the bandwidth (found by bisection) that gives the perplexity.

    ``distances`` are squared, infinite from a point to itself, and overwritten.
    """
    itself = distances.isinf()
    distances -= distances.amin(dim=-1, keepdim=True)  # the affinities do not change, and no row underflows
    beta = torch.ones_like(distances[..., :1])
    low, high = torch.zeros_like(beta), torch.full_like(beta, math.inf)
    for _ in range(64):
        weights = torch.exp(-distances * beta)
        total = weights.sum(-1, keepdim=True)
        entropy = total.log() + beta * (weights * distances.masked_fill(itself, 0)).sum(-1, keepdim=True) / total
        flat = entropy > math.log(perplexity)
        low, high = torch.where(flat, beta, low), torch.where(flat, high, beta)
        beta = torch.where(high.isinf(), beta * 2, (low + high) / 2)
    return weights / total


def pca_start(points: Float[Tensor, "B N D"], components: int) -> Float[Tensor, "B N C"]:
    """The leading principal components, scaled so that the first has standard deviation 1e-4 (scikit-learn >= 1.2)."""
    projected = principal_components(points, components)
    return projected / projected[..., :1].std(dim=1, keepdim=True).clamp(min=1e-30) * 1e-4


def principal_components(points: Float[Tensor, "B N D"], components: int) -> Float[Tensor, "B N C"]:
    """Each point's leading principal components; missing ones are zero."""
    centered = points - points.mean(dim=1, keepdim=True)
    left, scale, _ = torch.linalg.svd(centered, full_matrices=False)
    projected = (left * scale[:, None])[..., :components]
    if projected.shape[-1] < components:
        projected = torch.nn.functional.pad(projected, (0, components - projected.shape[-1]))
    return projected


def _descend_compiled(
    P: Float[Tensor, "B N N"], starts: Float[Tensor, "B S N C"], iterations: int, dof: float, rate: float = 50.0
) -> Embedding:
    """The result of :func:`_descend` by compiled code, one embedding per thread."""
    steps = _schedule(iterations, dof, rate)
    Y = _rows_of_coordinates(starts)
    affinities = P.numpy()

    def embed(b_s: tuple[int, int]) -> None:
        exact_descent(affinities[b_s[0]], Y[b_s], steps)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(embed, np.ndindex(*starts.shape[:2])))
    embedded = torch.from_numpy(Y)[:, :, : starts.shape[-1]].transpose(2, 3).contiguous()
    divergence = [
        torch.cat([_divergence(P[b, None], _Points(one[None], dof)) for one in embedded[b]]) for b in range(len(P))
    ]
    return Embedding(embedded, torch.stack(divergence))


def _descend_among_neighbors(
    points: Float[Tensor, "B N D"],
    perplexity: float,
    starts: Float[Tensor, "B S N C"],
    iterations: int,
    dof: float,
    rate: float,
) -> Embedding:
    """The embedding of each problem from each start, on all threads; only nearest neighbors attract."""
    steps = _schedule(iterations, dof, rate)
    Y = _rows_of_coordinates(starts)
    divergence = starts.new_empty(starts.shape[:2])
    for b, problem in enumerate(points):
        P = nearest_probabilities(problem, perplexity)
        for s in range(starts.shape[1]):
            divergence[b, s] = neighbor_descent(P, Y[b, s], steps, torch.get_num_threads())
    embedded = torch.from_numpy(Y)[:, :, : starts.shape[-1]].transpose(2, 3)
    return Embedding(embedded.contiguous().to(starts.device), divergence)


def _schedule(iterations: int, dof: float, rate: float) -> Schedule:
    return Schedule(iterations, EXAGGERATED_ITERATIONS, EXAGGERATION, rate, dof_is_two=dof == 2)


def _rows_of_coordinates(starts: Float[Tensor, "B S N C"]) -> Float[np.ndarray, "B S 3 N"]:
    """The starts as three rows of coordinates; rows beyond the components are zero and stay zero."""
    padded = torch.nn.functional.pad(starts.cpu(), (0, 3 - starts.shape[-1]))
    return padded.transpose(2, 3).contiguous().numpy()


def _descend(
    P: Float[Tensor, "B N N"], start: Float[Tensor, "B N C"], iterations: int, dof: float, rate: float = 50.0
) -> tuple[Float[Tensor, "B N C"], Float[Tensor, " B"]]:
    """Gradient descent with momentum and per-coordinate gains; returns the embedding and its divergence."""
    at = _Points(start, dof)
    Y, step, gain = at.Y, torch.zeros_like(at.Y), torch.ones_like(at.Y)
    kernel, force = torch.empty_like(P), torch.empty_like(P)
    target = P * EXAGGERATION
    momentum = 0.5
    for iteration in range(iterations):
        if iteration == EXAGGERATED_ITERATIONS:  # scikit-learn's second stage starts from rest
            target, momentum, step, gain = P, 0.8, torch.zeros_like(Y), torch.ones_like(Y)
        at.student_t(kernel, force)
        torch.addcmul(target, kernel, -1 / kernel.sum(dim=(1, 2), keepdim=True), out=force).mul_(kernel)  # (P - Q) k
        pull = at.homogeneous @ force  # force is symmetric; several times as fast as force @ homogeneous^T
        gradient = (pull[:, -1:] * Y).sub_(pull[:, :-1]).mul_(2 * (dof + 1) / dof)
        opposed = step * gradient < 0
        gain = torch.where(opposed, gain + 0.2, gain * 0.8).clamp_(min=0.01)
        step.mul_(momentum).sub_(gain * gradient, alpha=rate)
        Y.add_(step)
    return Y.transpose(1, 2).contiguous(), _divergence(P, at)


def _divergence(P: Float[Tensor, "B N N"], at: "_Points") -> Float[Tensor, " B"]:
    """The Kullback-Leibler divergence of each embedding's affinities from P (nats)."""
    kernel, scratch = torch.empty_like(P), torch.empty_like(P)
    at.student_t(kernel, scratch)
    Q = kernel.div_(kernel.sum(dim=(1, 2), keepdim=True)).clamp_(min=_TINY)
    return (P * (P / Q).log_()).sum(dim=(1, 2))


class _Points:
    """A moving embedding Y, coordinates first, stored inside the factors whose product is the squared distances."""

    def __init__(self, start: Float[Tensor, "B N C"], dof: float) -> None:
        B, N, C = start.shape
        self.dof = dof
        self._left, self._right = start.new_ones(B, C + 2, N), start.new_ones(B, C + 2, N)
        self.Y, self.homogeneous, self._squares = self._right[:, :C], self._right[:, : C + 1], self._right[:, C + 1 :]
        self.Y.copy_(start.transpose(1, 2))

    def student_t(self, kernel: Tensor, scratch: Tensor) -> None:
        """Fill ``kernel`` with (1 + squared distance / dof) ** (-(dof + 1) / 2), 0 on the diagonal.

        scikit-learn uses this power for the force, too, where the gradient of the divergence has the power -1. The two
        agree only at dof = 1. We follow scikit-learn, which the paper almost surely used.
        """
        C = self.Y.shape[1]
        torch.sum(self.Y.square(), dim=1, keepdim=True, out=self._squares).div_(self.dof)
        torch.mul(self.Y, -2 / self.dof, out=self._left[:, :C])
        torch.add(self._squares, 1, out=self._left[:, C : C + 1])
        torch.bmm(self._left.transpose(1, 2), self._right, out=kernel).clamp_(min=1)
        if self.dof == 2:  # x ** -1.5, without a slow power
            kernel.rsqrt_().mul_(torch.square(kernel, out=scratch))
        else:
            kernel.pow_(-(self.dof + 1) / 2)
        kernel.diagonal(dim1=1, dim2=2).zero_()
