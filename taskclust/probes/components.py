"""Variance components: the fraction of the variance of a layer's states that is due to each identity.

A state is close to a sum of class means: of the instruction distribution, the task, the input, the output and their
conjunctions. The squared distance of two instances contains twice the variance of every identity that they do not
share. Half of it, regressed on "same task", "same distribution", ..., therefore gives each identity's variance without
bias. A plain R-squared is biased: with few tasks the input by itself explains a sixth of it.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from taskclust.data import Split

Identities = dict[str, np.ndarray]


def instance_identities(split: Split) -> Identities:
    """The identities that instances can share, for states of the input token; conjunctions are joined by " and ".

    A hard distribution differs from its original by one symbol and has the same inputs. The two share a "lineage".
    Without it their similarity would be attributed to the inputs, because half of the pairs with one input are such
    pairs.

    Raises:
        ValueError: the split has hard examples, but not exactly their originals.
    """
    labels = {name: split.labels(name) for name in ("task", "distribution", "input", "output")}
    conjoined = ["task", "distribution"]
    if split.is_hard.any():
        hard, original = split.hard_pairs()
        labels["lineage"] = labels["distribution"].copy()
        labels["lineage"][hard] = labels["distribution"][original]
        conjoined.append("lineage")
    return {**labels, **{f"{name} and input": _both(labels[name], labels["input"]) for name in conjoined}}


def instruction_identities(split: Split) -> Identities:
    """The identities that instructions can share, for states of the last instruction token, before the input."""
    first_of_each = slice(None, None, split.inputs.shape[1])
    whole = instance_identities(split)
    return {name: whole[name][first_of_each] for name in ("task", "distribution", "lineage") if name in whole}


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.unique(np.stack([first, second]), axis=1, return_inverse=True)[1]


def variance_components(states: Float[Tensor, "L N D"], identities: Identities) -> dict[str, Float[np.ndarray, " L"]]:
    """The share of the states' variance due to each identity, for each layer.

    Args:
        states: hidden states.
        identities: for each kind of identity, that of each state, [N].

    Returns:
        One share per layer for each identity and for "instance", the rest; they add up to 1. Nested identities are
        increments: "distribution" is what distributions add within a task. The share of an identity without effect is
        around 0 and can be slightly negative. Identities that coincide, e.g. if every task has one distribution, split
        their share evenly (least squares of minimum norm). If all states are equal, all shares are 0.
    """
    N = states.shape[1]
    first, second = np.triu_indices(N, k=1)
    columns = [np.ones(len(first))] + [(ids[first] == ids[second]).astype(float) for ids in identities.values()]
    design = np.stack(columns, axis=1)

    products = (states.double() @ states.double().transpose(1, 2)).cpu().numpy()  # (L, N, N)
    norms = np.diagonal(products, axis1=1, axis2=2)
    halves = (norms[:, first] + norms[:, second]) / 2 - products[:, first, second]  # half of each squared distance
    total, *shared = np.linalg.pinv(design.T @ design) @ (design.T @ halves.T)
    total = np.where(total > 0, total, np.inf)
    shares = {name: -share / total for name, share in zip(identities, shared, strict=True)}
    return {**shares, "instance": np.where(np.isinf(total), 0.0, 1 - sum(shares.values()))}
