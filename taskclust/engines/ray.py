"""Runs as tasks of a Ray cluster: ``--engine ray [--address A]``; the extra ``ray``.

A task sends its saved states while it runs and its record at the end, by Ray's own channels. The driver starts a lost
task again (:mod:`taskclust.engines.elsewhere`), not Ray, which would start from nothing.
"""

import contextlib
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from taskclust.config import ConfigError, require
from taskclust.engines.elsewhere import LOOK_EVERY, Elsewhere, LostWorker, Stopped
from taskclust.engines.task import EngineError, Message, Task, news, perform, results, unpack
from taskclust.runner import SAVE_EVERY
from taskclust.store import Store

#: The prefix of the temporary folders of tasks.
_FOLDER = "taskclust-task-"


class Ray(Elsewhere):
    """A Ray cluster.

    Args:
        address: the address of the cluster's head, e.g. "10.0.0.1:6379", or "auto" for the cluster that this machine
            belongs to. None: the address in RAY_ADDRESS, or a new cluster of only this machine, which ends with the
            engine.
        save_every: seconds between two saves of an unfinished training, which are then sent.

    Raises:
        ConfigError: Ray is not installed, or the address is for Ray's client.
    """

    name = "ray"

    def __init__(self, address: str | None = None, save_every: float = SAVE_EVERY) -> None:
        super().__init__(save_every)
        self._address = os.environ.get("RAY_ADDRESS") or "local" if address is None else address
        self._is_ours = False
        require(
            not self._address.startswith("ray://"),
            "address",
            self._address,
            "Ray's client cannot stream results; run on a machine of the cluster, with --address auto",
        )
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage data to Ray's makers
        try:
            import ray  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigError("engine='ray': Ray is not installed; pip install 'taskclust[ray]'") from error
        self._ray: Any = ray

    def run(self, task: Task) -> Generator[Message, None, None]:
        """See :class:`Elsewhere`."""
        ray = self._ray
        stream = self._remote(_work, task.device, task.threads, task.title, num_returns="streaming").remote(task)
        ended = False
        try:
            while not ended:
                ready, _ = ray.wait([stream], timeout=LOOK_EVERY)
                if self._stop.is_set():
                    raise Stopped
                if ready:
                    with _as_ours(ray):
                        try:
                            message = ray.get(next(stream))
                        except StopIteration:
                            ended = True
                            return
                    yield message
        finally:
            if not ended:
                with contextlib.suppress(Exception):  # the cluster itself may be gone
                    ray.cancel(stream)

    def ask(self, question: Callable[[str], bool], device: str) -> bool:
        """See :class:`Elsewhere`."""
        self.connect()
        ray = self._ray
        with _as_ours(ray):
            return bool(ray.get(self._remote(question, device, 1, question.__name__).remote(device)))

    def connect(self) -> None:
        """Connect to the cluster, or start one.

        A cluster that is started here ends with the thread that started it (Ray 2.60), not with the process.

        Raises:
            ConfigError: no cluster answers.
        """
        if self._ray.is_initialized():
            return
        _require_answer(self._address)
        mine = {"num_cpus": os.cpu_count(), "include_dashboard": False} if self._address == "local" else {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Ray's advice to its own developers
                self._ray.init(self._address, log_to_driver=False, logging_level="WARNING", **mine)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            first = str(error).partition("\n")[0]
            raise ConfigError(f"address={self._address!r}: no cluster answers ({first})") from error
        self._is_ours = True

    def close(self) -> None:
        """Leave the cluster; end it if it was started here."""
        if self._is_ours:
            self._ray.shutdown()
            self._is_ours = False

    def _remote(self, function: Callable[..., Any], device: str, threads: int, name: str, **more: Any) -> Any:
        """The function as a Ray task, with the resources it needs."""
        room = {"CPU": threads, "GPU": int(device == "cuda")}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for kind, n in room.items():
            most = max((node.get(kind, 0) for node in nodes), default=0)
            if most < n:
                option = "threads" if kind == "CPU" else "device"
                value = threads if kind == "CPU" else device
                fix = f"a run needs {n} {kind} on one machine of the cluster, which has at most {most:g}"
                raise ConfigError(f"{option}={value!r}: {fix}; ask for less or add a machine")
        options = {"num_cpus": threads, "num_gpus": room["GPU"], "max_retries": 0, "name": name, **more}
        return self._ray.remote(function).options(**options)


def _require_answer(address: str) -> None:
    """Refuse an address where nothing listens; Ray (2.60) would try for minutes.

    Raises:
        ConfigError: nothing listens, or the address is malformed.
    """
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition(":")
    require(bool(host) and port.isdecimal(), "address", address, "write auto, or HOST:PORT of the cluster's head")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"address={address!r}: no cluster answers ({error}); see ray status there") from error


@contextlib.contextmanager
def _as_ours(ray: Any) -> Iterator[None]:
    """Turn Ray's exceptions into the engine's."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:  # not the run's own exception, which is sent as a message
        raise EngineError(f"a task of Ray failed: {error.cause!r}") from error
    except ray.exceptions.RayError as error:
        first = str(error).partition("\n")[0].partition(". ")[0]
        raise LostWorker(f"{type(error).__name__}: {first}") from error


def _work(task: Task) -> Iterator[Message]:
    """Compute a task in a temporary store, and send its saved states meanwhile.

    The run has a thread of its own, so that this one can send.
    """
    with _own_folder() as root, ThreadPoolExecutor(1) as pool:
        store = Store(root / "store")
        unpack(task, store)
        known = set(task.files)
        run = pool.submit(perform, task, store)
        try:
            while not wait([run], timeout=task.save_every).done:
                yield from news(task, store, known)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):  # cancelled: the thread ends only with its process
            shutil.rmtree(root, ignore_errors=True)
            os._exit(1)
        failure = run.result()
        if failure is not None:
            yield from news(task, store, known)
        yield from results(task, store)
        if failure is not None:
            yield failure


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """A temporary folder for one task. Folders left by killed tasks on this machine are deleted first."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*/lock"):
        with contextlib.suppress(OSError, Timeout), FileLock(left, timeout=0):  # its owner is dead
            shutil.rmtree(left.parent)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
        lock = FileLock(folder / "lock")
        lock.acquire()
        if (folder / "lock").exists():  # else another task took it for a left one and deleted it
            break
        lock.release()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
