"""What the main experiment leaves: how it learned, and every probe of every checkpoint.

Axes are those of :mod:`taskclust.probes.scores`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from taskclust.config import ExperimentConfig, ProbeConfig
from taskclust.probes.scores import ClusterScores, Epochs, Neighbors, Number, PerCheckpoint, PerLayer
from taskclust.store.codec import Provenance, RecordError, columns

#: The form of the record. 6 had a history of rows; 5 had one embedding a checkpoint, of lowest divergence among three.
SCHEMA = 7

PerEpoch = Float[np.ndarray, " epoch"]
#: By identity.
Components = dict[str, PerLayer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """Of each instance of a split."""

    task: Int[np.ndarray, " point"]
    is_hard: Bool[np.ndarray, " point"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """How far clusters join a task's distributions, on unseen instructions after t-SNE; NaN where a task has one."""

    states: PerEpoch  # of the top layer
    bag: Number  # of the bags of symbols


@dataclass(frozen=True, slots=True, kw_only=True)
class ByMapping:
    """One score of clusters as many as mappings, after t-SNE."""

    states: PerEpoch  # of the top layer
    bag: Number  # of the bags of symbols
    unmerged: Number  # of random places, one for each distribution's each mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class BagNeighbors:
    """The same as the states' :class:`taskclust.probes.scores.Neighbors`, of the nearest bags of symbols."""

    percentage: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """Every probe of one checkpoint, or of all with an epoch axis. By split, "validation" or "subset", but ``knn``."""

    scores: dict[str, ClusterScores]
    components: dict[str, Components]  # shares of the input token's variance, by identity
    instruction_end_components: dict[str, Components]  # the same of the last instruction token's
    f1_without: dict[str, dict[str, PerCheckpoint]] | None = None  # by the codes taken out; None where not measured
    knn: Neighbors


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Probes):
    """One seed. Dictionaries are by split unless they say otherwise."""

    config: ExperimentConfig
    failure: str | None  # why the training failed
    best_epoch: int
    history: dict[str, PerEpoch]  # by column; the first row is before training, its loss NaN
    epochs: Epochs
    bag_of_symbols: dict[str, ClusterScores]  # without an epoch axis, of one "layer"
    bag_knn: BagNeighbors
    merging: Merging
    by_mapping: dict[str, dict[str, ByMapping]]  # then by "f1" and "merging"
    identities: dict[str, Identities]
    seconds: dict[str, float]
    provenance: Provenance
    training_provenance: Provenance | None = None
    schema: int = SCHEMA


def answers(record: Record) -> ExperimentConfig:
    """The configuration that the record answers for: the default starts, where it was made before they were counted."""
    if record.scores["validation"].starts:
        return record.config
    default = ProbeConfig()
    probe = replace(record.config.probe, tsne_restarts=default.tsne_restarts, kmeans_restarts=default.kmeans_restarts)
    return replace(record.config, probe=probe)


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of any form as that of today's.

    Raises:
        RecordError: it lacks what was measured later.
    """
    if plain.get("schema", 0) >= SCHEMA:
        return plain
    if "by_mapping" not in plain:
        raise RecordError("by_mapping is missing: a record from before it was measured; probe its checkpoints again")
    return {**plain, "history": columns(plain["history"]), "schema": SCHEMA}
