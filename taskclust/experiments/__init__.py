"""The paper's experiments, one per subfolder; every subfolder is found automatically and needs no registration.

A folder has ``config`` (what is run at each scale), ``record`` (the dataclass ``Record``, ``SCHEMA``, ``upgrade``),
``run`` (``VERSION``, ``key``, ``run``), ``statistics`` (what its claims read), and ``tables`` and ``figures`` where it
has any to show. Its name is the kind under which its records are stored. Configurations, records, statistics and tables
need no torch.

- ``config``: ``smoke()`` and ``paper(width)`` give a configuration, ``llm(...)`` several, one for each subject; a
  scale that the experiment does not have has no function. ``stages(config)``: the trainings that take the time, for
  estimates; none for what only probes, and no such function for what takes seconds. ``trainings(config)``: those kept
  as records of their own. ``until(config, epochs)``: a shorter one. ``TAKES_CHANGES``: ``--set`` changes it.
  ``title(config)``: what a dry run says.
- ``record``: ``answers(record)``, the configuration whose key it has. ``Record`` has ``config.seed``, ``failure``,
  ``seconds`` and ``provenance``. ``NAMES``: what its tables must hold, names by a table's path.
- ``run``: ``key(config, runner)``, ``run(config, runner, unfinished)``; ``recorded_key(record)`` where a key is of more
  than the configuration and a record has no ``answers``. ``label(config)`` names a subject, and
  ``serve(record, config)`` gives a stored record as it is asked for.
- ``tables(records)`` by title, ``figures(records, asked)`` by file name. ``ON_TERMINAL``: tables close a run, too.
  ``CAPTIONS``: the sentence under a figure, by a pattern of its file name.
- ``scenes``: ``scenes(records)``, moving pictures of plotly by the sentence under them, where there are any.
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
