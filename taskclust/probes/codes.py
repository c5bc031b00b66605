"""Ablate class means (codes) from hidden states: how would k-means cluster states that do not encode, e.g., the input?

A state is close to a sum of class means (:mod:`taskclust.probes.components`). Here they are fitted on one set of
instances and subtracted from the states of another. They are fitted on the training set, so they contain nothing about
unseen instructions; the training subset is part of the training set.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from taskclust.config import SPLITS, require
from taskclust.data import Dataset, Split
from taskclust.probes.kmeans import kmeans
from taskclust.probes.metrics import agreement

#: The class means that are fitted together; a distribution's includes its task's until the two are separated.
_FITTED = ("distribution", "input", "output")
CODES = ("task", *_FITTED)
#: The identities that are ablated together before clustering.
TAKEN_OUT = ((), ("input",), ("output",), ("input", "output"), ("distribution",))


class Codes(NamedTuple):
    """For each name in :data:`CODES` its identities, [K], and their class means, [K, D]."""

    identities: dict[str, np.ndarray]
    vectors: dict[str, Float[Tensor, "K D"]]


def additive_codes(states: Float[Tensor, "N D"], split: Split) -> Codes:
    """The class means of task, distribution, input and output whose sums fit the states by least squares.

    A distribution's class mean is relative to its task's: those of a task's distributions add up to zero.
    """
    identities, places = {}, {}
    for name in CODES:
        identities[name], places[name] = np.unique(split.labels(name), return_inverse=True)
    design = np.concatenate([np.eye(len(identities[name]))[places[name]] for name in _FITTED], axis=1)
    gram = torch.as_tensor(np.linalg.pinv(design.T @ design) @ design.T, device=states.device)
    fitted = (gram @ (states - states.mean(0)).double()).to(states.dtype)
    vectors = dict(zip(_FITTED, fitted.split([len(identities[name]) for name in _FITTED]), strict=True))
    first = np.unique(places["distribution"], return_index=True)[1]
    owner = torch.as_tensor(places["task"][first], device=states.device)  # the task of each distribution
    share = torch.nn.functional.one_hot(owner).T.to(states.dtype)
    vectors["task"] = share @ vectors["distribution"] / share.sum(1, keepdim=True)
    vectors["distribution"] = vectors["distribution"] - vectors["task"][owner]
    return Codes(identities, vectors)


def without(states: Float[Tensor, "N D"], split: Split, codes: Codes, names: tuple[str, ...]) -> Float[Tensor, "N D"]:
    """The states with the named class means ablated.

    Raises:
        ConfigError: the split has an identity that the class means were not fitted on.
    """
    for name in names:
        known, labels = codes.identities[name], split.labels(name)
        unknown = sorted(set(labels.tolist()) - set(known.tolist()))
        require(not unknown, name, unknown[:3], "fit the class means on a split that has it")
        states = states - codes.vectors[name][torch.as_tensor(np.searchsorted(known, labels), device=states.device)]
    return states


def task_f1_without(
    states: Mapping[str, Float[Tensor, "N D"]], dataset: Dataset, *, restarts: int, seed: int
) -> dict[str, dict[str, float]]:
    """F1 by task of k-means on the states of both evaluated splits, unchanged and with class means ablated.

    Args:
        states: the states of one layer by split, including the training set's, on which the class means are fitted.
        dataset: the data set that was read.
        restarts: starts of k-means.
        seed: the seed of k-means.

    Returns:
        By split: "nothing", "input", "output", "input and output", "distribution" -> F1, a fraction.
    """
    codes = additive_codes(states["train"], dataset.train)
    found: dict[str, dict[str, float]] = {}
    for name in SPLITS:
        split = dataset.splits[name]
        tasks = split.labels("task")
        cleaned = torch.stack([without(states[name], split, codes, names) for names in TAKEN_OUT])
        generator = torch.Generator().manual_seed(seed)
        clusters = kmeans(cleaned, len(np.unique(tasks)), generator=generator, restarts=restarts).labels.cpu().numpy()
        taken = [" and ".join(names) or "nothing" for names in TAKEN_OUT]
        found[name] = {what: agreement(tasks, row).f1 for what, row in zip(taken, clusters, strict=True)}
    return found
