"""Cluster a split's states by every identity, with and without t-SNE, at every layer of one checkpoint (§3.2).

Shapes: L layers, R starts of t-SNE, N instances, D and C dimensions of states and of embeddings.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from taskclust.config import LABELS, METRICS, ProbeConfig
from taskclust.data import Split
from taskclust.probes.kmeans import kmeans, partition_inertia
from taskclust.probes.metrics import adjusted_rand_score, agreement, contingency, matched_f1_score, merging_score
from taskclust.probes.tsne import tsne

#: ``scores[space][label][metric]`` is one number per layer; with t-SNE it is the mean over starts.
Scores = dict[str, dict[str, dict[str, list[float]]]]

#: Identities that several distributions share, and what they are divided into.
PARTS = {"task": "distribution", "mapping": "distribution_mapping"}
#: What is kept of every start.
OF_EACH_START = (*METRICS, "hard_separated", "merging")


def cluster_scores(
    states: Float[Tensor, "L N D"], split: Split, probe: ProbeConfig, *, with_tsne: bool, seed: int
) -> dict[str, Any]:
    """Score k-means of the states against the split's identities.

    The number of clusters is the number of classes. Of several k-means starts the clustering of lowest inertia is
    scored. A score after t-SNE is the mean over its starts, which is what one run of the paper's procedure gives in
    expectation: starts end in different optima, whose divergence says nothing about the score.

    Returns:
        :data:`Scores` with space "raw" and, ``with_tsne``, "tsne". ``starts[label][metric]`` [L][R] holds each start's
        score, ``divergence`` [L][R] (nats) each start's, ``mapping[metric]`` [R] the top layer's scores with as many
        clusters as mappings, and ``top_embedding`` [N][C] the top layer's start whose F1 by task is nearest the mean,
        for pictures.
        Beside the metrics are "label_inertia", what the labels' own partition costs relative to the clustering kept
        (above 1 k-means rightly prefers what it found, below 1 it missed a better partition); "inertia_spread", how
        much more the worst of its starts costs than the best; the negative control "shuffled_..." (the same clusters
        against permuted labels); by task "merging", see :func:`taskclust.probes.metrics.merging_score`, and, where
        there are hard examples, "hard_separated": the share of hard instances that fall in another cluster than the
        original they were made from.

    Raises:
        ConfigError: one class only, a perplexity that is not below N, states that are not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    result: dict[str, Any] = {"raw": {name: _scores(states, split, name, probe, generator) for name in LABELS}}
    if with_tsne:
        embedding = tsne(states, generator=generator, **probe.tsne_settings())
        L, R = embedding.divergence.shape
        points = embedding.points.flatten(0, 1)
        result |= {"tsne": {}, "starts": {}}
        for name in LABELS:
            scores = _scores(points, split, name, probe, generator)
            by_start = {metric: np.reshape(values, (L, R)) for metric, values in scores.items()}
            result["tsne"][name] = {metric: values.mean(axis=1).tolist() for metric, values in by_start.items()}
            result["starts"][name] = {m: by_start[m].round(4).tolist() for m in OF_EACH_START if m in by_start}
        of_mapping = _scores(embedding.points[-1], split, "mapping", probe, generator)
        result["mapping"] = {metric: of_mapping[metric] for metric in ("f1", "merging")}
        result["divergence"] = embedding.divergence.tolist()
        typical = nearest_mean(result["starts"]["task"]["f1"][-1])
        result["top_embedding"] = embedding.points[-1, typical].cpu().numpy().round(2).tolist()
    return result


def nearest_mean(scores: list[float]) -> int:
    """The start whose score is nearest the mean of all: the typical one, for pictures; the first of equals."""
    return int(np.abs(np.array(scores) - np.mean(scores)).argmin())


def _scores(
    points: Float[Tensor, "B N D"], split: Split, label: str, probe: ProbeConfig, generator: torch.Generator
) -> dict[str, list[float]]:
    """Each score's value for each of the B sets of points."""
    labels = split.labels(label)
    n_classes = len(np.unique(labels))
    clustering = kmeans(points, n_classes, generator=generator, restarts=probe.kmeans_restarts)
    found = clustering.labels.cpu().numpy()
    rows = [agreement(labels, row) for row in found]
    scores = {metric: [getattr(row, metric) for row in rows] for metric in METRICS}
    least, most = clustering.inertia.aminmax(dim=1)
    classes = torch.as_tensor(np.unique(labels, return_inverse=True)[1], device=points.device)
    least = least.clamp(min=1e-12)
    scores["label_inertia"] = (partition_inertia(points.float(), classes) / least).tolist()
    scores["inertia_spread"] = (most / least - 1).tolist()
    order = torch.randperm(len(labels), generator=generator).numpy()
    shuffled = [contingency(labels[order], row) for row in found]
    scores["shuffled_ari"] = [adjusted_rand_score(table) for table in shuffled]
    scores["shuffled_f1"] = [matched_f1_score(table) for table in shuffled]
    if label in PARTS:
        parts = split.labels(PARTS[label])
        scores["merging"] = [merging_score(labels, parts, row) for row in found]
    if label == "task" and split.is_hard.any():
        hard, original = split.hard_pairs()
        scores["hard_separated"] = (found[:, hard] != found[:, original]).mean(axis=1).tolist()
    return scores
