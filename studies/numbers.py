"""Numbers in prose, each quoted by a key from a committed record, report or table.

``python -m studies.numbers README.md docs/*.md`` updates them; with ``--check`` it only reports stale or unknown ones;
with ``--count`` it counts the decimals of each page that have no key. A quoted number is between two comments, which
readers of the page do not see::

    F1 is <!--=paper-256: f1, interval-->0.48 [0.44, 0.52]<!--=-->.

A key has the name of a run and a colon, if the number belongs to a run; the number's name in ``docs/numbers.toml``; and
options, each after a comma:

- ``untrained``, ``at 20`` (an epoch), ``best`` (the epoch of best accuracy), ``highest``, ``when highest`` (its epoch,
  of which seeds that differ have no mean); by default the end of training. ``layer 0``; by default the top layer.
  ``layers``: all of them.
- ``interval`` (after the mean over seeds), ``range`` (lowest to highest seed), ``seeds`` (each), ``seed 3``;
  ``control`` (the mean of a check's negative control); by default the mean over seeds.
- ``0 digits`` or another number of digits after the point; by default 2.
"""

import argparse
import csv
import json
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from taskclust.claims.criteria import interval
from taskclust.config import ConfigError, require
from taskclust.exchange import read_record
from taskclust.store.folders import write_whole

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"<!--=([^\n]+?)-->([^\n]*?)<!--=-->")
_HALF = re.compile(r"<!--=")
_BLOCK = re.compile(r"<!-- (\S+):begin -->.*?<!-- \1:end -->", re.DOTALL)
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_DECIMAL = re.compile(r"(?<![\w.§])\d*\.\d+(?!\w|\.\d)")


@dataclass(frozen=True, slots=True)
class Sources:
    """The tables of ``docs/numbers.toml``.

    Attributes:
        runs: the record files of each run, one per seed; a run has the name of its report's folder.
        searches: setting, width and seeds of each run of the search, by a name for it.
        checks: claim, condition and check, by the number's name.
        records: a path of names in a record, by the number's name.
        rows: a path of names and indices in a row of the search, by the number's name.
        cells: file, row (some of its cells) and column of a committed Markdown table, by the number's name; "part"
            selects one of several numbers in the cell.
        root: the folder that file names are relative to.
    """

    runs: dict[str, list[str]] = field(default_factory=dict)
    searches: dict[str, list[Any]] = field(default_factory=dict)
    checks: dict[str, list[str]] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    root: Path = ROOT

    def __post_init__(self) -> None:
        names = [*self.checks, *self.records, *self.rows, *self.cells]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, "numbers.toml", twice, "these names occur twice; rename one")
        marked = [name for name in names if set(name) & set(",:")]
        require(not marked, "numbers.toml", marked, "a number's name must not have a comma or a colon")


def sources(path: Path = ROOT / "docs" / "numbers.toml") -> Sources:
    """The sources that a file lists.

    Raises:
        ConfigError: the file has an unknown table.
    """
    tables = tomllib.loads(path.read_text("utf-8"))
    usable = [one.name for one in fields(Sources) if one.name != "root"]
    unknown = sorted(set(tables) - {*usable})
    require(not unknown, str(path.name), unknown, f"use the tables {', '.join(usable)}")
    return Sources(**tables, root=path.parents[1])


def value(key: str, known: Sources) -> str:
    """The number of a key, as text.

    Raises:
        ConfigError: the key is unknown.
    """
    run, _, rest = key.rpartition(":")
    name, *words = (part.strip() for part in rest.split(","))
    run = run.strip()
    if name in known.cells:
        return _cell(key, run, known.cells[name], words, known)
    options = _options(key, words)
    if name in known.checks:
        return _of_check(key, run, known.checks[name], options, known)
    if name in known.records:
        return _of_records(key, run, known.records[name], options, known)
    if name in known.rows:
        return _of_search(key, run, known.rows[name], options, known)
    raise ConfigError(f"number={key!r}: numbers.toml has no {name!r}; add it there, or use one of its names")


@dataclass(slots=True)
class _Options:
    when: str = "end"
    where: str = "top"
    form: str = "mean"
    digits: int = 2


_WORDS: tuple[tuple[str, str], ...] = (
    (r"untrained|at \d+|best|highest|when highest", "when"),
    (r"layers|layer \d+", "where"),
    (r"interval|range|seeds|seed \d+|control", "form"),
    (r"\d digits", "digits"),
)


def _options(key: str, words: Sequence[str]) -> _Options:
    options = _Options()
    for word in words:
        names = [name for pattern, name in _WORDS if re.fullmatch(pattern, word)]
        require(bool(names), "number", key, f"{word!r} is not an option; see the docstring of studies/numbers.py")
        setattr(options, names[0], int(word[0]) if names[0] == "digits" else word)
    return options


def _of_check(key: str, run: str, of: Sequence[str], options: _Options, known: Sources) -> str:
    row = _rows(known.root / "reports" / run / "checks.csv", key).get(tuple(of))
    require(row is not None, "number", key, f"the report has no check {' / '.join(of)}")
    assert row is not None
    require(options.when == "end" and options.where == "top", "number", key, "a check has no epochs and no layers")
    if options.form == "control":
        return _text(float(row["control"]), options.digits)
    values = _rows(known.root / "reports" / run / "values.csv", key)
    by_seed = {int(key[-1]): float(row["value"]) for key, row in values.items() if key[:3] == tuple(of)}
    if options.form == "interval" and len(by_seed) == 1:  # over resamples, not seeds
        return f"{_text(float(row['mean']), options.digits)} [{', '.join(_bounds(row, options.digits))}]"
    return _over_seeds(key, by_seed, options)


def _bounds(row: dict[str, str], digits: int) -> list[str]:
    return [_text(float(row[name]), digits) for name in ("low", "high")]


@cache
def _rows(path: Path, key: str) -> dict[tuple[str, ...], dict[str, str]]:
    """The rows of a report's table by claim, condition, check and, if it has one, seed."""
    require(path.is_file(), "number", key, f"there is no {path.name} of this run in reports; name a report's folder")
    with path.open(encoding="utf-8", newline="") as lines:
        return {
            tuple(row[name] for name in ("claim", "cell", "check", "seed") if name in row): row
            for row in csv.DictReader(lines)
        }


def _of_records(key: str, run: str, path: str, options: _Options, known: Sources) -> str:
    require(run in known.runs, "number", key, f"use one of the runs {', '.join(known.runs)}")
    found = {}
    for file in known.runs[run]:
        record = _record(known.root / "reports" / "records" / file)
        values = _at_path(key, record, path)
        found[record.config.seed] = _selected(
            key, values, _epochs(record, path, values), getattr(record, "best_epoch", None), options
        )
    return _over_seeds(key, found, options)


def _of_search(key: str, run: str, path: str, options: _Options, known: Sources) -> str:
    require(run in known.searches, "number", key, f"use one of the searches {', '.join(known.searches)}")
    setting, width, *seeds = known.searches[run]
    found = {}
    for row in _search(known.root / "reports" / "search" / "runs.jsonl"):
        if (row["setting"], row["width"]) == (setting, width) and row["seed"] in seeds:
            values = _at_path(key, row, path)
            epochs = list(range(len(values))) if path.startswith("accuracy.") else row["epochs"]
            is_curve = values.ndim > 0 and len(values) == len(epochs)
            found[row["seed"]] = _selected(key, values, epochs if is_curve else None, row["best_epoch"], options)
    require(sorted(found) == sorted(seeds), "number", key, f"the search has the seeds {sorted(found)} only")
    return _over_seeds(key, found, options)


@cache
def _search(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@cache
def _record(file: Path) -> Any:
    return read_record(file)


def _at_path(key: str, record: Any, path: str) -> np.ndarray:
    """The value at a path in a record or a row of the search: a number, or an array over epochs or layers or both."""
    found = record
    for name in path.split("."):
        if isinstance(found, list):
            found = found[int(name)]
        else:
            found = found.get(name) if isinstance(found, dict) else getattr(found, name, None)
        require(found is not None, "number", key, f"it has no {path}")
    values = np.asarray(found, dtype=float)
    require(not np.isnan(values).all(), "number", key, "it was not measured in this run, or is NaN")
    return values


def _selected(
    key: str, values: np.ndarray, epochs: list[int] | None, best_epoch: int | None, options: _Options
) -> np.ndarray:
    """The selected number, or one per layer; the first axis of ``values`` is ``epochs`` unless that is None."""
    has_layers = values.ndim == 1 + (epochs is not None)
    require(has_layers or options.where == "top", "number", key, "it has no layers")
    if has_layers and options.where != "layers":
        values = values[..., int(options.where.split()[-1]) if options.where != "top" else -1]
    if epochs is None:
        require(options.when == "end", "number", key, "it has no epochs")
        return values
    if options.when in ("highest", "when highest"):
        row = int(np.nanargmax(values))
        return np.asarray(epochs[row] if options.when == "when highest" else values[row])
    epoch: int | None = {"end": epochs[-1], "untrained": 0, "best": best_epoch}.get(options.when)
    if options.when.startswith("at "):
        epoch = int(options.when.split()[-1])
    require(epoch in epochs, "number", key, f"it was not measured there; use one of {', '.join(map(str, epochs))}")
    assert epoch is not None
    return np.asarray(values[epochs.index(epoch)])


def _epochs(record: Any, path: str, values: np.ndarray) -> list[int] | None:
    """The epochs of the first axis; None if it is not epochs."""
    if "history" in path.split("."):
        return list(range(len(values)))
    if path.startswith("bag") or values.ndim == 0:
        return None
    after_tsne = any(name in path for name in ("tsne", "merging", "by_mapping"))
    return [int(epoch) for epoch in record.epochs.of("tsne" if after_tsne else "raw")]


def _over_seeds(key: str, found: dict[int, Any], options: _Options) -> str:
    digits = options.digits
    require(options.form != "control", "number", key, "only checks have a control")
    if options.where == "layers":
        require(options.form == "mean", "number", key, "layers are means over seeds; leave out the option for seeds")
        return ", ".join(_text(float(mean), digits) for mean in np.mean([*found.values()], axis=0))
    by_seed = {seed: float(one) for seed, one in found.items()}
    values = [by_seed[seed] for seed in sorted(by_seed)]
    if options.form.startswith("seed "):
        seed = int(options.form.split()[-1])
        require(seed in by_seed, "number", key, f"use one of the seeds {', '.join(map(str, sorted(by_seed)))}")
        return _text(by_seed[seed], digits)
    # The mean of epochs would name one at which no seed was measured.
    many = options.when == "when highest" and options.form in ("mean", "interval") and len(set(values)) > 1
    require(not many, "number", key, "seeds differ in this epoch; add seeds or range")
    mean = _text(float(np.mean(values)), digits)
    if options.form == "interval":
        require(len(values) > 1, "number", key, "one seed has no interval; leave it out")
        return f"{mean} [{', '.join(_text(bound, digits) for bound in interval(values))}]"
    if options.form == "range":
        return f"{_text(min(values), digits)} to {_text(max(values), digits)}"
    return ", ".join(_text(one, digits) for one in values) if options.form == "seeds" else mean


def _text(number: float, digits: int) -> str:
    return f"{round(number, digits) + 0.0:,.{digits}f}"  # no -0


def _cell(key: str, run: str, of: dict[str, Any], words: Sequence[str], known: Sources) -> str:
    """A cell unchanged, or with zeros added."""
    digits = re.fullmatch(r"(\d) digits", ", ".join(words)) if words else None
    require(not words or digits is not None, "number", key, "a table's cell takes only the option for digits")
    file = known.root / (f"reports/{run}/{of['file']}" if run else str(of["file"]))
    require(file.is_file(), "number", key, f"there is no {file.name} there")
    found = _cells(file, set(of["row"]), of["column"])
    require(len(found) == 1, "number", key, f"{len(found)} rows of {file.name} have {of['row']}; name one row's cells")
    numbers = re.findall(r"-?\d[\d,]*\.?\d*", found[0])
    require(of.get("part", 0) < max(len(numbers), 1), "number", key, f"{found[0]!r} has no part {of.get('part')}")
    text = str(numbers[of["part"]]) if "part" in of else found[0]
    return re.sub(_DECIMAL, lambda one: one[0] + "0" * _missing(key, one[0], int(digits[1])), text) if digits else text


def _missing(key: str, number: str, digits: int) -> int:
    """The number of zeros to add to a number."""
    has = len(number.partition(".")[2])
    require(has <= digits, "number", key, f"the table has {has} digits; rounding twice may be wrong")
    return digits - has


def _cells(file: Path, row: set[str], column: str) -> list[str]:
    """The cells of a column in those rows of a page's tables that have all cells of ``row``."""
    header: list[str] = []
    found = []
    for line in file.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        elif column in header and row <= {*cells}:
            found.append(cells[header.index(column)])
    return found


def filled(page: str, known: Sources) -> str:
    """The page with every quoted number updated from its source.

    Raises:
        ConfigError: a key is unknown, or a mark is incomplete or begins a line, where Markdown would end the paragraph.
    """
    halves = [*_HALF.finditer(page)]
    require(len(halves) == 2 * len(MARK.findall(page)), "page", len(halves), "a number's mark has no end on its line")
    for one in MARK.finditer(page):
        before = page[page.rfind("\n", 0, one.start()) + 1 : one.start()]
        require(bool(before.strip(" \t")), "number", one[1], "it begins a line; move a word before it")
    return MARK.sub(lambda one: f"<!--={one[1]}-->{value(one[1], known)}<!--=-->", page)


def plain(page: str) -> str:
    """The page without the marks of numbers."""
    return MARK.sub(lambda one: one[2], page)


def typed(page: str) -> int:
    """The number of decimals of a page that were typed: not quoted by key, in a generated table or in code.

    A page that is generated as a whole has none.
    """
    if re.search(r"\A# [^\n]*\n+Made by `", page):
        return 0
    for made in (_BLOCK, _CODE, MARK):
        page = made.sub("", page)
    return len(_DECIMAL.findall(page))


def main() -> None:
    """Update pages, check them, or count their decimals without a key."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--check", action="store_true", help="write nothing; fail if a number is stale or unknown")
    kinds.add_argument("--count", action="store_true", help="write nothing; count decimals without a key")
    given = parser.parse_args()
    work: Callable[[Sequence[Path]], None] = _check if given.check else _count if given.count else _rewrite
    try:
        work(given.pages)
    except ConfigError as error:
        raise SystemExit(str(error)) from error


def _rewrite(pages: Sequence[Path]) -> None:
    known = sources()
    texts = {page: filled(page.read_text("utf-8"), known) for page in pages}  # all before the first is written
    for page, text in texts.items():
        if text != page.read_text("utf-8"):
            write_whole(page, text.encode())
            print(page)  # noqa: T201 - the result


def _check(pages: Sequence[Path]) -> None:
    known = sources()
    stale = [line for page in pages for line in differences(str(page), page.read_text("utf-8"), known)]
    if stale:
        raise SystemExit("\n".join(stale))


def differences(name: str, page: str, known: Sources) -> list[str]:
    """A line for every number of a page that is unknown or differs from its source."""
    found = []
    try:
        filled("\n".join(_without_keys(page)), known)
    except ConfigError as error:
        found.append(f"{name}: {error}")
    for one in MARK.finditer(page):
        try:
            if (now := value(one[1], known)) != one[2]:
                found.append(f"{name}: {one[1]}: {one[2]!r} is {now!r} today")
        except ConfigError as error:
            found.append(f"{name}: {error}")
    return found


def _without_keys(page: str) -> list[str]:
    return [MARK.sub("0" if line.lstrip().find("<!--=") else r"\g<0>", line) for line in page.splitlines()]


def _count(pages: Sequence[Path]) -> None:
    counts = {page: typed(page.read_text("utf-8")) for page in pages}
    quoted = {page: len(MARK.findall(page.read_text("utf-8"))) for page in pages}
    for page in pages:
        print(f"{page}: {counts[page]} typed, {quoted[page]} by key")  # noqa: T201 - the result
    print(f"{sum(counts.values())} typed, {sum(quoted.values())} by key")  # noqa: T201


if __name__ == "__main__":
    main()
