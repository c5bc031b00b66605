"""What §4.2's experiment leaves: accuracies of the base model and of each way to align it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from taskclust.config import AlignmentConfig
from taskclust.store.codec import Provenance, columns

#: The form of the record. 2 had histories of rows.
SCHEMA = 3

History = dict[str, Float[np.ndarray, " epoch"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Fractions of unseen instances answered as they should be once the model is aligned."""

    source: float  # toxic instructions, with the healthy outputs
    others: float  # instructions of all other tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to align the base model."""

    source: float
    others: float
    drop: float  # how much of the base model's accuracy on others was lost
    fires: Accuracy | None = None  # how often a switch takes either for a source's
    history: History | None = None  # of a fine-tuning: columns "source", "others", "loss"
    best_epoch: int | None = None  # of a fine-tuning: the one selected


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One seed."""

    config: AlignmentConfig
    failure: str | None  # why a training failed
    base: Accuracy
    methods: dict[str, Method]  # "direct", "head", "linear", "mlp"
    shuffled: dict[str, Method]  # "linear" and "mlp" with a switch trained on shuffled labels
    base_history: History
    seconds: dict[str, float]
    provenance: Provenance
    schema: int = SCHEMA


def answers(record: Record) -> AlignmentConfig:
    """The configuration that the record answers for."""
    return record.config


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of any form as that of today's."""
    if plain.get("schema", 0) >= SCHEMA:
        return plain
    methods = {
        name: {**method, "history": columns(method["history"])} if "history" in method else method
        for name, method in plain["methods"].items()
    }
    return {**plain, "methods": methods, "base_history": columns(plain["base_history"]), "schema": SCHEMA}
