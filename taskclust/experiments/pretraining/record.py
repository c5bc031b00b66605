"""What §4.1's experiment leaves: how each arm learned, and clusters during identity pre-training."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from taskclust.config import PretrainingConfig, ProbeConfig
from taskclust.probes.scores import ClusterScores, Epochs
from taskclust.store.codec import Provenance, columns

#: The form of the record. 3 had histories of rows; 2 had one embedding a checkpoint.
SCHEMA = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How one training went."""

    history: dict[str, Float[np.ndarray, " epoch"]]  # by column; the first row is before training, its loss NaN
    best_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One seed; stages are by arm of :data:`taskclust.config.ARMS`, scores by split."""

    config: PretrainingConfig
    failure: str | None  # why a training failed
    pretraining: dict[str, Stage]  # the arm "none" has none
    tuning: dict[str, Stage]
    epochs: Epochs
    scores: dict[str, ClusterScores]  # of the trigger's states
    seconds: dict[str, float]
    provenance: Provenance
    schema: int = SCHEMA


def answers(record: Record) -> PretrainingConfig:
    """The configuration that the record answers for: the default starts, where it was made before they were counted."""
    if record.scores["validation"].starts:
        return record.config
    default = ProbeConfig()
    probe = replace(record.config.probe, tsne_restarts=default.tsne_restarts, kmeans_restarts=default.kmeans_restarts)
    return replace(record.config, probe=probe)


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of any form as that of today's."""
    if plain.get("schema", 0) >= SCHEMA:
        return plain
    stages = {
        name: {arm: {**stage, "history": columns(stage["history"])} for arm, stage in plain[name].items()}
        for name in ("pretraining", "tuning")
    }
    return {**plain, **stages, "schema": SCHEMA}
