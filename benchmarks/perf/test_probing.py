"""Probing beside scikit-learn: t-SNE, k-means, and a whole checkpoint."""

from functools import partial

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE

from taskclust.config import LABELS, DataConfig, ModelConfig, ProbeConfig
from taskclust.data import generate
from taskclust.models import create
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.hidden import hidden_states
from taskclust.probes.kmeans import kmeans
from taskclust.probes.metrics import agreement
from taskclust.probes.tsne import tsne


def states(width: int = 768) -> tuple[torch.Tensor, object]:
    """Untrained states of the paper's validation set at every layer."""
    dataset = generate(DataConfig(), seed=0)
    model = create(dataset.config, ModelConfig.of_width(width), torch.Generator().manual_seed(0))
    return hidden_states(model, dataset.validation).input_token, dataset.validation


def test_tsne_beats_scikit_learn(compare):
    points, _ = states()

    def ours() -> None:
        tsne(points, generator=torch.Generator().manual_seed(0), restarts=1)

    def theirs() -> None:
        for layer in points.numpy():
            TSNE(3, perplexity=10, init="pca", max_iter=2000).fit_transform(layer)

    ratios = compare(
        "t-SNE of 7 layers of 315 states", {"ours": ours, "scikit-learn": theirs}, units=7, unit="problems"
    )

    assert ratios["scikit-learn"] > 1


def test_tsne_of_many_points_beats_scikit_learn(compare):
    """A quarter of Table 6's iterations, which are alike, of as many points as a language model's prompts."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(160, 576, generator=generator).repeat(50, 1)
    points = centers + torch.randn(centers.shape, generator=generator)

    def ours() -> None:
        tsne(points[None], generator=generator, iterations=500, restarts=1)

    def theirs() -> None:
        TSNE(3, perplexity=10, init="pca", max_iter=500).fit_transform(points.numpy())

    cases = {"ours": ours, "scikit-learn, Barnes-Hut": theirs}
    ratios = compare("t-SNE of 8,000 points, 500 iterations", cases, units=1, unit="problems")

    assert ratios["scikit-learn, Barnes-Hut"] > 1


def test_kmeans_beats_scikit_learn(compare):
    points, split = states()
    n_clusters = len(np.unique(split.labels("distribution")))

    def ours() -> None:
        kmeans(points, n_clusters, generator=torch.Generator().manual_seed(0), restarts=50)

    def theirs() -> None:
        for layer in points.numpy():
            KMeans(n_clusters, n_init=50, random_state=0).fit(layer)

    ratios = compare(
        "k-means of 7 layers of 315 states, 50 restarts",
        {"ours": ours, "scikit-learn": theirs},
        units=350,
        unit="starts",
    )

    assert ratios["scikit-learn"] > 1


def test_probing_a_split_beats_scikit_learn(compare):
    points, split = states()
    probe = ProbeConfig(tsne_restarts=1)

    def theirs() -> None:
        for layer in points.numpy():
            embedded = TSNE(3, perplexity=10, init="pca", max_iter=2000).fit_transform(layer)
            for space in (layer, embedded):
                for label in LABELS:
                    identities = split.labels(label)
                    found = KMeans(len(np.unique(identities)), n_init=10, random_state=0).fit_predict(space)
                    agreement(identities, found)

    ours = partial(cluster_scores, points, split, probe, with_tsne=True, seed=0)
    ratios = compare(
        "7 layers x 3 labels, with and without t-SNE",
        {"ours": ours, "scikit-learn": theirs},
        units=42,
        unit="clusterings",
    )

    assert ratios["scikit-learn"] > 1
