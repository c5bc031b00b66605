"""Runs by submitit: with its local executor, and with scripts that imitate Slurm's commands on this machine."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from taskclust.config import ConfigError
from taskclust.engines import LostWorkerWarning, obtain_all
from taskclust.engines.slurm import Slurm, read_parameters
from taskclust.runner import Runner
from taskclust.store import Store
from tests.experiments.small import CONFIG, LONG, measured
from tests.test_engines_elsewhere import trained

pytest.importorskip("submitit", reason="needs the extra slurm")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="jobs are Linux processes"),
]

PROBE = replace(CONFIG.probe, iterations=5, tsne_restarts=1)
CONFIGS = [replace(CONFIG, seed=seed, probe=PROBE) for seed in (3, 4)]
IMPOSSIBLE = replace(CONFIG, probe=replace(PROBE, perplexity=1000))  # known once the data are there
ENDLESS = replace(LONG, training=replace(LONG.training, epochs=9000, schedule_epochs=9000, checkpoints=(0, 9000)))
ROOT = Path(__file__).parents[1]

#: Scripts for sbatch, srun, scancel and sacct. A job is a process on this machine, with the process's number.
COMMANDS = {
    "sbatch": """
        import os, subprocess, sys
        with open(os.path.join(os.path.dirname(sys.argv[0]), "calls"), "a") as calls:
            print(sys.argv[1], file=calls)
        job = subprocess.Popen(
            ["sh", "-c", 'export SLURM_JOB_ID=$$ SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 '
             'SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=here; . ' + sys.argv[1]],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        print("Submitted batch job", job.pid)
    """,
    "srun": """
        import os, sys
        words = sys.argv[1:]
        while words[0].startswith("-"):
            words = words[1:] if words[0] == "--unbuffered" else words[2:]
        os.execvp(words[0], words)
    """,
    "scancel": """
        import os, signal, sys
        os.killpg(int(sys.argv[1]), signal.SIGKILL)
    """,
    "sacct": """
        import os, sys
        print("JobID|State|NodeList")
        for job in sys.argv[sys.argv.index("-j") + 1 :: 2]:
            try:
                state = open(f"/proc/{job}/stat").read().rsplit(")", 1)[1].split()[0]
            except OSError:
                state = "Z"
            print(f"{job}|{'FAILED' if state == 'Z' else 'RUNNING'}|here")
    """,
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A machine with Slurm's commands; submitit queries the states of jobs whenever it is asked."""
    import submitit

    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in COMMANDS.items():
        path = commands / name
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(text)}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(submitit.SlurmJob.watcher, "_delay_s", 0.5)
    yield Slurm(tmp_path / "store", {"partition": "gpu"}, save_every=0.2)
    for script in (tmp_path / "store" / "slurm").glob("*/job"):  # left where a test has failed
        subprocess.run(["scancel", script.read_text()], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Submitit's local executor."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Slurm(tmp_path / "store", {"cluster": "local"}, save_every=0.2)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The local engine's store with the records."""
    runner = Runner(Store(tmp_path_factory.mktemp("local")))
    return runner, obtain_all(runner, "synthetic", CONFIGS, workers=1)


@pytest.fixture
def runner(tmp_path):
    return Runner(Store(tmp_path / "store"))


def until(holds, seconds=120):
    """Wait until the condition is true; fail if it never is."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("which", ["here", "slurm"])
def test_records_and_trainings_are_those_of_the_local_engine(which, request, runner, local):
    found = request.getfixturevalue(which).obtain_all(runner, "synthetic", CONFIGS, None)

    assert list(map(measured, found)) == list(map(measured, local[1]))
    for config in CONFIGS:
        assert trained(runner.store, config) == trained(local[0].store, config)
    left = {path.name for path in (runner.store.root / "slurm").rglob("*")} - {"logs"}
    assert {name for name in left if "submission" not in name} == set()
    assert list((runner.store.root / "unfinished").iterdir()) == []


def test_a_failure_is_raised_as_itself_when_the_others_are_stored(here, runner):
    with pytest.raises(ConfigError, match=r"^perplexity=1000") as raised:
        here.obtain_all(runner, "synthetic", [IMPOSSIBLE, CONFIGS[0]], None)

    assert type(raised.value) is ConfigError
    assert runner.is_stored("synthetic", CONFIGS[0])


def test_a_job_that_dies_is_submitted_again_from_its_last_state(slurm, runner, monkeypatch):
    given, original = [], slurm.run

    def run(task):
        given.append([place.unfinished[:6] for place in task.files])
        if len(given) == 2:
            yield ConfigError("enough")
        folder = runner.store.root / "slurm" / f"{task.experiment}-{task.key}"
        killer = threading.Thread(target=kill, args=[folder])
        killer.start()
        yield from original(task)
        killer.join()

    def kill(folder):
        until(lambda: list(folder.glob("unfinished/*/state-*/manifest.json")))
        os.killpg(int((folder / "job").read_text()), signal.SIGKILL)

    monkeypatch.setattr(slurm, "run", run)

    with (
        pytest.warns(LostWorkerWarning, match=r"job \d+: UncompletedJobError, see .*log.err"),
        pytest.raises(ConfigError, match="enough"),
    ):
        slurm.obtain_all(runner, "synthetic", [ENDLESS], None)

    assert given[0] == []
    assert given[1] == ["checkp", "state-"]


def test_a_job_whose_driver_was_killed_is_continued_and_not_submitted_twice(slurm, runner, local, tmp_path):
    code = f"""
from pathlib import Path
from taskclust.engines.slurm import Slurm
from taskclust.runner import Runner
from taskclust.store import Store
from tests.test_engines_slurm import CONFIGS
store = Store(Path({str(tmp_path / "store")!r}))
Slurm(store.root).obtain_all(Runner(store), "synthetic", CONFIGS[:1], None)
"""
    driver = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: list(runner.store.root.glob("slurm/*/job")))
    driver.kill()
    driver.wait()

    (found,) = slurm.obtain_all(runner, "synthetic", CONFIGS[:1], None)

    assert measured(found) == measured(local[1][0])
    assert len((tmp_path / "bin" / "calls").read_text().splitlines()) == 1


@pytest.mark.parametrize("which", ["here", "slurm"])
def test_an_interrupted_run_cancels_its_job_and_keeps_its_state(which, request, runner, monkeypatch):
    engine = request.getfixturevalue(which)
    folder = runner.store.root / "slurm"

    def interrupted(_):
        until(lambda: list(folder.glob("*/unfinished/*/state-*/manifest.json")))
        interrupted.number = int(next(folder.glob("*/job")).read_text())
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("taskclust.engines.elsewhere.as_completed", interrupted)

    with pytest.raises(KeyboardInterrupt):
        engine.obtain_all(runner, "synthetic", [ENDLESS], None)

    process = Path(f"/proc/{interrupted.number}/stat")
    until(lambda: not process.exists() or process.read_text().rsplit(")", 1)[1].split()[0] == "Z", 60)
    assert list(runner.store.root.glob("unfinished/*/state-*"))


# --- what a job is given


def test_a_job_gets_the_threads_the_device_and_the_given_parameters(slurm, runner, monkeypatch):
    script = []
    monkeypatch.setattr(
        type(slurm._executor._executor),
        "_submit_command",
        lambda self, command: script.append(self._make_submission_file_text(command, "x")) or 1 / 0,
    )

    with pytest.raises(Exception, match="the job was not accepted"):
        slurm.obtain_all(replace(runner, threads=3), "synthetic", CONFIGS[:1], None)

    asked = {line.removeprefix("#SBATCH --") for line in script[0].splitlines() if line.startswith("#SBATCH")}
    assert {"cpus-per-task=3", "partition=gpu", "time=1440", "job-name=taskclust", "nodes=1"} <= asked
    assert not [line for line in asked if "gpu" in line and "partition" not in line]


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ([], {}),
        (["partition=gpu", "timeout_min=600"], {"partition": "gpu", "timeout_min": 600}),
        (["comment=a=b", "setup=['module load x']"], {"comment": "a=b", "setup": ["module load x"]}),
    ],
    ids=str,
)
def test_parameters_are_read_as_literals_or_text(settings, parameters):
    assert read_parameters(settings) == parameters


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("partition", r"slurm='partition': write NAME=VALUE"),
        ("=gpu", r"slurm='=gpu': write NAME=VALUE"),
        ("cpus_per_task=4", r"slurm='cpus_per_task=4': it is set by --threads"),
        ("gpus_per_node=4", r"slurm='gpus_per_node=4': it is set by --device"),
    ],
)
def test_an_invalid_parameter_is_refused(setting, said):
    with pytest.raises(ConfigError, match=f"^{said}"):
        read_parameters([setting])


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "engine='slurm': this machine has no srun; .*--slurm cluster=local"),
        ({"cluster": "debug"}, "slurm='cluster=debug': use slurm or local"),
        ({"cluster": "local", "colour": "red"}, "slurm=.*'colour': 'red'.*submitit does not accept it .*colour"),
        ({"cluster": "local", "timeout_min": "long"}, "slurm=.*submitit does not accept it .*timeout_min"),
    ],
    ids=str,
)
def test_parameters_that_submitit_rejects_are_refused(tmp_path, monkeypatch, parameters, said):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigError, match=f"^{said}"):
        Slurm(tmp_path, parameters)
