"""Cluster the states of a language model's prompts, one layer after another, with intervals over instructions (§3.4).

The synthetic probes hold every layer of a few hundred instances at once (:mod:`taskclust.probes.clusters`); here are
thousands, so that a layer is taken at a time. Shapes: L1 layers, N prompts, D width, C components, R resamples.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from taskclust.config import METRICS, ProbeConfig
from taskclust.probes.kmeans import kmeans
from taskclust.probes.metrics import agreement
from taskclust.probes.tsne import EXACT_POINTS, tsne

Labels = Int[np.ndarray, " N"]


def prompt_scores(
    states: Float[Tensor, "L1 N D"],
    identities: dict[str, Labels],
    instructions: Sequence[Hashable],
    probe: ProbeConfig,
    *,
    resamples: int,
    seed: int,
    bar: str | None = None,
) -> dict[str, Any]:
    """Score k-means of the states against every identity, with and without t-SNE, at every layer.

    Args:
        states: of the prompts.
        identities: their labels by name, "task" among them; the number of clusters is the number of classes. A label
            of more classes than half the prompts says nothing of clusters and is left out.
        instructions: what each prompt asks, in any form: the unit that is resampled.
        probe: settings of t-SNE and k-means.
        resamples: of the instructions.
        seed: of k-means, of t-SNE's restarts and of the resampling.
        bar: name of a progress bar over layers; none by default.

    Returns:
        ``scores[space][label][metric]``, one number a layer, space "raw" or "tsne"; ``best_layer[space]``, the one of
        highest F1 by task; ``interval[space][label][metric]``, at that layer, the low and high end of 95 % of the
        resamples; ``resampled_f1[space][label]``, all of them; ``divergence`` [L1][R] of the t-SNE restarts;
        ``embedding`` [N][C], the picture of the best layer; ``tsne_method``.

    Raises:
        ConfigError: a perplexity that is not below N.
    """
    generator = torch.Generator().manual_seed(seed)
    identities = {k: v for k, v in identities.items() if k == "task" or 2 * len(np.unique(v)) <= len(v)}
    found: dict[str, dict[str, list[Labels]]] = {s: {label: [] for label in identities} for s in ("raw", "tsne")}
    divergence, pictures = [], []
    for layer in tqdm(states, desc=bar, leave=False, disable=None if bar else True):
        embedding = tsne(
            layer[None],
            generator=generator,
            components=probe.components,
            perplexity=probe.perplexity,
            iterations=probe.iterations,
            restarts=probe.tsne_restarts,
            degrees_of_freedom=probe.degrees_of_freedom,
        )
        divergence.append(embedding.divergence[0].tolist())
        pictures.append(embedding.best())
        for space, points in (("raw", layer[None]), ("tsne", pictures[-1])):
            for label, classes in identities.items():
                kept = kmeans(points, len(np.unique(classes)), generator=generator, restarts=probe.kmeans_restarts)
                found[space][label].append(kept.labels[0].cpu().numpy())
    result: dict[str, Any] = {
        "layers": list(range(len(states))),
        "scores": {},
        "best_layer": {},
        "interval": {},
        "resampled_f1": {},
    }
    for space, clusters in found.items():
        table = {label: [agreement(identities[label], row) for row in rows] for label, rows in clusters.items()}
        result["scores"][space] = {
            label: {metric: [float(getattr(row, metric)) for row in rows] for metric in METRICS}
            for label, rows in table.items()
        }
        best = int(np.argmax(result["scores"][space]["task"]["f1"]))
        result["best_layer"][space] = best
        draws = {
            label: resample(identities[label], rows[best], instructions, resamples, seed)
            for label, rows in clusters.items()
        }
        result["interval"][space] = {
            label: {m: np.percentile(values, (2.5, 97.5)).tolist() for m, values in drawn.items()}
            for label, drawn in draws.items()
        }
        result["resampled_f1"][space] = {label: drawn["f1"] for label, drawn in draws.items()}
    result["divergence"] = divergence
    result["embedding"] = pictures[result["best_layer"]["tsne"]][0].cpu().numpy().round(2).tolist()
    result["tsne_method"] = "exact" if states.shape[1] <= EXACT_POINTS else "Barnes-Hut (scikit-learn)"
    return result


def resample(
    labels_true: Labels, labels_pred: Labels, units: Sequence[Hashable], resamples: int, seed: int
) -> dict[str, list[float]]:
    """The scores of one clustering when its units are drawn anew with replacement, their instances with them.

    The same ``seed`` draws the same units, so that two clusterings of the same instances are paired draw by draw.

    Args:
        labels_true: known labels.
        labels_pred: clusters.
        units: what belongs together, one value an instance.
        resamples: how many draws.
        seed: of the draws.

    Returns:
        By metric, one value a draw.
    """
    by_unit: dict[Hashable, list[int]] = {}
    for n, unit in enumerate(units):
        by_unit.setdefault(unit, []).append(n)
    members = [np.array(rows) for rows in by_unit.values()]
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for _ in range(resamples):
        rows = np.concatenate([members[u] for u in rng.integers(len(members), size=len(members))])
        scores = agreement(labels_true[rows], labels_pred[rows])
        for metric in METRICS:
            drawn[metric].append(float(getattr(scores, metric)))
    return drawn


def bag_of_tokens(tokens: Sequence[Sequence[int]]) -> Float[Tensor, "N V"]:
    """How often each token that occurs at all stands in each prompt: what can be told from its words alone."""
    used = {token: column for column, token in enumerate(sorted({t for row in tokens for t in row}))}
    counts = torch.zeros(len(tokens), len(used))
    for n, row in enumerate(tokens):
        for token in row:
            counts[n, used[token]] += 1
    return counts
