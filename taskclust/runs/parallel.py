"""Several runs at once on one machine: one process a core on a CPU, on a GPU one after another or step by step."""

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from taskclust.config import AnyConfig, ExperimentConfig
from taskclust.runs.experiments import Record, RecordKind, Runner

#: What a worker process is given when it starts.
_process: dict[str, Runner] = {}


def obtain_all(
    runner: Runner, configs: Sequence[AnyConfig], workers: int | None = None, kind: RecordKind = "scores"
) -> list[Record]:
    """The record of every configuration, in order; what is missing is computed.

    Args:
        runner: how to run one.
        configs: the experiments.
        kind: the runner's method that gives the record.
        workers: processes at once; by default one for each core that the runner's threads leave, and one on a GPU. One
            whose runner replays steps trains all seeds together.

    Raises:
        Exception: the first that a run raised, once the others have finished and been stored; at once where seeds are
            trained together.
    """
    configs = [runner.resolve(config, kind) for config in configs]  # once, here: workers would time it while they share
    pending = [config for config in configs if not runner.is_stored(config, kind)]
    if workers is None:
        workers = max(1, (os.cpu_count() or 1) // runner.threads) if runner.device == "cpu" else 1
    if min(workers, len(pending)) > 1:
        context = multiprocessing.get_context("spawn")
        arguments = (runner, context.Value("i", 0), context.RLock())
        with ProcessPoolExecutor(min(workers, len(pending)), context, _start, arguments) as pool:
            futures = [pool.submit(_run, kind, config) for config in pending]
        for future in futures:
            future.result()
        runner = replace(runner, recompute=False)
    elif runner.replay and kind == "scores":
        runner.train_together([config for config in pending if isinstance(config, ExperimentConfig)])
    return [getattr(runner, kind)(config) for config in configs]


def _start(runner: Runner, counter: Any, lock: Any) -> None:
    """Give each process its runner, with its own line of the terminal."""
    end_with_parent()
    tqdm.set_lock(lock)
    with counter.get_lock():
        _process["runner"] = replace(runner, bar=counter.value)
        counter.value += 1


def end_with_parent() -> None:
    """End this process once the one that started it is gone: what was killed leaves nothing behind that works on."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # stored work is whole, whenever this is

    threading.Thread(target=watch, daemon=True).start()


def _run(kind: RecordKind, config: AnyConfig) -> None:
    getattr(_process["runner"], kind)(config)
