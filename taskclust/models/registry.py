"""The architectures by name, and functions to create a model, open a saved one, or count its parameters.

To add an architecture, write a file with its two classes (:mod:`taskclust.models.interface`) and add a line to
:data:`ARCHITECTURES`; ``--set model.architecture=name`` then trains and probes it.
"""

import json
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from taskclust.config import DataConfig, ModelConfig, require
from taskclust.models.decoder import Decoder
from taskclust.models.interface import MAKING, Model
from taskclust.models.outside import NAME, Outside

#: The values of :attr:`taskclust.config.ModelConfig.architecture`.
ARCHITECTURES: dict[str, type[Model]] = {"decoder": Decoder, NAME: Outside}


def architecture(name: str) -> type[Model]:
    """The class of an architecture.

    Raises:
        ConfigError: the name is unknown.
    """
    require(name in ARCHITECTURES, "architecture", name, f"use one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def create(data: DataConfig, model: ModelConfig, generator: torch.Generator) -> Model:
    """A new model for the vocabulary and lengths of ``data``, its weights drawn from ``generator``."""
    kind = architecture(model.architecture)
    with MAKING:
        return kind.create(data, model, generator)


def has_compiled_steps(model: Model, device: torch.device) -> bool:
    """Whether :mod:`taskclust.models.compiled` trains this model: a decoder on a CPU with no frozen weights."""
    return type(model) is Decoder and device.type == "cpu" and all(p.requires_grad for p in model.parameters())


def open_checkpoint(folder: Path | str) -> Model:
    """The model saved in a Hugging Face folder, of the architecture that its config.json names.

    Raises:
        ConfigError: there is no model, or its architecture is not one of ours.
    """
    folder = Path(folder)
    require((folder / "config.json").is_file(), "folder", str(folder), "it holds no model; give a checkpoint's folder")
    kinds = {kind.config_class.model_type: kind for kind in ARCHITECTURES.values()}
    found = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    require(found in kinds, "model_type", found, f"{folder} holds another model; use one of {', '.join(kinds)}")
    with MAKING:
        return kinds[found].from_pretrained(folder)


def count_parameters(data: DataConfig, model: ModelConfig) -> int:
    """The number of parameters of the model, without allocating it."""
    kind = architecture(model.architecture)
    with MAKING, torch.device("meta"):
        return kind(kind.config_class.of(data, model)).num_parameters()


for (
    _kind
) in ARCHITECTURES.values():  # so that transformers can open them by their folder, also as an aligned model's base
    AutoConfig.register(_kind.config_class.model_type, _kind.config_class)
    AutoModelForCausalLM.register(_kind.config_class, _kind)
