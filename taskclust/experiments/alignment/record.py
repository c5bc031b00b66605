"""The record of the alignment experiment (§4.2): accuracies of the base model and of each alignment method."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from taskclust.config import PRINTED_DROPS, AlignmentConfig
from taskclust.store.codec import Provenance, columns

#: The version of the record's format. Version 2 had histories of rows.
SCHEMA = 3
#: What a whole record's tables hold.
NAMES = {"methods": tuple(PRINTED_DROPS), "shuffled": ("linear", "mlp")}

History = dict[str, Float[np.ndarray, " epoch"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The fractions of unseen instances with the output that an aligned model should give."""

    source: float  # toxic instructions, for which healthy outputs are correct
    others: float  # instructions of all other tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """The results of one alignment method."""

    source: float
    others: float
    drop: float  # loss of accuracy on other tasks, compared with the base model
    fires: Accuracy | None = None  # how often a switch takes an instance of either for a source's
    history: History | None = None  # of fine-tuning: columns "source", "others", "loss"
    best_epoch: int | None = None  # of fine-tuning: the selected epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of one seed."""

    config: AlignmentConfig
    failure: str | None  # why a training failed
    base: Accuracy
    methods: dict[str, Method]  # "direct", "head", "linear", "mlp"
    shuffled: dict[str, Method]  # negative control: "linear", "mlp"; switch trained on shuffled labels
    base_history: History
    seconds: dict[str, float]
    provenance: Provenance
    schema: int = SCHEMA


def answers(record: Record) -> AlignmentConfig:
    """The configuration that the record belongs to."""
    return record.config


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of today's format, from plain JSON of any earlier one."""
    if plain.get("schema", 0) >= SCHEMA:
        return plain
    methods = {
        name: {**method, "history": columns(method["history"])} if "history" in method else method
        for name, method in plain["methods"].items()
    }
    return {**plain, "methods": methods, "base_history": columns(plain["base_history"]), "schema": SCHEMA}
