"""Facts about how a record was made: code, libraries, machine and time."""

import datetime as dt
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

from taskclust.models.precision import native_bfloat16

_LIBRARIES = ("transformers", "numpy", "scipy", "scikit-learn")


def provenance(device: str) -> dict[str, str | int | bool | None]:
    """The facts to store with a record, by name, for a run on ``device``."""
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # names the build (+cpu, +cu130), which some wheels' metadata omit
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else processor(),
        "bfloat16": native_bfloat16(device),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _git(*words: str) -> str | None:
    """The output of a git command in the package's own checkout; None if there is no checkout."""
    this = Path(__file__)
    try:
        for command in (
            ("ls-files", "--error-unmatch", this.name),  # an installed package may be inside the user's repository
            words,
        ):
            done = subprocess.run(
                ["git", *command], cwd=this.parent, capture_output=True, text=True, check=True, timeout=10
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
