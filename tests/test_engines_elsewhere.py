"""The driver of a cluster, with an engine that computes in this process and fails on request."""

import os
import re
import shutil
import sys
import threading
import time
from dataclasses import replace

import pytest
import threadpoolctl
import torch

from taskclust import smoke
from taskclust.config import ConfigError
from taskclust.engines import LostWorkerWarning, engine, obtain_all
from taskclust.engines import task as tasks
from taskclust.engines.elsewhere import ATTEMPTS, Elsewhere, LostWorker, Stopped
from taskclust.engines.task import EngineError, Place, Task, news, perform, results, unpack
from taskclust.models import Trainer
from taskclust.profiles import llm
from taskclust.runner import TRAJECTORY, Runner
from taskclust.store import CorruptRecordWarning, Store, encode
from taskclust.store.folders import read_json, seal
from tests.experiments.small import CONFIG, folder, measured, truncate

PROBE = replace(CONFIG.probe, iterations=5, tsne_restarts=1)
CONFIGS = [replace(CONFIG, seed=seed, probe=PROBE) for seed in (3, 4)]
IMPOSSIBLE = replace(CONFIG, probe=replace(PROBE, perplexity=1000))  # known once the data are there


class Here(Elsewhere):
    """An engine that computes each task in a folder on this machine.

    Args:
        root: the parent of the folders, one per task.
        faults: the faults of successive tasks ("at once", "in training", "in probing"); later tasks have none.
    """

    name = "here"

    def __init__(self, root, faults=()):
        super().__init__(save_every=0)
        self.root, self.faults, self.tasks = root, list(faults), []
        self.asked = []

    def connect(self):
        self.root.mkdir(exist_ok=True)

    def close(self):
        pass

    def ask(self, question, device):
        self.asked.append((question.__name__, device))
        return True

    def run(self, task):
        self.tasks.append(task)
        store = Store(self.root / str(len(self.tasks)))
        unpack(task, store)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "at once":
            raise LostWorker("power cut")
        with pytest.MonkeyPatch.context() as patch:
            if fault == "in training":
                patch.setattr(Trainer, "epoch_steps", stopping(after=5))
            if fault == "in probing":
                patch.setattr("taskclust.experiments.synthetic.run.open_checkpoint", lost)
            failure = perform(task, store)
        if failure is not None:
            yield from news(task, store, set(task.files))
        yield from results(task, store)
        if isinstance(failure, EngineError) and fault:
            raise LostWorker("power cut")
        if failure is not None:
            yield failure


def stopping(after):
    """A training that is interrupted after so many epochs in this process."""
    original, begun = Trainer.epoch_steps, []

    def epoch_steps(self):
        begun.append(self)
        if len(begun) > after:
            raise EngineError("cut")
        return original(self)

    return epoch_steps


def lost(*_):
    raise EngineError("cut")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The records of the local engine."""
    runner = Runner(Store(tmp_path_factory.mktemp("local")))
    return runner, obtain_all(runner, "synthetic", CONFIGS, workers=1)


@pytest.fixture
def runner(tmp_path):
    return Runner(Store(tmp_path / "store"))


def trained(store, config):
    """A stored training without what varies: its record, and its weights to the bit."""
    kept = store.path(*Runner(store).keys("synthetic", config)[1])
    record = {k: v for k, v in read_json(kept / "record.json").items() if k not in ("seconds", "provenance")}
    return record, {p.relative_to(kept): p.read_bytes() for p in kept.glob("checkpoints/*/*") if p.is_file()}


def test_records_and_trainings_are_those_of_the_local_engine(expected, runner, tmp_path):
    local, records = expected

    found = Here(tmp_path / "there").obtain_all(runner, "synthetic", CONFIGS, None)

    assert list(map(measured, found)) == list(map(measured, records))
    assert [record.config.seed for record in found] == [3, 4]
    for config in CONFIGS:
        assert trained(runner.store, config) == trained(local.store, config)
    assert list((runner.store.root / "unfinished").iterdir()) == []


def test_stored_records_are_not_sent(runner, tmp_path):
    there = Here(tmp_path / "there")
    first = there.obtain_all(runner, "synthetic", CONFIGS, 1)

    again = there.obtain_all(runner, "synthetic", CONFIGS[::-1], None)

    assert list(map(encode, again)) == list(map(encode, first[::-1]))
    assert len(there.tasks) == 2


def test_a_damaged_record_is_computed_again_elsewhere(runner, tmp_path, expected):
    there = Here(tmp_path / "there")
    there.obtain_all(runner, "synthetic", CONFIGS, None)
    truncate(folder(runner.store, "synthetic", CONFIGS[0]) / "record.json")

    with pytest.warns(CorruptRecordWarning, match="record.json differs"):
        found = there.obtain_all(runner, "synthetic", CONFIGS, None)

    assert measured(found[0]) == measured(expected[1][0])
    assert len(there.tasks) == 3


def test_another_probe_is_sent_with_the_training_that_is_stored(runner, tmp_path, monkeypatch, expected):
    Here(tmp_path / "first").obtain_all(runner, "synthetic", CONFIGS[:1], None)
    other = replace(CONFIGS[0], probe=replace(PROBE, neighbors=3))
    monkeypatch.setattr(Trainer, "epoch_steps", None)  # nothing is left to train

    (found,) = Here(tmp_path / "second").obtain_all(runner, "synthetic", [other], None)

    assert encode(found.history) == encode(expected[1][0].history)


@pytest.mark.parametrize("fault", ["at once", "in training", "in probing"])
def test_a_run_whose_worker_is_lost_is_started_again_and_gives_the_same(fault, runner, tmp_path, expected):
    there = Here(tmp_path / "there", [fault])

    with pytest.warns(LostWorkerWarning, match=r"synthetic seed 3: worker lost \(power cut\); started again"):
        (found,) = there.obtain_all(runner, "synthetic", CONFIGS[:1], None)

    assert measured(found) == measured(expected[1][0])
    parts = [place.unfinished for place in there.tasks[1].files]
    given = {"at once": [], "in training": ["checkpoints/0000", "checkpoints/0001", "checkpoints/0002", "state-0005"],
             "in probing": [""]}  # fmt: skip
    assert parts == given[fault]


def test_a_run_is_given_up_after_repeatedly_lost_workers(runner, tmp_path):
    there = Here(tmp_path / "there", ["in training", *["at once"] * ATTEMPTS])

    with (
        pytest.warns(LostWorkerWarning),
        pytest.raises(EngineError, match=r"seed 3: its worker was lost 3 times \(power cut\).*run again"),
    ):
        there.obtain_all(runner, "synthetic", CONFIGS[:1], None)

    assert len(there.tasks) == 1 + ATTEMPTS
    assert [place.unfinished for place in there.tasks[-1].files][-1] == "state-0005"  # kept for the next time


def test_an_unfinished_local_run_continues_elsewhere(runner, tmp_path, monkeypatch, expected):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "epoch_steps", stopping(after=5))
        with pytest.raises(EngineError, match="cut"):
            replace(runner, save_every=0).record("synthetic", CONFIGS[0])
    monkeypatch.setattr(Trainer, "epoch_steps", stopping(after=CONFIG.training.epochs - 5))  # no more is needed

    (found,) = Here(tmp_path / "there").obtain_all(runner, "synthetic", CONFIGS[:1], None)

    assert measured(found) == measured(expected[1][0])


def test_a_runs_exception_is_raised_after_the_others_are_stored(runner, tmp_path):
    with pytest.raises(ConfigError, match=r"^perplexity=1000") as raised:
        Here(tmp_path / "there").obtain_all(runner, "synthetic", [IMPOSSIBLE, *CONFIGS], None)

    assert type(raised.value) is ConfigError
    assert all(runner.is_stored("synthetic", config) for config in CONFIGS)
    assert not runner.is_stored("synthetic", IMPOSSIBLE)


def test_recompute_computes_everything_again(runner, tmp_path):
    there = Here(tmp_path / "there", ["", "", "in probing"])
    first = there.obtain_all(runner, "synthetic", CONFIGS, 1)
    before = [folder(runner.store, kind, CONFIGS[0]).stat().st_ino for kind in ("synthetic", TRAJECTORY)]

    with pytest.warns(LostWorkerWarning):
        again = there.obtain_all(replace(runner, recompute=True), "synthetic", CONFIGS, 1)

    assert list(map(measured, again)) == list(map(measured, first))
    after = [folder(runner.store, kind, CONFIGS[0]).stat().st_ino for kind in ("synthetic", TRAJECTORY)]
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert [list(task.files) for task in there.tasks[2:]] == [
        [],  # neither record nor training
        [Place(*runner.keys("synthetic", CONFIGS[0])[1])],  # the new training, whose worker was lost in probing
        [],
    ]


def test_no_more_tasks_than_workers_run_at_once(runner, tmp_path):
    at_work, most = [], []

    class Counting(Here):
        def run(self, task):
            at_work.append(task)
            most.append(len(at_work))
            yield from super().run(task)
            at_work.remove(task)

    Counting(tmp_path / "there").obtain_all(runner, "synthetic", CONFIGS, 1)

    assert most == [1, 1]


class Waiting(Here):
    """An engine that starts a task and waits to be stopped."""

    def run(self, task):
        self.tasks.append(task)
        self._stop.wait()
        raise Stopped
        yield


def test_an_interrupted_run_cancels_its_tasks_and_starts_no_other(runner, tmp_path, monkeypatch):
    there = Waiting(tmp_path / "there")
    configs = [replace(CONFIGS[0], seed=seed) for seed in range(5)]

    def interrupted(futures):
        while not there.tasks:
            time.sleep(0.01)
        raise KeyboardInterrupt
        yield futures

    monkeypatch.setattr("taskclust.engines.elsewhere.as_completed", interrupted)

    with pytest.raises(KeyboardInterrupt):
        there.obtain_all(runner, "synthetic", configs, 1)

    assert len(there.tasks) == 1
    assert not any(runner.is_stored("synthetic", config) for config in configs)


def test_a_record_locked_by_another_process_is_waited_for(runner, tmp_path, expected):
    there = Here(tmp_path / "there")
    kind, key = runner.keys("synthetic", CONFIGS[0])[0]
    found = []
    with runner.store.lock(kind, key):
        waiting = threading.Thread(
            target=lambda: found.extend(there.obtain_all(runner, "synthetic", CONFIGS[:1], None))
        )
        waiting.start()
        shutil.copytree(folder(expected[0].store, kind, CONFIGS[0]), runner.store.path(kind, key))
    waiting.join()

    assert there.tasks == []
    assert encode(found[0]) == encode(expected[1][0])


# --- what a machine must be


def test_a_state_that_the_training_deletes_meanwhile_is_left_out(tmp_path, monkeypatch):
    """This lost a whole run when a worker listed its states just as the next one replaced the last."""
    store, listed = Store(tmp_path), os.scandir
    for name in ("checkpoints/0000", "state-0018", "state-0019"):
        part = store.unfinished("trajectory", "key") / name
        part.mkdir(parents=True)
        (part / "content").write_text(name)
        seal(part)

    def scandir(path):
        if str(path).endswith("state-0018"):
            shutil.rmtree(path, ignore_errors=True)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)

    assert [place.unfinished for place in tasks.kept(store, "trajectory", "key")] == ["checkpoints/0000", "state-0019"]


def a_task(runner, **changes):
    key = runner.keys("synthetic", CONFIGS[0])[0][1]
    given = {"experiment": "synthetic", "config": CONFIGS[0], "key": key, "device": "cpu", "threads": 1}
    rest = {"replay": False, "native_bfloat16": False, "recompute": False, "save_every": 60.0, "files": {}}
    return Task(**{**given, **rest, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": "0123"}, "synthetic seed 3: .* names the run .*, not 0123; install one version"),
        ({"device": "cuda"}, "synthetic seed 3: .* has no CUDA device; leave it out"),
        ({"native_bfloat16": True}, "synthetic seed 3: precision auto is bfloat16, for which .* has no instructions"),
    ],
    ids=["another version", "no CUDA", "no bfloat16"],
)
def test_a_machine_on_which_the_run_would_differ_is_refused(runner, monkeypatch, changes, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(tasks, "native_bfloat16", lambda _: None)

    failure = perform(a_task(runner, **changes), runner.store)

    assert isinstance(failure, EngineError)
    assert re.match(said, str(failure))
    assert not runner.is_stored("synthetic", CONFIGS[0])


def test_exceptions_that_cannot_be_pickled_are_sent_as_text(runner, monkeypatch):
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(one + two)

    def odd(*_):
        raise Odd("a", "b")

    monkeypatch.setattr("taskclust.experiments.synthetic.run.run", odd)

    failure = perform(a_task(runner), runner.store)

    assert (type(failure), str(failure)) == (EngineError, "Odd: ab")


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_is_set_in_the_task(runner, monkeypatch, threads):
    seen = []

    def run(*_):
        seen.append({torch.get_num_threads(), *(one["num_threads"] for one in threadpoolctl.threadpool_info())})
        raise ConfigError("enough")

    monkeypatch.setattr("taskclust.experiments.synthetic.run.run", run)

    perform(a_task(runner, threads=threads), runner.store)

    assert seen == [{threads}]


def test_device_dependent_settings_are_decided_on_a_machine_with_the_device(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    there = Here(tmp_path / "there")
    wide = replace(
        CONFIGS[0], model=replace(CONFIG.model, width=128), training=replace(CONFIG.training, precision="auto")
    )

    with pytest.raises(EngineError, match="has no CUDA device"):  # this machine has none, after all
        there.obtain_all(replace(runner, device="cuda"), "synthetic", [wide, wide], None)

    assert there.asked == [("bfloat16_pays", "cuda")]
    assert {task.config.training.precision for task in there.tasks} == {"bfloat16"}
    assert all(task.native_bfloat16 for task in there.tasks)


def test_an_explicit_precision_needs_no_native_instructions(runner, tmp_path):
    there = Here(tmp_path / "there", ["at once"] * ATTEMPTS)
    asked = replace(CONFIGS[0], training=replace(CONFIG.training, precision="bfloat16"))

    with pytest.warns(LostWorkerWarning), pytest.raises(EngineError):
        there.obtain_all(runner, "synthetic", [asked], None)

    assert there.asked == []
    assert not any(task.native_bfloat16 for task in there.tasks)


def test_experiments_without_training_are_computed_here(runner, tmp_path):
    there = Here(tmp_path / "there")

    (record,) = there.obtain_all(runner, "paper_tables", smoke().subjects("paper_tables")[0][:1], None)

    assert record.config.seed == 0
    assert there.tasks == []


def test_experiments_without_training_need_no_device(runner, tmp_path, monkeypatch):
    """But for experiments that take time, the device is not changed silently."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    there, runner = Here(tmp_path / "there"), replace(runner, device="cuda")

    assert there.obtain_all(runner, "paper_tables", smoke().subjects("paper_tables")[0][:1], None)
    with pytest.raises(ConfigError, match=r"^device='cuda': natural_language trains nothing and is computed on this"):
        there.obtain_all(runner, "natural_language", llm("a/model").subjects("natural_language")[0], None)


def test_no_machine_is_asked_if_all_records_are_stored(runner, tmp_path, monkeypatch):
    wide = replace(
        CONFIGS[0], model=replace(CONFIG.model, width=128), training=replace(CONFIG.training, precision="auto")
    )
    settled = replace(runner, bfloat16_pays=False).record("synthetic", wide)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    there = Here(tmp_path / "there")

    (found,) = there.obtain_all(replace(runner, device="cuda"), "synthetic", [wide], None)

    assert encode(found) == encode(settled)
    assert (there.asked, there.tasks) == ([], [])


# --- which engine


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "local", "address": "auto"}, "address='auto': only Ray has one; add --engine ray"),
        ({"name": "slurm", "address": "auto"}, "address='auto': only Ray has one"),
        (
            {"name": "ray", "slurm": ("partition=gpu",)},
            "slurm='partition=gpu': these are for Slurm; add --engine slurm",
        ),
        (
            {"name": "ray", "address": "ray://head:10001"},
            "address='ray://head:10001': Ray's client cannot stream results",
        ),
    ],
    ids=str,
)
def test_an_option_of_another_engine_is_refused(tmp_path, given, said):
    with pytest.raises(ConfigError, match=f"^{said}"):
        engine(store=tmp_path, **given)


@pytest.mark.parametrize(("name", "library"), [("ray", "Ray"), ("slurm", "submitit")])
def test_an_engine_without_its_library_names_the_extra(tmp_path, monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library.lower(), None)

    with pytest.raises(ConfigError, match=rf"^engine='{name}': {library} is not installed; .*'taskclust\[{name}\]'"):
        engine(name, tmp_path)


def test_the_local_engine_is_this_package(tmp_path):
    assert engine("local", tmp_path) is None
