"""The record of probing one language model: scores of its layers and of its negative controls."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from taskclust.config import LanguageConfig
from taskclust.probes.scores import LayerScores
from taskclust.store.codec import Provenance

#: The version of the record's format. Version 1 had no schema and no name.
SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How much the states change if an instruction is read only once for all its prompts."""

    prompts: int
    largest_relative_difference: float
    is_used: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Facts about the model that was probed."""

    class_name: str
    model_type: str
    parameters: int
    layers: int
    width: int
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of one model."""

    config: LanguageConfig
    name: str  # the model's name in tables and tests
    model: LayerScores
    nulls: dict[str, LayerScores]  # "twin": the random-init baseline; "bag": counts of tokens
    prompts: int
    identities: dict[str, Int[np.ndarray, " point"]]  # "task", "distribution"
    names: dict[str, list[str]]  # the name of each number in ``identities``
    split_words: float  # fraction of input words that the tokenizer splits into several tokens
    sharing: Sharing
    architecture: Architecture
    seconds: dict[str, float]
    provenance: Provenance
    failure: str | None = None
    schema: int = SCHEMA


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of today's format, from plain JSON of any earlier one."""
    if plain.get("schema", 0) >= SCHEMA:
        return plain
    architecture = dict(plain["architecture"])
    architecture["class_name"] = architecture.pop("class")
    return {"name": "", **plain, "architecture": architecture, "schema": SCHEMA}
