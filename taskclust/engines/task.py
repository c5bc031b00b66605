"""One run as a task for another machine: its input, its computation, and the files that it sends back.

A task computes in a store of its own. It gets what the driver's store has of its run: a stored training, and the states
of unfinished trainings. It sends back every state and checkpoint that it saves, and in the end the training and the
record. It sends one message per file, so no shared file system is needed. The driver seals the files in its own store.
A task that is started again elsewhere therefore continues from the last state that was sent.
"""

import os
import pickle
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from threadpoolctl import threadpool_limits

from taskclust.models.precision import native_bfloat16
from taskclust.runner import Runner
from taskclust.store import Store
from taskclust.store.folders import MANIFEST, is_sealed, scratch_folder, seal


class EngineError(RuntimeError):
    """A run could not be computed elsewhere; the message says where, why, and what to do."""


class Place(NamedTuple):
    """A folder in a store: a record, by kind and key, or a sealed part of the unfinished work on it."""

    kind: str
    key: str
    unfinished: str = ""  # the part's path in the folder of unfinished work, e.g. "checkpoints/0010"

    def within(self, store: Store) -> Path:
        """The place in a store."""
        return store.unfinished(*self[:2]) / self.unfinished if self.unfinished else store.path(*self[:2])


class File(NamedTuple):
    """A file of a place; the last message about a place has neither name nor content."""

    place: Place
    name: str = ""
    content: bytes | None = None


#: A message of a task: a file, or at the end the exception if it failed.
Message = File | Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A run with everything that a machine needs for it besides the package.

    Args:
        experiment: the experiment's name.
        config: its configuration, with all that depends on the device settled.
        key: the record's key as computed by the driver.
        device: "cpu" or "cuda".
        threads: threads of the run.
        replay: see :class:`taskclust.runner.Runner`.
        native_bfloat16: bfloat16 was chosen because the driver's processor multiplies it; the machine's must do so too.
        recompute: an earlier outcome of the same task is not used.
        save_every: seconds between two saves of an unfinished training.
        files: the files that the driver's store has of the run, by place, without manifests.
    """

    experiment: str
    config: Any
    key: str
    device: str
    threads: int
    replay: bool
    native_bfloat16: bool
    recompute: bool
    save_every: float
    files: Mapping[Place, Mapping[str, bytes]]

    @property
    def title(self) -> str:
        """The run's name in messages."""
        return f"{self.experiment} seed {self.config.seed}"


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their relative path, without the manifest."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def kept(store: Store, kind: str, key: str) -> list[Place]:
    """The sealed parts of the unfinished work on a record: checkpoints first, because a state depends on them.

    The training may delete a state meanwhile, which is then left out.
    """
    root = store.unfinished(kind, key)
    # os.walk passes over a folder that is gone, where Path.rglob raises
    parts = (Path(folder).relative_to(root) for folder, _, files in os.walk(root) if MANIFEST in files)
    seen = [part.as_posix() for part in parts if not any(name.startswith(".") for name in part.parts)]
    ordered = sorted(seen, key=lambda part: (part.rpartition("/")[2].startswith("state-"), part))
    places = [Place(kind, key, part) for part in ordered]
    return [place for place in places if _is_there(place.within(store))]


def _is_there(folder: Path) -> bool:
    try:
        return is_sealed(folder)
    except FileNotFoundError:
        return False


def perform(task: Task, store: Store) -> Exception | None:
    """Compute the task's record in ``store``; return the exception that it raised, if any, in a form that can be sent.

    The number of threads is set here, because a reused process would keep that of its first task.
    """
    try:
        with threadpool_limits(task.threads):  # for NumPy; the runner sets PyTorch's
            runner = Runner(
                store, device=task.device, threads=task.threads, replay=task.replay, save_every=task.save_every
            )
            _require_fit(task, runner)
            runner.record(task.experiment, task.config)
    except Exception as error:  # noqa: BLE001 - the driver raises it
        return _as_sent(error)
    return None


def _require_fit(task: Task, runner: Runner) -> None:
    """Refuse a machine on which the run would differ from the driver's."""
    if task.device == "cuda" and not torch.cuda.is_available():
        raise EngineError(f"{task.title}: {platform.node()} has no CUDA device; leave it out, or use --device cpu")
    if task.native_bfloat16 and native_bfloat16(task.device) is None:
        raise EngineError(
            f"{task.title}: precision auto is bfloat16, for which {platform.node()} has no instructions; leave that "
            "machine out, or start from one like it"
        )
    if (own := runner.key(task.experiment, task.config)) != task.key:
        raise EngineError(
            f"{task.title}: {platform.node()} names the run {own}, not {task.key}; install one version of taskclust "
            "everywhere"
        )


def _as_sent(error: Exception) -> Exception:
    """The error, or one with the same text if it cannot be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - whatever its class does
        return EngineError(f"{type(error).__name__}: {error}")
    return error


def unpack(task: Task, store: Store) -> None:
    """Put the task's files into its store, sealed."""
    for place, files in task.files.items():
        put(store, place, iter([*(File(place, *item) for item in files.items()), File(place)]))


def results(task: Task, store: Store) -> Iterator[File]:
    """The files of the records that the task has made: the training first, because the record depends on it."""
    for kind, key in reversed(Runner(store).keys(task.experiment, task.config)):
        place = Place(kind, key)
        if place not in task.files and place.within(store).exists():
            yield from _record(place, store)


def news(task: Task, store: Store, known: set[Place]) -> Iterator[File]:
    """The files of saved parts of unfinished trainings that are not in ``known``, to which they are added."""
    for kind, key in Runner(store).keys(task.experiment, task.config):
        for place in kept(store, kind, key):
            if place not in known:
                known.add(place)
                yield from _part(place, store)


def _record(place: Place, store: Store) -> Iterator[File]:
    """A record's files, read one at a time, since a training has gigabytes."""
    folder = place.within(store)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            yield File(place, path.relative_to(folder).as_posix(), path.read_bytes())
    yield File(place)


def _part(place: Place, store: Store) -> Iterator[File]:
    """A part's files, all read before the first is sent: the training deletes a state once it has a later one."""
    try:
        files = contents(place.within(store))
        if not is_sealed(place.within(store)):
            return
    except FileNotFoundError:
        return
    yield from (File(place, *item) for item in files.items())
    yield File(place)


def put(
    store: Store, place: Place, messages: Iterator[Message], check: Callable[[Place, Path], None] | None = None
) -> None:
    """Write the files of one place, which come first in ``messages``, to a store, and seal them.

    The caller holds the record's lock. ``check(place, folder)`` is called before the files are sealed.

    Raises:
        Exception: an exception that ``messages`` raise or contain. Nothing is written then.
    """
    if not place.unfinished:

        def make(folder: Path) -> None:
            _fill(folder, messages)
            if check is not None:
                check(place, folder)

        store.write(place.kind, place.key, make)
        return
    target, root = place.within(store), store.unfinished(place.kind, place.key)
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(root, ".coming-") as scratch:
        part = scratch / "part"
        part.mkdir()
        _fill(part, messages)
        seal(part)
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    for other in target.parent.glob("state-*") if target.name.startswith("state-") else ():
        if other != target:
            shutil.rmtree(other)


def _fill(folder: Path, messages: Iterator[Message]) -> None:
    for message in messages:
        if isinstance(message, Exception):
            raise message
        if message.content is None:
            return
        path = folder / message.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(message.content)
    raise EngineError(f"{folder}: not all files arrived")
