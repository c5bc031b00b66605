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
from taskclust.probes.forces import Schedule, neighbor_descent
from taskclust.probes.hidden import hidden_states
from taskclust.probes.kmeans import kmeans
from taskclust.probes.metrics import agreement
from taskclust.probes.tsne import EXACT_POINTS, nearest_probabilities, tsne


def states(width: int = 768) -> tuple[torch.Tensor, object]:
    """Untrained states of the paper's validation set at every layer."""
    dataset = generate(DataConfig(), seed=0)
    model = create(dataset.config, ModelConfig.norm_after(width), torch.Generator().manual_seed(0))
    return hidden_states(model, dataset.validation).input_token, dataset.validation


def test_tsne_beats_scikit_learn(compare):
    points, _ = states()

    def ours() -> None:
        tsne(points, generator=torch.Generator().manual_seed(0), restarts=1)

    def theirs() -> None:
        for layer in points.numpy():
            TSNE(3, perplexity=10, init="pca", max_iter=2000).fit_transform(layer)

    ratios = compare(
        "t-SNE of 7 layers of 315 states", {"ours": ours, "scikit-learn": theirs}, units=7, unit="problems", rounds=2
    )

    assert ratios["scikit-learn"] > 1


def clusters(n: int) -> torch.Tensor:
    """As many points as wide as a language model's states, in clusters of 50."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(-(-n // 50), 576, generator=generator).repeat(50, 1)[:n]
    return centers + torch.randn(centers.shape, generator=generator)


def of_many(points: torch.Tensor, iterations: int) -> np.ndarray:
    """Our embedding of one problem with the settings for a language model's prompts: one start, perplexity 10."""
    found = tsne(points[None], generator=torch.Generator().manual_seed(0), iterations=iterations, restarts=1)
    return found.points[0, 0].numpy()


def test_tsne_of_many_points_beats_scikit_learns_barnes_hut(compare, benchmark):
    """One round, as scikit-learn's takes minutes; both divergences are exact, and from the same affinities."""
    points, embedded = clusters(8_000), {}
    of_many(points[: EXACT_POINTS + 1], iterations=1)  # compiles it

    def ours() -> None:
        embedded["ours"] = of_many(points, iterations=2_000)

    def theirs() -> None:
        found = TSNE(3, perplexity=10, init="pca", max_iter=2_000).fit_transform(points.numpy())
        embedded["scikit-learn, Barnes-Hut"] = found

    P = nearest_probabilities(points, 10)

    def divergence(case: str) -> float:
        rows = np.ascontiguousarray(embedded[case].T, dtype=np.float32)
        no_steps = Schedule(0, exaggerated=0, exaggeration=1, rate=1, dof_is_two=True)
        return neighbor_descent(P, rows, no_steps, torch.get_num_threads())

    ratios = compare(
        "t-SNE of 8,000 points, 576 wide, in 3 dimensions, 2,000 iterations",
        {"ours": ours, "scikit-learn, Barnes-Hut": theirs},
        units=1,
        unit="problems",
        rounds=1,
        warmed=(),
        divergence=divergence,
    )

    assert ratios["scikit-learn, Barnes-Hut"] > 3
    assert divergence("ours") <= divergence("scikit-learn, Barnes-Hut")
    assert benchmark.extra_info["megabytes"]["ours"] < 2_000


def test_tsne_grows_with_the_points(grow):
    """All pairs attract up to 3,000 points, on one thread per start; the exponent is of what comes after."""
    sizes = (300, 1_000, 4_000, 8_000, 16_000)
    cases = {n: partial(of_many, clusters(n), iterations=100) for n in sizes}

    seconds = grow(
        "t-SNE in 3 dimensions, 576 wide, 100 iterations",
        "points",
        cases,
        fitted=[n for n in sizes if n > EXACT_POINTS],
        rounds=2,
        warmed=(300, 4_000),
    )

    assert seconds[16_000] < 4**2.5 * seconds[4_000]


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
        rounds=2,
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
        rounds=2,
    )

    assert ratios["scikit-learn"] > 1
