"""Fault trials: kill a run, or let its disk fail, at each of its changes to the file system; damage its files.

``python -m studies.fault_trials docs/faults.md`` tries all faults and writes the table; ``--every 20`` tries every
twentieth, as the tests do (tests/studies/test_fault_trials.py). A run repeated after a fault must give the same record
and weights as a run without one, to the bit. Linux only: each trial is a forked process.
"""

import argparse
import errno
import hashlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError

from taskclust import runner as running
from taskclust.config import ConfigError
from taskclust.formats import markdown
from taskclust.runner import Runner
from taskclust.store import Store, StoreError
from tests.experiments.small import CONFIG as SMALL
from tests.experiments.small import measured, training

#: A run of seconds that keeps checkpoints, the best epoch and the last.
CONFIG = replace(
    SMALL,
    training=training(3, checkpoints=(0, 3)),
    probe=replace(SMALL.probe, iterations=5, tsne_restarts=1, kmeans_restarts=2),
    seed=4,
)
#: The errors of a full, a broken and a forbidden disk.
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
#: Seconds after which a run counts as stuck.
PATIENCE = 60

Outcome = Literal["equal", "wrong", "stuck", "unforeseen"]
Act = Callable[[int, Callable[[], None] | None], None]


class Trials(NamedTuple):
    """One kind of fault, and the outcome of each trial."""

    fault: str
    outcomes: list[Outcome]
    refused: int  # the number that ended in an error before they were repeated

    def row(self) -> dict[str, Any]:
        """The outcomes as a row of the table."""
        counted = Counter(self.outcomes)
        kinds: tuple[Outcome, ...] = ("equal", "wrong", "stuck", "unforeseen")
        return {
            "fault": self.fault,
            "tried": len(self.outcomes),
            "error": self.refused,
            **{f"then {kind}" if kind == "equal" else kind: counted[kind] for kind in kinds},
        }


class Changes:
    """Calls ``act(n, tear)`` at the n-th change that this process makes to the file system below ``root``.

    If the change is the writing of a file, ``tear`` writes half of it.
    """

    def __init__(self, root: Path, act: Act) -> None:
        self.root, self.act, self.n, self.is_acting = str(root), act, 0, False
        sys.addaudithook(self._audit)
        flush, serialize = os.fsync, safetensors.torch.serialize_file

        def fsync(handle: Any) -> None:
            self._change(_opened(handle))
            flush(handle)

        def serialize_file(tensors: Any, filename: Any, *rest: Any, **named: Any) -> Any:
            def tear() -> None:
                serialize(tensors, filename, *rest, **named)
                os.truncate(filename, Path(filename).stat().st_size // 2)

            self._change(str(filename), tear)  # written by compiled code, which audit hooks do not see
            return serialize(tensors, filename, *rest, **named)

        os.fsync, safetensors.torch.serialize_file = fsync, serialize_file  # type: ignore[assignment]

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            is_write = (
                any(c in mode for c in "wax+") if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))
            )
            if is_write and isinstance(path, (str, bytes, os.PathLike)):
                self._change(os.fsdecode(path))
        elif event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            path, folder = os.fsdecode(arguments[0]), arguments[-1]
            is_part = isinstance(folder, int) and folder >= 0  # shutil.rmtree gives names relative to an open folder
            self._change(str(Path(_opened(folder)) / path) if is_part else path)

    def _change(self, path: str, tear: Callable[[], None] | None = None) -> None:
        if not self.is_acting and path.startswith(self.root) and not path.endswith(".lock"):
            self.n += 1
            self.is_acting = True  # changes by ``act`` are not the run's
            try:
                self.act(self.n, tear)
            finally:
                self.is_acting = False


def _opened(handle: Any) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink())


def computed(root: Path) -> str:
    """A hash of the record and the weights that a run in a store gives."""
    running.SAVE_EVERY = 0.0
    runner = Runner(Store(root))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged files that are made again
        record = runner.record("synthetic", CONFIG)
        trained = runner.trajectory(CONFIG)
    weights = [path.read_bytes() for path in sorted(trained.rglob("*.safetensors"))]
    return hashlib.sha256(b"".join([measured(record), *weights])).hexdigest()


def changes(root: Path) -> str:
    """The number of changes that a run makes to the file system, as text."""
    counted = Changes(root, lambda _n, _tear: None)
    computed(root)
    return str(counted.n)


def killed(root: Path, at: int, *, in_the_middle: bool) -> str:
    """Run and be killed at change ``at``, or in the middle of it if it writes a file."""

    def act(n: int, tear: Callable[[], None] | None) -> None:
        if n == at:
            if tear is not None and in_the_middle:
                tear()
            os.kill(os.getpid(), signal.SIGKILL)

    Changes(root, act)
    return computed(root)


def failing(root: Path, at: int, *, is_lasting: bool) -> str:
    """The result of a run in which change ``at``, or also each later one, fails with a disk error."""
    code = ERRORS[at % len(ERRORS)]

    def act(n: int, tear: Callable[[], None] | None) -> None:
        if n == at or (is_lasting and n > at):
            if tear is not None:
                tear()
                raise SafetensorError(f"I/O error: {os.strerror(code)} (os error {code})")
            raise OSError(code, os.strerror(code))

    Changes(root, act)
    return computed(root)


#: Ways to damage a file.
DAMAGES: dict[str, Callable[[Path], object]] = {
    "a file cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a bit of a file changed": lambda path: path.write_bytes(_flipped(path.read_bytes())),
    "a file lost": lambda path: path.unlink(),
    "a file too many": lambda path: path.with_name("added").write_bytes(b"more"),
}


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


class Child(NamedTuple):
    """A forked process, and the pipe in which it reports its end."""

    process: int
    pipe: int


def begun(work: Callable[..., str], *arguments: Any, **named: Any) -> Child:
    """A new process that does the work."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return Child(child, read)
    word, text = "raised", ""
    try:
        word, text = "done", work(*arguments, **named)
    except (ConfigError, StoreError, OSError) as error:  # a session reports these in one line
        word, text = "refused", str(error)
    except BaseException as error:  # noqa: BLE001 - any other error is a finding
        text = f"{type(error).__name__}: {error}"
    finally:
        os.write(write, json.dumps([word, text]).encode())
        os._exit(0)


def ended(child: Child) -> tuple[str, str]:
    """How a process ended, and the result of its work.

    It ends "done", "refused" (an error that a session reports in one line), "raised" (any other), "killed" or "stuck".
    """
    with os.fdopen(child.pipe, "rb") as pipe:
        is_ready = bool(select.select([pipe], [], [], PATIENCE)[0])
        if not is_ready:
            os.kill(child.process, signal.SIGKILL)
        said = pipe.read()
    os.waitpid(child.process, 0)
    if not said:
        return ("killed" if is_ready else "stuck"), ""
    word, text = json.loads(said)
    return word, text


def forked(work: Callable[..., str], *arguments: Any, **named: Any) -> tuple[str, str]:
    """As :func:`ended`, for work in a single process."""
    return ended(begun(work, *arguments, **named))


def again(root: Path, expected: str) -> Outcome:
    """The outcome of repeating a run in the store that a fault left."""
    word, text = forked(computed, root)
    if word == "stuck":
        return "stuck"
    if word != "done":
        print(f"{root}: {word}: {text}", file=sys.stderr)  # noqa: T201 - its log
        return "unforeseen"
    return "equal" if text == expected else "wrong"


def raced(root: Path, expected: str, kill_at: int) -> Outcome:
    """The outcome of three processes that use one empty store at once, and then of one more.

    The first is killed at a change if it is the one at work; the others must still get the record.
    """
    children = [begun(killed, root, kill_at, in_the_middle=False), begun(computed, root), begun(computed, root)]
    (third, other), (first, one), (second, two) = map(ended, children)
    if "stuck" in (first, second, third):
        return "stuck"
    if (first, second) != ("done", "done") or third not in ("done", "killed"):
        print(f"{root}: {first} {one}; {second} {two}; {third} {other}", file=sys.stderr)  # noqa: T201 - its log
        return "unforeseen"
    if {one, two} != {expected} or other not in ("", expected) or any((root / "unfinished").iterdir()):
        return "wrong"
    return again(root, expected)


def trials(every: int, scratch: Path) -> list[Trials]:
    """The outcomes of all faults, or of every ``every``-th.

    Args:
        every: 1 for all faults.
        scratch: an empty folder.
    """
    torch.set_num_threads(1)
    whole, root = scratch / "whole", scratch / "root"
    expected = computed(whole)  # here, so that forked processes inherit compiled code and imports
    n_changes = int(forked(changes, scratch / "counted")[1])
    faults: dict[str, tuple[Callable[..., str], dict[str, bool]]] = {
        "killed before a change": (killed, {"in_the_middle": False}),
        "killed in the middle of a write": (killed, {"in_the_middle": True}),
        "an error of the disk, once": (failing, {"is_lasting": False}),
        "errors of the disk from then on": (failing, {"is_lasting": True}),
    }
    found = []
    for fault, (work, settings) in faults.items():
        outcomes: list[Outcome] = []
        refused = 0
        for at in range(1, n_changes + 1, every):
            shutil.rmtree(root, ignore_errors=True)
            word, text = forked(work, root, at, **settings)
            refused += word == "refused"
            first: Outcome = {"stuck": "stuck", "raised": "unforeseen"}.get(word, "equal")  # type: ignore[assignment]
            if word == "done" and text != expected:
                first = "wrong"
            if word == "raised":
                print(f"{fault} {at}: {text}", file=sys.stderr)  # noqa: T201 - its log
            outcomes.append(first if first != "equal" else again(root, expected))
        found.append(Trials(fault, outcomes, refused))
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    for fault, damage in DAMAGES.items():
        outcomes = []
        for file in files[:: max(1, every // 10)]:
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(whole, root)
            damage(root / file)
            outcomes.append(again(root, expected))
        found.append(Trials(fault, outcomes, 0))
    outcomes = []
    for at in range(1, n_changes + 1, 3 * every):
        shutil.rmtree(root, ignore_errors=True)
        outcomes.append(raced(root, expected, at))
    found.append(Trials("three at once, the first killed", outcomes, 0))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials and write their table; return 1 if any ended wrong, stuck or unforeseen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("to", type=Path, nargs="?", help="the page to write; by default the terminal")
    parser.add_argument("--every", type=int, default=1, help="try every n-th fault (1)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        found = trials(options.every, Path(scratch))
    table = markdown([one.row() for one in found])
    if options.to is None:
        print(table)  # noqa: T201 - the result
    else:
        ends = [outcome for one in found for outcome in one.outcomes]
        head = PAGE.format(equal=ends.count("equal"), tried=len(ends))
        options.to.write_text(f"{head}\n{table}\n", encoding="utf-8")
    return int(any(outcome != "equal" for one in found for outcome in one.outcomes))


PAGE = """# What becomes of a run whose process or disk fails?

Made by `python -m studies.fault_trials docs/faults.md`. After {equal} of {tried} faults, the same
command run again gave the same record and weights, to the bit, as a run without a fault.

The run takes seconds: it has two layers, three epochs and two checkpoints, and keeps its state after every epoch. We
kill it at each change that it makes to the file system, or let the disk fail there, or damage a file of its store. Then
we run it again. In the last row three processes want one record at once. The first is killed if it is the one at work,
and the others must still get the record.

- *Error*: the trial first ended in an error of one line, with the path.
- *Then equal* or *wrong*: repeated, it gave the same record and weights, or others.
- *Stuck* or *unforeseen*: it did not end, or ended in any other way.
"""

if __name__ == "__main__":
    sys.exit(main())
