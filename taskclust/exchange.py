"""Carry records between machines as single files, e.g. to commit them with a report.

``taskclust records save .taskclust reports/records`` writes every record of the store to a file in the folder;
``... load .taskclust reports/records`` puts them into a store, where runs find them. Files are compressed JSON, the
same bytes for the same record. Checkpoints are not included.
"""

import contextlib
import lzma
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import Timeout

from taskclust import experiments
from taskclust.config import first_line, require
from taskclust.runner import TRAJECTORY, Runner
from taskclust.store import CorruptRecordWarning, RecordError, Store, StoreError, decode, encode
from taskclust.store.folders import keys, write_whole

_NAME = re.compile(r"([a-z0-9_]+)-.*-([0-9a-f]{20})\.json(\.xz)?")
#: Kinds of record with other names in files written before version 0.2.
_FORMER = {"scores": "synthetic", "language": "natural_language"}


def save(store: Store, folder: Path) -> list[Path]:
    """Write every record of the store to ``folder`` and return the files.

    A file is named e.g. ``synthetic-width-768-seed-0-<key>.json.xz``. A damaged record is left out, with a
    :class:`taskclust.store.CorruptRecordWarning`.

    Raises:
        ConfigError: the store is empty.
        RecordError: some records cannot be read, e.g. because a later version wrote them; all others are written.
        StoreError: another process is working on a record.
    """
    files, unread = [], []
    for kind in experiments.names():
        for key in keys(store.root, kind):
            with _held(store, kind, key):
                whole = store.find(kind, key)
                if whole is None:
                    continue
                try:
                    record = _read(whole / "record.json", kind)
                except RecordError as error:
                    unread.append(f"{kind} record {key} ({first_line(error)})")
                    continue
                files.append(folder / f"{kind}-{_label(record)}-{key}.json.xz")
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(files[-1], lzma.compress(encode(record)))
    if unread:
        raise RecordError(f"{len(files)} records are saved, but not {', '.join(unread)}")
    require(bool(files), "store", str(store.root), "it holds no record; is it the store of your run?")
    return files


@contextlib.contextmanager
def _held(store: Store, kind: str, key: str) -> Iterator[None]:
    """Hold a record's lock; refuse soon if another process holds it, which may train for hours."""
    lock = store.lock(kind, key)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout as error:
        raise StoreError(f"{kind} record {key}: another process is working on it; wait until it ends") from error
    try:
        yield
    finally:
        lock.release()


#: Seconds to wait for another process that holds a record.
PATIENCE = 5.0


def files_of(folder: Path) -> list[tuple[Path, str, str]]:
    """The file of each record in a folder, with the kind and the key that its name gives.

    Raises:
        ConfigError: the folder does not exist or has no record, or a JSON file is not named like a record.
    """
    require(folder.is_dir(), "folder", str(folder), "there is no such folder")
    files = [file for file in sorted(folder.glob("*.json")) + sorted(folder.glob("*.json.*")) if file.name[0] != "."]
    require(bool(files), "folder", str(folder), "it holds no record; write some with save")
    return [(file, *_named(file)) for file in sorted(files)]


def load(store: Store, folder: Path) -> list[Path]:
    """Put every record of ``folder`` into the store and return their folders there.

    A record that the store already has is not replaced.

    Raises:
        ConfigError: as :func:`files_of`; or a file's name does not match its content.
        RecordError: a file does not hold a record of its kind.
        StoreError: another process works on a record; those loaded before it are stored.
    """
    runner = Runner(store)
    wanted: dict[tuple[str, str], tuple[Path, bytes]] = {}
    for file, kind, name in files_of(folder):  # refuse before any is stored
        key, record = _checked(file, kind, name, runner)
        first, content = wanted.setdefault((kind, key), (file, encode(record)))
        fix = f"{first.name} is another record with the same key; leave one out"
        require(content == encode(record), "file", str(file), fix)
    for (kind, key), (_, content) in wanted.items():
        with _held(store, kind, key):
            if store.find(kind, key) is None:
                store.write(kind, key, _writer(content))
    return [store.path(kind, key) for kind, key in wanted]


def _writer(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "record.json").write_bytes(content)

    return write


def _checked(file: Path, kind: str, key: str, runner: Runner) -> tuple[str, Any]:
    """The key and the record of a file.

    The key is computed again from the record, so that a renamed file is not taken for another run's record. Older
    records of language models do not name their weights; their key is read from the file's name.

    Raises:
        ConfigError: the key in the file's name is not the record's.
        RecordError: the file does not hold a record of its kind.
    """
    record, form, run = _read_whole(file, kind), experiments.part(kind, "record"), experiments.part(kind, "run")
    own = run.key(form.answers(record), runner) if hasattr(form, "answers") else run.recorded_key(record) or key
    is_former = file.suffix == ".json"  # their keys were computed in another way
    require(own == key or is_former, "file", str(file), f"its record has the key {own}; was it renamed or changed?")
    return own, record


def read_record(file: Path | str) -> Any:
    """The record in a file that :func:`save` wrote.

    Raises:
        ConfigError: the file is not named like a record.
        RecordError: the file does not hold a record of its kind.
    """
    file = Path(file)
    return _read_whole(file, _named(file)[0])


def _named(file: Path) -> tuple[str, str]:
    """The kind and the key in a record's file name.

    Raises:
        ConfigError: the file is not named like a record.
    """
    match = _NAME.fullmatch(file.name)
    kind, key = (_FORMER.get(match[1], match[1]), match[2]) if match else ("", "")
    require(kind in experiments.names(), "file", str(file), "it is not named like a record; move it away")
    return kind, key


def _read(file: Path, kind: str) -> Any:
    content = file.read_bytes()
    form = experiments.part(kind, "record")
    try:
        return decode(_unpacked(content) if file.suffix == ".xz" else content, form.Record, form.upgrade)
    except (lzma.LZMAError, RecordError) as error:
        raise RecordError(f"{file}: {error}") from error


def _read_whole(file: Path, kind: str) -> Any:
    """The record in a file, checked to have all parts of its tables.

    The ``NAMES`` of its kind list, for the path of each table, what it must contain; "*" is every part of a table or
    list.
    """
    record = _read(file, kind)
    for path, wanted in experiments.part(kind, "record").NAMES.items():
        for table in _tables(record, path.split(".")):
            missing = [name for name in wanted if name not in table]
            if missing:
                raise RecordError(f"{file}: {path} has no {missing[0]!r}; compute the record again")
    return record


def _tables(value: Any, path: Sequence[str]) -> Iterator[Any]:
    if not path:
        yield value
        return
    here = (value.values() if isinstance(value, Mapping) else value) if path[0] == "*" else [getattr(value, path[0])]
    for part in here:
        yield from _tables(part, path[1:])


def _unpacked(content: bytes) -> bytes:
    """The decompressed bytes of exactly one stream; ``lzma.decompress`` would ignore what follows it."""
    stream = lzma.LZMADecompressor()
    plain = stream.decompress(content)
    if not stream.eof or stream.unused_data:
        raise RecordError("it is cut off, or continues after its end; copy it again")
    return plain


def _label(record: Any) -> str:
    config = record.config
    if hasattr(config, "model"):
        return f"width-{config.model.width}-seed-{config.seed}"
    name = Path(os.path.abspath(config.source)).name if config.source else "bundled"  # noqa: PTH100 - as short_name
    return f"{name}-seed-{config.seed}"


def listed(root: Path) -> list[dict[str, str]]:
    """One row per record of the store at ``root``: model, seed, failure, when and with which versions it was made.

    Nothing is written, since the store may belong to someone else. A record that cannot be read has a row that says so.
    """
    return [_row(root, kind, key) for kind in experiments.names() for key in keys(root, kind)]


def _row(root: Path, kind: str, key: str) -> dict[str, str]:
    row = dict.fromkeys(("kind", "of", "key", "failure", "made", "commit", "torch", "threads"), "")
    row |= {"kind": kind, "key": key}
    try:
        record = _read(root / kind / key / "record.json", kind)
    except (OSError, RecordError) as error:
        return row | {"failure": f"cannot be read ({first_line(error)})"}
    made = {name: str(record.provenance.get(name) or "") for name in ("time", "commit", "torch", "threads")}
    row |= {"of": _label(record), "failure": record.failure or "", "made": made.pop("time"), **made}
    return row | {"commit": row["commit"][:7]}


def checked(store: Store) -> tuple[int, list[str]]:
    """The number of intact records, and what is wrong with each of the others, which are moved to "quarantine"."""
    whole, spoiled = 0, []
    for kind in sorted({*experiments.names(), TRAJECTORY, "weights"}):
        for key in keys(store.root, kind):
            try:
                with _held(store, kind, key), warnings.catch_warnings(record=True) as found:
                    warnings.simplefilter("always", CorruptRecordWarning)
                    whole += store.find(kind, key) is not None
                spoiled += [str(one.message) for one in found]
            except StoreError as error:
                spoiled.append(str(error))
    return whole, spoiled
