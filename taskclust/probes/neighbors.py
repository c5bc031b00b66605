"""Nearest training neighbours of unseen instances (§3.3, Figure 4)."""

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
    """The indices of the ``k`` nearest references by Euclidean distance, nearest first; ties are broken by order.

    Ties occur at layer 0, where instances with the same input and instruction length have identical states. With
    another order of the training set, percentage and accuracy there are up to 0.02 and 0.03 lower (seed 0, untrained).

    The two sets must not share an instance: nothing is left out as "itself".

    Raises:
        ConfigError: there are fewer references than ``k``.
    """
    if not 1 <= k <= references.shape[1]:
        raise ConfigError(f"neighbors={k}: use 1 to {references.shape[1]}, the size of the training set")
    center = references.mean(dim=1, keepdim=True)  # far from the center float32 would lose the order
    return torch.cdist(queries - center, references - center).topk(k, dim=-1, largest=False).indices


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
) -> Neighborhood:
    """KNN percentage and KNN accuracy of unseen instances among the training set (Figures 4a and 4b).

    Queries are states of the input token of unseen instances, references those of the training set at the same layer.
    The percentage is the fraction of the ``k`` nearest references with the query's task; they vote for its output.
    """
    found = nearest(queries, references, k)
    same = reference_tasks[found] == query_tasks[:, None]
    right = vote(reference_outputs[found]) == query_outputs
    return Neighborhood(same.float().mean(dim=(1, 2)), right.float().mean(dim=1))
