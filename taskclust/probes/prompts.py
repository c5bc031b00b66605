"""Cluster scores of a language model's states of prompts, with intervals over instructions (§3.4).

The synthetic probes hold all layers of a few hundred instances in memory (:mod:`taskclust.probes.clusters`). Prompts
are thousands, so layers are probed one at a time. Shapes: N prompts, D width, C components of t-SNE.
"""

import warnings
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from taskclust.config import METRICS, SPACES, ProbeConfig
from taskclust.probes.clusters import nearest_mean
from taskclust.probes.kmeans import kmeans
from taskclust.probes.metrics import (
    Agreement,
    agreement,
    contingency,
    f1_scores,
    matched_f1_score,
)
from taskclust.probes.scores import LayerClusters, LayerScores, StartTable, Table, Values
from taskclust.probes.tsne import EXACT_POINTS, tsne

Labels = Int[np.ndarray, " N"]


def probe_layer(
    states: Float[Tensor, "N D"], identities: Mapping[str, Labels], probe: ProbeConfig, *, seed: int
) -> LayerClusters:
    """The k-means clusters of one layer's states by every identity, with and without t-SNE.

    Args:
        states: the states of the prompts.
        identities: their labels by name, including "task". There are as many clusters as classes. A label with more
            classes than half the prompts is left out, because such clusters say nothing.
        probe: settings of t-SNE and k-means.
        seed: the seed of k-means and of t-SNE's starts.

    Raises:
        ConfigError: the perplexity is not below N.
    """
    generator = torch.Generator().manual_seed(seed)
    embedding = tsne(states[None], generator=generator, **probe.tsne_settings())
    clusters: dict[str, dict[str, Int[np.ndarray, "start point"]]] = {}
    for space, points in (("raw", states[None]), ("tsne", embedding.points[0])):
        clusters[space] = {}
        by_number: dict[int, Int[np.ndarray, "start point"]] = {}  # labels with equally many classes share a clustering
        for label, classes in identities.items():
            n_classes = len(np.unique(classes))
            if label == "task" or 2 * n_classes <= len(classes):
                if n_classes not in by_number:
                    kept = kmeans(points, n_classes, generator=generator, restarts=probe.kmeans_restarts)
                    by_number[n_classes] = kept.labels.cpu().numpy()
                clusters[space][label] = by_number[n_classes]
    f1 = [matched_f1_score(contingency(identities["task"], row)) for row in clusters["tsne"]["task"]]
    return LayerClusters(
        clusters=clusters,
        divergence=embedding.divergence[0].double().cpu().numpy(),
        embedding=embedding.points[0, nearest_mean(f1)].double().cpu().numpy().round(2),
        tsne_method="exact" if len(states) <= EXACT_POINTS else "attraction of the nearest neighbors",
    )


def score_layers(
    layers: Sequence[LayerClusters],
    identities: Mapping[str, Labels],
    instructions: Sequence[Hashable],
    *,
    resamples: int,
    seed: int,
) -> LayerScores:
    """The scores of the clusters that :func:`probe_layer` found at every layer.

    Args:
        layers: the results of :func:`probe_layer`.
        identities: the labels, including "distribution".
        instructions: the instruction of each prompt, in any form: the unit that is resampled within its distribution.
        resamples: number of resamples. The clusterings stay fixed, and each resample chooses its own best layer. If
            every distribution has only one instruction, there are no resamples and no intervals.
        seed: the seed of the resamples.
    """
    units = list(zip(identities["distribution"].tolist(), instructions, strict=True))
    is_varied = len(set(units)) > len(set(identities["distribution"].tolist()))
    if not is_varied:
        warnings.warn(
            "every distribution has only one instruction, so there are no resamples and no intervals", stacklevel=2
        )
    rows = resampled_rows(units, resamples, seed) if is_varied else []
    scores: dict[str, Table] = {}
    starts: StartTable = {}
    best_layer: dict[str, int] = {}
    interval: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    resampled: dict[str, dict[str, Values]] = {}
    for space in SPACES:
        found = {label: [layer.clusters[space][label] for layer in layers] for label in layers[0].clusters[space]}
        by_start = {
            label: _by_start([[agreement(identities[label], row) for row in clusterings] for clusterings in of_layers])
            for label, of_layers in found.items()
        }
        scores[space] = {
            label: {metric: values.mean(axis=1) for metric, values in table.items()}
            for label, table in by_start.items()
        }
        if space == "tsne":
            starts = {
                label: {metric: values.round(4) for metric, values in table.items()}
                for label, table in by_start.items()
            }
        best_layer[space] = int(np.argmax(scores[space]["task"]["f1"]))
        resampled[space] = _resampled_f1(found, identities, rows) if is_varied else {}
        interval[space] = {label: {"f1": _ends(draws)} for label, draws in resampled[space].items()}
    return LayerScores(
        layers=list(range(len(layers))),
        scores=scores,
        starts=starts,
        best_layer=best_layer,
        interval=interval,
        resampled_f1=resampled,
        divergence=np.stack([layer.divergence for layer in layers]),
        embedding=layers[best_layer["tsne"]].embedding,
        tsne_method=layers[0].tsne_method,
    )


def _by_start(layers: Sequence[Sequence[Agreement]]) -> dict[str, Values]:
    """Each metric's values, [layer, start]."""
    return {metric: np.array([[getattr(row, metric) for row in rows] for rows in layers]) for metric in METRICS}


def _resampled_f1(
    found: Mapping[str, Sequence[Int[np.ndarray, "start N"]]],
    identities: Mapping[str, Labels],
    rows: Sequence[Int[np.ndarray, " N"]],
) -> dict[str, Values]:
    """By label and for each draw, the mean F1 over starts at the layer with the best F1 by task in that draw."""

    def of_layer(label: str, layer: int) -> Values:
        return np.mean([resampled_f1(identities[label], row, rows) for row in found[label][layer]], axis=0)

    by_task = np.array([of_layer("task", layer) for layer in range(len(found["task"]))])
    chosen = by_task.argmax(axis=0)
    drawn = {}
    for label in found:
        drawn[label] = np.empty(len(rows))
        for layer in np.unique(chosen):
            is_here = chosen == layer
            drawn[label][is_here] = of_layer(label, int(layer))[is_here]
    return drawn


def _ends(draws: Values) -> tuple[float, float]:
    """The ends of the central 95 % of the draws."""
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    return low, high


def resampled_rows(units: Sequence[tuple[int, Hashable]], resamples: int, seed: int) -> list[Int[np.ndarray, " N"]]:
    """The instances of each draw, in which units are drawn with replacement together with their instances.

    Units are drawn within their stratum, so that every class keeps its weight.

    Args:
        units: the (stratum, unit) of each instance.
        resamples: number of draws.
        seed: the seed of the draws.
    """
    strata: dict[int, dict[Hashable, list[int]]] = {}
    for n, (stratum, unit) in enumerate(units):
        strata.setdefault(stratum, {}).setdefault(unit, []).append(n)
    members = [[np.array(rows) for rows in by_unit.values()] for by_unit in strata.values()]
    rng = np.random.default_rng(seed)
    return [
        np.concatenate([m[u] for m in members for u in rng.integers(len(m), size=len(m))]) for _ in range(resamples)
    ]


def resampled_f1(labels_true: Labels, labels_pred: Labels, rows: Sequence[Int[np.ndarray, " N"]]) -> Values:
    """The F1 of one clustering in each draw of its instances.

    Clusters stay matched to classes as on all instances; otherwise every draw would find itself a better matching. Two
    clusterings on the same draws can be compared draw by draw.
    """
    classes, clusters = (np.unique(x, return_inverse=True)[1] for x in (labels_true, labels_pred))
    matched = linear_sum_assignment(f1_scores(contingency(classes, clusters)), maximize=True)
    shape = classes.max() + 1, clusters.max() + 1
    cells = np.ravel_multi_index((classes, clusters), shape)
    drawn = []
    for some in rows:
        table = np.bincount(cells[some], minlength=shape[0] * shape[1]).reshape(shape)
        drawn.append(f1_scores(table)[matched].sum() / np.count_nonzero(table.sum(axis=1)))
    return np.array(drawn)


def bag_of_tokens(tokens: Sequence[Sequence[int]]) -> Float[Tensor, "N V"]:
    """The bag-of-tokens baseline's features: the counts of each token that occurs in each prompt."""
    used = {token: column for column, token in enumerate(sorted({t for row in tokens for t in row}))}
    counts = torch.zeros(len(tokens), len(used))
    for n, row in enumerate(tokens):
        for token in row:
            counts[n, used[token]] += 1
    return counts
