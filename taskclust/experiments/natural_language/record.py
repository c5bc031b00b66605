"""The record of probing one language model: scores of its layers and of its negative controls."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from taskclust.config import SPACES, LanguageConfig
from taskclust.probes.scores import LayerScores
from taskclust.store.codec import Provenance

#: The version of the record's format. Version 1 had no schema and no name. Version 2 had one untrained model, of which
#: only some layers were read.
SCHEMA = 3
#: What a whole record's tables hold.
NAMES = {
    f"{part}.{table}": SPACES
    for part in ("model", "bag", "untrained.*")
    for table in ("scores", "best_layer", "interval", "resampled_f1")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the prompts were read, and how far the states differ from those of prompts read one by one."""

    way: str  # "instructions once", "prompts whole" or "one by one"
    prompts: int  # the number also read one by one
    largest_relative_difference: float  # of their states, relative to the layer's largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Facts about the model that was probed."""

    class_name: str
    model_type: str
    parameters: int
    layers: int
    width: int
    dtype: str
    layer_0: str = "embedding"  # or "first block" for models that give no earlier states


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a record's key depends on besides its configuration."""

    content: str  # a hash of the model's weights and settings
    device: str  # "cpu" or "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of one model."""

    config: LanguageConfig
    name: str  # the model's name in tables and tests
    model: LayerScores
    untrained: list[LayerScores]  # randomly initialised models of the same architecture
    bag: LayerScores  # counts of tokens
    prompts: int
    identities: dict[str, Int[np.ndarray, " point"]]  # "task", "distribution"
    names: dict[str, list[str]]  # the name of each number in ``identities``
    split_words: float  # fraction of input words that the tokenizer splits into several tokens
    reading: Reading
    architecture: Architecture
    seconds: dict[str, float]
    provenance: Provenance
    origin: Origin | None = None  # None for a model given by the caller, and in older records
    failure: str | None = None
    schema: int = SCHEMA


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON of today's format, from plain JSON of any earlier one."""
    if plain.get("schema", 0) >= SCHEMA:
        return plain
    now = {"name": "", **plain, "config": dict(plain["config"]), "schema": SCHEMA}
    if "schema" not in plain:
        architecture = dict(plain["architecture"])
        now["architecture"] = {"class_name": architecture.pop("class"), **architecture}
    nulls = now.pop("nulls")
    now["untrained"], now["bag"] = [nulls["twin"]], nulls["bag"]
    sharing = dict(now.pop("sharing"))
    now["reading"] = {"way": "instructions once" if sharing.pop("is_used") else "prompts whole", **sharing}
    now["config"].pop("twin_every", None)
    now["config"]["untrained"] = 1
    return now
