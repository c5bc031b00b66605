"""Every probe of one checkpoint, and of the bags of symbols beside it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from taskclust.config import SPLITS, ProbeConfig
from taskclust.data import PAD, Dataset, Split
from taskclust.experiments.synthetic.record import BagNeighbors, ByMapping, Merging, Probes
from taskclust.models import Model
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.codes import task_f1_without
from taskclust.probes.components import instance_identities, instruction_identities, variance_components
from taskclust.probes.hidden import HiddenStates, hidden_states
from taskclust.probes.kmeans import kmeans
from taskclust.probes.metrics import contingency, matched_f1_score, merging_score
from taskclust.probes.neighbors import neighborhood
from taskclust.probes.scores import ClusterScores, Neighbors

#: Sets of random places whose scores are averaged: one alone moves an F1 by .03 (standard deviation).
UNMERGED_DRAWS = 5


def probe_checkpoint(
    model: Model, dataset: Dataset, probe: ProbeConfig, *, with_tsne: bool = True, seed: int = 0
) -> Probes:
    """All probes of one model: cluster scores, without codes too, variance components, nearest neighbours.

    Args:
        model: the model; it is evaluated in float32.
        dataset: what to read.
        probe: the settings.
        with_tsne: cluster embeddings too.
        seed: of k-means and of t-SNE's restarts.
    """
    states: dict[str, HiddenStates] = {
        name: hidden_states(model, split, before_final_norm=probe.before_final_norm)
        for name, split in dataset.splits.items()
    }
    evaluated = {name: dataset.splits[name] for name in SPLITS}
    # k-means starts anew for the codes: "nothing" and the raw scores may differ by their starts
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
    unseen: Float[Tensor, "L Q D"], seen: Float[Tensor, "L N D"], dataset: Dataset, probe: ProbeConfig
) -> Neighbors:
    """KNN percentage and accuracy of features of the validation set among the training set's, [layer]."""

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
    )
    return Neighbors(**{name: values.double().cpu().numpy() for name, values in found._asdict().items()})


def bag_of_instructions(dataset: Dataset, split: str) -> torch.Tensor:
    """Counts of each symbol of each instruction, [I, V]: what it looks like without its order."""
    read = dataset.splits[split].instructions
    counts = np.zeros((len(read), dataset.config.vocab_size), dtype=np.float32)
    np.add.at(counts, (np.arange(len(read))[:, None], read), 1)
    counts[:, PAD] = 0  # padding is not read
    return torch.as_tensor(counts)


def bag_of_symbols(dataset: Dataset, split: str) -> torch.Tensor:
    """Counts of each symbol read, [N, V]: what an instance looks like without its order: a null."""
    inputs = torch.as_tensor(dataset.splits[split].inputs)
    counts = bag_of_instructions(dataset, split).repeat_interleave(inputs.shape[1], dim=0)
    counts[torch.arange(len(counts)), inputs.flatten()] += 1
    return counts


def bag_scores(dataset: Dataset, split: str, probe: ProbeConfig) -> ClusterScores:
    """Cluster scores of the bags of symbols, as the states' are, of one layer."""
    bag = bag_of_symbols(dataset, split)[None]
    scores = cluster_scores(bag, dataset.splits[split], probe, with_tsne=True, seed=0)
    return replace(scores, divergence=None, top_embedding=None)


def bag_neighbors(dataset: Dataset, probe: ProbeConfig) -> BagNeighbors:
    """KNN percentage and accuracy of the bags of symbols, fractions."""
    unseen, seen = (bag_of_symbols(dataset, split)[None] for split in ("validation", "train"))
    near = _neighbors(unseen, seen, dataset, probe)
    return BagNeighbors(percentage=near.percentage.item(), accuracy=near.accuracy.item())


def merging(scores: Mapping[str, ClusterScores], bags: Mapping[str, ClusterScores]) -> Merging:
    """How far distributions share clusters of unseen instructions, of the top layer and of the bags.

    Args:
        scores: by split, with an epoch axis.
        bags: by split, without.
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
    """Whether clusters, as many as there are mappings, are mappings whatever the distribution.

    No two tasks share a mapping: it is one of a task, and it is an input and an output. States that are codes of input
    and output alone would score 1, so these clusters need tell no tasks.

    Args:
        scores: by split, with an epoch axis.
        bags: by split, without.
        dataset: what was read.
        probe: the settings.
        seed: of the random places.

    Returns:
        By split, "f1", matched, and "merging" of a mapping's distributions: means over the starts of t-SNE.
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
    """k-means of each set of points, as many clusters as there are labels, [B, N]."""
    n_classes = len(np.unique(labels))
    return kmeans(points, n_classes, generator=generator, restarts=probe.kmeans_restarts).labels.cpu().numpy()


def unmerged(split: Split, probe: ProbeConfig, generator: torch.Generator) -> dict[str, float]:
    """The same two scores of random places, one for each distribution's each mapping: a negative control.

    All places are told apart and none is nearer to its task's: what clusters are worth that join places by chance.
    """
    places = np.unique(split.labels("distribution_mapping"), return_inverse=True)[1]
    drawn = torch.randn(UNMERGED_DRAWS, int(places.max()) + 1, 64, generator=generator)[:, places]
    rows = _mapping_scores(clusters_as(split.labels("mapping"), drawn, probe, generator), split)
    return {score: float(np.mean([row[score] for row in rows])) for score in ("f1", "merging")}


def _mapping_scores(found: np.ndarray, split: Split) -> list[dict[str, float]]:
    """Matched F1 by mapping and merging of a mapping's distributions, of each clustering."""
    mappings, places = (split.labels(name) for name in ("mapping", "distribution_mapping"))
    return [
        {
            "f1": matched_f1_score(contingency(mappings, clusters)),
            "merging": merging_score(mappings, places, clusters),
        }
        for clusters in found
    ]
