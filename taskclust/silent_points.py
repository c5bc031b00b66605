"""The choices that the paper leaves open, read from ``silent_points.toml``, and the page about them.

``taskclust silent-points docs/silent-points.md`` writes the page.
"""

import dataclasses
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from taskclust.config import (
    AlignmentConfig,
    ConfigError,
    ExperimentConfig,
    LanguageConfig,
    PretrainingConfig,
    is_silent,
)

#: The prefix of field paths of each configuration.
_CONFIGS: dict[str, Any] = {
    "": ExperimentConfig(),
    "pretraining.": PretrainingConfig(),
    "alignment.": AlignmentConfig(),
    "natural_language.": LanguageConfig(),
}
_TEXTS = ("title", "paper", "ours", "alternatives", "evidence")

_INTRODUCTION = """# What does the paper leave open, and what do we do there?

The paper leaves {n} points open that we had to settle. For each, this page says what the paper says, what we do by
default, what else could be meant, and the evidence for our choice.

**To try another choice** of the main experiment, name its field: `pytest benchmarks --set model.norm=after`. Fields
that begin with `pretraining.`, `alignment.` or `natural_language.` belong to those experiments, and `--set` does not
change them; `--set model=norm-after` changes the whole model of all experiments that train one. Points without a field
are not the value of one setting.

**How to read the evidence.** Unless it says otherwise, a number is the F1 by task on unseen instructions: k-means on
the top layer's states after t-SNE, of small models (width 256, 20 tasks, one seed). These are trials with a t-SNE of
one degree of freedom, and their records were not kept: they guided the defaults and support no claim. *Search* is
[reports/search](../reports/search/settings.md), whose records are later and whose scores are lower. Both are of models
with norm after each branch (`--set model=norm-after`), unless a line names GPT-2 or another norm.

Made by `taskclust silent-points docs/silent-points.md` from
[silent_points.toml](../taskclust/silent_points.toml) and the defaults of [config.py](../taskclust/config.py). Of a
field that is a whole configuration, only what differs from its class's defaults is shown.
"""


@dataclass(frozen=True, slots=True)
class SilentPoint:
    """One choice that the paper leaves open; ``also`` names further fields that belong to it."""

    key: str
    title: str
    paper: str
    ours: str
    alternatives: str
    evidence: str
    also: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Paths of the configuration fields of the choice; a key without a dot is only a name, not a field."""
        return (self.key, *self.also) if "." in self.key else self.also


def silent_points(text: str | None = None) -> tuple[SilentPoint, ...]:
    """Every row of ``text``, by default of the package's ``silent_points.toml``, in its order.

    Raises:
        ConfigError: a row lacks a text or has an unknown entry.
    """
    if text is None:
        text = files("taskclust").joinpath("silent_points.toml").read_text(encoding="utf-8")
    return tuple(_point(key, row) for key, row in tomllib.loads(text).items())


def _point(key: str, row: dict[str, Any]) -> SilentPoint:
    for name in _TEXTS:
        value = row.get(name)
        _require(isinstance(value, str) and bool(value.strip()), key, f"{name} is missing; give it a text")
    unknown = sorted(set(row) - {*_TEXTS, "also"})
    _require(not unknown, key, f"unknown: {', '.join(unknown)}; use {', '.join(_TEXTS)} and also")
    return SilentPoint(key=key, also=tuple(row.get("also", ())), **{name: row[name] for name in _TEXTS})


def _require(holds: bool, key: str, problem: str) -> None:
    if not holds:
        raise ConfigError(f"silent_points.toml, {key}: {problem}")


def check_fields(points: Sequence[SilentPoint]) -> None:
    """Refuse rows that do not match the fields made with :func:`taskclust.config.silent`.

    A field that several experiments share needs one row only.

    Raises:
        ConfigError: a row names a field that does not exist or is not silent, or a silent field has no row.
    """
    known = {path: one for path, one, _ in _fields()}
    for point in points:
        for path in point.fields:
            _require(path in known, point.key, f"there is no field {path}")
            _require(is_silent(known[path]), point.key, f"the field {path} is not made with silent(...) in config.py")
    have_rows = {known[path] for point in points for path in point.fields}
    for path, one in known.items():
        _require(not is_silent(one) or one in have_rows, path, "this silent field has no row; add one")


def _fields() -> Iterator[tuple[str, Field[Any], Any]]:
    """Path, field and default value of every configuration's fields, nested ones included.

    Configurations that share a class, or inherit a field, give the same :class:`dataclasses.Field` at each path.
    """
    for prefix, config in _CONFIGS.items():
        yield from _fields_of(config, prefix)


def _fields_of(config: Any, prefix: str) -> Iterator[tuple[str, Field[Any], Any]]:
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        yield f"{prefix}{one.name}", one, value
        if dataclasses.is_dataclass(value):
            yield from _fields_of(value, f"{prefix}{one.name}.")


def page(points: Sequence[SilentPoint]) -> str:
    """The points as Markdown: a table with the fields and their defaults, then a section per point.

    Raises:
        ConfigError: see :func:`check_fields`.
    """
    check_fields(points)
    defaults = {path: _shown(value) for path, _, value in _fields()}
    contents = ["| point | field and default |", "|---|---|"]
    contents += [f"| [{p.title}](#{p.key}) | {_defaults(p, defaults)} |" for p in points]
    sections = [_section(p, defaults) for p in points]
    return "\n".join([_INTRODUCTION.format(n=len(points)), *contents, "", "\n".join(sections)])


def _section(point: SilentPoint, defaults: dict[str, str]) -> str:
    lines = [
        f'## <a id="{point.key}"></a>{point.title}',
        "",
        f"- **The paper:** {point.paper}",
        f"- **Here:** {point.ours}",
        f"- **Alternatives:** {point.alternatives}",
        f"- **Evidence:** {point.evidence}",
    ]
    if point.fields:
        lines.append(f"- **Default:** {_defaults(point, defaults)}")
    return "\n".join([*lines, ""])


def _defaults(point: SilentPoint, defaults: dict[str, str]) -> str:
    return ", ".join(f"`{path}={defaults[path]}`" for path in point.fields)


def _shown(value: Any) -> str:
    """A value as ``--set`` reads it; for a configuration, what differs from its class's defaults."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return str(value)
    usual = type(value)()
    pairs = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    changed = [f"{name}={one!r}" for name, one in pairs if one != getattr(usual, name)]
    return f"{type(value).__name__}({', '.join(changed)})"


def write_page(path: Path) -> None:
    """Write the page of the package's points to ``path``.

    Raises:
        ConfigError: ``path`` is another file, which is not replaced.
    """
    text = page(silent_points())
    first = text.partition("\n")[0].encode()
    is_ours = path.is_file() and path.read_bytes().startswith(first)
    if not is_ours and (path.exists() or path.is_symlink()):
        raise ConfigError(f"file={str(path)!r}: the page would replace another file; choose a new name")
    path.write_text(text, encoding="utf-8")
