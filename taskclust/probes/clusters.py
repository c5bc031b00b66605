"""Cluster scores of a split's states by every identity, with and without t-SNE, at every layer (§3.2).

Shapes: L layers, S starts of t-SNE, N instances, D and C dimensions of states and of embeddings.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from taskclust.config import LABELS, METRICS, SPLITS, ProbeConfig, require
from taskclust.data import Split
from taskclust.probes.kmeans import kmeans, partition_inertia
from taskclust.probes.metrics import adjusted_rand_score, agreement, contingency, matched_f1_score, merging_score
from taskclust.probes.scores import ClusterScores, StartTable, Table, Values
from taskclust.probes.tsne import tsne

#: Identities that several distributions share, and the identities of their parts.
PARTS = {"task": "distribution", "mapping": "distribution_mapping"}
#: The scores that are kept for every start.
OF_EACH_START = (*METRICS, "hard_separated", "merging")


def cluster_scores(
    states: Float[Tensor, "L N D"], split: Split, probe: ProbeConfig, *, with_tsne: bool, seed: int
) -> ClusterScores:
    """The scores of k-means clusters of the states against the split's identities.

    There are as many clusters as classes. Of several k-means starts, the clustering of lowest inertia is scored. A
    score after t-SNE is the mean over its starts, the expected score of one run of the paper's procedure. Starts end in
    different optima, whose divergence says nothing about the score.

    Returns:
        Scores [L], and those of each start [L, S]: the metrics; "label_inertia", the inertia of the labels' own
        partition relative to that of the clustering (below 1, k-means missed a better partition); and the negative
        control "shuffled_..." (the same clusters against permuted labels). By task also "merging", see
        :func:`taskclust.probes.metrics.merging_score`, and, if there are hard examples, "hard_separated", the fraction
        of hard instances in another cluster than their original.

    Raises:
        ConfigError: there is only one class, the perplexity is not below N, or a state is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    raw: Table = {name: _scores(states, split, name, probe, generator) for name in LABELS}
    if not with_tsne:
        return ClusterScores(raw=raw)
    embedding = tsne(states, generator=generator, **probe.tsne_settings())
    L, S = embedding.divergence.shape
    means: Table = {}
    starts: StartTable = {}
    for name in LABELS:
        scores = _scores(embedding.points.flatten(0, 1), split, name, probe, generator)
        by_start = {metric: values.reshape(L, S) for metric, values in scores.items()}
        means[name] = {metric: values.mean(axis=1) for metric, values in by_start.items()}
        starts[name] = {m: by_start[m].round(4) for m in OF_EACH_START if m in by_start}
    of_mapping = _scores(embedding.points[-1], split, "mapping", probe, generator)
    points = embedding.points.cpu().numpy().round(2)
    layers = np.stack([points[layer, nearest_mean(f1)] for layer, f1 in enumerate(starts["task"]["f1"])])
    return ClusterScores(
        raw=raw,
        tsne=means,
        starts=starts,
        mapping={metric: of_mapping[metric] for metric in ("f1", "merging")},
        divergence=embedding.divergence.cpu().numpy(),
        top_embedding=layers[-1],
        layer_embeddings=layers,
    )


def require_clustered(splits: Mapping[str, Split], probe: ProbeConfig) -> None:
    """Refuse splits that cannot be probed, before a model is trained.

    Raises:
        ConfigError: a split has fewer than two tasks, the perplexity is not below its number of instances, or there are
            more neighbors than training instances.
    """
    for name in SPLITS:
        split = splits[name]
        n_tasks, N = len(np.unique(split.labels("task"))), split.n_instances
        fix = f"clustering needs two with an instruction each; see the data's numbers of {name} and hard ones"
        require(n_tasks > 1, f"tasks of the {name} set", n_tasks, fix)
        require(probe.perplexity < N, "perplexity", probe.perplexity, f"must be below the {name} set's {N} instances")
    n_train = splits["train"].n_instances
    require(probe.neighbors <= n_train, "neighbors", probe.neighbors, f"the training set has {n_train} instances")


def nearest_mean(scores: Float[np.ndarray, " S"] | Sequence[float]) -> int:
    """The typical start, for figures: the first whose score is nearest the mean of all."""
    return int(np.abs(np.asarray(scores) - np.mean(scores)).argmin())


def _scores(
    points: Float[Tensor, "B N D"], split: Split, label: str, probe: ProbeConfig, generator: torch.Generator
) -> dict[str, Values]:
    """Each score for each of the B sets of points."""
    labels = split.labels(label)
    n_classes = len(np.unique(labels))
    clustering = kmeans(points, n_classes, generator=generator, restarts=probe.kmeans_restarts)
    found = clustering.labels.cpu().numpy()
    rows = [agreement(labels, row) for row in found]
    scores = {metric: np.array([getattr(row, metric) for row in rows]) for metric in METRICS}
    classes = torch.as_tensor(np.unique(labels, return_inverse=True)[1], device=points.device)
    least = clustering.inertia.amin(dim=1).clamp(min=1e-12)
    scores["label_inertia"] = (partition_inertia(points.float(), classes) / least).double().cpu().numpy()
    order = torch.randperm(len(labels), generator=generator).numpy()
    shuffled = [contingency(labels[order], row) for row in found]
    scores["shuffled_ari"] = np.array([adjusted_rand_score(table) for table in shuffled])
    scores["shuffled_f1"] = np.array([matched_f1_score(table) for table in shuffled])
    if label in PARTS:
        parts = split.labels(PARTS[label])
        scores["merging"] = np.array([merging_score(labels, parts, row) for row in found])
    if label == "task" and split.is_hard.any():
        hard, original = split.hard_pairs()
        scores["hard_separated"] = (found[:, hard] != found[:, original]).mean(axis=1)
    return scores
