"""k-means of many problems at once: greedy k-means++ starts, Lloyd's iterations, and the result of lowest inertia.

Restarts are a batch axis. tests/probes/test_kmeans.py compares with scikit-learn's KMeans.
Shapes: B problems, S starts, N points, D dimensions, K clusters.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from taskclust.config import ConfigError

#: From this number of points times clusters on, a CPU adds points one by one.
MANY_INDICATORS = 200_000


class Clustering(NamedTuple):
    """The best clustering of each problem, and the inertia of every restart."""

    labels: Int[Tensor, "B N"]
    inertia: Float[Tensor, "B S"]


def kmeans(
    points: Float[Tensor, "B N D"],
    n_clusters: int,
    *,
    generator: torch.Generator,
    restarts: int = 10,
    max_iterations: int = 300,
) -> Clustering:
    """Cluster each of B sets of points.

    Args:
        points: the sets, on any device; computed in float32.
        n_clusters: K.
        generator: draws the starts, on the CPU, so that devices agree.
        restarts: starts per problem; the clustering with the lowest sum of squared distances is kept.
        max_iterations: limit of Lloyd's algorithm, which stops earlier once no point changes its cluster.

    Raises:
        ConfigError: there is one cluster, or more clusters than points, or a state that is not finite.
    """
    B, N, _ = points.shape
    if not 2 <= n_clusters <= N:
        raise ConfigError(f"n_clusters={n_clusters}: k-means needs 2 to N={N}; are there two classes or more?")
    if not torch.isfinite(points).all():
        raise ConfigError("points: hidden states contain NaN or infinity; the model has diverged, probe an earlier one")
    points = _rotate(points.float())
    starts = _plus_plus(points, n_clusters, restarts, generator)  # (B, S, K) indices of points
    labels, inertia = _lloyd(points, starts, max_iterations)
    best = inertia.argmin(dim=1)
    return Clustering(labels[torch.arange(B, device=labels.device), best], inertia)


def _lloyd(
    points: Float[Tensor, "B N D"], starts: Int[Tensor, "B S K"], max_iterations: int
) -> tuple[Int[Tensor, "B S N"], Float[Tensor, "B S"]]:
    """The labels and the inertia at which each restart ends.

    Restarts of which no point moves are left out of the batch. Otherwise one that rounding moves between two equally
    good clusterings for ever would make all others take ``max_iterations`` steps, too.
    """
    B, N, D = points.shape
    S, K = starts.shape[1:]
    labels = torch.full((B, S, N), -1, device=points.device)
    inertia = points.new_zeros(B, S)
    problems, restarts = (torch.arange(n, device=points.device) for n in (B, S))  # those with a restart that moves
    old = labels.clone()
    centers = points.gather(1, starts.flatten(1)[..., None].expand(-1, -1, D))  # (B, S * K, D)
    squares = points.square().sum(-1)[:, None]  # (B, 1, N)
    for _ in range(max_iterations):
        # restarts are rows of one product, so points are not copied
        norms = centers.square().sum(-1, keepdim=True)
        distances = torch.baddbmm(norms, centers, points.transpose(1, 2), alpha=-2)
        nearest, new = distances.view(*old.shape[:2], K, N).min(dim=2)
        nearest = (nearest + squares).clamp(min=0)
        grid = problems[:, None], restarts
        labels[grid], inertia[grid] = new, nearest.sum(-1)
        moving = (new != old).any(-1)
        if not moving.any():
            break
        centers, old = _means(points, new, nearest, K), new
        of_problems, of_restarts = moving.any(1), moving.any(0)
        if 2 * of_problems.sum() * of_restarts.sum() <= moving.numel():  # or copying takes longer than it saves
            centers = centers.view(*moving.shape, K, D)[of_problems][:, of_restarts].flatten(1, 2)
            old = old[of_problems][:, of_restarts]
            problems, restarts = problems[of_problems], restarts[of_restarts]
            if len(problems) < len(points):
                points, squares = points[of_problems], squares[of_problems]
    return labels, inertia


def partition_inertia(points: Float[Tensor, "B N D"], labels: Int[Tensor, " N"]) -> Float[Tensor, " B"]:
    """The inertia of the partition ``labels``: the sum of squared distances to the mean of each point's class."""
    members = torch.nn.functional.one_hot(labels).to(points.dtype)  # (N, K)
    means = members.T @ points / members.sum(0)[:, None].clamp(min=1)
    return (points - means[:, labels]).square().sum(dim=(1, 2))


def _rotate(points: Float[Tensor, "B N D"]) -> Float[Tensor, "B N d"]:
    """Points with the same distances, centered for float32's accuracy; on a CPU in at most N dimensions.

    On a GPU the decomposition would take longer than it saves.
    """
    points = points - points.mean(dim=1, keepdim=True)
    if points.shape[1] >= points.shape[2] or points.is_cuda:
        return points
    left, scale, _ = torch.linalg.svd(points, full_matrices=False)
    return left * scale[:, None]


def _plus_plus(points: Tensor, n_clusters: int, restarts: int, generator: torch.Generator) -> Int[Tensor, "B S K"]:
    """The starts of greedy k-means++: each next center is the best of a few points drawn by squared distance."""
    B, N, _ = points.shape
    trials = 2 + int(math.log(n_clusters))
    between = torch.cdist(points, points).square_()[:, None].expand(B, restarts, N, N)
    draws = torch.rand(B, restarts, n_clusters, trials, generator=generator).to(points.device)
    first = (draws[:, :, 0, 0] * N).long().clamp(max=N - 1)
    chosen = [first]
    closest = between.gather(2, first[..., None, None].expand(B, restarts, 1, N))[:, :, 0]  # (B, S, N)
    for k in range(1, n_clusters):
        mass = closest.cumsum(-1)
        targets = draws[:, :, k] * mass[..., -1:]
        candidates = torch.searchsorted(mass, targets).clamp(max=N - 1)  # (B, S, trials)
        reach = between.gather(2, candidates[..., None].expand(B, restarts, trials, N))
        reach = torch.minimum(reach, closest[:, :, None])
        winner = reach.sum(-1).argmin(-1)  # (B, S)
        chosen.append(candidates.gather(2, winner[..., None])[..., 0])
        closest = reach.gather(2, winner[..., None, None].expand(B, restarts, 1, N))[:, :, 0]
    return torch.stack(chosen, dim=-1)


def _sums(
    points: Float[Tensor, "B N D"], labels: Int[Tensor, "B S N"], n_clusters: int
) -> tuple[Float[Tensor, "B SK D"], Float[Tensor, "B S K"]]:
    """Each cluster's sum and its number of points.

    A product with the clusters' indicators is fast for few of them, and on a GPU, where single additions have no fixed
    order.
    """
    B, S, N = labels.shape
    if points.is_cuda or N * n_clusters < MANY_INDICATORS:
        members = points.new_zeros(B, S, n_clusters, N).scatter_(2, labels[:, :, None], 1.0)
        return members.flatten(1, 2) @ points, members.sum(-1)
    sums = points.new_zeros(B, S, n_clusters, points.shape[-1])
    counts = points.new_zeros(B, S, n_clusters)
    for b in range(B):
        for s in range(S):
            sums[b, s].index_add_(0, labels[b, s], points[b])
            counts[b, s] = torch.bincount(labels[b, s], minlength=n_clusters)
    return sums.flatten(1, 2), counts


def _means(
    points: Float[Tensor, "B N D"], labels: Int[Tensor, "B S N"], nearest: Float[Tensor, "B S N"], n_clusters: int
) -> Float[Tensor, "B SK D"]:
    """Each cluster's mean; an empty cluster moves to one of the points farthest from their centers."""
    sums, counts = _sums(points, labels, n_clusters)
    centers = sums / counts.clamp(min=1).flatten(1)[..., None]
    empty = counts == 0
    if empty.any():
        far = nearest.topk(n_clusters, dim=-1).indices  # (B, S, K): a different point for each empty cluster
        refill = far.gather(2, (empty.cumsum(-1) - 1).clamp(min=0)).flatten(1)
        moved = points.gather(1, refill[..., None].expand(-1, -1, points.shape[-1]))
        centers = torch.where(empty.flatten(1)[..., None], moved, centers)
    return centers
