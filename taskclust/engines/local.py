"""Run several configurations on one machine: in parallel processes, one after another, or step by step in turn.

By default a CPU runs one process per core. A GPU runs one configuration after another or, with replayed steps, takes a
step of each in turn.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from taskclust import experiments
from taskclust.runner import Runner

#: The runner of this worker process, set when the process starts.
_process: dict[str, Runner] = {}


def obtain_all(runner: Runner, experiment: str, configs: Sequence[Any], workers: int | None = None) -> list[Any]:
    """The records of all configurations, in the same order; those not stored are computed first.

    Args:
        runner: obtains one record.
        experiment: the experiment's name.
        configs: the experiment's configurations.
        workers: number of processes for an experiment that trains. By default it is the number of cores divided by the
            runner's threads on a CPU, and one on a GPU. With one process and a runner that replays steps, all seeds are
            trained together.

    Raises:
        Exception: the first exception that a run raised. It is raised once the other runs have finished and are stored,
            or at once if runs share one process.
    """
    module = experiments.part(experiment, "config")
    if not any(module.stages(config) for config in configs if hasattr(module, "stages")):
        return [runner.record(experiment, config) for config in configs]
    # resolve here, once: it may time the device, which workers would do while they share it
    configs = [runner.resolve(experiment, config) for config in configs]
    pending = [config for config in configs if not runner.is_stored(experiment, config)]
    if workers is None:
        workers = max(1, (os.cpu_count() or 1) // runner.threads) if runner.device == "cpu" else 1
    if min(workers, len(pending)) > 1:
        context = multiprocessing.get_context("spawn")
        arguments = (runner, context.Value("i", 0), context.RLock())
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(min(workers, len(pending)), context, _start, arguments) as pool:
            futures = [pool.submit(_run, experiment, config) for config in pending]
            try:
                wait(futures)
            except BaseException:  # stopped: start no waiting run and end the others; they continue next time
                pool.shutdown(wait=False, cancel_futures=True)
                for child in set(multiprocessing.active_children()) - others:
                    child.terminate()
                raise
        for future in futures:
            future.result()
        runner = replace(runner, recompute=False)
    elif runner.replay and hasattr(module, "trainings"):
        runner.train_together([training for config in pending for training in module.trainings(config)])
    return [runner.record(experiment, config) for config in configs]


def _start(runner: Runner, counter: Any, lock: Any) -> None:
    """Set up a worker process: its runner, drawing on its own line of the terminal."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # or it would start another run; the main process ends it
    tqdm.set_lock(lock)
    with counter.get_lock():
        _process["runner"] = replace(runner, line=counter.value)
        counter.value += 1


def end_with_parent() -> None:
    """End this process as soon as its parent process has ended, so that killing the parent stops all work."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # safe at any time: the store never holds half-written records

    threading.Thread(target=watch, daemon=True).start()


def _run(experiment: str, config: Any) -> None:
    _process["runner"].record(experiment, config)
