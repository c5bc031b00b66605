"""The driver's part of engines that compute elsewhere.

The driver settles everything that depends on the device, holds the locks of all records being computed, receives their
files and seals them in its own store. If a worker is lost, its run continues from the files that arrived.
"""

import contextlib
import itertools
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from taskclust import experiments
from taskclust.config import TrainingConfig, require
from taskclust.engines.task import EngineError, Message, Place, Task, contents, kept, put
from taskclust.models.precision import bfloat16_pays, is_here
from taskclust.runner import SAVE_EVERY, Runner
from taskclust.store import Store, decode

#: The number of times in a row that a worker may be lost without having sent anything new.
ATTEMPTS = 3
#: Seconds between two checks whether a task has sent something or the run was stopped.
LOOK_EVERY = 0.5


class LostWorker(Exception):
    """The machine or the process that computed a task is gone; the message says why."""


class LostWorkerWarning(UserWarning):
    """A worker was lost, and its run is started again."""


class Stopped(Exception):
    """The driver was told to stop."""


class Elsewhere(ABC):
    """An engine whose runs are computed outside this process. Several threads may use it at once.

    Args:
        save_every: seconds between two saves of an unfinished training.
    """

    #: The engine's name on the command line.
    name = ""

    def __init__(self, save_every: float = SAVE_EVERY) -> None:
        self._save_every = save_every
        self._stop = threading.Event()
        self._pays: dict[str, bool] = {}

    @abstractmethod
    def run(self, task: Task) -> Generator[Message, None, None]:
        """Compute the task elsewhere and give its messages as they arrive.

        Raises:
            LostWorker: its machine or process is gone.
            Stopped: :meth:`stop` was called; the task has been cancelled.
            ConfigError, EngineError: the engine cannot take the task.
        """

    @abstractmethod
    def ask(self, question: Callable[[str], bool], device: str) -> bool:
        """The answer to ``question`` on a machine that has the device.

        Raises:
            ConfigError, EngineError, LostWorker: as :meth:`run`.
        """

    @abstractmethod
    def connect(self) -> None:
        """Prepare for :meth:`run`; called in the main thread before the others start."""

    @abstractmethod
    def close(self) -> None:
        """End everything that this engine has started."""

    def stop(self) -> None:
        """Make every call of :meth:`run` cancel its task and end."""
        self._stop.set()

    def obtain_all(self, runner: Runner, experiment: str, configs: Sequence[Any], workers: int | None) -> list[Any]:
        """The records of all configurations, in the same order; those not stored are computed first.

        Experiments without training, e.g. the probes of a language model on this machine's disk, are computed here.

        Args:
            runner: as for :func:`taskclust.engines.local.obtain_all`.
            experiment: the experiment's name.
            configs: the experiment's configurations.
            workers: number of tasks at once; by default as many as the engine has room for.

        Raises:
            Exception: the first exception that a run raised, once the other runs have finished and are stored.
        """
        module = experiments.part(experiment, "config")
        trains = any(module.stages(config) for config in configs if hasattr(module, "stages"))
        if trains:
            asked = configs
            runner = self._knowing(runner, experiment, asked)
            configs = [runner.resolve(experiment, config) for config in asked]
            pairs = list(zip(asked, configs, strict=True))
            pending = [pair for pair in pairs if runner.recompute or not _is_whole(runner, experiment, pair[1])]
            if pending:
                self._obtain_pending(runner, experiment, pending, workers)
            runner = replace(runner, recompute=False)
        elif not is_here(runner.device):
            takes_time = hasattr(module, "stages")
            fix = f"{experiment} trains nothing and is computed on this machine, which has no CUDA device; use cpu"
            require(not takes_time, "device", runner.device, fix)
            runner = replace(runner, device="cpu")
        return [runner.record(experiment, config) for config in configs]

    def _obtain_pending(
        self, runner: Runner, experiment: str, pending: Sequence[tuple[Any, Any]], workers: int | None
    ) -> None:
        """Compute and store the pending configurations, each given as requested and as settled."""
        self._stop.clear()
        self.connect()
        pool = ThreadPoolExecutor(min(workers or len(pending), len(pending)), f"taskclust-{self.name}")
        futures = [pool.submit(self._obtain, runner, experiment, *pair) for pair in pending]
        hidden = None if runner.show_progress else True
        try:
            for _ in tqdm(
                as_completed(futures),
                desc=f"{experiment} by {self.name}",
                total=len(futures),
                leave=False,
                disable=hidden,
            ):
                pass
        except BaseException:  # stopped: cancel the tasks; next time they continue from what they have sent
            self.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        for future in futures:
            future.result()

    def _knowing(self, runner: Runner, experiment: str, configs: Sequence[Any]) -> Runner:
        """A runner that can settle precisions for a device that this machine does not have."""
        if is_here(runner.device) or not any(_autos(config) for config in configs):
            return runner
        either = replace(runner, bfloat16_pays=True)  # a record stored in one precision serves for both
        if all(either.is_stored(experiment, config) for config in configs):
            return either
        if runner.device not in self._pays:
            self._pays[runner.device] = self.ask(bfloat16_pays, runner.device)
        return replace(runner, bfloat16_pays=self._pays[runner.device])

    # ---------------------------------------------------------------- one run

    def _obtain(self, runner: Runner, experiment: str, asked: Any, config: Any) -> None:
        """Have one record computed, unless another process has stored it in the meantime."""
        store, wanted = runner.store, runner.keys(experiment, config)
        with ExitStack() as locks:
            for kind, key in wanted:
                locks.enter_context(self._held(store.lock(kind, key)))
            if not runner.recompute and store.find(*wanted[0]) is not None:
                return
            for kind, key in wanted if runner.recompute else ():
                store.begin_again(kind, key)
            done: set[Place] = set()  # stored by this call, so that a recomputation continues from it
            vain = 0
            while True:
                before = _state_of(store, wanted), len(done)
                task = self._task(runner, experiment, asked, config, done)
                try:
                    self._receive(task, store, done)
                except LostWorker as lost:
                    vain = vain + 1 if (_state_of(store, wanted), len(done)) == before else 0
                    if vain == ATTEMPTS:
                        raise EngineError(
                            f"{task.title}: its worker was lost {ATTEMPTS} times ({lost}); what it sent is kept in the "
                            "store: check the machines and run again"
                        ) from lost
                    warnings.warn(f"{task.title}: worker lost ({lost}); started again", LostWorkerWarning, stacklevel=2)
                else:
                    return

    @contextlib.contextmanager
    def _held(self, lock: FileLock) -> Iterator[None]:
        """Hold a lock. Waiting for it may take hours if another process has it, but :meth:`stop` ends the wait."""
        while True:
            try:
                lock.acquire(timeout=LOOK_EVERY)
                break
            except Timeout:
                if self._stop.is_set():
                    raise Stopped from None
        try:
            yield
        finally:
            lock.release()

    def _task(self, runner: Runner, experiment: str, asked: Any, config: Any, done: set[Place]) -> Task:
        """The run as a task, with what the store already has of it; the caller holds the locks."""
        store = runner.store
        wanted = runner.keys(experiment, config)
        files: dict[Place, dict[str, bytes]] = {}
        for kind, key in wanted:
            whole = Place(kind, key)
            if (whole in done or not runner.recompute) and store.find(kind, key) is not None:
                files[whole] = contents(whole.within(store))
            else:
                files |= {part: contents(part.within(store)) for part in kept(store, kind, key)}
        autos = _autos(asked)
        return Task(
            experiment=experiment,
            config=config,
            key=wanted[0][1],
            device=runner.device,
            threads=runner.threads,
            replay=runner.replay,
            native_bfloat16=any(name in autos and precision == "bfloat16" for name, precision in _precisions(config)),
            recompute=runner.recompute,
            save_every=self._save_every,
            files=files,
        )

    def _receive(self, task: Task, store: Store, done: set[Place]) -> None:
        """Put what the task sends into the store as it arrives; the caller holds the locks.

        Raises:
            Exception: the task's exception; what it had finished before is stored.
        """
        messages = self.run(task)
        with contextlib.closing(messages):
            for message in messages:
                if isinstance(message, Exception):
                    raise message
                put(store, message.place, itertools.chain([message], messages), self._check(task))
                if not message.place.unfinished:
                    done.add(message.place)
        if Place(task.experiment, task.key) not in done:
            raise LostWorker("it ended without its record")

    def _check(self, task: Task) -> Callable[[Place, Path], None]:
        """A function that checks a record's files before they are sealed."""

        def check(place: Place, folder: Path) -> None:
            if place == Place(task.experiment, task.key):
                form = experiments.part(task.experiment, "record")
                decode((folder / "record.json").read_bytes(), form.Record, form.upgrade)

        return check


def _is_whole(runner: Runner, experiment: str, config: Any) -> bool:
    """Whether the record is stored and intact; False if another process is working on it."""
    (kind, key), *_ = runner.keys(experiment, config)
    if not runner.store.path(kind, key).exists():
        return False
    try:
        with runner.store.lock(kind, key).acquire(timeout=0):
            return runner.store.find(kind, key) is not None
    except Timeout:
        return False


def _state_of(store: Store, wanted: Sequence[tuple[str, str]]) -> list[Place]:
    """The parts of unfinished work in the store."""
    return [place for kind, key in wanted for place in kept(store, kind, key)]


def _precisions(config: Any) -> list[tuple[str, str]]:
    """The field names of a configuration's trainings, with their precisions."""
    stages = {f.name: getattr(config, f.name) for f in fields(config)}
    return [(name, stage.precision) for name, stage in stages.items() if isinstance(stage, TrainingConfig)]


def _autos(config: Any) -> list[str]:
    """The trainings whose precision depends on the device."""
    return [name for name, precision in _precisions(config) if precision == "auto"]
