"""The paper's experiments, one per subfolder; every subfolder is found automatically and needs no registration.

A folder has ``config`` (what is run at each scale), ``record`` (the dataclass ``Record``, ``SCHEMA``, ``upgrade``),
``run`` (``VERSION``, ``key``, ``run``), ``statistics`` (used by its claims), and optionally ``tables``, ``figures`` and
``scenes``. Its name is the kind under which its records are stored. Configurations, records, statistics and tables need
no torch.

- ``config``: ``smoke()`` and ``paper(width)`` give a configuration, ``llm(...)`` one per subject; a function is left
  out if the experiment lacks the scale. ``stages(config)``: the trainings that take the time, for estimates; empty if
  the experiment only probes, left out if it takes seconds. ``trainings(config)``: those stored as records of their own.
  ``until(config, epochs)``: a shorter configuration. ``TAKES_CHANGES``: "all" if ``--set`` changes the experiment,
  "model" if it only replaces its whole model, else left out. ``title(config)``: its name in a dry run.
- ``record``: ``answers(record)``, the configuration whose key it has. ``Record`` has ``config.seed``, ``failure``,
  ``seconds`` and ``provenance``. ``NAMES``: what its tables must contain, by the table's path.
- ``run``: ``key(config, runner)``, ``run(config, runner, unfinished)``; ``recorded_key(record)`` if the key depends on
  more than the configuration, so that there is no ``answers``. ``label(config)`` names a subject, and
  ``serve(record, config)`` adapts a stored record to the requested configuration.
- ``tables(records)`` by title, ``figures(records, asked)`` by file name. ``ON_TERMINAL``: whether the tables are also
  printed at the end of a run. ``CAPTIONS``: the sentence under a figure, by a pattern of its file name.
- ``scenes(records)``: animated plotly figures, by the sentence under them.
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
