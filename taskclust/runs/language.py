"""The natural-language setting on one model: its states, its nulls, and how they were read (§3.4)."""

import hashlib
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig

from taskclust.config import ConfigError, LanguageConfig
from taskclust.data.natural import Prompt, identities
from taskclust.models.language import (
    LanguageModel,
    bundled_gguf,
    convert_gguf,
    last_states,
    random_twin,
    split_words,
    tokenize,
)
from taskclust.probes.prompts import bag_of_tokens, prompt_scores
from taskclust.runs.store import Store

Record = dict[str, Any]
#: Relative to a layer's largest state, what two ways of reading may differ by.
ROUNDING = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}


def probe_prompts(
    language: LanguageModel, prompts: Sequence[Prompt], config: LanguageConfig, *, show_progress: bool = False
) -> Record:
    """Everything that is measured of one model on labelled prompts.

    Returns:
        ``model``: that of :func:`taskclust.probes.prompts.prompt_scores`; ``nulls``: the same of a randomly initialised
        "twin", every ``twin_every``-th layer, and of "bag"-of-tokens features; ``sharing``: how far reading
        instructions once moves the states; ``identities``, ``names``, ``split_words``, ``architecture``, ``seconds``.

    Raises:
        ConfigError: prompts of one task only; one longer than the model's context; states that cannot be right.
    """
    started = time.monotonic()
    labels = identities(prompts)
    instructions = [prompt.instruction for prompt in prompts]
    tokens = tokenize(language, [prompt.text for prompt in prompts])
    sharing = sharing_difference(language, tokens, instructions)
    groups = instructions if sharing["is_used"] else None
    twin = random_twin(language.model, config.seed)
    features: dict[str, Float[Tensor, "L1 N D"]] = {}
    seconds = {}
    for name, model in (("model", language.model), ("twin", twin)):
        begun = time.monotonic()
        features[name] = last_states(model, tokens, groups)
        seconds[f"read {name}"] = time.monotonic() - begun
    n_layers, width = len(features["model"]) - 1, features["model"].shape[-1]
    features["twin"] = features["twin"][:: config.twin_every]
    features["bag"] = bag_of_tokens(tokens)[None]
    found = {}
    for name, states in features.items():
        begun = time.monotonic()
        found[name] = prompt_scores(
            states,
            labels,
            instructions,
            config.probe,
            resamples=config.resamples,
            seed=config.seed,
            bar=f"probe {name}" if show_progress else None,
        )
        seconds[f"probe {name}"] = time.monotonic() - begun
    found["twin"]["layers"] = list(range(0, n_layers + 1, config.twin_every))
    for null in ("twin", "bag"):
        del found[null]["embedding"]
    return {
        "model": found.pop("model"),
        "nulls": found,
        "prompts": len(prompts),
        "identities": {name: labels[name].tolist() for name in ("task", "distribution")},
        "names": {
            "task": list(dict.fromkeys(p.task for p in prompts)),
            "distribution": list(dict.fromkeys(p.distribution for p in prompts)),
        },
        "split_words": split_words(language, sorted({p.input for p in prompts})),
        "sharing": sharing,
        "architecture": {
            "class": type(language.model).__name__,
            "model_type": language.model.config.model_type,
            "parameters": language.model.num_parameters(),
            "layers": n_layers,
            "width": width,
            "dtype": str(language.model.dtype).removeprefix("torch."),
        },
        "seconds": {**seconds, "all": time.monotonic() - started},
    }


def sharing_difference(
    language: LanguageModel, tokens: Sequence[Sequence[int]], instructions: Sequence[str], n_prompts: int = 64
) -> Record:
    """How far the first prompts' states move when instructions are shared, relative to their layer's largest.

    ``is_used`` is False, and a warning given, where that is more than rounding: such a model's past is of no use.
    """
    some, groups = tokens[:n_prompts], instructions[:n_prompts]
    plain, shared = last_states(language.model, some), last_states(language.model, some, groups)
    worst = float(((plain - shared).abs().amax(dim=(1, 2)) / plain.abs().amax(dim=(1, 2))).max())
    is_used = worst < ROUNDING[language.model.dtype]
    if not is_used:
        warnings.warn(f"states of shared instructions differ by {worst:.2g}: every prompt is read whole", stacklevel=2)
    return {"prompts": len(some), "largest_relative_difference": worst, "is_used": is_used}


def locate(source: str, store: Store) -> str:
    """What transformers can open: a folder's or hub id's name as it is; a GGUF file's weights converted once, and kept.

    Raises:
        ConfigError: the file cannot be read, or no model is named and none is installed.
    """
    path = Path(source) if source else bundled_gguf()
    if path.suffix != ".gguf":
        return source
    if not path.is_file():
        raise ConfigError(f"llm={source!r}: there is no such file")
    return str(store.obtain("weights", fingerprint(str(path)), lambda folder: convert_gguf(path, folder)))


def fingerprint(source: str) -> str:
    """Hash of a local model's weights and settings; a hub id's commit.

    Raises:
        ConfigError: it is neither here nor known to the hub's cache.
    """
    path = Path(source)
    files = sorted(p for p in path.iterdir() if p.suffix in _CONTENT) if path.is_dir() else [path]
    if not path.exists():
        try:
            return str(AutoConfig.from_pretrained(source, trust_remote_code=False)._commit_hash)  # noqa: SLF001
        except (OSError, ValueError) as error:
            raise ConfigError(f"llm={source!r}: not found here, nor on the hub or in its cache") from error
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            total.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()[:20]


_CONTENT = {".safetensors", ".bin", ".json", ".model", ".txt"}


def short_name(source: str) -> str:
    """How a model is called in tables and tests: the last part of its path, of the bundled one its own name."""
    return Path(source or bundled_gguf()).name.split(".gguf")[0].removesuffix(".Q4_1")
