"""Estimates of each run's hours and disk space, from a matrix product timed on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from taskclust import experiments
from taskclust.config import DataConfig, ExperimentConfig
from taskclust.data import generate
from taskclust.models.precision import is_here, matmul_flops
from taskclust.models.registry import architecture, count_parameters
from taskclust.runner import Runner

#: The share of the timed product's speed that a compiled training step reaches at width 768 (less with AMX, whose
#: products are faster than memory), and the seconds per step that do not depend on the width. Estimates are within a
#: factor of two.
_EFFICIENCY, _STEP_SECONDS = {"bfloat16": 0.5, "float32": 0.7}, 0.003
#: The same for models from outside, which are trained with autograd on one instance per row.
_PLAIN_EFFICIENCY, _PLAIN_STEP_SECONDS = 0.4, 0.03
#: Seconds per t-SNE iteration and pair of points, on one core and on a GPU; then the same for many points.
_TSNE_SECONDS = {"cpu": 6e-10, "cuda": 2e-11}
_TSNE_SECONDS_OF_MANY = {"cpu": 3e-10, "cuda": 2e-11}
#: Tokens per natural-language prompt.
_PROMPT_TOKENS = 12


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected cost of one run: zero if its record is stored, None what is not known."""

    name: str
    hours: float | None
    gigabytes: float | None
    is_stored: bool | None

    def row(self) -> dict[str, str]:
        """The estimate as a row of a table, by column."""
        return {
            "run": self.name,
            "estimated minutes": "–" if self.hours is None else f"{self.hours * 60:.0f}",
            "disk (MB)": "–" if self.gigabytes is None else f"{self.gigabytes * 1e3:.0f}",
            "stored": "–" if self.is_stored is None else "yes" if self.is_stored else "no",
        }


def total(estimates: Sequence[Estimate]) -> Estimate:
    """The sum of all runs whose cost is known; not known if no run's is."""
    costs = {name: [getattr(one, name) for one in estimates] for name in ("hours", "gigabytes")}
    known = {name: [cost for cost in found if cost is not None] for name, found in costs.items()}
    hours, gigabytes = (sum(found) if found or not estimates else None for found in known.values())
    stored = [one.is_stored for one in estimates if one.is_stored is not None]
    return Estimate("all", hours, gigabytes, is_stored=all(stored) if stored else None)


def estimate(runner: Runner, experiment: str, configs: Sequence[Any]) -> list[Estimate]:
    """The estimated cost of each run, on one core or on the GPU; an empty list for experiments that take seconds.

    A GPU that is only on other machines cannot be timed here, so nothing is known of its runs but their names.
    """
    if not hasattr(experiments.part(experiment, "config"), "stages"):
        return []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # time the product on one core
    try:
        return [_one(runner, experiment, config) for config in configs]
    finally:
        torch.set_num_threads(threads)


def _one(runner: Runner, experiment: str, config: Any) -> Estimate:
    module = experiments.part(experiment, "config")
    if not module.stages(config):
        cost = _language(runner, experiments.part(experiment, "run").size(config), config)
        return Estimate(f"{experiment} {module.title(config)}", cost, None, None)
    name = f"{experiment} width {config.model.width} seed {config.seed}"
    architecture(config.model.architecture)  # refuse an unknown one
    if not is_here(runner.device):
        return Estimate(name, None, None, is_stored=None)
    if runner.is_stored(experiment, config):
        return Estimate(name, 0.0, 0.0, is_stored=True)
    stages = module.stages(runner.resolve(experiment, config))
    hours, gigabytes = zip(*(_stage(runner, stage) for stage in stages), strict=True)
    return Estimate(name, sum(hours), sum(gigabytes), is_stored=False)


@cache
def _sizes(data: DataConfig) -> tuple[int, int, int]:
    """The number of training tokens, of training instructions, and of pairs of points that t-SNE embeds.

    They are counted for seed 0; other seeds are similar.
    """
    splits = generate(data, seed=0).splits
    train, embedded = splits["train"], (splits["validation"], splits["subset"])
    tokens = int(train.lengths.sum()) + train.n_instances
    return tokens, len(train.lengths), sum(split.n_instances**2 for split in embedded)


def _stage(runner: Runner, config: ExperimentConfig) -> tuple[float, float]:
    """The hours and gigabytes of one training and of the probes of its checkpoints."""
    tokens, instructions, pairs = _sizes(config.data)
    parameters = count_parameters(config.data, config.model)
    precision = config.training.precision
    low = precision == "bfloat16"
    is_packed = architecture(config.model.architecture).reads_packed
    share, step = (_EFFICIENCY[precision], _STEP_SECONDS) if is_packed else (_PLAIN_EFFICIENCY, _PLAIN_STEP_SECONDS)
    read = tokens if is_packed else tokens * config.data.n_mappings
    speed = matmul_flops(torch.bfloat16 if low else torch.float32, runner.device) * share
    if config.training.shuffled == "instances":  # each has its instruction in a row of its own
        read, instructions = tokens * config.data.n_mappings, instructions * config.data.n_mappings
    steps = -(-instructions // config.training.batch_instructions)
    training = config.training.epochs * (6 * parameters * read / speed + steps * step)
    checkpoints = len(config.training.checkpoints) + 1
    embedded = 3 if config.probe.tsne_at == "few" else checkpoints
    iterations = config.probe.tsne_restarts * config.probe.iterations
    problems = embedded * (config.model.layers + 1)
    probing = problems * pairs * iterations * _TSNE_SECONDS[runner.device] + checkpoints * 2 * parameters * read / speed
    size = parameters * (2 if low else 4) * checkpoints
    return (training + probing) / 3600, size / 1e9


def _language(runner: Runner, size: tuple[int, int, int] | None, config: Any) -> float | None:
    """The hours to read and probe a language model and its untrained ones; ``size``: parameters, layers, prompts."""
    if size is None or not is_here(runner.device):
        return None
    parameters, layers, prompts = size
    iterations = config.probe.tsne_restarts * config.probe.iterations
    reading = 2 * parameters * prompts * _PROMPT_TOKENS / matmul_flops(torch.float32, runner.device)
    probing = (layers + 1) * prompts**2 * iterations * _TSNE_SECONDS_OF_MANY[runner.device]
    return (1 + config.untrained) * (reading + probing) / 3600
