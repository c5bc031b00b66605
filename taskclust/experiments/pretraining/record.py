"""The record of the pre-training experiment (§4.1): how each arm learned, and clusters in identity pre-training."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from taskclust.config import ARMS, SPLITS, PretrainingConfig, ProbeConfig
from taskclust.probes.scores import ClusterScores, Epochs
from taskclust.store.codec import Provenance, columns

#: The version of the record's format. Version 3 had histories of rows. Version 2 had one embedding per checkpoint.
SCHEMA = 4
#: What a whole record's tables hold.
NAMES = {
    "tuning": ARMS,
    "tuning.*.history": ("validation_accuracy",),
    "scores": SPLITS,
    "scores.*.raw": ("task",),
    "scores.*.tsne": ("task",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The history of one training, and its best epoch."""

    history: dict[str, Float[np.ndarray, " epoch"]]  # by column; the first row is before training, its loss NaN
    best_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of one seed; stages are by arm (:data:`taskclust.config.ARMS`), scores by split."""

    config: PretrainingConfig
    failure: str | None  # why a training failed
    pretraining: dict[str, Stage]  # the arm "none" has none
    tuning: dict[str, Stage]
    epochs: Epochs
    scores: dict[str, ClusterScores]  # clusters of the trigger's states
    seconds: dict[str, float]
    provenance: Provenance
    schema: int = SCHEMA


def answers(record: Record) -> PretrainingConfig:
    """The configuration that the record belongs to.

    A record from before starts were counted belongs to the configuration with the default numbers of starts.
    """
    if record.scores["validation"].starts:
        return record.config
    default = ProbeConfig()
    probe = replace(record.config.probe, tsne_restarts=default.tsne_restarts, kmeans_restarts=default.kmeans_restarts)
    return replace(record.config, probe=probe)


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of today's format, from plain JSON of any earlier one."""
    if plain.get("schema", 0) >= SCHEMA:
        return plain
    stages = {
        name: {arm: {**stage, "history": columns(stage["history"])} for arm, stage in plain[name].items()}
        for name in ("pretraining", "tuning")
    }
    return {**plain, **stages, "schema": SCHEMA}
