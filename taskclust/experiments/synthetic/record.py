"""The record of the main experiment: how the model learned, and all probes of every checkpoint.

The axes are those of :mod:`taskclust.probes.scores`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from taskclust.config import LABELS, SPLITS, ExperimentConfig, ProbeConfig
from taskclust.probes.scores import ClusterScores, Epochs, Neighbors, Number, PerCheckpoint, PerLayer
from taskclust.store.codec import Provenance, RecordError, columns

#: The version of the record's format. Version 6 had a history of rows. Version 5 had one embedding per checkpoint, the
#: one of lowest divergence among three.
SCHEMA = 7
#: What a whole record's tables hold.
NAMES = {
    "history": ("loss", "validation_accuracy", "subset_accuracy"),
    "scores": SPLITS,
    "scores.*.raw": LABELS,
    "scores.*.tsne": LABELS,
    "bag_of_symbols": SPLITS,
    "bag_of_symbols.*.raw": LABELS,
    "bag_of_symbols.*.tsne": LABELS,
}

PerEpoch = Float[np.ndarray, " epoch"]
#: Shares of variance, by identity.
Components = dict[str, PerLayer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """The task of each instance of a split, and whether it is a hard example."""

    task: Int[np.ndarray, " point"]
    is_hard: Bool[np.ndarray, " point"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """How far clusters join a task's distributions, on unseen instructions after t-SNE.

    NaN if every task has only one distribution.
    """

    states: PerEpoch  # the top layer
    bag: Number  # the bag-of-symbols baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class ByMapping:
    """One score of clusters after t-SNE, with one cluster per mapping."""

    states: PerEpoch  # the top layer
    bag: Number  # the bag-of-symbols baseline
    unmerged: Number  # random points, one per pair of distribution and mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class BagNeighbors:
    """KNN percentage and accuracy of the bag-of-symbols baseline; see :class:`taskclust.probes.scores.Neighbors`."""

    percentage: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """The results of all probes of one checkpoint, or of several checkpoints with an epoch axis.

    All fields but ``knn`` are by split, "validation" or "subset" (the training subset).
    """

    scores: dict[str, ClusterScores]
    components: dict[str, Components]  # shares of the input token's variance, by identity
    instruction_end_components: dict[str, Components]  # the same for the last instruction token
    f1_without: dict[str, dict[str, PerCheckpoint]] | None = None  # by ablated class means; None if not measured
    knn: Neighbors


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Probes):
    """The record of one seed; dictionaries are by split unless their comment says otherwise."""

    config: ExperimentConfig
    failure: str | None  # why the training failed
    best_epoch: int
    history: dict[str, PerEpoch]  # by column; the first row is before training, its loss NaN
    epochs: Epochs
    bag_of_symbols: dict[str, ClusterScores]  # without an epoch axis, with one "layer"
    bag_knn: BagNeighbors
    merging: Merging
    by_mapping: dict[str, dict[str, ByMapping]]  # then by "f1" and "merging"
    identities: dict[str, Identities]
    #: each layer's embedding at the last checkpoint; None in records from before it was kept
    layers_at_end: dict[str, Float[np.ndarray, "layer point component"]] | None = None
    seconds: dict[str, float]
    provenance: Provenance
    training_provenance: Provenance | None = None
    schema: int = SCHEMA


def answers(record: Record) -> ExperimentConfig:
    """The configuration that the record belongs to.

    A record from before starts were counted belongs to the configuration with the default numbers of starts.
    """
    if record.scores["validation"].starts:
        return record.config
    default = ProbeConfig()
    probe = replace(record.config.probe, tsne_restarts=default.tsne_restarts, kmeans_restarts=default.kmeans_restarts)
    return replace(record.config, probe=probe)


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of today's format, from plain JSON of an earlier one.

    Raises:
        RecordError: the record is so old that it lacks scores by mapping, which were measured later.
    """
    if plain.get("schema", 0) >= SCHEMA:
        return plain
    if "by_mapping" not in plain:
        raise RecordError("by_mapping is missing: a record from before it was measured; probe its checkpoints again")
    return {**plain, "history": columns(plain["history"]), "schema": SCHEMA}
