"""The runner: it turns a configuration into a record, computing only what the store does not have.

For every configuration it makes the key, looks the record up, locks it, computes it if it is missing, and stores it. It
knows no experiment by name: what an experiment computes is in the module ``run`` of its folder. A training run that
several records may depend on is stored as a record of its own, of the kind "trajectory", with its history and its
checkpoints. If only the probe changes, only the probing is repeated.
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

#: Increased by hand when training computes something else; part of every key.
TRAJECTORY_VERSION = 1
#: The kind of record that holds a training run.
TRAJECTORY = "trajectory"

#: Seconds between two saves of the state from which an interrupted training continues.
SAVE_EVERY = 60.0


class Stage(NamedTuple):
    """The outcome of one training: its seconds, why it failed (None if it did not), and its folder of checkpoints."""

    seconds: float
    failure: str | None
    checkpoints: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A stored training run, as read from its ``record.json``."""

    history: list[dict[str, float | None]]
    best_epoch: int
    failure: str | None
    seconds: float
    provenance: dict[str, str | int | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Runner:
    """Gives the record of any configuration: from the store, or computed and then stored.

    Args:
        store: where records are kept.
        device: "cpu" or "cuda".
        threads: threads per run on a CPU. The default is one, so that a seed gives the same result whatever else runs.
        recompute: compute records even if they are stored.
        show_progress: draw progress bars on the terminal.
        line: the line of the terminal on which this process draws.
        replay: record a training step once and replay it (:mod:`taskclust.models.replay`), in trainings that are stored
            as records. The stages of the applications run without replay.
        bfloat16_pays: whether bfloat16 products are faster on the device. By default this is timed when precision
            "auto" has to be settled; give it if this machine does not have the device.
        save_every: seconds between two saves of an unfinished training; by default :data:`SAVE_EVERY`.
    """

    store: Store
    device: str = "cpu"
    threads: int = 1
    recompute: bool = False
    show_progress: bool = False
    line: int = 0
    replay: bool = False
    bfloat16_pays: bool | None = None
    save_every: float | None = None

    def resolve(self, experiment: str, config: Any) -> Any:
        """The configuration with everything settled that depends on the device, so that its key says what is run.

        Precision "auto" becomes the fastest precision on this device, or the other one if a record is stored or begun
        only in that. So records from machines with different processors can be used together, and an interrupted run
        continues as it began.

        Raises:
            ConfigError: the architecture or the precision is unknown.
        """
        # refuse an unknown name before anything is computed
        kind = registry.architecture(config.model.architecture) if hasattr(config, "model") else None
        stages = {f.name: getattr(config, f.name) for f in fields(config)}
        admitted = {
            name: precisions(stage.precision, config.model.width, self.device, pays=self.bfloat16_pays)
            for name, stage in stages.items()
            if isinstance(stage, TrainingConfig)
        }
        if kind is not None and not kind.keeps_low_precision:
            admitted = {
                name: ("float32",) if stages[name].precision == "auto" else kept for name, kept in admitted.items()
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
        """Whether there is work to continue: part of the record, or a training that it depends on, begun or stored."""
        keys = self.keys(experiment, config)
        return any(place(*key).exists() for key in keys for place in (self.store.path, self.store.unfinished))

    def keys(self, experiment: str, config: Any) -> list[tuple[str, str]]:
        """Kind and key of a settled configuration's record, then of every training that it depends on."""
        module: Any = None if experiment == TRAJECTORY else experiments.part(experiment, "config")
        trainings = module.trainings(config) if hasattr(module, "trainings") else []
        return [
            (experiment, self._key(experiment, config)),
            *((TRAJECTORY, trajectory_key(training)) for training in trainings),
        ]

    def _key(self, experiment: str, config: Any) -> str:
        if experiment == TRAJECTORY:
            return trajectory_key(config)
        return str(experiments.part(experiment, "run").key(config, self))

    def key(self, experiment: str, config: Any) -> str:
        """The key of the experiment's record for ``config``."""
        return self._key(experiment, self.resolve(experiment, config))

    def is_stored(self, experiment: str, config: Any) -> bool:
        """Whether :meth:`record` would answer from the store, without computing anything."""
        return not self.recompute and self.store.path(experiment, self.key(experiment, config)).exists()

    def record(self, experiment: str, config: Any) -> Any:
        """The experiment's record for ``config``, an instance of its folder's ``Record``.

        A training whose loss is no longer a finite number still gives a record, and its ``failure`` says so: a failed
        seed is counted, with the worst value.

        Raises:
            ConfigError: the configuration cannot be run here.
            RecordError: the stored file is not a record of the experiment.
        """
        torch.set_num_threads(self.threads)
        keep_freed_memory()
        disable_progress_bar()  # the bar that transformers draws for every checkpoint
        config = self.resolve(experiment, config)
        key = self._key(experiment, config)
        module, form = experiments.part(experiment, "run"), experiments.part(experiment, "record")

        def make(folder: Path) -> None:
            content = encode(module.run(config, self, self.store.unfinished(experiment, key)))
            decode(content, form.Record)  # do not store a record that cannot be read back
            (folder / "record.json").write_bytes(content)

        folder = self.store.obtain(experiment, key, make, recompute=self.recompute)
        found = decode((folder / "record.json").read_bytes(), form.Record, form.upgrade)
        return module.serve(found, config) if hasattr(module, "serve") else found

    # ---------------------------------------------------------------- training

    def trajectory(self, config: ExperimentConfig) -> Path:
        """The folder of the training run, computed if it is not stored.

        It holds ``record.json`` and, per kept epoch, ``checkpoints/<epoch>/``, a Hugging Face folder.
        """
        config = self.resolve(TRAJECTORY, config)
        key = trajectory_key(config)
        resume = self.store.unfinished(TRAJECTORY, key)
        return self.store.obtain(
            TRAJECTORY, key, lambda folder: self._train(config, folder, resume), recompute=self.recompute
        )

    def train_together(self, configs: Sequence[ExperimentConfig]) -> None:
        """Run all trainings that are not stored to their end, on one device, taking one step of each in turn.

        On a GPU their replayed steps run side by side. The results are saved as unfinished work; :meth:`trajectory`
        then makes the records from it. It repeats at most the last minute of a training that diverged.
        """
        torch.set_num_threads(self.threads)
        keep_freed_memory()
        resolved = [self.resolve(TRAJECTORY, config) for config in configs]
        missing = {trajectory_key(c): c for c in resolved if not self.is_stored(TRAJECTORY, c)}
        with ExitStack() as locks:
            for key in sorted(missing):  # always lock in the same order, so that two processes cannot block each other
                locks.enter_context(self.store.lock(TRAJECTORY, key))
            # other processes may have stored some while we waited for the locks
            missing = {key: c for key, c in missing.items() if not self.is_stored(TRAJECTORY, c)}
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
        replays = self.replay and registry.architecture(config.model.architecture).reads_packed
        kind = ReplayedTrainer if replays else Trainer
        return kind(config, generate(config.data, config.seed), self.device)

    def _train(self, config: ExperimentConfig, folder: Path, resume: Path) -> None:
        trainer = self._trainer(config)
        seconds, failure, checkpoints = self.run(trainer, resume, "train")
        save_once(checkpoints / f"{trainer.best_epoch:04d}", lambda to: trainer.save_checkpoint(to, best=True))
        for epoch in sorted({*config.training.checkpoints, trainer.best_epoch}):  # other files there are not copied
            if (kept := checkpoints / f"{epoch:04d}").exists():  # a training that failed has no later ones
                to = folder / "checkpoints" / kept.name
                shutil.copytree(kept, to, ignore=shutil.ignore_patterns("manifest.json", ".*"))
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
        """Train to the end, continuing from the state in ``resume`` if there is one; return the outcome.

        The checkpoints are written to ``resume / "checkpoints"``.
        """
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
        """A generator that does what :meth:`run` does, one training step per iteration, and returns the outcome.

        With ``keep`` the final state is saved in ``resume`` too. ``line`` is the line of the progress bar.
        """
        config, checkpoints = trainer.config, resume / "checkpoints"
        seconds = load_progress(trainer, resume)
        failure = None
        every = SAVE_EVERY if self.save_every is None else self.save_every
        started = saved = time.monotonic()
        bar = self.bar(config, verb, config.training.epochs, initial=trainer.epoch, line=line)
        try:
            self._checkpoint(trainer, config, checkpoints)
            while trainer.epoch < config.training.epochs:
                for step in trainer.epoch_steps():
                    left = time.monotonic()
                    yield step
                    started += time.monotonic() - left  # exclude the time that other runs took meanwhile
                row = trainer.history[-1]
                self._checkpoint(trainer, config, checkpoints)
                bar.set_postfix(loss=f"{row['loss']:.3f}", accuracy=f"{row['validation_accuracy']:.2f}", refresh=False)
                bar.update()
                is_last = trainer.epoch == config.training.epochs
                if time.monotonic() - saved > every or (keep and is_last):
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
        """A progress bar for one run; it draws nothing unless progress is to be shown."""
        label = f"{verb} width {config.model.width} seed {config.seed}"
        return tqdm(desc=label, total=total, initial=initial, position=self.line + line, leave=False,
                    disable=None if self.show_progress else True)  # fmt: skip


def trajectory_key(config: ExperimentConfig) -> str:
    """The key under which the training run of a resolved configuration is stored."""
    return digest(TRAJECTORY_VERSION, config.data, config.model, config.training, config.seed)


def read_training(folder: Path) -> Training:
    """The training run stored in ``folder``, read from its ``record.json``."""
    known = {f.name for f in fields(Training)}
    return Training(**{k: v for k, v in read_json(folder / "record.json").items() if k in known})


def checkpoint_epochs(folder: Path) -> list[int]:
    """The epochs that have a checkpoint in ``folder``, in rising order."""
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())
