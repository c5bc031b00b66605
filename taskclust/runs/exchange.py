"""Carry records between machines as single files, to commit beside a report and to go on from elsewhere.

``python -m taskclust.runs.exchange save .taskclust reports/records`` writes every record of the store to a file of the
folder; ``... load .taskclust reports/records`` puts the folder's into the store, where a run finds them as its own: a
record's key, the hash of all that determines it, is in its file's name. Checkpoints stay behind.
"""

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from taskclust.config import ConfigError, require
from taskclust.runs.store import Store, StoreError, read_json

KINDS = ("scores", "pretraining", "alignment", "language")
_NAME = re.compile(rf"({'|'.join(KINDS)})-.*-([0-9a-f]{{20}})")


def save(store: Store, folder: Path) -> list[Path]:
    """Write the store's records to ``folder``, e.g. ``scores-width-768-seed-0-<key>.json``; return the files.

    Raises:
        ConfigError: the store holds no record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind in KINDS:
        for found in sorted((store.root / kind).glob("[!.]*")):
            with store.lock(kind, found.name):
                whole = store.find(kind, found.name)
                if whole is not None:
                    files.append(folder / f"{kind}-{_label(whole)}-{found.name}.json")
                    shutil.copyfile(whole / "record.json", files[-1])
    require(bool(files), "store", str(store.root), "it holds no record; is it the one that you ran with?")
    return files


def load(store: Store, folder: Path) -> list[Path]:
    """Put every record of ``folder`` into the store; one that is there already is left alone. Return their places.

    Raises:
        ConfigError: the folder holds no record.
    """
    named = {file: match for file in sorted(folder.glob("*.json")) if (match := _NAME.fullmatch(file.stem))}
    require(bool(named), "folder", str(folder), "it holds no record; write some with save")
    places = []
    for file, match in named.items():

        def make(target: Path, file: Path = file) -> None:
            shutil.copyfile(file, target / "record.json")

        places.append(store.obtain(match[1], match[2], make))
    return places


def _label(record: Path) -> str:
    config = read_json(record / "record.json")["config"]
    model = f"width-{config['model']['width']}" if "model" in config else Path(config["source"]).name or "bundled"
    return f"{model}-seed-{config['seed']}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("save", "load"))
    parser.add_argument("store", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        for path in {"save": save, "load": load}[options.verb](Store(options.store), options.folder):
            print(path)  # noqa: T201
    except (ConfigError, StoreError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
