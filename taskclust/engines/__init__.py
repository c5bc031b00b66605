"""Where runs go: processes of this machine (``local``), a Ray cluster (``ray``), or Slurm (``slurm``).

Each gives records by ``obtain_all(runner, experiment, configs, workers)``. Ray and submitit are extras, imported when
their engine is made.
"""

from pathlib import Path
from typing import Literal

from taskclust.config import require
from taskclust.engines.elsewhere import Elsewhere, LostWorkerWarning
from taskclust.engines.local import end_with_parent, obtain_all
from taskclust.engines.ray import Ray
from taskclust.engines.slurm import Slurm, read_parameters
from taskclust.engines.task import EngineError

__all__ = ["NAMES", "Elsewhere", "EngineError", "LostWorkerWarning", "end_with_parent", "engine", "obtain_all"]

Name = Literal["local", "ray", "slurm"]
NAMES: tuple[Name, ...] = ("local", "ray", "slurm")


def engine(name: Name, store: Path, *, address: str | None = None, slurm: tuple[str, ...] = ()) -> Elsewhere | None:
    """The engine of a name; None for "local".

    Args:
        name: one of :data:`NAMES`.
        store: the store's folder.
        address: the address of a Ray cluster; see :class:`taskclust.engines.ray.Ray`.
        slurm: parameters of Slurm's jobs; see :func:`taskclust.engines.slurm.read_parameters`.

    Raises:
        ConfigError: an option belongs to another engine, or the engine is not available here.
    """
    require(address is None or name == "ray", "address", address, "only Ray has one; add --engine ray")
    require(not slurm or name == "slurm", "slurm", " ".join(slurm), "these are for Slurm; add --engine slurm")
    if name == "ray":
        return Ray(address)
    return Slurm(store, read_parameters(slurm)) if name == "slurm" else None
