"""Several settings in one command: ``taskclust sweep FILE -- benchmarks --seeds 2``.

pytest runs once per setting and writes one report each; one page compares them. The runs share a store, so nothing is
computed twice. The file is TOML or JSON. It names settings, or gives a grid, of which every combination is a setting::

    [settings.plain]          # the unchanged profile; the others are compared with the first setting

    [settings.before]
    model.norm = "before"

    [grid]
    "training.learning_rate" = [1e-4, 3e-4]
    "model.tied_head" = [true, false]
"""

import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from taskclust.config import ConfigError, require
from taskclust.formats import aligned_columns
from taskclust.report import check_folder
from taskclust.report.comparison import check_page, compare, write_page
from taskclust.report.saved import read_report

#: The most settings of one sweep.
MOST = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,=+-]{0,99}")
#: pytest's exit codes after which there is a report: every verdict is as expected, or some are not.
_JUDGED = (0, 1)


def read_sweep(file: Path) -> dict[str, tuple[str, ...]]:
    """The settings of a file by name, each as texts "FIELD=VALUE" that ``--set`` takes.

    Raises:
        ConfigError: the file cannot be read, has other tables or fewer than two settings, or a name does not suit a
            folder.
    """
    where = f"sweep={str(file)!r}"
    try:
        text = file.read_text("utf-8")
        content = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{where}: it cannot be read ({error.strerror}); name a TOML or JSON file") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: it is not valid TOML, or JSON if its name ends in .json ({error})") from error
    tables = content if isinstance(content, dict) else {}
    is_known = bool(tables) and set(tables) <= {"settings", "grid"}
    is_known = is_known and all(isinstance(table, dict) for table in tables.values())
    require(is_known, "sweep", str(file), "write tables [settings.NAME] of FIELD = VALUE, or one [grid] of lists")
    settings: dict[str, tuple[str, ...]] = {}
    for name, table in tables.get("settings", {}).items():
        require(isinstance(table, dict), name, table, "write a table of FIELD = VALUE")
        settings[name] = tuple(f"{field}={_text(field, value)}" for field, value in _flat(table))
    for name, combination in _combinations(dict(_flat(tables.get("grid", {})))):
        require(name not in settings, "sweep", name, "two settings get this name; name them in [settings]")
        settings[name] = combination
    for name in settings:
        is_name = _NAME.fullmatch(name) is not None and name != "index.html"
        require(is_name, "sweep", name, "name a setting with letters, digits and . _ , = + -, at most 100")
    lower = Counter(name.lower() for name in settings)
    twice = [name for name in settings if lower[name.lower()] > 1]
    require(not twice, "sweep", ", ".join(twice), "these names differ only by case; give each folder its own")
    require(len(settings) > 1, "sweep", str(file), "write two settings or more; for one use --set")
    return settings


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields by dotted name, whether the file nests or quotes them."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _combinations(grid: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every combination of a grid's values, with a name made from them."""
    if not grid:
        return
    n = 1
    for field, values in grid.items():
        require(isinstance(values, list) and bool(values), field, values, "write a list of values in [grid]")
        n *= len(values)
    require(n <= MOST, "grid", n, f"use at most {MOST:,} combinations")
    short = [field.rpartition(".")[2] for field in grid]
    shown = short if len(set(short)) == len(short) else list(grid)
    for values in itertools.product(*grid.values()):
        texts = [_text(field, value) for field, value in zip(grid, values, strict=True)]
        plain = [re.sub(r"[^A-Za-z0-9._+=-]+", "-", text).strip("-") for text in texts]
        name = ",".join(map("=".join, zip(shown, plain, strict=True)))
        yield name, tuple(map("=".join, zip(grid, texts, strict=True)))


def _text(field: str, value: Any) -> str:
    """A value as ``--set`` reads it."""
    if isinstance(value, str):
        try:
            literal_eval(value)
        except (ValueError, SyntaxError):
            return value
        return repr(value)
    require(isinstance(value, (bool, int, float, list)), field, value, "use a text, a number, true, false or a list")
    return repr(_tuples(value))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def sweep(file: Path, report: Path, words: Sequence[str]) -> int:
    """Run pytest once per setting of a file, and compare the reports; return the greatest of pytest's exit codes.

    All settings are tried with ``--dry-run`` before the first run.

    Args:
        file: see :func:`read_sweep`.
        report: the folder for the reports, each in a folder named like its setting, and for the page that compares
            them.
        words: arguments for pytest, e.g. ["benchmarks", "--seeds", "2"].

    Raises:
        ConfigError: the file, the folder or a setting is invalid. Nothing has been run then.
    """
    settings = read_sweep(file)
    require(bool(words), "pytest", "", "name the claims after --, e.g. -- benchmarks")
    for word in words:
        is_ours = word.partition("=")[0] == "--report"
        require(not is_ours, "report", word, "every setting has its own; give the common folder before --")
    page = report / "index.html"
    if page.exists():
        check_page(page)
    for name in settings:
        check_folder(report / name)
    plans = _plans(settings, words)
    if "--dry-run" in words:
        print(*(f"{name}\n{plan}" for name, plan in plans.items()), sep="\n")  # noqa: T201 - the result
        return 0
    before = {name: _written(report / name) for name in settings}
    codes = {name: _run(name, report / name, changes, words) for name, changes in settings.items()}
    # pytest may end without a report, e.g. on a full disk; then an earlier sweep's is still there, and says nothing.
    new = [name for name in settings if _written(report / name) not in (None, before[name])]
    _close(report, codes, [name for name in new if codes[name] in _JUDGED])
    return max(codes.values())


def _command(changes: Sequence[str], words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", *words, *(f"--set={change}" for change in changes)]


def _plans(settings: Mapping[str, Sequence[str]], words: Sequence[str]) -> dict[str, str]:
    """What each setting would run, by name.

    Raises:
        ConfigError: a setting would be refused.
    """

    def tried(changes: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [*_command(changes, words), "--dry-run", "-p", "no:cacheprovider"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = dict(zip(settings, pool.map(tried, settings.values()), strict=True))
    for name, one in done.items():
        if one.returncode:
            lines = f"{one.stdout}\n{one.stderr}".splitlines()
            said = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
            reason = said[0] if said else f"pytest ends with code {one.returncode}; try it with --dry-run"
            raise ConfigError(f"sweep={name!r}: {reason}")
    return {name: one.stdout for name, one in done.items()}


def _run(name: str, report: Path, changes: Sequence[str], words: Sequence[str]) -> int:
    """Run one setting, with pytest's output on the terminal; 128 plus the signal's number if a signal ended it."""
    print(f"\n{name}: {' '.join(changes) or 'the unchanged profile'}\n", flush=True)  # noqa: T201
    code = subprocess.run([*_command(changes, words), f"--report={report}"], check=False).returncode
    return code if code >= 0 else 128 - code


def _written(report: Path) -> tuple[int, int] | None:
    """What differs once a report has been written again; None if there is none."""
    file = report / "verdicts.json"
    if not file.exists():
        return None
    found = file.stat()
    return found.st_mtime_ns, found.st_ino


def _close(report: Path, codes: Mapping[str, int], judged: Sequence[str]) -> None:
    """Write the page that compares the reports of the settings judged, and print one row per setting."""
    counts = {name: Counter(cell.verdict for cell in read_report(report / name).results) for name in judged}
    verdicts = dict.fromkeys(verdict for count in counts.values() for verdict in count)
    rows = [
        {
            "setting": name,
            **{verdict: str(counts[name][verdict]) if name in counts else "–" for verdict in verdicts},
            "pytest": str(code),
        }
        for name, code in codes.items()
    ]
    print(f"\n{aligned_columns(rows)}\n")  # noqa: T201
    if len(judged) > 1:
        page = report / "index.html"
        write_page(page, compare([report / name for name in judged]), reports=judged)
        print(f"compared: {page}")  # noqa: T201
    else:
        print("compared: nothing; fewer than two settings have a report")  # noqa: T201
