"""Count, on our data set and models, what the paper's Tables 3, 4 and 8 count."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from taskclust.config import FEED_FORWARD, PRINTED_PARAMETERS, DataConfig, ModelConfig, digest
from taskclust.data import Dataset, generate
from taskclust.experiments.paper_tables.config import TablesConfig
from taskclust.experiments.paper_tables.record import Record
from taskclust.models import registry
from taskclust.runner import Runner
from taskclust.store.provenance import provenance

#: Increased by hand when the code computes something else; part of every key.
VERSION = 2


def key(config: TablesConfig, runner: Runner) -> str:  # noqa: ARG001 - the key depends only on the settings
    """The key under which a configuration's record is stored."""
    return digest(VERSION, config)


def run(config: TablesConfig, runner: Runner, unfinished: Path) -> Record:  # noqa: ARG001 - too quick to interrupt
    """The record of a seed: generate the data set, build the models without their weights, and count."""
    started = time.monotonic()
    dataset = generate(config.data, config.seed)
    return Record(
        config=config,
        sizes={name: split.n_instances for name, split in dataset.splits.items()},
        counts=count(dataset),
        parameters=count_parameters(config.data, config.model, FEED_FORWARD),
        wide_parameters=count_parameters(config.data, config.model, {width: 4 * width for width in FEED_FORWARD}),
        seconds={"count": time.monotonic() - started},
        provenance=provenance("cpu"),
    )


def count(dataset: Dataset) -> dict[str, list[int]]:
    """The values that occur of each quantity of Table 4, in rising order."""
    config = dataset.config
    regular, hard = dataset.tasks[: config.n_tasks], dataset.tasks[config.n_tasks :]
    seen = {tuple(row[:n]) for row, n in zip(dataset.train.instructions, dataset.train.lengths, strict=True)}
    unseen = [
        tuple(row[:n]) for row, n in zip(dataset.validation.instructions, dataset.validation.lengths, strict=True)
    ]
    mappings = [task.function.mappings() for task in dataset.tasks]
    pieces = [d.pattern.pieces for task in regular for d in task.distributions]
    return {
        "tasks": [len(regular)],
        "hard_tasks": [len(hard)],
        "distributions": sorted({len(task.distributions) for task in regular}),
        "instructions": sorted({len(d.instructions) for task in regular for d in task.distributions}),
        "hard_instructions": sorted({len(d.instructions) for task in hard for d in task.distributions}),
        "mappings": sorted({len(of_task) for of_task in mappings}),
        "shared_mappings": [sum(map(len, mappings)) - len(set().union(*mappings))],
        "validation_instructions": sorted(set(Counter(dataset.validation.distribution.tolist()).values())),
        "validation_tasks": [len(set(dataset.validation.task))],
        "subset_tasks": [len(set(dataset.subset.task[~dataset.subset.is_hard]))],
        "metacharacters": sorted({len(of_one) for of_one in pieces}),
        "characters": sorted({len(piece.symbols) for of_one in pieces for piece in of_one}),
        "instruction_symbols": [config.regex.n_symbols],
        "task_symbols": [config.n_task_symbols],
        "leaked_instructions": [sum(instruction in seen for instruction in unseen)],
    }


def count_parameters(data: DataConfig, model: ModelConfig, feed_forward: dict[int, int]) -> dict[str, int]:
    """The number of parameters at each of Table 8's widths, by width.

    ``feed_forward`` gives the feed-forward width at each width; everything else is as in ``model``.
    """
    sized = {width: replace(model, width=width, feed_forward=feed_forward[width]) for width in PRINTED_PARAMETERS}
    return {str(width): registry.count_parameters(data, one) for width, one in sized.items()}
