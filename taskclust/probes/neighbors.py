"""Nearest training neighbours of unseen instances (§3.3, Figure 4)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from taskclust.config import ConfigError


class Neighborhood(NamedTuple):
    """For each layer, fractions in [0, 1] averaged over the unseen instances."""

    percentage: Float[Tensor, " L"]  # of the k nearest that belong to the same task (Figure 4a)
    accuracy: Float[Tensor, " L"]  # of predicting the output by vote of the k nearest (Figure 4b)


def nearest(queries: Float[Tensor, "L Q D"], references: Float[Tensor, "L N D"], k: int) -> Int[Tensor, "L Q k"]:
    """The indices of the ``k`` nearest references by Euclidean distance, nearest first; ties are broken by rounding.

    Ties occur at layer 0, where instances with the same input and instruction length have identical states. With
    another order of the training set, percentage and accuracy there are up to 0.02 and 0.03 lower (seed 0, untrained).
    :func:`nearest_counts` breaks the ties of counts, of which there are many.

    The two sets must not share an instance: nothing is left out as "itself".

    Raises:
        ConfigError: there are fewer references than ``k``.
    """
    if not 1 <= k <= references.shape[1]:
        raise ConfigError(f"neighbors={k}: use 1 to {references.shape[1]}, the size of the training set")
    center = references.mean(dim=1, keepdim=True)  # far from the center float32 would lose the order
    return torch.cdist(queries - center, references - center).topk(k, dim=-1, largest=False).indices


def nearest_counts(queries: Float[Tensor, "L Q D"], references: Float[Tensor, "L N D"], k: int) -> Int[Tensor, "L Q k"]:
    """As :func:`nearest`, of counts, i.e. whole numbers; ties are broken at random, in the same way on every processor.

    In a third to a half of all queries of the bag-of-symbols baseline the k-th and the next reference are equally far.
    By order, the first of them would be taken, and a training set begins with the tasks that are evaluated.

    Raises:
        ConfigError: there are fewer references than ``k``.
    """
    n = references.shape[1]
    if not 1 <= k <= n:
        raise ConfigError(f"neighbors={k}: use 1 to {n}, the size of the training set")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).to(references.device)
    found = []
    for part in queries.split(256, dim=1):  # to hold no table of all distances
        products = part @ references.mT  # exact, as sums of small whole numbers
        squares = part.square().sum(-1)[..., None] + references.square().sum(-1)[:, None] - 2 * products
        found.append((squares.long() * n + order).topk(k, dim=-1, largest=False).indices)
    return torch.cat(found, dim=1)


def vote(labels: Int[Tensor, "... k"]) -> Int[Tensor, "..."]:
    """The most frequent label of each row; of ties, the first one, i.e. the nearest."""
    counts = (labels[..., :, None] == labels[..., None, :]).sum(-1)
    return labels.gather(-1, counts.argmax(-1, keepdim=True))[..., 0]


def neighborhood(
    queries: Float[Tensor, "L Q D"],
    references: Float[Tensor, "L N D"],
    *,
    query_tasks: Int[Tensor, " Q"],
    query_outputs: Int[Tensor, " Q"],
    reference_tasks: Int[Tensor, " N"],
    reference_outputs: Int[Tensor, " N"],
    k: int = 10,
    find: Callable[[Tensor, Tensor, int], Tensor] = nearest,
) -> Neighborhood:
    """KNN percentage and KNN accuracy of unseen instances among the training set (Figures 4a and 4b).

    Queries are states of the input token of unseen instances, references those of the training set at the same layer.
    The percentage is the fraction of the ``k`` nearest references with the query's task; they vote for its output.
    """
    found = find(queries, references, k)
    same = reference_tasks[found] == query_tasks[:, None]
    right = vote(reference_outputs[found]) == query_outputs
    return Neighborhood(same.float().mean(dim=(1, 2)), right.float().mean(dim=1))
