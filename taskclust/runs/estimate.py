"""What runs would cost before they are started: hours and disk, from a matrix product timed now."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from taskclust.config import ARMS, AlignmentConfig, AnyConfig, DataConfig, ExperimentConfig, PretrainingConfig
from taskclust.data import generate
from taskclust.models import Decoder
from taskclust.models.decoder import decoder_config
from taskclust.models.precision import matmul_flops
from taskclust.runs.experiments import RecordKind, Runner

#: Share of the timed product's speed that a training step reaches at width 768 on a CPU (bfloat16: .2 with AMX, .45
#: with AVX512-BF16), and the seconds of one step that hang on no width. An estimate is good to a factor of two.
_EFFICIENCY, _STEP_SECONDS = {"bfloat16": 0.3, "float32": 0.5}, 0.015
#: Seconds of one t-SNE iteration for each pair of points on one core, and on a GPU.
_TSNE_SECONDS = {"cpu": 4e-9, "cuda": 2e-11}


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected cost of one run; nothing where its record is stored."""

    name: str
    hours: float
    gigabytes: float
    is_stored: bool

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        return {
            "run": self.name,
            "estimated minutes": f"{self.hours * 60:.0f}",
            "disk (MB)": f"{self.gigabytes * 1e3:.0f}",
            "stored": "yes" if self.is_stored else "no",
        }


def estimate(runner: Runner, configs: Sequence[AnyConfig], kind: RecordKind = "scores") -> list[Estimate]:
    """The cost of each run of one kind, on one core or on the GPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the product is that of one core
    try:
        return [_one(runner, config, kind) for config in configs]
    finally:
        torch.set_num_threads(threads)


def _one(runner: Runner, config: AnyConfig, kind: RecordKind) -> Estimate:
    name = f"{kind} width {config.model.width} seed {config.seed}"
    if runner.is_stored(config, kind):
        return Estimate(name, 0.0, 0.0, is_stored=True)
    hours, gigabytes = zip(*(_stage(runner, stage) for stage in _stages(runner.resolve(config, kind))), strict=True)
    return Estimate(name, sum(hours), sum(gigabytes), is_stored=False)


def _stages(config: AnyConfig) -> list[ExperimentConfig]:
    """The trainings that take the time; fine-tuning for alignment does not."""
    if isinstance(config, PretrainingConfig):
        tuned, pretrained = len(ARMS), len(ARMS) - 1
        return [config.stage("training")] * tuned + [config.stage("pretraining")] * pretrained
    return [config.stage("training")] if isinstance(config, AlignmentConfig) else [config]


@cache
def _sizes(data: DataConfig) -> tuple[int, int, int]:
    """Tokens and instructions of the training set, and pairs of points embedded; of one seed, as others are alike."""
    splits = generate(data, seed=0).splits
    train, embedded = splits["train"], (splits["validation"], splits["subset"])
    tokens = int(train.lengths.sum()) + train.n_instances
    return tokens, len(train.lengths), sum(split.n_instances**2 for split in embedded)


def _stage(runner: Runner, config: ExperimentConfig) -> tuple[float, float]:
    """Hours and gigabytes of one training and the probes of its checkpoints."""
    tokens, instructions, pairs = _sizes(config.data)
    with torch.device("meta"):
        parameters = Decoder(decoder_config(config.data, config.model)).num_parameters()
    precision = config.training.precision
    low = precision == "bfloat16"
    speed = matmul_flops(torch.bfloat16 if low else torch.float32, runner.device) * _EFFICIENCY[precision]
    steps = -(-instructions // config.training.batch_instructions)
    training = config.training.epochs * (6 * parameters * tokens / speed + steps * _STEP_SECONDS)
    checkpoints = len(config.training.checkpoints) + 1
    embedded = 3 if config.probe.tsne_at == "few" else checkpoints
    iterations = config.probe.tsne_restarts * config.probe.iterations
    problems = embedded * (config.model.layers + 1)
    probing = (
        problems * pairs * iterations * _TSNE_SECONDS[runner.device] + checkpoints * 2 * parameters * tokens / speed
    )
    size = parameters * (2 if low else 4) * checkpoints
    return (training + probing) / 3600, size / 1e9
