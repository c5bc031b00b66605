"""The scales at which the claims are judged, and changes to an experiment by the names of its fields.

What an experiment is at a scale stands in its own folder (``config``: ``smoke``, ``paper``, ``llm``).
"""

import ast
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from taskclust import experiments
from taskclust.config import FEED_FORWARD, ConfigError, ModelConfig, require

ProfileName = Literal["smoke", "paper", "llm"]


@dataclass(frozen=True, slots=True)
class Profile:
    """A named scale: experiments to repeat over ``seeds``.

    Args:
        name: of the scale.
        bases: by experiment its configurations, one for each subject (a language model, say; trained models are one).
        seeds: over which a verdict is taken.
        width: of the models, where the scale has several to choose from.
        changes: made in the main experiment, as :func:`changed` reads them.
    """

    name: ProfileName
    bases: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    width: int | None = None
    changes: tuple[str, ...] = ()

    def base(self, experiment: str) -> Any:
        """The configuration of an experiment that has one subject."""
        (config,) = self.bases[experiment]
        return config

    def subjects(self, experiment: str) -> list[list[Any]]:
        """Configurations, one a seed, of each subject of an experiment; none where the scale does not have it."""
        return [[replace(base, seed=seed) for seed in self.seeds] for base in self.bases.get(experiment, ())]

    def scale(self, experiment: str) -> str:
        """What a known failure is known at: "smoke", "llm" or, of the paper's widths, e.g. "paper-768".

        An experiment may have a width of its own. Changes make another scale of the experiments that take them.
        """
        if self.width is None:
            scale: str = self.name
        else:
            model = getattr(self.base(experiment), "model", None)
            scale = f"{self.name}-{self.width if model is None or _takes_changes(experiment) else model.width}"
        return " ".join((scale, *sorted(self.changes, key=_whole_first))) if _takes_changes(experiment) else scale

    def alter(self, change: Callable[[str, Any], Any]) -> "Profile":
        """The same with ``change(experiment, configuration)`` in place of every configuration."""
        bases = {name: tuple(change(name, base) for base in configs) for name, configs in self.bases.items()}
        return replace(self, bases=bases)

    def changed(self, settings: Sequence[str]) -> "Profile":
        """The same with settings written as text, as :func:`changed` reads them, in the experiments that take them."""
        taking = [base for name, bases in self.bases.items() if _takes_changes(name) for base in bases]
        changed(max(taking, key=lambda base: len(dataclasses.fields(base))), settings)  # refuse what none has
        altered = self.alter(lambda name, base: _changed_if_known(base, settings) if _takes_changes(name) else base)
        return replace(altered, changes=tuple(settings))

    def until(self, epochs: int) -> "Profile":
        """The same with trainings stopped after ``epochs`` of their schedules."""

        def shorten(name: str, base: Any) -> Any:
            until = getattr(experiments.part(name, "config"), "until", None)
            return until(base, epochs) if until else base

        return self.alter(shorten)


def _whole_first(setting: str) -> tuple[bool, str]:
    """The order in which settings are named: "model=gpt2", then fields by their names; they are applied so, too."""
    return "." in setting.partition("=")[0], setting


def _takes_changes(experiment: str) -> bool:
    return getattr(experiments.part(experiment, "config"), "TAKES_CHANGES", False)


def _at(scale: str, *arguments: Any) -> dict[str, tuple[Any, ...]]:
    """What each experiment that has the scale is there."""
    modules = {name: experiments.part(name, "config") for name in experiments.names()}
    return {name: (getattr(module, scale)(*arguments),) for name, module in modules.items() if hasattr(module, scale)}


def paper(width: int = 768) -> Profile:
    """The paper's scale (Tables 4 to 8) at ``width``.

    Raises:
        ConfigError: the paper has no such width.
    """
    require(width in FEED_FORWARD, "width", width, f"the paper has {', '.join(map(str, FEED_FORWARD))}")
    return Profile("paper", _at("paper", width), tuple(range(5)), width)


def smoke() -> Profile:
    """Minutes on two cores: small models, truly trained. No reproduction."""
    return Profile("smoke", _at("smoke"), tuple(range(6)))


def llm(*sources: str, **changes: Any) -> Profile:
    """Open language models, the bundled one by default; ``changes`` are fields of their configuration.

    Raises:
        ConfigError: as that configuration.
    """
    modules = {name: experiments.part(name, "config") for name in experiments.names()}
    bases = {name: module.llm(*sources, **changes) for name, module in modules.items() if hasattr(module, "llm")}
    return Profile("llm", bases, (0,))


def vary(config: Any, changes: Mapping[str, Any]) -> Any:
    """``config`` with dotted fields replaced, e.g. ``{"model.norm": "before"}``: all at once, then checked.

    Raises:
        ConfigError: there is no such field, its value is of another type, or the setting cannot be.
    """
    tree: dict[str, Any] = {}
    for path, value in changes.items():
        *outer, last = path.split(".")
        place = tree
        for name in outer:
            place = place.setdefault(name, {})
            require(isinstance(place, dict), path, value, f"{name} is given as a whole, too; leave one out")
        place[last] = _Value(path, value)
    return _varied(config, tree, "")


@dataclass(frozen=True, slots=True)
class _Value:
    """What a field is to have, and what was asked for."""

    path: str
    value: Any


def _varied(config: Any, tree: Mapping[str, Any], prefix: str) -> Any:
    known = [f.name for f in dataclasses.fields(config)] if dataclasses.is_dataclass(config) else []
    new = {}
    for name, part in tree.items():
        path, value = (part.path, part.value) if isinstance(part, _Value) else (f"{prefix}{name}", "...")
        require(name in known, path, value, f"there is no {name!r}; use {', '.join(known) or 'what is before its dot'}")
        old = getattr(config, name)
        new[name] = _of_kind(old, part) if isinstance(part, _Value) else _varied(old, part, f"{prefix}{name}.")
    try:
        return replace(config, **new)
    except TypeError as error:  # of what a tuple holds
        raise ConfigError(
            f"{', '.join(f'{prefix}{name}={value!r}' for name, value in new.items())}: {error}"
        ) from error


def _of_kind(old: Any, part: _Value) -> Any:
    """The value, a whole number as a float where the field has one."""
    value = float(part.value) if isinstance(old, float) and type(part.value) is int else part.value
    require(type(value) is type(old), part.path, value, f"use a value of type {type(old).__name__}, as {old!r}")
    return value


def _changed_if_known(config: Any, settings: Sequence[str]) -> Any:
    """Of the changes those that name a part of the configuration: counts have no training."""
    known = {f.name for f in dataclasses.fields(config)}
    return changed(config, [text for text in settings if text.partition("=")[0].partition(".")[0] in known])


def changed(experiment: Any, settings: Sequence[str]) -> Any:
    """``experiment`` with settings written as text: "model.norm=before", or first a whole model, "model=gpt2".

    Values are Python's: 3e-4, True, (1, 2); what is none is a word.

    Raises:
        ConfigError: as :func:`vary`; or it is the seed or the width, which have options of their own.
    """
    whole = {"gpt2": ModelConfig.gpt2, "tutorial": ModelConfig.tutorial}
    options = {"seed": "--seeds", "model.width": "--width"}
    fields: dict[str, Any] = {}
    for setting in settings:
        path, _, text = setting.partition("=")
        require(bool(text), "set", setting, "write FIELD=VALUE, e.g. model.norm=before")
        require(path not in options, "set", setting, f"use {options.get(path)}")
        if path == "model":
            require(text in whole, path, text, f"use {' or '.join(whole)}, or a field, e.g. model.norm=before")
            experiment = replace(experiment, model=whole[text](experiment.model.width))
        else:
            require(path not in fields, "set", setting, f"{path} is set twice; leave one out")
            fields[path] = _read(text)
    return vary(experiment, fields)


def _read(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
