"""Fields of configurations: markers for keys and for silent points, and checks of values.

Only the standard library is imported here.
"""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, TypeVar, get_args, get_origin

T = TypeVar("T")
#: The least and the greatest allowed value of each field.
Bounds = Mapping[str, tuple[float, float]]


class ConfigError(ValueError):
    """An impossible setting; the message names the field, its value and the fix."""


def require(holds: bool, name: str, value: object, fix: str) -> None:
    """Raise :class:`ConfigError` about field ``name`` unless ``holds``."""
    if not holds:
        raise ConfigError(f"{name}={shortened(value)}: {fix}")


def first_line(error: Exception) -> str:
    """The first line of an error's message; its type if there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shortened(value: object) -> str:
    """The value as text, cut off if it is long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


_NEUTRAL = "neutral"
_SILENT = "silent"


def added(neutral: T) -> T:
    """A field added after records had been stored: while it has the value ``neutral``, keys stay as before.

    If the default changes later, the neutral value must not: write ``dataclasses.field(default=..., metadata=...)``.
    """
    return field(default=neutral, metadata={_NEUTRAL: neutral})


def neutral(one: dataclasses.Field[Any]) -> Any:
    """The neutral value of a field made with :func:`added`; None for other fields."""
    return one.metadata.get(_NEUTRAL)


def is_neutral(one: dataclasses.Field[Any], config: Any) -> bool:
    """Whether the field was made with :func:`added` and has its neutral value."""
    return _NEUTRAL in one.metadata and getattr(config, one.name) == one.metadata[_NEUTRAL]


def as_before(kind: Any) -> dict[str, Any]:
    """The value of each field that an older record or checkpoint lacks: the neutral value, else the default.

    ``kind`` is a configuration class without nested ones.
    """
    return {f.name: f.metadata.get(_NEUTRAL, f.default) for f in dataclasses.fields(kind)}


def silent(default: T) -> T:
    """A field that the paper leaves open, a silent point: ``silent_points.toml`` must have a row for it.

    Args:
        default: our value, or the result of :func:`dataclasses.field` or :func:`added`, whose metadata are kept.
    """
    made: Any = default if isinstance(default, dataclasses.Field) else field(default=default)
    metadata = {**made.metadata, _SILENT: True}
    return field(default=made.default, default_factory=made.default_factory, metadata=metadata)


def is_silent(one: dataclasses.Field[Any]) -> bool:
    """Whether the field was made with :func:`silent`."""
    return _SILENT in one.metadata


def check_fields(config: Any, bounds: Bounds) -> None:
    """Refuse values of the wrong type, numbers that are not finite and numbers out of bounds.

    Args:
        config: a frozen dataclass.
        bounds: the bounds of its numbers; other fields have none.

    Raises:
        ConfigError: the field, its value and what is allowed.
    """
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        require(_is_of(value, one.type), one.name, value, f"use {_words(one.type)}")
        if one.name in bounds:
            low, high = bounds[one.name]
            require(
                low <= value <= high,
                one.name,
                value,
                f"use {low:,g} to {high:,g}" if isinstance(low, float) else f"use {low:,} to {high:,}",
            )


def _is_of(value: Any, kind: Any) -> bool:
    parts = get_args(kind)
    if kind is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max  # math.isfinite raises for huge whole numbers
    if get_origin(kind) is Literal:
        return any(value == allowed and type(value) is type(allowed) for allowed in parts)
    if get_origin(kind) is tuple:
        kinds = parts[:1] * len(value) if isinstance(value, tuple) and parts[-1] is Ellipsis else parts
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_is_of, value, kinds))
    return type(value) is kind if kind in (int, bool, str) else True  # a configuration checks itself


def _words(kind: Any) -> str:
    """The type in words."""
    plain = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a word"}
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        inner = _words(parts[0]) if parts[-1] is Ellipsis else " and ".join(map(_words, parts))
        return f"a tuple, each part {inner}" if parts[-1] is Ellipsis else f"a pair: {inner}"
    return plain.get(kind, str(kind))
