"""Cluster the states of a language model's prompts, one layer after another, with intervals over instructions (§3.4).

The synthetic probes hold every layer of a few hundred instances at once (:mod:`taskclust.probes.clusters`); here are
thousands, so that a layer is taken at a time. Shapes: N prompts, D width, C components of t-SNE.
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
    adjusted_mutual_info_score,
    adjusted_rand_score,
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
    """k-means of one layer's states by every identity, with and without t-SNE.

    Args:
        states: of the prompts.
        identities: their labels by name, "task" among them; the number of clusters is the number of classes. A label
            of more classes than half the prompts says nothing of clusters and is left out.
        probe: settings of t-SNE and k-means.
        seed: of k-means and of t-SNE's starts.

    Raises:
        ConfigError: a perplexity that is not below N.
    """
    generator = torch.Generator().manual_seed(seed)
    embedding = tsne(states[None], generator=generator, **probe.tsne_settings())
    clusters: dict[str, dict[str, Int[np.ndarray, "start point"]]] = {}
    for space, points in (("raw", states[None]), ("tsne", embedding.points[0])):
        clusters[space] = {}
        for label, classes in identities.items():
            n_classes = len(np.unique(classes))
            if label == "task" or 2 * n_classes <= len(classes):
                kept = kmeans(points, n_classes, generator=generator, restarts=probe.kmeans_restarts)
                clusters[space][label] = kept.labels.cpu().numpy()
    f1 = [matched_f1_score(contingency(identities["task"], row)) for row in clusters["tsne"]["task"]]
    return LayerClusters(
        clusters=clusters,
        divergence=embedding.divergence[0].double().cpu().numpy(),
        embedding=embedding.points[0, nearest_mean(f1)].double().cpu().numpy().round(2),
        tsne_method="exact" if len(states) <= EXACT_POINTS else "Barnes-Hut (scikit-learn)",
    )


def score_layers(
    layers: Sequence[LayerClusters],
    identities: Mapping[str, Labels],
    instructions: Sequence[Hashable],
    *,
    numbers: Sequence[int] | None = None,
    resamples: int,
    seed: int,
) -> LayerScores:
    """Score what :func:`probe_layer` found at several layers.

    Args:
        layers: its results.
        identities: the labels, "distribution" among them.
        instructions: what each prompt asks, in any form: the unit that is resampled, within its distribution.
        numbers: the layers' own, 0, 1, 2, ... by default.
        resamples: how many draws, the clusterings being given; where every distribution has one instruction there are
            none, and no intervals.
        seed: of the draws.
    """
    units = list(zip(identities["distribution"].tolist(), instructions, strict=True))
    is_varied = len(set(units)) > len(set(identities["distribution"].tolist()))
    if not is_varied:
        warnings.warn(
            "every distribution has one instruction: with nothing to resample there is no interval", stacklevel=2
        )
    scores: dict[str, Table] = {}
    starts: StartTable = {}
    best_layer: dict[str, int] = {}
    interval: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    resampled: dict[str, dict[str, Values]] = {}
    for space in SPACES:
        found = {label: [layer.clusters[space][label] for layer in layers] for label in layers[0].clusters[space]}
        by_start = {
            label: _by_start([[agreement(identities[label], row) for row in rows] for rows in clusterings])
            for label, clusterings in found.items()
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
        best = best_layer[space] = int(np.argmax(scores[space]["task"]["f1"]))
        draws = {
            label: _mean_draws([resample(identities[label], row, units, resamples, seed) for row in clusterings[best]])
            for label, clusterings in found.items()
            if is_varied
        }
        interval[space] = {
            label: {metric: _ends(values) for metric, values in drawn.items()} for label, drawn in draws.items()
        }
        resampled[space] = {label: drawn["f1"] for label, drawn in draws.items()}
    return LayerScores(
        layers=list(range(len(layers)) if numbers is None else numbers),
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


def _ends(draws: Values) -> tuple[float, float]:
    """Between which 95 % of the draws lie."""
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    return low, high


def _mean_draws(starts: Sequence[dict[str, list[float]]]) -> dict[str, Values]:
    """Draw by draw the mean over clusterings, whose draws are of the same units."""
    return {metric: np.mean([drawn[metric] for drawn in starts], axis=0) for metric in starts[0]}


def resample(
    labels_true: Labels, labels_pred: Labels, units: Sequence[tuple[int, Hashable]], resamples: int, seed: int
) -> dict[str, list[float]]:
    """The scores of one clustering when its units are drawn anew with replacement, their instances with them.

    Units are drawn within their stratum, so that every class keeps its weight; clusters stay matched to the classes
    they were matched to on all instances, or every draw would find itself a better matching. The same ``seed`` draws
    the same units: two clusterings of the same instances are paired draw by draw.

    Args:
        labels_true: known labels.
        labels_pred: clusters.
        units: (stratum, unit) of each instance.
        resamples: how many draws.
        seed: of the draws.

    Returns:
        F1, ARI and AMI by name, one value a draw.
    """
    strata: dict[int, dict[Hashable, list[int]]] = {}
    for n, (stratum, unit) in enumerate(units):
        strata.setdefault(stratum, {}).setdefault(unit, []).append(n)
    members = [[np.array(rows) for rows in by_unit.values()] for by_unit in strata.values()]
    classes, clusters = (np.unique(x, return_inverse=True)[1] for x in (labels_true, labels_pred))
    matched = linear_sum_assignment(f1_scores(contingency(classes, clusters)), maximize=True)
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {"f1": [], "ari": [], "ami": []}
    for _ in range(resamples):
        rows = np.concatenate([m[u] for m in members for u in rng.integers(len(m), size=len(m))])
        table = np.zeros((classes.max() + 1, clusters.max() + 1), dtype=np.int64)
        np.add.at(table, (classes[rows], clusters[rows]), 1)
        drawn["f1"].append(float(f1_scores(table)[matched].sum() / np.count_nonzero(table.sum(axis=1))))
        drawn["ari"].append(adjusted_rand_score(table))
        drawn["ami"].append(adjusted_mutual_info_score(contingency(classes[rows], clusters[rows])))
    return drawn


def bag_of_tokens(tokens: Sequence[Sequence[int]]) -> Float[Tensor, "N V"]:
    """How often each token that occurs at all stands in each prompt: what can be told from its words alone."""
    used = {token: column for column, token in enumerate(sorted({t for row in tokens for t in row}))}
    counts = torch.zeros(len(tokens), len(used))
    for n, row in enumerate(tokens):
        for token in row:
            counts[n, used[token]] += 1
    return counts
