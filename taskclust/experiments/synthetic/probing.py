"""All probes of one checkpoint, and the same probes of the bag-of-symbols baseline."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from taskclust.config import SPLITS, ProbeConfig, require
from taskclust.data import PAD, Dataset, Split
from taskclust.experiments.synthetic.record import BagNeighbors, ByMapping, Merging, Probes
from taskclust.models import Model
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.codes import task_f1_without
from taskclust.probes.components import instance_identities, instruction_identities, variance_components
from taskclust.probes.hidden import HiddenStates, hidden_states
from taskclust.probes.kmeans import kmeans
from taskclust.probes.metrics import contingency, matched_f1_score, merging_score
from taskclust.probes.neighbors import nearest, nearest_counts, neighborhood
from taskclust.probes.scores import ClusterScores, Neighbors

#: The number of random sets of points whose scores are averaged. The F1 of a single set has a standard deviation of
#: 0.03.
UNMERGED_DRAWS = 5


def probe_checkpoint(
    model: Model, dataset: Dataset, probe: ProbeConfig, *, with_tsne: bool = True, seed: int = 0
) -> Probes:
    """The results of all probes of one model.

    They are cluster scores, F1 by task with class means ablated, variance components and nearest neighbours.

    Args:
        model: the model; it is evaluated in float32.
        dataset: the data set that the model reads.
        probe: the settings.
        with_tsne: whether to cluster t-SNE embeddings too.
        seed: the seed of k-means and of t-SNE's restarts.

    Raises:
        ConfigError: the model is not one of ours, or has fewer tokens than the data set.
    """
    fix = "give a model of taskclust: of create, or opened with open_checkpoint"
    require(isinstance(model, Model), "model", type(model).__name__, fix)
    n_tokens, known = dataset.config.vocab_size, model.config.vocab_size
    require(n_tokens <= known, "dataset", n_tokens, f"it has more tokens than the model, {known}")
    states: dict[str, HiddenStates] = {
        name: hidden_states(model, split, before_final_norm=probe.before_final_norm)
        for name, split in dataset.splits.items()
    }
    evaluated = {name: dataset.splits[name] for name in SPLITS}
    # k-means starts again for this: with nothing ablated, F1 may differ from the raw score by the choice of starts
    top = {name: seen.input_token[-1] for name, seen in states.items()}
    without = task_f1_without(top, dataset, restarts=probe.kmeans_restarts, seed=seed)
    return Probes(
        scores={
            name: cluster_scores(states[name].input_token, split, probe, with_tsne=with_tsne, seed=seed)
            for name, split in evaluated.items()
        },
        components={
            name: variance_components(states[name].input_token, instance_identities(split))
            for name, split in evaluated.items()
        },
        instruction_end_components={
            name: variance_components(states[name].instruction_end, instruction_identities(split))
            for name, split in evaluated.items()
        },
        f1_without={name: {what: np.array(f1) for what, f1 in part.items()} for name, part in without.items()},
        knn=_neighbors(states["validation"].input_token, states["train"].input_token, dataset, probe),
    )


def _neighbors(
    unseen: Float[Tensor, "L Q D"],
    seen: Float[Tensor, "L N D"],
    dataset: Dataset,
    probe: ProbeConfig,
    find: Callable[[Tensor, Tensor, int], Tensor] = nearest,
) -> Neighbors:
    """KNN percentage and accuracy, [layer], of the validation set's features among the training set's."""

    def ids(split: Split, name: str) -> torch.Tensor:
        return torch.as_tensor(split.labels(name), device=unseen.device)

    found = neighborhood(
        unseen,
        seen,
        query_tasks=ids(dataset.validation, "task"),
        query_outputs=ids(dataset.validation, "output"),
        reference_tasks=ids(dataset.train, "task"),
        reference_outputs=ids(dataset.train, "output"),
        k=probe.neighbors,
        find=find,
    )
    return Neighbors(**{name: values.double().cpu().numpy() for name, values in found._asdict().items()})


def bag_of_instructions(dataset: Dataset, split: str) -> torch.Tensor:
    """The counts of each symbol in each instruction, [I, V]; the order of symbols is lost."""
    read = dataset.splits[split].instructions
    counts = np.zeros((len(read), dataset.config.vocab_size), dtype=np.float32)
    np.add.at(counts, (np.arange(len(read))[:, None], read), 1)
    counts[:, PAD] = 0  # padding is not counted
    return torch.as_tensor(counts)


def bag_of_symbols(dataset: Dataset, split: str) -> torch.Tensor:
    """The bag-of-symbols baseline's features: counts of each symbol in each instance, [N, V], input token included.

    They are a negative control, as they know neither the order of symbols nor a model.
    """
    inputs = torch.as_tensor(dataset.splits[split].inputs)
    counts = bag_of_instructions(dataset, split).repeat_interleave(inputs.shape[1], dim=0)
    counts[torch.arange(len(counts)), inputs.flatten()] += 1
    return counts


def bag_scores(dataset: Dataset, split: str, probe: ProbeConfig) -> ClusterScores:
    """The cluster scores of the bag-of-symbols baseline, computed like those of states, as one layer."""
    bag = bag_of_symbols(dataset, split)[None]
    scores = cluster_scores(bag, dataset.splits[split], probe, with_tsne=True, seed=0)
    return replace(scores, divergence=None, top_embedding=None, layer_embeddings=None)


def bag_neighbors(dataset: Dataset, probe: ProbeConfig) -> BagNeighbors:
    """KNN percentage and accuracy of the bag-of-symbols baseline, as fractions."""
    unseen, seen = (bag_of_symbols(dataset, split)[None] for split in ("validation", "train"))
    near = _neighbors(unseen, seen, dataset, probe, nearest_counts)
    return BagNeighbors(percentage=near.percentage.item(), accuracy=near.accuracy.item())


def merging_beside_bags(scores: Mapping[str, ClusterScores], bags: Mapping[str, ClusterScores]) -> Merging:
    """How far a task's distributions share clusters on unseen instructions, for the top layer and for the baseline.

    Args:
        scores: the states' scores by split, with an epoch axis.
        bags: the bag-of-symbols baseline's scores by split, without an epoch axis.
    """
    states = scores["validation"].tsne["task"]["merging"][:, -1]
    return Merging(states=states, bag=np.array(bags["validation"].tsne["task"]["merging"][0]))


def by_mapping(
    scores: Mapping[str, ClusterScores],
    bags: Mapping[str, ClusterScores],
    dataset: Dataset,
    probe: ProbeConfig,
    *,
    seed: int,
) -> dict[str, dict[str, ByMapping]]:
    """Scores that say whether clusters, one per mapping, group instances by mapping whatever their distribution.

    A mapping is an input with its output in one task, and no two tasks share a mapping. States that encode only input
    and output would score 1, so these clusters need not distinguish tasks.

    Args:
        scores: the states' scores by split, with an epoch axis.
        bags: the bag-of-symbols baseline's scores by split, without an epoch axis.
        dataset: the data set that was read.
        probe: the settings.
        seed: the seed of the random points.

    Returns:
        By split, the matched "f1" and the "merging" of a mapping's distributions: means over the starts of t-SNE.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for split in SPLITS:
        chance = unmerged(dataset.splits[split], probe, generator)
        found[split] = {
            score: ByMapping(
                states=scores[split].mapping[score].mean(axis=1),
                bag=np.array(bags[split].mapping[score].mean()),
                unmerged=np.array(chance[score]),
            )
            for score in ("f1", "merging")
        }
    return found


def clusters_as(labels: np.ndarray, points: torch.Tensor, probe: ProbeConfig, generator: torch.Generator) -> np.ndarray:
    """The k-means clusters of each set of points, [B, N], with as many clusters as there are distinct labels."""
    n_classes = len(np.unique(labels))
    return kmeans(points, n_classes, generator=generator, restarts=probe.kmeans_restarts).labels.cpu().numpy()


def unmerged(split: Split, probe: ProbeConfig, generator: torch.Generator) -> dict[str, float]:
    """A negative control: "f1" and "merging" of random points, one point per pair of distribution and mapping.

    All pairs are distinct and none lies closer to others of its task, so these are the scores of clusters that join
    pairs only by chance.
    """
    places = np.unique(split.labels("distribution_mapping"), return_inverse=True)[1]
    drawn = torch.randn(UNMERGED_DRAWS, int(places.max()) + 1, 64, generator=generator)[:, places]
    rows = _mapping_scores(clusters_as(split.labels("mapping"), drawn, probe, generator), split)
    return {score: float(np.mean([row[score] for row in rows])) for score in ("f1", "merging")}


def _mapping_scores(found: np.ndarray, split: Split) -> list[dict[str, float]]:
    """For each clustering, the matched F1 by mapping and the merging of a mapping's distributions."""
    mappings, places = (split.labels(name) for name in ("mapping", "distribution_mapping"))
    return [
        {
            "f1": matched_f1_score(contingency(mappings, clusters)),
            "merging": merging_score(mappings, places, clusters),
        }
        for clusters in found
    ]
