"""Trainings that were stopped go on: states saved between epochs, whole or not at all."""

import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from taskclust.models import Trainer
from taskclust.store.folders import is_sealed, read_json, seal, write_json


def save_progress(trainer: Trainer, folder: Path, seconds: float) -> None:
    """Write what a continued training needs; the last saved state stays until the new one is whole."""
    tensors, values = trainer.state()
    target = folder / f"state-{trainer.epoch:04d}"
    target.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous().cpu() for name, t in tensors.items()}, target / "state.safetensors")
    write_json(target / "state.json", {**values, "seconds": seconds})
    seal(target)
    for old in folder.glob("state-*"):
        if old != target:
            shutil.rmtree(old)


def load_progress(trainer: Trainer, folder: Path) -> float:
    """Continue from the newest whole state whose checkpoints are all whole; return the seconds spent before.

    Without one the training begins again, and what is there is thrown away with a warning: a checkpoint that was lost
    or spoiled cannot be made again from a later state.
    """
    for state in sorted(folder.glob("state-*"), reverse=True):
        if not is_sealed(state):  # killed while it was written
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
    """Are those that a training has left when it saves its state after ``epoch`` there, and whole?"""
    wanted = [kept for kept in trainer.config.training.checkpoints if kept <= epoch]
    return all(is_sealed(folder / f"{kept:04d}") for kept in wanted)


def save_once(folder: Path, save: Callable[[Path], None]) -> None:
    """Write a checkpoint so that the folder, when it exists, is whole."""
    if not is_sealed(folder):
        shutil.rmtree(folder, ignore_errors=True)
        scratch = folder.with_name(f".{folder.name}")
        save(scratch)
        seal(scratch)
        scratch.replace(folder)
