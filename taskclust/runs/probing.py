"""Every probe of one checkpoint, and what a record's data alone say of it: the part between runs and probes."""

from typing import Any

import numpy as np
import torch

from taskclust.config import SPLITS, ProbeConfig
from taskclust.data import PAD, Dataset, Split
from taskclust.models import Decoder
from taskclust.probes.clusters import cluster_scores
from taskclust.probes.codes import task_f1_without
from taskclust.probes.components import instance_identities, instruction_identities, variance_components
from taskclust.probes.hidden import HiddenStates, hidden_states
from taskclust.probes.kmeans import kmeans
from taskclust.probes.metrics import contingency, matched_f1_score, merging_score
from taskclust.probes.neighbors import Neighborhood, neighborhood
from taskclust.probes.tsne import tsne

#: Sets of random places whose scores are averaged: one alone moves an F1 by .03 (standard deviation).
UNMERGED_DRAWS = 5

Record = dict[str, Any]


def probe_checkpoint(
    model: Decoder, dataset: Dataset, probe: ProbeConfig, *, with_tsne: bool = True, seed: int = 0
) -> Record:
    """All probes of one model: cluster scores, without codes too, variance components, nearest neighbours.

    Args:
        model: the model; it is evaluated in float32.
        dataset: what to read.
        probe: the settings.
        with_tsne: cluster embeddings too.
        seed: of k-means and of t-SNE's restarts.
    """
    states = {
        name: hidden_states(model, split, before_final_norm=probe.before_final_norm)
        for name, split in dataset.splits.items()
    }
    row: Record = {"scores": {}, "components": {}, "instruction_end_components": {}}
    for name in SPLITS:
        split = dataset.splits[name]
        seen: HiddenStates = states[name]
        row["scores"][name] = cluster_scores(seen.input_token, split, probe, with_tsne=with_tsne, seed=seed)
        row["components"][name] = variance_components(seen.input_token, instance_identities(split))
        row["instruction_end_components"][name] = variance_components(
            seen.instruction_end, instruction_identities(split)
        )

    # k-means starts anew here: "nothing" and the raw scores above may differ by their starts
    top = {name: seen.input_token[-1] for name, seen in states.items()}
    row["f1_without"] = task_f1_without(top, dataset, restarts=probe.kmeans_restarts, seed=seed)

    near = _neighbors(states["validation"].input_token, states["train"].input_token, dataset, probe)
    row["knn"] = {"percentage": near.percentage.tolist(), "accuracy": near.accuracy.tolist()}
    return row


def _neighbors(unseen: torch.Tensor, seen: torch.Tensor, dataset: Dataset, probe: ProbeConfig) -> Neighborhood:
    """KNN percentage and accuracy of features of the validation set, [L, Q, D], among the training set's."""

    def ids(split: Split, name: str) -> torch.Tensor:
        return torch.as_tensor(split.labels(name), device=unseen.device)

    return neighborhood(
        unseen,
        seen,
        query_tasks=ids(dataset.validation, "task"),
        query_outputs=ids(dataset.validation, "output"),
        reference_tasks=ids(dataset.train, "task"),
        reference_outputs=ids(dataset.train, "output"),
        k=probe.neighbors,
    )


def bag_of_instructions(dataset: Dataset, split: str) -> torch.Tensor:
    """Counts of each symbol of each instruction, [R, V]: what it looks like without its order."""
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


def embedded_bag(dataset: Dataset, split: str, probe: ProbeConfig, generator: torch.Generator) -> torch.Tensor:
    """The t-SNE of the bags of symbols as records of version 5 have the states', of lowest divergence, [1, N, C]."""
    return tsne(bag_of_symbols(dataset, split)[None], generator=generator, **probe.tsne_settings()).best()


def bag_scores(dataset: Dataset, split: str, probe: ProbeConfig) -> Record:
    """Cluster scores of the bags of symbols, raw, after t-SNE, of each start and by mapping, as the states' are."""
    bag = bag_of_symbols(dataset, split)[None]
    scores = cluster_scores(bag, dataset.splits[split], probe, with_tsne=True, seed=0)
    return {part: scores[part] for part in ("raw", "tsne", "starts", "mapping")}


def bag_neighbors(dataset: Dataset, probe: ProbeConfig) -> Record:
    """KNN percentage and accuracy of the bags of symbols, fractions."""
    unseen, seen = (bag_of_symbols(dataset, split)[None] for split in ("validation", "train"))
    near = _neighbors(unseen, seen, dataset, probe)
    return {"percentage": near.percentage.item(), "accuracy": near.accuracy.item()}


def beside_bags(record: Record, dataset: Dataset, probe: ProbeConfig, *, seed: int = 0) -> Record:
    """How far distributions share clusters, of the states and of bags of symbols: means over the starts of t-SNE.

    Args:
        record: with ``scores`` by checkpoint, and ``bag_of_symbols`` as :func:`bag_scores` gives it.
        dataset: what was read.
        probe: the settings.
        seed: of the places of "unmerged".

    Returns:
        ``bag_knn``: KNN percentage and accuracy of bags; ``merging``: by checkpoint with t-SNE, "states" of the top
        layer, and the "bag"'s one number, of unseen instructions; NaN where every task has one distribution;
        ``by_mapping``: by split the same, and matched F1, of clusters as many as mappings: :func:`by_mapping`.
    """
    generator = torch.Generator().manual_seed(seed)
    states, bags = record["scores"], record["bag_of_symbols"]
    by_mapping: Record = {}
    for split in SPLITS:
        chance = unmerged(dataset.splits[split], probe, generator)
        by_mapping[split] = {
            score: {
                "states": np.mean(states[split]["mapping"][score], axis=1).tolist(),
                "bag": float(np.mean(bags[split]["mapping"][score])),
                "unmerged": chance[score],
            }
            for score in ("f1", "merging")
        }
    merging = {
        "states": [layers[-1] for layers in states["validation"]["tsne"]["task"]["merging"]],
        "bag": bags["validation"]["tsne"]["task"]["merging"][0],
    }
    return {"bag_knn": bag_neighbors(dataset, probe), "merging": merging, "by_mapping": by_mapping}


def measures_from_data(record: Record, dataset: Dataset, probe: ProbeConfig, *, seed: int = 0) -> Record:
    """:func:`beside_bags` for a record of version 5 that lacks it, from the one embedding it has per checkpoint."""
    generator = torch.Generator().manual_seed(seed)

    def with_bag(split: str) -> torch.Tensor:
        states = torch.tensor(record["scores"][split]["top_embedding"])
        return torch.cat([states, embedded_bag(dataset, split, probe, generator)])

    tasks, distributions = (dataset.validation.labels(name) for name in ("task", "distribution"))
    validation = with_bag("validation")
    found = clusters_as(tasks, validation, probe, generator)
    *states, of_bag = [merging_score(tasks, distributions, clusters) for clusters in found]
    return {
        "bag_knn": bag_neighbors(dataset, probe),
        "merging": {"states": states, "bag": of_bag},
        "by_mapping": {
            "validation": by_mapping(validation, dataset.validation, probe, generator),
            "subset": by_mapping(with_bag("subset"), dataset.subset, probe, generator),
        },
    }


def clusters_as(labels: np.ndarray, points: torch.Tensor, probe: ProbeConfig, generator: torch.Generator) -> np.ndarray:
    """k-means of each set of points, as many clusters as there are labels, [B, N]."""
    n_classes = len(np.unique(labels))
    return kmeans(points, n_classes, generator=generator, restarts=probe.kmeans_restarts).labels.cpu().numpy()


def by_mapping(points: torch.Tensor, split: Split, probe: ProbeConfig, generator: torch.Generator) -> Record:
    """Whether clusters, as many as there are mappings, are mappings whatever the distribution.

    No two tasks share a mapping: it is one of a task, and it is an input and an output. ``points`` are the states'
    embeddings by checkpoint, and last the bag's. States that are codes of input and output alone would score 1, so
    these clusters need tell no tasks.

    Returns:
        "f1", matched, and "merging" of a mapping's distributions, each with "states" by checkpoint, "bag" and what
        :func:`unmerged` places have.
    """
    *states, bag = _mapping_scores(clusters_as(split.labels("mapping"), points, probe, generator), split)
    chance = unmerged(split, probe, generator)
    return {
        score: {"states": [row[score] for row in states], "bag": bag[score], "unmerged": chance[score]}
        for score in ("f1", "merging")
    }


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
