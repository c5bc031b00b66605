"""Variance components: which identities a layer's states are made of, and how much of each.

A state is close to a sum of codes: one for the instruction distribution, one for the task, for the input, the output
and their conjunctions. Two *different* instances share exactly the codes whose identities they share, so the inner
products of centered states, regressed on "same task", "same distribution", ..., give each code's variance without bias.
A plain R-squared does not: with few tasks an input code alone explains a sixth of it.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from taskclust.data import Split

Identities = dict[str, np.ndarray]


def instance_identities(split: Split) -> Identities:
    """What instances can share, for states of the input token; conjunctions are joined by " and "."""
    labels = {name: split.labels(name) for name in ("task", "distribution", "input", "output")}
    return {
        **labels,
        "task and input": _both(labels["task"], labels["input"]),
        "distribution and input": _both(labels["distribution"], labels["input"]),
    }


def instruction_identities(split: Split) -> Identities:
    """What instructions can share, for states of the last instruction token, which has not seen the input."""
    return {"task": split.task, "distribution": split.distribution}


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.unique(np.stack([first, second]), axis=1, return_inverse=True)[1]


def variance_components(states: Float[Tensor, "L N D"], identities: Identities) -> dict[str, Float[np.ndarray, " L"]]:
    """Share of the states' variance due to each code, for each layer.

    Args:
        states: hidden states.
        identities: for each kind of code, the identity of each state, [N].

    Returns:
        One share a layer for each identity and for "instance", the rest. Nested identities are read as increments:
        "distribution" is what distributions add within a task. Shares and the regression's intercept (about 1/N) add up
        to one; an absent code's share is around 0 and can be slightly negative. Identities that coincide (every task
        has one distribution, say) split their share evenly (least squares of minimum norm).
    """
    n = states.shape[1]
    first, second = np.triu_indices(n, k=1)
    columns = [np.ones(len(first))] + [(ids[first] == ids[second]).astype(float) for ids in identities.values()]
    design = np.stack(columns, axis=1)

    centered = (states - states.mean(dim=1, keepdim=True)).double()
    products = (centered @ centered.transpose(1, 2)).cpu().numpy()  # (L, N, N)
    total = np.maximum(np.trace(products, axis1=1, axis2=2) / n, np.finfo(float).tiny)
    moments = design.T @ products[:, first, second].T  # (regressors, L)
    coefficients = np.linalg.pinv(design.T @ design) @ moments / total
    return {**dict(zip(identities, coefficients[1:], strict=True)), "instance": 1 - coefficients.sum(axis=0)}
