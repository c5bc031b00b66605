"""Save and load the state of an unfinished training, so that a stopped one continues; no half-saved state is used."""

import errno
import math
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from taskclust.models import Trainer
from taskclust.store.folders import is_sealed, read_json, seal, write_json


def save_progress(trainer: Trainer, folder: Path, seconds: float) -> None:
    """Save all that is needed to continue the training; the previous state is kept until this one is complete."""
    tensors, values = trainer.state()
    target = folder / f"state-{trainer.epoch:04d}"
    target.mkdir(parents=True, exist_ok=True)
    with _errors_of_the_disk(target):
        save_file({name: t.contiguous().cpu() for name, t in tensors.items()}, target / "state.safetensors")
    write_json(target / "state.json", {**values, "seconds": seconds})
    seal(target)
    for old in folder.glob("state-*"):
        if old != target:
            shutil.rmtree(old)


@contextmanager
def _errors_of_the_disk(path: Path) -> Iterator[None]:
    """As the operating system's: safetensors has its own, without a path."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def load_progress(trainer: Trainer, folder: Path) -> float:
    """Load the newest complete state into the trainer; return the seconds already spent, or 0 if it begins again.

    The training begins again if there is no complete state. It also does, with a warning, if one of the checkpoints
    written before that state is missing or damaged, because it cannot be made again from a later state.
    """
    for state in sorted(folder.glob("state-*"), reverse=True):
        if not is_sealed(state):  # the process was killed while writing it
            continue
        if not _has_checkpoints(trainer, folder / "checkpoints", int(state.name.split("-")[1])):
            warnings.warn(f"{folder}: a checkpoint kept there is not whole; the training begins again", stacklevel=2)
            break
        values = read_json(state / "state.json")
        values["history"] = [{k: math.nan if v is None else v for k, v in row.items()} for row in values["history"]]
        trainer.load_state(load_file(state / "state.safetensors"), values)
        return float(values["seconds"])
    return 0.0


def _has_checkpoints(trainer: Trainer, folder: Path, epoch: int) -> bool:
    """Whether all checkpoints that the training writes up to ``epoch`` exist and are complete."""
    wanted = [kept for kept in trainer.config.training.checkpoints if kept <= epoch]
    return all(is_sealed(folder / f"{kept:04d}") for kept in wanted)


def save_once(folder: Path, save: Callable[[Path], None]) -> None:
    """Write a checkpoint with ``save`` unless ``folder`` already holds it; the folder is never half-written."""
    if not is_sealed(folder):
        shutil.rmtree(folder, ignore_errors=True)
        scratch = folder.with_name(f".{folder.name}")
        with _errors_of_the_disk(scratch):
            save(scratch)
        seal(scratch)
        scratch.replace(folder)
