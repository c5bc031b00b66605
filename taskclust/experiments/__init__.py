"""The paper's experiments, a folder each, found by folder and listed nowhere.

A folder has ``config`` (what is run at each scale), ``record`` (the dataclass ``Record``, ``SCHEMA``, ``upgrade``),
``run`` (``VERSION``, ``key``, ``run``), ``statistics`` (what its claims read), and ``tables`` and ``figures`` where it
has any to show. Its name is the kind under which its records are stored. Only ``run`` needs torch.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any


@cache
def names() -> tuple[str, ...]:
    """The experiments, in alphabetical order."""
    return tuple(sorted(module.name for module in iter_modules(__path__) if module.ispkg))


@cache
def part(name: str, module: str) -> Any:
    """One of an experiment's modules; None where it has none of that name."""
    path = f"{__name__}.{name}.{module}"
    return import_module(path) if find_spec(path) else None
