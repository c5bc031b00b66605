"""Carry records between machines as single files, to commit beside a report and to go on from elsewhere.

``taskclust records save .taskclust reports/records`` writes every record of the store to a file of the folder;
``... load .taskclust reports/records`` puts the folder's into the store, where a run finds them as its own.
Files are JSON, compressed, the same bytes for the same record. Checkpoints stay behind.
"""

import lzma
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskclust import experiments
from taskclust.config import require
from taskclust.runner import TRAJECTORY, Runner
from taskclust.store import CorruptRecordWarning, RecordError, Store, decode, encode

_NAME = re.compile(r"([a-z0-9_]+)-.*-([0-9a-f]{20})\.json(\.xz)?")
#: What kinds of record were called in files written before version 0.2.
_FORMER = {"scores": "synthetic", "language": "natural_language"}


def save(store: Store, folder: Path) -> list[Path]:
    """Write every record of the store to ``folder`` and return the files.

    A file is named e.g. ``synthetic-width-768-seed-0-<key>.json.xz``.

    Raises:
        ConfigError: the store holds no record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind in experiments.names():
        for found in sorted((store.root / kind).glob("[!.]*")):
            with store.lock(kind, found.name):
                whole = store.find(kind, found.name)
                if whole is not None:
                    record = _read(whole / "record.json", kind)
                    files.append(folder / f"{kind}-{_label(record)}-{found.name}.json.xz")
                    files[-1].write_bytes(lzma.compress(encode(record)))
    require(bool(files), "store", str(store.root), "it holds no record; is it the one that you ran with?")
    return files


def load(store: Store, folder: Path) -> list[Path]:
    """Put every record of ``folder`` into the store and return their folders there.

    A record that the store already has is not replaced.

    Raises:
        ConfigError: the folder holds no record, or a JSON file that is not named as one is, or whose name does not
            match its content.
        RecordError: a file does not hold a record of its kind.
    """
    named = [(file, *_named(file)) for file in sorted(folder.glob("*.json*")) if not file.name.startswith(".")]
    require(bool(named), "folder", str(folder), "it holds no record; write some with save")
    runner = Runner(store)
    wanted: dict[tuple[str, str], tuple[Path, bytes]] = {}
    for file, kind, name in named:  # refuse before any is stored
        key, record = _checked(file, kind, name, runner)
        first, content = wanted.setdefault((kind, key), (file, encode(record)))
        mend = f"{first.name} is another record of the same key; leave one out"
        require(content == encode(record), "file", str(file), mend)
    return [store.obtain(kind, key, _writer(content)) for (kind, key), (_, content) in wanted.items()]


def _writer(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "record.json").write_bytes(content)

    return write


def _checked(file: Path, kind: str, key: str, runner: Runner) -> tuple[str, Any]:
    """The key and the record of a file.

    The key is computed again from the record, so that a renamed file is not taken for another run's record. It is read
    from the file's name where an older record of a language model does not say of which weights it is.

    Raises:
        ConfigError: the key in the file's name is not the record's.
        RecordError: the file does not hold a record of its kind.
    """
    record, form, run = _read(file, kind), experiments.part(kind, "record"), experiments.part(kind, "run")
    own = run.key(form.answers(record), runner) if hasattr(form, "answers") else run.recorded_key(record) or key
    is_former = file.suffix == ".json"  # keys were computed in another way then
    require(own == key or is_former, "file", str(file), f"its record has the key {own}; was it renamed or changed?")
    return own, record


def read_record(file: Path) -> Any:
    """The record in a file that :func:`save` wrote.

    Raises:
        ConfigError: the file is not named like a record.
        RecordError: the file does not hold a record of its kind.
    """
    return _read(file, _named(file)[0])


def _named(file: Path) -> tuple[str, str]:
    """The kind and the key in a record's file name.

    Raises:
        ConfigError: the file is not named like a record.
    """
    match = _NAME.fullmatch(file.name)
    kind, key = (_FORMER.get(match[1], match[1]), match[2]) if match else ("", "")
    require(kind in experiments.names(), "file", str(file), "it is not named as a record is, see save; move it away")
    return kind, key


def _read(file: Path, kind: str) -> Any:
    content = file.read_bytes()
    form = experiments.part(kind, "record")
    try:
        return decode(lzma.decompress(content) if file.suffix == ".xz" else content, form.Record, form.upgrade)
    except (lzma.LZMAError, RecordError) as error:
        raise RecordError(f"{file}: {error}") from error


def _label(record: Any) -> str:
    config = record.config
    model = f"width-{config.model.width}" if hasattr(config, "model") else Path(config.source).name or "bundled"
    return f"{model}-seed-{config.seed}"


def listed(store: Store) -> list[dict[str, str]]:
    """A row a record: what it is of, how it ended, and when and with what it was made. Nothing is checked or moved."""
    rows = []
    for kind in experiments.names():
        for folder in sorted((store.root / kind).glob("[!.]*")):
            record = _read(folder / "record.json", kind)
            made = record.provenance
            rows.append({
                "kind": kind,
                "of": _label(record),
                "key": folder.name,
                "failure": record.failure or "",
                "made": str(made.get("time") or ""),
                "commit": str(made.get("commit") or "")[:7],
                "torch": str(made.get("torch") or ""),
                "threads": str(made.get("threads") or ""),
            })  # fmt: skip
    return rows


def checked(store: Store) -> tuple[int, list[str]]:
    """How many records are whole, and what is wrong with each other one, which is moved to "quarantine"."""
    whole, spoiled = 0, []
    kinds = sorted(set(experiments.names()) | {TRAJECTORY, "weights"})
    for kind in kinds:
        for folder in sorted((store.root / kind).glob("[!.]*")):
            with store.lock(kind, folder.name), warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always", CorruptRecordWarning)
                store.find(kind, folder.name)
            whole += not found
            spoiled += [str(one.message) for one in found]
    return whole, spoiled
