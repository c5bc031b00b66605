"""``config -> record``: key, look up, lock, compute, keep. Knows no experiment by name.

What an experiment computes stands in its folder's ``run``. Trainings that several records may rest on are records of
their own, of the kind "trajectory": history and checkpoints. Change the probe and only the probing is repeated.
"""

import shutil
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from taskclust import experiments
from taskclust.config import ExperimentConfig, TrainingConfig, digest, to_dict
from taskclust.data import generate
from taskclust.models import Trainer, TrainingDiverged, registry
from taskclust.models.memory import keep_freed_memory
from taskclust.models.precision import precisions
from taskclust.models.replay import ReplayedTrainer
from taskclust.progress import load_progress, save_once, save_progress
from taskclust.store.codec import decode, encode
from taskclust.store.folders import Store, read_json, write_json
from taskclust.store.provenance import provenance

#: Raised by hand when training changes what it computes; part of every key.
TRAJECTORY_VERSION = 1
#: The kind of record that is a training run.
TRAJECTORY = "trajectory"

#: Seconds between saves of a training that can be continued.
SAVE_EVERY = 60.0


class Stage(NamedTuple):
    """How a training went: seconds, why it failed (None if it did not), and the folder of its checkpoints."""

    seconds: float
    failure: str | None
    checkpoints: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training run that is stored: what its ``record.json`` says."""

    history: list[dict[str, float | None]]
    best_epoch: int
    failure: str | None
    seconds: float
    provenance: dict[str, str | int | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Runner:
    """Obtains records from a store, computing those that are missing.

    Args:
        store: where records are kept.
        device: "cpu" or "cuda".
        threads: of one run on a CPU; one by default, so that the same seed gives the same result whatever else runs.
        recompute: compute even what is there.
        show_progress: draw bars on the terminal.
        line: of the terminal, on which this process draws.
        replay: record a training step once and replay it (:mod:`taskclust.models.replay`), in trainings that are kept;
            the stages of the applications run plainly.
    """

    store: Store
    device: str = "cpu"
    threads: int = 1
    recompute: bool = False
    show_progress: bool = False
    line: int = 0
    replay: bool = False

    def resolve(self, experiment: str, config: Any) -> Any:
        """Settle what depends on the device, so that the key says what was run.

        Precision "auto" is what this device does best, unless a record is stored, or begun, in the other alone: seeds
        from machines of different processors stand together, and what was killed goes on as it began.
        """
        if hasattr(config, "model"):  # a name that is none is refused before anything is computed
            registry.architecture(config.model.architecture)
        stages = {f.name: getattr(config, f.name) for f in fields(config)}
        admitted = {
            name: precisions(stage.precision, config.model.width, self.device)
            for name, stage in stages.items()
            if isinstance(stage, TrainingConfig)
        }
        settled: list[Any] = []
        for choice in range(max(map(len, admitted.values()), default=0)):
            chosen: dict[str, Any] = {
                name: replace(stages[name], precision=names[min(choice, len(names) - 1)])
                for name, names in admitted.items()
            }
            settled.append(replace(config, **chosen))
        if not settled:
            return config
        if self.recompute or len(settled) == 1:
            return settled[0]
        stored = (c for c in settled if self.store.path(experiment, self._key(experiment, c)).exists())
        begun = (c for c in settled if self._is_begun(experiment, c))
        return next(stored, next(begun, settled[0]))

    def _is_begun(self, experiment: str, config: Any) -> bool:
        """Is there work to go on from: a part of the record, or a training it rests on?"""
        keys = [(experiment, self._key(experiment, config))]
        module: Any = None if experiment == TRAJECTORY else experiments.part(experiment, "config")
        trainings = module.trainings(config) if hasattr(module, "trainings") else []
        keys += [(TRAJECTORY, trajectory_key(training)) for training in trainings]
        return any(place(*key).exists() for key in keys for place in (self.store.path, self.store.unfinished))

    def _key(self, experiment: str, config: Any) -> str:
        if experiment == TRAJECTORY:
            return trajectory_key(config)
        return str(experiments.part(experiment, "run").key(config, self))

    def key(self, experiment: str, config: Any) -> str:
        """The key of the experiment's record for ``config``."""
        return self._key(experiment, self.resolve(experiment, config))

    def is_stored(self, experiment: str, config: Any) -> bool:
        """Would :meth:`record` answer from the store?"""
        return not self.recompute and self.store.path(experiment, self.key(experiment, config)).exists()

    def record(self, experiment: str, config: Any) -> Any:
        """The experiment's record for ``config``, an instance of its folder's ``Record``.

        A training whose loss is no longer a number gives a record too, with ``failure`` saying so: a seed that fails
        counts, as the worst.

        Raises:
            ConfigError: the configuration cannot be run here.
            RecordError: what is stored is no record of the experiment.
        """
        torch.set_num_threads(self.threads)
        keep_freed_memory()
        disable_progress_bar()  # transformers' own, one for each checkpoint
        config = self.resolve(experiment, config)
        key = self._key(experiment, config)
        module, form = experiments.part(experiment, "run"), experiments.part(experiment, "record")

        def make(folder: Path) -> None:
            content = encode(module.run(config, self, self.store.unfinished(experiment, key)))
            decode(content, form.Record)  # what cannot be read again is not kept
            (folder / "record.json").write_bytes(content)

        folder = self.store.obtain(experiment, key, make, recompute=self.recompute)
        found = decode((folder / "record.json").read_bytes(), form.Record, form.upgrade)
        return module.serve(found, config) if hasattr(module, "serve") else found

    # ---------------------------------------------------------------- training

    def trajectory(self, config: ExperimentConfig) -> Path:
        """The folder of the training run: ``record.json`` and ``checkpoints/<epoch>/``, each a Hugging Face folder."""
        config = self.resolve(TRAJECTORY, config)
        key = trajectory_key(config)
        resume = self.store.unfinished(TRAJECTORY, key)
        return self.store.obtain(
            TRAJECTORY, key, lambda folder: self._train(config, folder, resume), recompute=self.recompute
        )

    def train_together(self, configs: Sequence[ExperimentConfig]) -> None:
        """Bring the trainings that are missing to their end, a step of each in turn, all on the device at once.

        On a GPU their replayed steps run side by side. What is reached is kept as work to go on from: the record is
        made by :meth:`trajectory`, which repeats at most the last minute of a training that diverged.
        """
        torch.set_num_threads(self.threads)
        keep_freed_memory()
        resolved = [self.resolve(TRAJECTORY, config) for config in configs]
        missing = {trajectory_key(c): c for c in resolved if not self.is_stored(TRAJECTORY, c)}
        with ExitStack() as locks:
            for key in sorted(missing):  # whoever holds several takes them in one order
                locks.enter_context(self.store.lock(TRAJECTORY, key))
            missing = {key: c for key, c in missing.items() if not self.is_stored(TRAJECTORY, c)}  # while we waited
            for key in missing if self.recompute else ():
                self.store.begin_again(TRAJECTORY, key)
            runs = [
                self._steps(
                    self._trainer(config), self.store.unfinished(TRAJECTORY, key), "train", keep=True, line=line
                )
                for line, (key, config) in enumerate(missing.items())
            ]
            for _ in zip_longest(*runs):
                pass

    def _trainer(self, config: ExperimentConfig) -> Trainer:
        kind = ReplayedTrainer if self.replay else Trainer
        return kind(config, generate(config.data, config.seed), self.device)

    def _train(self, config: ExperimentConfig, folder: Path, resume: Path) -> None:
        trainer = self._trainer(config)
        seconds, failure, checkpoints = self.run(trainer, resume, "train")
        save_once(checkpoints / f"{trainer.best_epoch:04d}", lambda to: trainer.save_checkpoint(to, best=True))
        shutil.copytree(checkpoints, folder / "checkpoints", ignore=shutil.ignore_patterns("manifest.json", ".*"))
        record = {
            "config": to_dict(config),
            "history": trainer.history,
            "best_epoch": trainer.best_epoch,
            "failure": failure,
            "seconds": seconds,
            "replayed": self.replay,
            "provenance": provenance(self.device),
        }
        write_json(folder / "record.json", record)

    def run(self, trainer: Trainer, resume: Path, verb: str) -> Stage:
        """Train to the end, or go on from what ``resume`` holds; checkpoints are left in its folder of that name."""
        steps = self._steps(trainer, resume, verb)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                stage: Stage = end.value
                return stage

    def _steps(
        self, trainer: Trainer, resume: Path, verb: str, *, keep: bool = False, line: int = 0
    ) -> Generator[None, None, Stage]:
        """:meth:`run`, a step at a time; ``keep`` leaves the end in ``resume``, ``line`` is the bar's."""
        config, checkpoints = trainer.config, resume / "checkpoints"
        seconds = load_progress(trainer, resume)
        failure = None
        started = saved = time.monotonic()
        bar = self.bar(config, verb, config.training.epochs, initial=trainer.epoch, line=line)
        try:
            self._checkpoint(trainer, config, checkpoints)
            while trainer.epoch < config.training.epochs:
                for step in trainer.epoch_steps():
                    left = time.monotonic()
                    yield step
                    started += time.monotonic() - left  # what others did meanwhile is not this run's time
                row = trainer.history[-1]
                self._checkpoint(trainer, config, checkpoints)
                bar.set_postfix(loss=f"{row['loss']:.3f}", accuracy=f"{row['validation_accuracy']:.2f}", refresh=False)
                bar.update()
                is_last = trainer.epoch == config.training.epochs
                if time.monotonic() - saved > SAVE_EVERY or (keep and is_last):
                    saved = time.monotonic()
                    save_progress(trainer, resume, seconds + saved - started)
        except TrainingDiverged as error:
            failure = str(error)
            warnings.warn(f"seed {config.seed}: {failure}", RuntimeWarning, stacklevel=2)
        bar.close()
        return Stage(seconds + time.monotonic() - started, failure, checkpoints)

    def _checkpoint(self, trainer: Trainer, config: ExperimentConfig, checkpoints: Path) -> None:
        if trainer.epoch in config.training.checkpoints:
            save_once(checkpoints / f"{trainer.epoch:04d}", trainer.save_checkpoint)

    def bar(self, config: Any, verb: str, total: int, *, initial: int = 0, line: int = 0) -> tqdm:
        """A line of progress, drawn where it is to be shown."""
        label = f"{verb} width {config.model.width} seed {config.seed}"
        return tqdm(desc=label, total=total, initial=initial, position=self.line + line, leave=False,
                    disable=None if self.show_progress else True)  # fmt: skip


def trajectory_key(config: ExperimentConfig) -> str:
    """The key of a resolved configuration's training run."""
    return digest(TRAJECTORY_VERSION, config.data, config.model, config.training, config.seed)


def read_training(folder: Path) -> Training:
    """What the ``record.json`` of a training run says."""
    known = {f.name for f in fields(Training)}
    return Training(**{k: v for k, v in read_json(folder / "record.json").items() if k in known})


def checkpoint_epochs(folder: Path) -> list[int]:
    """The epochs of which there are checkpoints, rising."""
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())
