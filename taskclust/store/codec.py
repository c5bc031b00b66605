"""Convert records to JSON and back; records are frozen dataclasses whose arrays name their axes.

A record's module has the dataclass ``Record``, the version number ``SCHEMA`` of its format, and the function
``upgrade``, which converts plain JSON of every earlier format to today's. All JSON that is read goes through it, so no
other code needs to know older formats.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from jaxtyping import AbstractArray

from taskclust.config import neutral

R = TypeVar("R")
#: Facts about how a record was made, by name.
Provenance = dict[str, str | int | bool | None]


class RecordError(ValueError):
    """The content is not a record; the message names the place in it, the value found there and the fix."""


def encode(record: Any) -> bytes:
    """The record as JSON; arrays become lists and NaN becomes null.

    Raises:
        RecordError: an array holds an infinite number, which JSON cannot express.
    """
    return msgspec.json.encode(record, enc_hook=_plain)


def decode(content: bytes, kind: type[R], upgrade: Any = None) -> R:
    """The record that :func:`encode` wrote, in today's format or an earlier one.

    Args:
        content: the JSON.
        kind: the record's dataclass.
        upgrade: turns plain JSON of any earlier format into plain JSON of today's.

    Raises:
        RecordError: the content is not a JSON object, or a value in it is missing or of another type or shape.
    """
    try:
        plain = msgspec.json.decode(content)
        if not isinstance(plain, Mapping):
            raise RecordError(f"a {type(plain).__name__} instead of a record; is it a record's file?")
        _refuse_later(plain, kind)
        whole = _completed(_upgraded(plain, upgrade) if upgrade else plain, kind)
        return msgspec.convert(whole, kind, dec_hook=_array)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"not a whole {kind.__module__}.{kind.__name__}: {error}; make it again") from error


def _refuse_later(plain: Mapping[str, Any], kind: Any) -> None:
    """Refuse a later format, whose new fields would be dropped silently."""
    latest = next((f.default for f in dataclasses.fields(kind) if f.name == "schema"), None)
    schema = plain.get("schema")
    if isinstance(schema, int) and isinstance(latest, int) and schema > latest:
        raise RecordError(f"schema={schema}: made by a later version, this one knows {latest}; update taskclust")


def _upgraded(plain: Mapping[str, Any], upgrade: Any) -> Any:
    try:
        return upgrade(plain)
    except (KeyError, IndexError, TypeError, AttributeError) as error:  # it assumes that all parts exist
        place = f"{type(error).__name__}: {error}"
        raise RecordError(f"neither a record nor one of an earlier format ({place}); make it again") from error


def _completed(plain: Any, kind: Any) -> Any:
    """The plain JSON with the neutral value of every configuration field that was added later."""
    if not (dataclasses.is_dataclass(kind) and isinstance(plain, Mapping)):
        return plain
    added = {f.name: value for f in dataclasses.fields(kind) if (value := neutral(f)) is not None}
    kinds = {f.name: f.type for f in dataclasses.fields(kind)}
    return {**added, **{name: _completed(value, kinds.get(name)) for name, value in plain.items()}}


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The columns of a table, by name, from its rows."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        if np.isinf(value).any():  # JSON would hold null, which is read as NaN
            raise RecordError("an infinite number has no place in a record")
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} has no place in a record")


def _array(kind: Any, value: Any) -> Any:
    """A list as the array that the type ``kind`` describes, with null as NaN.

    Raises:
        NotImplementedError: ``kind`` is not an array type.
        ValueError: the list has another number of axes or another kind of number.
    """
    if not (isinstance(kind, type) and issubclass(kind, AbstractArray)):
        raise NotImplementedError(f"a record has no field of type {kind}")
    array = np.array(value, dtype=float if kind.dtype.__name__ == "Float" else None)
    if not isinstance(array, kind):
        expected = f"{kind.__name__} is expected, not shape {array.shape} of {array.dtype}"
        raise ValueError(expected)  # noqa: TRY004 - to which msgspec adds the place
    return array
