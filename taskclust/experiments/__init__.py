"""The paper's experiments, one per subfolder; every subfolder is found automatically and needs no registration.

The modules of a folder:

- ``config``: the configuration at each scale;
- ``record``: the dataclass ``Record``, ``SCHEMA`` and ``upgrade``;
- ``run``: ``VERSION``, ``key`` and ``run``; only this module needs torch;
- ``statistics``: the statistics that its claims use;
- ``tables`` and ``figures``: if it has any to show.

The folder's name is the kind under which its records are stored.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any


@cache
def names() -> tuple[str, ...]:
    """The names of all experiments, in alphabetical order."""
    return tuple(sorted(module.name for module in iter_modules(__path__) if module.ispkg))


@cache
def part(name: str, module: str) -> Any:
    """A module of an experiment, by name; None if the experiment has no such module."""
    path = f"{__name__}.{name}.{module}"
    return import_module(path) if find_spec(path) else None
