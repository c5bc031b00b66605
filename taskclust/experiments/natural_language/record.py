"""What probing one language model leaves: scores of its layers and of its baselines."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from taskclust.config import LanguageConfig
from taskclust.probes.scores import LayerScores
from taskclust.store.codec import Provenance

#: The form of the record. 1 had no schema and no name.
SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How far reading an instruction once for all its prompts moves the states."""

    prompts: int
    largest_relative_difference: float
    is_used: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What was probed."""

    class_name: str
    model_type: str
    parameters: int
    layers: int
    width: int
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One model."""

    config: LanguageConfig
    name: str  # how tables and tests call it
    model: LayerScores
    nulls: dict[str, LayerScores]  # "twin", randomly initialised, and "bag" of tokens
    prompts: int
    identities: dict[str, Int[np.ndarray, " point"]]  # "task", "distribution"
    names: dict[str, list[str]]  # of the identities' numbers
    split_words: float  # fraction of input words that the tokenizer splits
    sharing: Sharing
    architecture: Architecture
    seconds: dict[str, float]
    provenance: Provenance
    failure: str | None = None
    schema: int = SCHEMA


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of any form as that of today's."""
    if plain.get("schema", 0) >= SCHEMA:
        return plain
    architecture = dict(plain["architecture"])
    architecture["class_name"] = architecture.pop("class")
    return {"name": "", **plain, "architecture": architecture, "schema": SCHEMA}
