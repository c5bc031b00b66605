"""Cluster a split's states by every identity, with and without t-SNE, at every layer of one checkpoint (§3.2)."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from taskclust.config import LABELS, METRICS, ProbeConfig
from taskclust.data import Split
from taskclust.probes.kmeans import kmeans, partition_inertia
from taskclust.probes.metrics import adjusted_rand_score, agreement, contingency, matched_f1_score
from taskclust.probes.tsne import tsne

#: ``scores[space][label][metric]`` is one number a layer; "f1_low" and "f1_high" are the extremes over t-SNE restarts.
Scores = dict[str, dict[str, dict[str, list[float]]]]


def cluster_scores(
    states: Float[Tensor, "L N D"], split: Split, probe: ProbeConfig, *, with_tsne: bool, seed: int
) -> dict[str, Any]:
    """Score k-means of the states against the split's identities.

    The number of clusters is the number of classes. Of several t-SNE starts the embedding of lowest divergence is
    scored; of several k-means starts the clustering of lowest inertia.

    Returns:
        :data:`Scores` with space "raw" and, ``with_tsne``, "tsne", plus ``divergence`` [L][R] of the t-SNE restarts
        and ``top_embedding`` [N][C], the picture of the top layer.
        Beside the metrics stand "label_inertia", what the labels' own partition costs relative to the clustering kept
        (above 1 k-means rightly prefers what it found, below 1 it missed a better partition); "inertia_spread", how
        much more the worst of its starts costs than the best; the null "shuffled_..." (the same clusters against
        permuted labels) and, where there are hard examples, "hard_separated": the share of hard instances that fall in
        another cluster than the original they were made from.

    Raises:
        ConfigError: one class only, a perplexity that is not below N, states that are not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    result: dict[str, Any] = {"raw": {name: _scores(states, split, name, probe, generator) for name in LABELS}}
    if with_tsne:
        embedding = tsne(states, generator=generator, **probe.tsne_settings())
        best = embedding.kept().tolist()
        result["tsne"] = {}
        for name in LABELS:
            every = _scores(embedding.points.flatten(0, 1), split, name, probe, generator)
            table = {metric: np.array(values).reshape(embedding.divergence.shape) for metric, values in every.items()}
            kept = {m: [float(row[r]) for row, r in zip(t, best, strict=True)] for m, t in table.items()}
            spread = {"f1_low": table["f1"].min(axis=1).tolist(), "f1_high": table["f1"].max(axis=1).tolist()}
            result["tsne"][name] = {**kept, **spread}
        result["divergence"] = embedding.divergence.tolist()
        result["top_embedding"] = embedding.best()[-1].cpu().numpy().round(2).tolist()
    return result


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
    if label == "task" and split.is_hard.any():
        hard, original = split.hard_pairs()
        scores["hard_separated"] = (found[:, hard] != found[:, original]).mean(axis=1).tolist()
    return scores
