"""Runs as jobs of Slurm, by submitit: ``--engine slurm [--slurm NAME=VALUE]``; the extra ``slurm``.

Slurm's machines share a file system with the driver. A job computes in a folder of its own, ``<store>/slurm/<run>``,
from which the driver takes the results; only the driver writes records to the store. The folder also names the job, so
that a driver that was killed finds its job again, running or done, and does not submit it twice.
"""

import contextlib
import shutil
import time
from ast import literal_eval
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from taskclust.config import ConfigError, require
from taskclust.engines.elsewhere import LOOK_EVERY, Elsewhere, LostWorker, Stopped
from taskclust.engines.task import EngineError, Message, Task, news, perform, results, unpack
from taskclust.runner import SAVE_EVERY
from taskclust.store import Store
from taskclust.store.folders import write_whole

#: The default parameters of a job. submitit's own time limits are 5 minutes, and 2 without Slurm.
_DEFAULTS = {"name": "taskclust", "timeout_min": 24 * 60}
#: The most seconds until a shared file system shows a new file on every machine.
PATIENCE = 90.0
#: The most seconds to wait for a cancelled process on this machine.
LAST_WORDS = 20.0
#: Parameters that are set in other ways.
_OPTIONS = {"cpus_per_task": "--threads", "gpus_per_node": "--device", "nodes": "one machine per run",
            "tasks_per_node": "one task per run"}  # fmt: skip
_CLUSTERS = ("slurm", "local")


def read_parameters(settings: Sequence[str]) -> dict[str, Any]:
    """Submitit's parameters from texts "NAME=VALUE". Parameters that only Slurm has are given by Slurm's names.

    Values are Python literals; any other text is a string.

    Raises:
        ConfigError: a text has no value, or a name is set by another option.
    """
    parameters: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        require(bool(name and text), "slurm", setting, "write NAME=VALUE, e.g. partition=gpu or timeout_min=600")
        require(name not in _OPTIONS, "slurm", setting, f"it is set by {_OPTIONS.get(name)}")
        try:
            parameters[name] = literal_eval(text)
        except (ValueError, SyntaxError):
            parameters[name] = text
    return parameters


class Slurm(Elsewhere):
    """Slurm, or submitit's replacement for it: processes of this machine ("local").

    Args:
        root: the store's folder, which has the same path on every machine.
        parameters: submitit's parameters by name; "cluster" is "slurm" or "local".
        save_every: seconds between two saves of an unfinished training.

    Raises:
        ConfigError: submitit is not installed, there is no Slurm here, or a parameter is unknown.
    """

    name = "slurm"

    def __init__(self, root: Path, parameters: Mapping[str, Any] | None = None, save_every: float = SAVE_EVERY) -> None:
        super().__init__(save_every)
        try:
            import submitit  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigError("engine='slurm': submitit is not installed; pip install 'taskclust[slurm]'") from error
        wanted = {**_DEFAULTS, **(parameters or {})}
        cluster = wanted.pop("cluster", "slurm")
        require(cluster in _CLUSTERS, "slurm", f"cluster={cluster}", f"use {' or '.join(_CLUSTERS)}")
        if cluster == "slurm" and shutil.which("srun") is None:
            raise ConfigError(
                "engine='slurm': this machine has no srun; run where jobs are submitted, or add --slurm cluster=local "
                "for processes of this machine"
            )
        self._is_slurm = cluster == "slurm"
        self._root = Path(root).resolve() / "slurm"
        self._lock = Lock()  # submitit's objects are not thread-safe
        self._executor: Any = submitit.AutoExecutor(self._root / "logs", cluster=cluster)
        common = self._executor._typed_parameters()  # noqa: SLF001 - it has no public list of them
        named = {name if name in common else f"slurm_{name}": value for name, value in wanted.items()}
        try:
            self._executor.update_parameters(**named)
        except (NameError, AssertionError, TypeError, ValueError) as error:
            first = str(error).partition("\n")[0]
            raise ConfigError(f"slurm={dict(parameters or {})!r}: submitit does not accept it ({first})") from error

    def connect(self) -> None:
        """See :class:`Elsewhere`; there is nothing to do."""

    def close(self) -> None:
        """See :class:`Elsewhere`; there is nothing to do."""

    def run(self, task: Task) -> Generator[Message, None, None]:
        """See :class:`Elsewhere`."""
        folder = self._root / f"{task.experiment}-{task.key}"
        job = self._found(folder, task)
        store = Store(folder)
        if job is None:
            unpack(task, store)
            bare = replace(task, files={place: {} for place in task.files})  # a pickle of gigabytes is refused
            job = self._submit(task.device, task.threads, _work, bare, folder)
            write_whole(folder / "job", str(job.job_id).encode())
        try:
            failure = self._outcome(job)
        except (LostWorker, Stopped) as error:
            failure = error
        if failure is None:
            _wait_for(store.path(task.experiment, task.key))
        else:
            yield from news(task, store, set(task.files))
        yield from results(task, store)
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(failure, (LostWorker, Stopped)):
            raise failure
        if failure is not None:
            yield failure

    def ask(self, question: Callable[[str], bool], device: str) -> bool:
        """See :class:`Elsewhere`."""
        return bool(self._outcome(self._submit(device, 1, question, device)))

    def _submit(self, device: str, threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
        with self._lock:
            self._executor.update_parameters(cpus_per_task=threads, gpus_per_node=int(device == "cuda") or None)
            try:
                return self._executor.submit(function, *arguments)
            except Exception as error:
                raise EngineError(f"slurm: the job was not accepted ({str(error).strip()})") from error

    def _found(self, folder: Path, task: Task) -> Any:
        """The job that a killed driver left in the folder; if there is none to continue, None, and no folder."""
        if self._is_slurm and (folder / "job").exists():
            number = (folder / "job").read_text("utf-8")
            job = self._executor._executor.job_class(self._root / "logs", number)  # noqa: SLF001 - no public way
            if not task.recompute:
                return job
            self._cancel(job)
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def _cancel(self, job: Any) -> None:
        """Cancel a job; wait for a process of this machine, which may be writing a state."""
        with contextlib.suppress(Exception):  # it may have ended, or Slurm may not answer
            job.cancel(check=False)
            if not self._is_slurm:
                job._process.wait(LAST_WORDS)  # noqa: SLF001 - no public way

    def _outcome(self, job: Any) -> Any:
        """The result of a job, once it has ended.

        Raises:
            LostWorker: it ended without a result.
            Stopped: the driver was told to stop; the job is cancelled.
        """
        while True:
            with self._lock:
                is_done = job.done()
            if is_done:
                break
            if self._stop.wait(LOOK_EVERY):
                self._cancel(job)
                raise Stopped
        with self._lock:
            if not self._is_slurm:  # with Slurm the file system may be slow to show the result
                job._results_timeout_s = 2 * LOOK_EVERY  # noqa: SLF001
            error = job.exception()
            if error is None:
                result = job.result()
                for log in job.paths.folder.glob(f"{job.job_id}_*"):  # only failed jobs keep their logs
                    log.unlink(missing_ok=True)
                return result
        raise LostWorker(f"job {job.job_id}: {type(error).__name__}, see {job.paths.stderr}")


def _wait_for(record: Path) -> None:
    """Wait until a shared file system shows a record that was written elsewhere; it may have cached its absence."""
    until = time.monotonic() + PATIENCE
    while not record.exists() and time.monotonic() < until:
        time.sleep(LOOK_EVERY)


def _work(task: Task, folder: Path) -> Exception | None:
    """Compute a task in the folder's store; return the exception that it raised, if any."""
    return perform(task, Store(folder))
