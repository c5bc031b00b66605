"""Records as JSON and back: frozen dataclasses whose arrays name their axes.

A record's module has a dataclass ``Record``, the number ``SCHEMA`` of its form, and ``upgrade``, which turns the plain
JSON of every earlier form into today's. Whatever is read passes it, so that no reader knows an older form.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from jaxtyping import AbstractArray

from taskclust.config import neutral

R = TypeVar("R")
#: Where a record comes from: names and what stood there.
Provenance = dict[str, str | int | bool | None]


class RecordError(ValueError):
    """What was read is no record: the message names the place in it, what stands there and the fix."""


def encode(record: Any) -> bytes:
    """The record as JSON; arrays are lists, NaN is null.

    Raises:
        RecordError: an array holds an infinite number, for which JSON has no word.
    """
    return msgspec.json.encode(record, enc_hook=_plain)


def decode(content: bytes, kind: type[R], upgrade: Any = None) -> R:
    """Read what :func:`encode` wrote, now or in an earlier form.

    Args:
        content: JSON.
        kind: the record's dataclass.
        upgrade: plain JSON of any earlier form -> of today's.

    Raises:
        RecordError: it is no JSON object, or something in it is missing or of another type or shape.
    """
    try:
        plain = msgspec.json.decode(content)
        if not isinstance(plain, Mapping):
            raise RecordError(f"a {type(plain).__name__} stands where a record should; is it a record's file?")
        whole = _completed(_upgraded(plain, upgrade) if upgrade else plain, kind)
        return msgspec.convert(whole, kind, dec_hook=_array)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise RecordError(f"not a whole {kind.__module__}.{kind.__name__}: {error}; make it again") from error


def _upgraded(plain: Mapping[str, Any], upgrade: Any) -> Any:
    try:
        return upgrade(plain)
    except (KeyError, IndexError, TypeError, AttributeError) as error:  # it takes parts of former forms as given
        place = f"{type(error).__name__}: {error}"
        raise RecordError(f"neither a record nor one of a former form ({place}); make it again") from error


def _completed(plain: Any, kind: Any) -> Any:
    """With the neutral value of every field that was added to a configuration after this was written."""
    if not (dataclasses.is_dataclass(kind) and isinstance(plain, Mapping)):
        return plain
    added = {f.name: value for f in dataclasses.fields(kind) if (value := neutral(f)) is not None}
    kinds = {f.name: f.type for f in dataclasses.fields(kind)}
    return {**added, **{name: _completed(value, kinds.get(name)) for name, value in plain.items()}}


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A table's rows as its columns."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        if np.isinf(value).any():  # would be null, and NaN when it is read
            raise RecordError("an infinite number has no place in a record")
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} has no place in a record")


def _array(kind: Any, value: Any) -> Any:
    """A list as the array that the type names: as many axes, and of its sort of number; null is NaN."""
    if not (isinstance(kind, type) and issubclass(kind, AbstractArray)):
        raise NotImplementedError(f"a record has no field of type {kind}")
    array = np.array(value, dtype=float if kind.dtype.__name__ == "Float" else None)
    if not isinstance(array, kind):
        expected = f"{kind.__name__} is expected, not shape {array.shape} of {array.dtype}"
        raise ValueError(expected)  # noqa: TRY004 - to which msgspec adds the place
    return array
