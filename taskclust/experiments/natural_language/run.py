"""Compute the record of one language model: read the prompts, then probe states and negative controls (§3.4)."""

import hashlib
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm
from transformers.utils import cached_file

from taskclust.config import ConfigError, LanguageConfig, ProbeConfig, digest
from taskclust.data.natural import Prompt, identities, natural_tasks
from taskclust.data.natural import prompts as instances
from taskclust.experiments.natural_language.record import Architecture, Origin, Reading, Record
from taskclust.models.language import (
    WAYS,
    LanguageModel,
    bundled_gguf,
    convert_gguf,
    first_layer,
    last_states,
    open_language_model,
    read_checked,
    sizes,
    split_words,
    tokenize,
    untrained_model,
)
from taskclust.probes.prompts import Labels, bag_of_tokens, probe_layer, score_layers
from taskclust.probes.scores import LayerClusters, LayerScores
from taskclust.runner import Runner
from taskclust.store.codec import decode, encode
from taskclust.store.folders import Store, read_summed, write_summed
from taskclust.store.provenance import provenance

#: Increased by hand when the code computes something else; part of every key.
VERSION = 2


def key(config: LanguageConfig, runner: Runner) -> str:
    """The key under which a configuration's record is stored; it depends on the model's content, not on its location.

    Raises:
        ConfigError: the model is not found.
    """
    return _key(config, Origin(content=locate(config.source, runner.store)[1], device=runner.device))


def recorded_key(record: Record) -> str | None:
    """The key of a record, from its own content; None if the record lacks its origin."""
    return None if record.origin is None else _key(record.config, record.origin)


def _key(config: LanguageConfig, origin: Origin) -> str:
    return digest(VERSION, origin.content, origin.device, replace(config, source=""), *natural_tasks())


def run(config: LanguageConfig, runner: Runner, unfinished: Path) -> Record:
    """The record of a model: it reads the project's prompts, and its layers are probed.

    Raises:
        ConfigError: the model cannot be opened or read.
    """
    source, content = locate(config.source, runner.store)
    language = open_language_model(source, runner.device)
    prompts = instances(natural_tasks(), config.n_expressions, config.n_pairs)
    record = probe_prompts(language, prompts, config, keep=unfinished, show_progress=runner.show_progress)
    return replace(record, origin=Origin(content=content, device=runner.device))


def serve(record: Record, config: LanguageConfig) -> Record:
    """The stored record with the requested configuration and name.

    They can differ from the stored ones, because the same weights may lie elsewhere under another name.
    """
    return replace(record, config=config, name=short_name(config.source))


def label(config: LanguageConfig) -> str:
    """The model's name in tables and tests."""
    return short_name(config.source)


def size(config: LanguageConfig) -> tuple[int, int, int] | None:
    """The numbers of parameters, layers and prompts, from the model's configuration; None if that is not found."""
    try:
        parameters, layers = sizes(config.source)
    except ConfigError:  # the run will report it
        return None
    return parameters, layers, len(natural_tasks()) * config.n_expressions * config.n_pairs


def probe_prompts(
    language: LanguageModel,
    prompts: Sequence[Prompt],
    config: LanguageConfig,
    *,
    name: str = "",
    keep: Path | None = None,
    show_progress: bool = False,
) -> Record:
    """The record of one model on labelled prompts.

    Args:
        language: the model.
        prompts: the prompts that it reads.
        config: the settings.
        name: the model's name in the record.
        keep: a folder for the clusters of finished layers, from which an interrupted run continues.
        show_progress: draw progress bars on the terminal.

    Raises:
        ConfigError: all prompts have one task, a prompt is longer than the model's context, or the states are invalid.
    """
    started = time.monotonic()
    labels = identities(prompts)
    _warn_of_few(len(prompts), config.probe.perplexity)
    instructions = [prompt.instruction for prompt in prompts]
    tokens = tokenize(language, [prompt.text for prompt in prompts])
    seconds = {}

    def probed(who: str, states: Float[Tensor, "L1 N D"]) -> LayerScores:
        begun = time.monotonic()
        layers = []
        for number, layer in enumerate(tqdm(states, f"probe {who}", disable=None if show_progress else True)):
            path = None if keep is None else keep / f"{who.replace(' ', '-')}-layer-{number}.json"
            layers.append(_probed(path, layer, labels, config.probe, seed=1_000 * config.seed + number))
        scores = score_layers(layers, labels, instructions, resamples=config.resamples, seed=config.seed)
        seconds[f"probe {who}"] = time.monotonic() - begun
        return scores

    states, reading = read_checked(language.model, tokens, instructions)
    seconds["read model"] = time.monotonic() - started
    n_layers, width = len(states) - 1, states.shape[-1]
    model = probed("model", states)
    groups, batch_tokens = instructions if reading.way == WAYS[0] else None, 1 if reading.way == WAYS[-1] else None
    del states
    untrained = []
    for draw in range(config.untrained):
        who = f"untrained {draw}"
        with untrained_model(language.model, 1_000 * config.seed + draw) as drawn:
            begun = time.monotonic()
            states = last_states(drawn, tokens, groups, batch_tokens)
            seconds[f"read {who}"] = time.monotonic() - begun
            untrained.append(replace(probed(who, states), embedding=None))
            del states
    bag = replace(probed("bag", bag_of_tokens(tokens)[None]), embedding=None)
    distributions = dict.fromkeys((p.task, p.distribution) for p in prompts)
    return Record(
        config=config,
        name=name,
        model=model,
        untrained=untrained,
        bag=bag,
        prompts=len(prompts),
        identities={of: labels[of] for of in ("task", "distribution")},
        names={
            "task": list(dict.fromkeys(p.task for p in prompts)),
            "distribution": [distribution for _, distribution in distributions],
        },
        split_words=split_words(language, sorted({p.input for p in prompts})),
        reading=Reading(**reading._asdict()),
        architecture=Architecture(
            class_name=type(language.model).__name__,
            model_type=language.model.config.model_type,
            parameters=language.model.num_parameters(),
            layers=n_layers,
            width=width,
            dtype=str(language.model.dtype).removeprefix("torch."),
            layer_0=first_layer(language.model),
        ),
        seconds={**seconds, "all": time.monotonic() - started},
        provenance=provenance(str(language.model.device)),
    )


def _warn_of_few(n_prompts: int, perplexity: float) -> None:
    """Warn if all prompts are neighbors of each other: t-SNE uses three times as many neighbors as its perplexity."""
    if n_prompts <= 3 * perplexity:
        fix = f"give more, or set perplexity={max(2, n_prompts // 6)}"
        warnings.warn(f"prompts={n_prompts}: few for t-SNE of perplexity {perplexity:g}; {fix}", stacklevel=3)


def _probed(
    path: Path | None, states: Float[Tensor, "N D"], labels: dict[str, Labels], probe: ProbeConfig, *, seed: int
) -> LayerClusters:
    """One layer's clusters, read from ``path`` if an earlier run wrote them there and the file is intact."""
    if path is None:
        return probe_layer(states, labels, probe, seed=seed)
    kept = read_summed(path)
    if kept is None:
        kept = encode(probe_layer(states, labels, probe, seed=seed))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_summed(path, kept)
    return decode(kept, LayerClusters)


def locate(source: str, store: Store) -> tuple[str, str]:
    """A source that transformers can open, and a hash of the model's content.

    A folder or a hub id is returned unchanged. A GGUF file is converted once and kept in the store.

    Raises:
        ConfigError: the file cannot be read, or no model is named and none is installed.
    """
    path = Path(source) if source else bundled_gguf()
    if path.suffix != ".gguf":
        return source, fingerprint(source)
    if not path.is_file():
        raise ConfigError(f"llm={source!r}: there is no such file")
    content = fingerprint(str(path))
    converted = store.obtain("weights", digest(CONVERSION, content), lambda folder: convert_gguf(path, folder))
    return str(converted), digest(WEIGHTS_VERSION, content)


def fingerprint(source: str) -> str:
    """A hash of a local model's weights and settings; for a model of the hub, its id and commit.

    Raises:
        ConfigError: the model is neither here nor on the hub nor in the hub's cache.
    """
    path = Path(source)
    if not path.exists():
        try:
            settings = cached_file(source, "config.json")
        except (OSError, ValueError) as error:
            raise ConfigError(f"llm={source!r}: not found here, nor on the hub or in its cache") from error
        return f"{source}@{Path(str(settings)).parent.name}"
    files = sorted(p for p in path.iterdir() if p.suffix in _CONTENT) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            total.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()


_CONTENT = {".safetensors", ".bin", ".json", ".model", ".txt"}
#: Increased by hand whenever the conversion of GGUF files changes, so that kept files are converted again.
CONVERSION = 3
#: Increased only if this changes the states of files that were read correctly: records' keys depend on it.
WEIGHTS_VERSION = 2


def short_name(source: str) -> str:
    """A model's name in tables and tests: the last part of its path, or the bundled model's own name."""
    # "." has no name of its own, and resolve would name what a link leads to
    path = Path(os.path.abspath(source) if source else bundled_gguf())  # noqa: PTH100
    return path.name.split(".gguf")[0].removesuffix(".Q4_1")
