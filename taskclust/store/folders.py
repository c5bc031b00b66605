"""A store of records as folders; no record is half-written, silently wrong, or computed by two processes at once.

A record is a folder ``<root>/<kind>/<key>``. Its key is a hash of everything that determines the record. A record is
written to a temporary folder on the same file system, flushed to disk, given a manifest and then renamed, so a folder
under its final name is always complete. The manifest names the kind, the key, and every file with its sha256 sum. A
record that differs from its manifest, or has additional files, is moved to ``quarantine``, reported and computed again.
Tensors are stored as safetensors and numbers as JSON; nothing is pickled.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

MANIFEST = "manifest.json"
#: The name of a record's folder, or of one that is being replaced.
_RECORD = re.compile(r"\.?([0-9a-f]{20})(?:\.replaced)?")


class StoreError(RuntimeError):
    """The store cannot be used; the message names the folder and the fix."""


class CorruptRecordWarning(UserWarning):
    """A record differed from its manifest and was moved to ``quarantine``."""


class Store:
    """The records under one folder: find them, or make those that are missing.

    Args:
        root: the folder; it is created if it does not exist.

    Raises:
        StoreError: the folder cannot be written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        try:
            for name in ("locks", "unfinished"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise StoreError(
                f"store={str(root)!r}: cannot be written ({error}); choose another folder with --store"
            ) from error

    def path(self, kind: str, key: str) -> Path:
        """The record's folder, whether or not it exists."""
        return self.root / kind / key

    def unfinished(self, kind: str, key: str) -> Path:
        """The folder for unfinished work on a record; it is removed once the record is written."""
        return self.root / "unfinished" / f"{kind}-{key}"

    def lock(self, kind: str, key: str) -> FileLock:
        """The lock that a process must hold while it works on the record."""
        return FileLock(self.root / "locks" / f"{kind}-{key}.lock")

    def find(self, kind: str, key: str) -> Path | None:
        """The record's folder, after verifying its checksums; None if there is no record or it was corrupt.

        A corrupt record is moved to ``quarantine``, with a :class:`CorruptRecordWarning`.
        """
        folder, replaced = self.path(kind, key), self._replaced(kind, key)
        if replaced.exists() and folder.exists():  # killed after the new record arrived
            shutil.rmtree(replaced)
        elif replaced.exists():  # killed after the old record was moved, before the new one arrived
            replaced.replace(folder)
        if not folder.exists():
            return None
        fault = _fault(folder, kind, key)
        if fault is None:
            return folder
        aside = Path(tempfile.mkdtemp(prefix=f"{kind}-{key}-", dir=_made(self.root / "quarantine")))
        folder.replace(aside / "record")
        warnings.warn(f"{kind} record {key}: {fault}; moved to {aside}", CorruptRecordWarning, stacklevel=2)
        return None

    def obtain(self, kind: str, key: str, make: Callable[[Path], None], *, recompute: bool = False) -> Path:
        """The record's folder; if the record is missing, ``make(folder)`` computes it first.

        If several processes want the same missing record, one of them computes it.

        Args:
            kind: the kind of record.
            key: the hash of everything that determines it.
            make: writes the record's files into the folder that it is given.
            recompute: compute the record even if it exists; only a finished new record replaces the old one.

        Raises:
            OSError: the disk is full or fails; the error names the file, or the record's folder.
        """
        with self.lock(kind, key):
            found = None if recompute else self.find(kind, key)
            if recompute:
                self.begin_again(kind, key)
            if found is None:
                self.write(kind, key, make)
            elif not (self.unfinished(kind, key) / "recompute").exists():  # left by a process killed before removing it
                shutil.rmtree(self.unfinished(kind, key), ignore_errors=True)
            return self.path(kind, key)

    def write(self, kind: str, key: str, make: Callable[[Path], None]) -> None:
        """Write a record with ``make(folder)``, replacing an older one, and delete the unfinished work on it.

        The caller holds its lock.
        """
        with naming(self.path(kind, key)), self._writing(kind, key) as folder:
            make(folder)
        shutil.rmtree(self.unfinished(kind, key), ignore_errors=True)

    def begin_again(self, kind: str, key: str) -> None:
        """Delete unfinished work, unless an interrupted recomputation left it, which is continued."""
        unfinished = self.unfinished(kind, key)
        mark = unfinished / "recompute"
        if not mark.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            mark.touch()

    def _replaced(self, kind: str, key: str) -> Path:
        """The folder of the old record while a new one replaces it."""
        return self.root / kind / f".{key}.replaced"

    @contextmanager
    def _writing(self, kind: str, key: str) -> Iterator[Path]:
        final = self.path(kind, key)
        for left in final.parent.glob(f".{key}-*"):  # left by a killed process; we hold the lock now
            shutil.rmtree(left, ignore_errors=True)
        with scratch_folder(_made(final.parent), f".{key}-") as scratch:
            folder = scratch / "record"
            folder.mkdir()
            yield folder
            seal(folder, kind, key)
            replaced = self._replaced(kind, key)
            shutil.rmtree(replaced, ignore_errors=True)
            if final.exists():
                final.replace(replaced)
            folder.replace(final)
            _flush(final.parent)
            shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def scratch_folder(within: Path, prefix: str) -> Iterator[Path]:
    """A new folder that is deleted afterwards, as far as possible.

    ``tempfile.TemporaryDirectory`` recurses without end if the permission to delete is denied (CPython 3.11).
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keys(root: Path, kind: str) -> list[str]:
    """The keys of a kind's records below a store's root, which need not be writable.

    A record whose recomputation was killed between its two renames is included; other files are ignored.
    """
    found = [_RECORD.fullmatch(path.name) for path in (root / kind).glob("*") if path.is_dir()]
    return sorted({match[1] for match in found if match})


def lock_of(path: Path) -> Path:
    """A file to lock while ``path`` is written, in this machine's temporary folder."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:20]
    return Path(tempfile.gettempdir()) / f"taskclust-{name}.lock"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add ``path`` to operating-system errors that name no file, e.g. that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: if the disk is full, the old file, or none, remains.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes(content)
        _flush(new)
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; NaN becomes null, so that every JSON reader accepts the file."""
    path.write_text(json.dumps(as_json(value), allow_nan=False), encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value that :func:`write_json` wrote, with None for NaN."""
    return json.loads(path.read_text("utf-8"))


def as_json(value: Any) -> Any:
    """The value as plain JSON types, with None for NaN."""
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(v) for v in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def write_summed(path: Path, content: bytes) -> None:
    """Write a file atomically, after a line with the checksum of its name and content; see :func:`read_summed`."""
    write_whole(path, _sum_in(path, content) + b"\n" + content)


def read_summed(path: Path) -> bytes | None:
    """The content that :func:`write_summed` wrote; None if the file is missing, was changed or was renamed."""
    if not path.exists():
        return None
    total, _, content = path.read_bytes().partition(b"\n")
    return content if total == _sum_in(path, content) else None


def _sum_in(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\n" + content).hexdigest().encode()


def seal(folder: Path, kind: str = "", key: str = "") -> None:
    """Flush all files of the folder to disk, then write and flush a manifest with their checksums."""
    files = _files(folder)
    for path in files.values():
        _flush(path)
    sums = {name: _sum(path) for name, path in files.items()}
    about = {"kind": kind, "key": key, "files": sums}
    write_json(folder / MANIFEST, {**about, "sum": _sum_of(about)})
    for path in (folder / MANIFEST, *(p for p in folder.rglob("*") if p.is_dir()), folder):
        _flush(path)


def is_sealed(folder: Path) -> bool:
    """Whether the folder is complete and unchanged since :func:`seal`."""
    return folder.is_dir() and _fault(folder) is None


def _files(folder: Path) -> dict[str, Path]:
    """All files except the manifest, by their path in the folder."""
    found = [path for path in sorted(folder.rglob("*")) if not path.is_dir() and path != folder / MANIFEST]
    return {str(path.relative_to(folder)): path for path in found}


def _fault(folder: Path, kind: str = "", key: str = "") -> str | None:
    """How the folder differs from its manifest, in words; None if it does not."""
    try:
        manifest = read_json(folder / MANIFEST)
        if "files" not in manifest:  # sealed before manifests named kind and key
            return _file_fault(folder, manifest)
        about = {name: manifest[name] for name in ("kind", "key", "files")}
        if manifest["sum"] != _sum_of(about):
            return "the manifest differs from its sum"
        if key and (manifest["kind"], manifest["key"]) != (kind, key):
            return f"it is the {manifest['kind']} record {manifest['key']}"
        return _file_fault(folder, manifest["files"])
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        return f"unreadable ({type(error).__name__}: {error})"


def _file_fault(folder: Path, sums: Mapping[str, str]) -> str | None:
    if not sums:
        return "the manifest names no file"
    if more := sorted(_files(folder).keys() - sums.keys()):
        return f"{more[0]} is in no manifest"
    return next((f"{name} differs from its sum" for name, total in sums.items() if _sum(folder / name) != total), None)


def _sum_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
