"""Where runs go: several at once on one machine, one process a core on a CPU, on a GPU one by one or step by step."""

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from taskclust import experiments
from taskclust.runner import Runner

#: What a worker process is given when it starts.
_process: dict[str, Runner] = {}


def obtain_all(runner: Runner, experiment: str, configs: Sequence[Any], workers: int | None = None) -> list[Any]:
    """The record of every configuration, in order; what is missing is computed.

    Args:
        runner: how to run one.
        experiment: its name.
        configs: its configurations.
        workers: processes at once, of an experiment that trains; by default one for each core that the runner's threads
            leave, and one on a GPU. One whose runner replays steps trains all seeds together.

    Raises:
        Exception: the first that a run raised, once the others have finished and been stored; at once where seeds are
            trained together.
    """
    module = experiments.part(experiment, "config")
    if not any(module.stages(config) for config in configs if hasattr(module, "stages")):
        return [runner.record(experiment, config) for config in configs]
    configs = [runner.resolve(experiment, config) for config in configs]  # once: workers would time it while they share
    pending = [config for config in configs if not runner.is_stored(experiment, config)]
    if workers is None:
        workers = max(1, (os.cpu_count() or 1) // runner.threads) if runner.device == "cpu" else 1
    if min(workers, len(pending)) > 1:
        context = multiprocessing.get_context("spawn")
        arguments = (runner, context.Value("i", 0), context.RLock())
        with ProcessPoolExecutor(min(workers, len(pending)), context, _start, arguments) as pool:
            futures = [pool.submit(_run, experiment, config) for config in pending]
        for future in futures:
            future.result()
        runner = replace(runner, recompute=False)
    elif runner.replay and hasattr(module, "trainings"):
        runner.train_together([training for config in pending for training in module.trainings(config)])
    return [runner.record(experiment, config) for config in configs]


def _start(runner: Runner, counter: Any, lock: Any) -> None:
    """Give each process its runner, with its own line of the terminal."""
    end_with_parent()
    tqdm.set_lock(lock)
    with counter.get_lock():
        _process["runner"] = replace(runner, line=counter.value)
        counter.value += 1


def end_with_parent() -> None:
    """End this process once the one that started it is gone: what was killed leaves nothing behind that works on."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # stored work is whole, whenever this is

    threading.Thread(target=watch, daemon=True).start()


def _run(experiment: str, config: Any) -> None:
    _process["runner"].record(experiment, config)
