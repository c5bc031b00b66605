"""Several processes compute the same as one, and an exception in one run does not affect the others."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from taskclust.config import ConfigError
from taskclust.engines import local, obtain_all
from taskclust.models import Trainer
from taskclust.runner import Runner
from taskclust.store import Store, encode
from tests.experiments.small import CONFIG, folder, measured

PROBE = replace(CONFIG.probe, iterations=5, tsne_restarts=1)
CONFIGS = [replace(CONFIG, seed=seed, probe=PROBE) for seed in (3, 4)]
IMPOSSIBLE = replace(CONFIG, probe=replace(PROBE, perplexity=1000))  # known once the data are there


class Computed(NamedTuple):
    runner: Runner
    raised: Exception | None
    returned: list[Any]


def whole(records):
    """Records, to the bit."""
    return list(map(encode, records))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Records computed by one process; the first of three runs fails."""
    return obtained(tmp_path_factory.mktemp("alone"), workers=1)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Records computed by two processes; the first of three runs fails."""
    return obtained(tmp_path_factory.mktemp("together"), workers=2)


def obtained(root, workers):
    runner = Runner(Store(root))
    raised = None
    try:
        obtain_all(runner, "synthetic", [IMPOSSIBLE, *CONFIGS], workers)
    except ConfigError as error:
        raised = error
    stored = [config for config in CONFIGS if runner.is_stored("synthetic", config)]
    return Computed(runner, raised, obtain_all(runner, "synthetic", stored, workers))


def test_a_failure_is_raised_after_the_other_runs_were_stored(together):
    assert "perplexity=1000" in str(together.raised)
    assert not together.runner.is_stored("synthetic", IMPOSSIBLE)
    assert [record.config.seed for record in together.returned] == [3, 4]


def test_one_process_raises_the_failure_too(alone):
    assert "perplexity=1000" in str(alone.raised)


def test_two_processes_give_the_records_of_one(together, alone):
    expected = obtain_all(alone.runner, "synthetic", CONFIGS, workers=1)

    assert list(map(measured, together.returned)) == list(map(measured, expected))


def test_records_come_in_the_order_of_the_experiments(together):
    backwards = obtain_all(together.runner, "synthetic", CONFIGS[::-1], workers=2)

    assert whole(backwards) == whole(together.returned[::-1])


def test_stored_records_start_no_process(together, monkeypatch):
    monkeypatch.setattr(local, "ProcessPoolExecutor", None)

    assert whole(obtain_all(together.runner, "synthetic", CONFIGS, workers=2)) == whole(together.returned)


def test_two_processes_compute_each_record_once_when_told_to_recompute(together):
    files = [folder(together.runner.store, "synthetic", config) / "record.json" for config in CONFIGS]
    before = [path.stat().st_ino for path in files]

    again = obtain_all(replace(together.runner, recompute=True), "synthetic", CONFIGS, workers=2)

    assert all(path.stat().st_ino != old for path, old in zip(files, before, strict=True))
    assert list(map(measured, again)) == list(map(measured, together.returned))
    assert whole(obtain_all(together.runner, "synthetic", CONFIGS, workers=2)) == whole(again)


POOL = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from taskclust.engines import end_with_parent
with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), {initializer}) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 60)
    time.sleep(60)
"""


def is_at_work(pid):
    """Whether the process is running, not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("initializer", "stays"), [("end_with_parent", False), ("None", True)])
def test_a_killed_run_leaves_no_process_running(initializer, stays):
    """Negative control: without the watch the worker keeps running."""
    main = subprocess.Popen([sys.executable, "-c", POOL.format(initializer=initializer)], stdout=subprocess.PIPE)
    worker = int(main.stdout.readline())

    main.kill()
    main.wait()
    main.stdout.close()
    until = time.monotonic() + (2 if stays else 30)
    while is_at_work(worker) and time.monotonic() < until:
        time.sleep(0.05)

    assert is_at_work(worker) is stays
    if stays:
        os.kill(worker, 9)


SEVERAL = """
import pathlib, signal, sys, time
from dataclasses import replace
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
from taskclust import engines
from taskclust.runner import Runner
from taskclust.store import Store
from tests.experiments.small import CONFIG

class Slow(Runner):
    def record(self, experiment, config):
        (self.store.root / f"began-{{config.seed}}").touch()
        time.sleep(60)

if __name__ == "__main__":
    runner = Slow(Store(pathlib.Path(sys.argv[1])))
    engines.obtain_all(runner, "synthetic", [replace(CONFIG, seed=seed) for seed in range(5)], workers=2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="groups of processes")
@pytest.mark.parametrize("to_all", [True, False], ids=["as from a terminal", "to the main process alone"])
def test_an_interrupted_run_ends_and_starts_no_other_seed(tmp_path, to_all):
    script, store = tmp_path / "several.py", tmp_path / "store"
    script.write_text(SEVERAL.replace("{{", "{").replace("}}", "}"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    main = subprocess.Popen(
        [sys.executable, script, store], env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        while len(list(store.glob("began-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        os.killpg(main.pid, signal.SIGINT) if to_all else main.send_signal(signal.SIGINT)

        assert main.wait(30) != 0
    finally:
        main.kill()
        main.wait()
    assert {path.name for path in store.glob("began-*")} == {"began-0", "began-1"}


def test_seeds_trained_together_give_the_records_of_each_alone(tmp_path, monkeypatch):
    alone = Runner(Store(tmp_path / "alone"), replay=True)
    together = Runner(Store(tmp_path / "together"), replay=True)
    expected = [measured(alone.record("synthetic", config)) for config in CONFIGS]

    together.train_together(CONFIGS)
    monkeypatch.setattr(Trainer, "epoch_steps", None)  # nothing is left to train

    assert [measured(record) for record in obtain_all(together, "synthetic", CONFIGS, workers=1)] == expected


def test_a_diverging_training_does_not_stop_the_others(tmp_path):
    runner = Runner(Store(tmp_path), replay=True)
    diverging = replace(CONFIGS[0], training=replace(CONFIG.training, learning_rate=1e30))

    with pytest.warns(RuntimeWarning, match="learning_rate"):
        records = obtain_all(runner, "synthetic", [diverging, CONFIGS[1]], workers=1)

    assert [record.failure is None for record in records] == [False, True]
    assert len(records[1].history["loss"]) == 1 + CONFIG.training.epochs


def test_a_runner_that_replays_trains_the_seeds_in_turn(tmp_path, monkeypatch):
    order = []
    original = Trainer.epoch_steps

    def noting(self):
        for step in original(self):
            order.append(self.config.seed)
            yield step

    monkeypatch.setattr(Trainer, "epoch_steps", noting)

    obtain_all(Runner(Store(tmp_path), replay=True), "synthetic", CONFIGS, workers=1)

    assert order[:4] == [3, 4, 3, 4]
