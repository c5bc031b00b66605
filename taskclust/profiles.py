"""The scales at which claims are judged (profiles), and functions that change fields of a configuration by name.

An experiment's configuration at each scale is in its own folder: functions ``smoke``, ``paper``, ``llm`` of ``config``.
"""

import ast
import dataclasses
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from taskclust import experiments
from taskclust.config import FEED_FORWARD, ConfigError, ModelConfig, require

ProfileName = Literal["smoke", "paper", "llm"]


@dataclass(frozen=True, slots=True)
class Profile:
    """A named scale: the configuration of each experiment, and the seeds to run it with.

    Args:
        name: the scale's name.
        bases: by experiment, one configuration per subject. A subject is e.g. a language model; experiments that train
            their models have one subject.
        seeds: the seeds over which a verdict is reached.
        width: the width of the models, where the scale has several to choose from.
        changes: by experiment, the settings that make it differ from the profile of this name and width, as text that
            :func:`changed` reads.
    """

    name: ProfileName
    bases: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    width: int | None = None
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def base(self, experiment: str) -> Any:
        """The configuration of an experiment with exactly one subject."""
        (config,) = self.bases[experiment]
        return config

    def subjects(self, experiment: str) -> list[list[Any]]:
        """For each subject of an experiment, one configuration per seed; empty if the scale lacks the experiment."""
        return [[replace(base, seed=seed) for seed in self.seeds] for base in self.bases.get(experiment, ())]

    def scale(self, experiment: str) -> str:
        """The name under which known failures list this scale: "smoke", "llm" or, with the width, e.g. "paper-768".

        An experiment may have a width of its own; the name then gives that width. A changed experiment is another
        scale, so the name lists its changes, too: "paper-256 model=norm-after training.learning_rate=0.0002".
        """
        if self.width is None:
            scale: str = self.name
        else:
            model = getattr(self.base(experiment), "model", None)
            scale = f"{self.name}-{self.width if model is None or _takes(experiment) == 'all' else model.width}"
        return " ".join((scale, *sorted(self.changes.get(experiment, ()), key=_whole_first)))

    def alter(self, change: Callable[[str, Any], Any]) -> "Profile":
        """The profile with every configuration replaced by ``change(experiment, configuration)``."""
        bases = {name: tuple(change(name, base) for base in configs) for name, configs in self.bases.items()}
        return replace(self, bases=bases)

    def changed(self, settings: Sequence[str]) -> "Profile":
        """The profile with settings, written as text for :func:`changed`, applied in the experiments that take them.

        Of several whole models the last counts. A setting that the profile has anyway, or that an experiment lacks, is
        no change of it, so that known failures of the profile apply.

        Raises:
            ConfigError: as :func:`changed`.
        """
        taking = [base for name, bases in self.bases.items() if _takes(name) == "all" for base in bases]
        changed(max(taking, key=lambda base: len(dataclasses.fields(base))), settings)  # refuse unknown settings
        whole = [text for text in settings if _is_whole(text)][-1:]
        paths = [text.partition("=")[0] for text in settings if not _is_whole(text)]
        plain, new = self._with(whole), self._with(settings)
        real = {}
        for name, bases in new.bases.items():
            models = whole if plain.bases[name] != self.bases[name] else ()
            fields = (_difference(path, plain.bases[name], bases) for path in dict.fromkeys(paths))
            real[name] = (*models, *(text for text in fields if text))
        return replace(new, changes={name: texts for name, texts in real.items() if texts})

    def _with(self, settings: Sequence[str]) -> "Profile":
        return self.alter(lambda name, base: _changed_if_known(base, _taken(name, settings)))

    def with_model(self, name: str, make: Callable[[Any], ModelConfig]) -> "Profile":
        """The profile with another model in the experiments that take changes, called ``name`` in the scale.

        Args:
            name: e.g. "llama".
            make: gives the new model for a configuration.
        """
        other = self.alter(
            lambda kind, base: (
                replace(base, model=make(base)) if _takes(kind) == "all" and hasattr(base, "training") else base
            )
        )
        new = {kind: (f"outside={name}",) for kind, bases in other.bases.items() if bases != self.bases[kind]}
        kinds = dict.fromkeys((*self.changes, *new))
        return replace(other, changes={kind: (*self.changes.get(kind, ()), *new.get(kind, ())) for kind in kinds})

    def until(self, epochs: int) -> "Profile":
        """The profile with every training stopped after ``epochs`` epochs of its schedule."""

        def shorten(name: str, base: Any) -> Any:
            until = getattr(experiments.part(name, "config"), "until", None)
            return until(base, epochs) if until else base

        return self.alter(shorten)


def _whole_first(setting: str) -> tuple[bool, str]:
    """A sorting key of settings: "model=gpt2" first, then fields by name; they are applied in this order, too."""
    return "." in setting.partition("=")[0], setting


def _difference(path: str, before: Sequence[Any], after: Sequence[Any]) -> str:
    """The setting of a field that differs between configurations, in one spelling (3e-4 as 0.0003); else empty."""

    def values(configs: Sequence[Any]) -> list[Any]:
        try:
            return [operator.attrgetter(path)(config) for config in configs]
        except AttributeError:  # the experiment has no such field
            return []

    new = values(after)
    if new == values(before):
        return ""
    return f"{path}={new[0] if isinstance(new[0], str) else repr(new[0])}"


def _is_whole(setting: str) -> bool:
    """Whether the setting replaces the whole model."""
    return setting.startswith("model=")


def _takes(experiment: str) -> str:
    takes: str = getattr(experiments.part(experiment, "config"), "TAKES_CHANGES", "none")
    return takes


def _taken(experiment: str, settings: Sequence[str]) -> tuple[str, ...]:
    """Those of the settings that the experiment takes."""
    takes = _takes(experiment)
    return tuple(text for text in settings if takes == "all" or (takes == "model" and _is_whole(text)))


def _at(scale: str, *arguments: Any) -> dict[str, tuple[Any, ...]]:
    """The configuration, at this scale, of each experiment that has the scale."""
    modules = {name: experiments.part(name, "config") for name in experiments.names()}
    return {name: (getattr(module, scale)(*arguments),) for name, module in modules.items() if hasattr(module, scale)}


def paper(width: int = 768) -> Profile:
    """The profile of the paper's scale (Tables 4 to 8) at ``width``, with five seeds.

    Raises:
        ConfigError: the paper has no models of this width.
    """
    require(width in FEED_FORWARD, "width", width, f"the paper has {', '.join(map(str, FEED_FORWARD))}")
    return Profile("paper", _at("paper", width), tuple(range(5)), width)


def smoke() -> Profile:
    """The profile of small models, trained in minutes on two cores; it does not reproduce the paper."""
    return Profile("smoke", _at("smoke"), tuple(range(6)))


def llm(*sources: str, **changes: Any) -> Profile:
    """The profile of open language models: those of ``sources``, or else the bundled one.

    ``changes`` are fields of their configuration.

    Raises:
        ConfigError: the configuration refuses a value.
    """
    modules = {name: experiments.part(name, "config") for name in experiments.names()}
    bases = {name: module.llm(*sources, **changes) for name, module in modules.items() if hasattr(module, "llm")}
    return Profile("llm", bases, (0,))


def vary(config: Any, changes: Mapping[str, Any]) -> Any:
    """``config`` with dotted fields replaced, e.g. ``{"model.norm": "before"}``: all together, then checked.

    Raises:
        ConfigError: a field does not exist, a value has the wrong type, or the configuration refuses it.
    """
    tree: dict[str, Any] = {}
    for path, value in changes.items():
        *outer, last = path.split(".")
        place = tree
        for name in outer:
            place = place.setdefault(name, {})
            require(isinstance(place, dict), path, value, f"{name} is also given as a whole; leave one out")
        place[last] = _Value(path, value)
    return _varied(config, tree, "")


@dataclass(frozen=True, slots=True)
class _Value:
    """The new value of a field, with the field's full path."""

    path: str
    value: Any


def _varied(config: Any, tree: Mapping[str, Any], prefix: str) -> Any:
    known = {f.name: f.type for f in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else {}
    new = {}
    for name, part in tree.items():
        path, value = (part.path, part.value) if isinstance(part, _Value) else (f"{prefix}{name}", "...")
        require(name in known, path, value, f"there is no {name!r}; use {', '.join(known) or 'what is before its dot'}")
        old = getattr(config, name)
        new[name] = (
            _of_kind(known[name], old, part) if isinstance(part, _Value) else _varied(old, part, f"{prefix}{name}.")
        )
    try:
        return replace(config, **new)
    except TypeError as error:  # raised for parts of a tuple
        raise ConfigError(
            f"{', '.join(f'{prefix}{name}={value!r}' for name, value in new.items())}: {error}"
        ) from error


def _of_kind(kind: Any, old: Any, part: _Value) -> Any:
    """The value, with whole numbers as floats if the field is a float."""
    is_float = kind is float and type(part.value) in (int, float)
    is_alike = is_float or type(part.value) is type(old)
    require(is_alike, part.path, part.value, f"use a value of type {type(old).__name__}, like {old!r}")
    return float(part.value) if is_float and abs(part.value) <= sys.float_info.max else part.value


def _changed_if_known(config: Any, settings: Sequence[str]) -> Any:
    """``config`` with only those changes applied that name a field it has.

    The experiment on Tables 3, 4 and 8, for example, has no training.
    """
    known = {f.name for f in dataclasses.fields(config)}
    return changed(config, [text for text in settings if text.partition("=")[0].partition(".")[0] in known])


def changed(experiment: Any, settings: Sequence[str]) -> Any:
    """``experiment`` with settings applied that are written as text, e.g. "model.norm=after" or "model=gpt2".

    "model=gpt2", "model=norm-after" and "model=tutorial" replace the whole model and are applied first. If a field is
    set twice, the last value counts. Values are Python literals: 3e-4, True, (1, 2). Any other text is a string.

    Raises:
        ConfigError: as :func:`vary`; or the setting is the seed or the width, which have options of their own.
    """
    whole = {"gpt2": ModelConfig.gpt2, "norm-after": ModelConfig.norm_after, "tutorial": ModelConfig.tutorial}
    options = {"seed": "--seeds", "model.width": "--width"}
    fields: dict[str, Any] = {}
    for setting in settings:
        path, _, text = setting.partition("=")
        require(bool(text), "set", setting, "write FIELD=VALUE, e.g. model.norm=after")
        require(path not in options, "set", setting, f"use {options.get(path)}")
        if path == "model" and hasattr(experiment, "model"):
            require(text in whole, path, text, f"use {', '.join(whole)}, or a field, e.g. model.norm=after")
            experiment = replace(experiment, model=whole[text](experiment.model.width))
        else:
            fields[path] = _read(text)
    return vary(experiment, fields)


def _read(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # all that it raises for other text
        return text
