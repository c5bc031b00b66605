"""Differences between reports: verdicts, statistics of checks, and settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from taskclust.claims.paired import difference
from taskclust.config import ConfigError, require
from taskclust.formats import Rows, band, number
from taskclust.report.page import render
from taskclust.report.saved import SavedCell, SavedCheck, SavedReport, read_report
from taskclust.store.folders import write_whole

V = TypeVar("V")
#: A mark at the beginning of pages that may be replaced.
MARK = "made by taskclust.compare"
_COLUMNS = {"claim", "cell", "check", "difference", "p", "setting"}
_NONE = "–"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Tables that compare two reports, whose names are columns.

    Attributes:
        first: the name of the report that the other is compared with.
        second: the name of the other.
        verdicts: conditions and checks whose verdicts differ, then conditions that only one report has.
        checks: both statistics of every check in shared conditions, with their difference.
        settings: scale, seeds, command, provenance and criteria that differ.
    """

    first: str
    second: str
    verdicts: Rows
    checks: Rows
    settings: Rows

    @property
    def title(self) -> str:
        """The heading: the second report versus the first."""
        return f"{self.second} against {self.first}"

    @property
    def tables(self) -> dict[str, Rows]:
        """The tables by heading, in reading order."""
        return {"verdicts that differ": self.verdicts, "checks": self.checks, "settings that differ": self.settings}

    @property
    def note(self) -> str:
        """An explanation of the differences and p-values."""
        return (
            f"The difference is {self.second} minus {self.first}: the mean over seeds, paired by seed, with its 95 % "
            "interval. p is from the two-sided sign-flip test, which with five seeds is never below 0.0625; it is not "
            "corrected for the number of checks. If the seeds differ (unpaired), or there is only one, both are "
            "missing."
        )


def compare(folders: Sequence[Path]) -> list[Comparison]:
    """The comparison of every other report with the first.

    Raises:
        ConfigError: there are fewer than two folders, one is given twice, or one is not a report.
    """
    require(len(folders) > 1, "reports", [str(folder) for folder in folders], "name the folders of two reports or more")
    first, *others = map(read_report, folders)
    whole = [folder.resolve() for folder in folders]
    for place, folder in enumerate(folders):
        require(whole[place] not in whole[:place], "report", str(folder), "it is given twice; name each report once")
    name, *names = _labels(whole)
    return [_compared(first, other, (name, second)) for second, other in zip(names, others, strict=True)]


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths if two names are equal or one is the name of another column."""
    names = [folder.name for folder in folders]
    is_clear = len({*names, *_COLUMNS}) == len(names) + len(_COLUMNS)
    return names if is_clear else [str(folder) for folder in folders]


def _compared(first: SavedReport, second: SavedReport, names: tuple[str, str]) -> Comparison:
    cells = _both(*({(c.claim, c.cell): c for c in report.results} for report in (first, second)))
    shared = [(a, b) for a, b in cells.values() if a and b]
    changed = [row for pair in shared for row in _changed(*pair, names)]
    alone = [
        {"claim": claim, "cell": cell, "check": "all", **_beside(names, [c.verdict if c else "not run" for c in pair])}
        for (claim, cell), pair in cells.items()
        if not all(pair)
    ]
    checks = [row for pair in shared for row in _check_rows(*pair, names)]
    criteria = [row for pair in shared for row in _criterion_rows(*pair, names)]
    settings = [*_setting_rows(first, second, names), *criteria]
    return Comparison(*names, verdicts=[*changed, *alone], checks=checks, settings=settings)


def _both(first: Mapping[Any, V], second: Mapping[Any, V]) -> dict[Any, tuple[V | None, V | None]]:
    """Both values of each key, None if missing; keys are in the order of the first, then of the second."""
    return {key: (first.get(key), second.get(key)) for key in {**first, **second}}


def _beside(names: tuple[str, str], values: Sequence[str]) -> dict[str, str]:
    return dict(zip(names, values, strict=True))


def _pairs(first: SavedCell, second: SavedCell) -> dict[str, tuple[SavedCheck | None, SavedCheck | None]]:
    return _both(*({check.name: check for check in cell.checks} for cell in (first, second)))


def _changed(first: SavedCell, second: SavedCell, names: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """Rows for the verdicts of the condition and its checks that differ."""
    pairs = {"all": (first, second), **_pairs(first, second)}
    for check, (a, b) in pairs.items():
        if a and b and a.verdict != b.verdict:
            verdicts = _beside(names, (a.verdict, b.verdict))
            yield {"claim": first.claim, "cell": first.cell, "check": check, **verdicts}


def _check_rows(first: SavedCell, second: SavedCell, names: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """A row per check with both statistics and their difference."""
    for name, (a, b) in _pairs(first, second).items():
        change, p = _difference(first.by_seed(a), second.by_seed(b)) if a and b else (_NONE, _NONE)
        statistics = _beside(names, [_statistic(a), _statistic(b)])
        yield {"claim": first.claim, "cell": first.cell, "check": name, **statistics, "difference": change, "p": p}


def _statistic(check: SavedCheck | None) -> str:
    return number(check.mean) + band(check.low, check.high) if check else _NONE


def _difference(first: Mapping[int, float], second: Mapping[int, float]) -> tuple[str, str]:
    """The difference and its p-value as text."""
    found = difference(first, second)
    hint = "" if found.is_paired and len(first) > 1 else " (one seed)" if found.is_paired else " (unpaired)"
    p = "< 0.001" if found.p is not None and 0 < found.p < 0.0005 else number(found.p)
    return number(found.mean) + band(found.low, found.high) + hint, p


def _criterion_rows(first: SavedCell, second: SavedCell, names: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """Rows for the checks whose criteria differ."""
    for name, (a, b) in _pairs(first, second).items():
        if a and b and a.criterion != b.criterion:
            setting = f"criterion of {first.claim}, {first.cell}: {name}"
            yield {"setting": setting, **_beside(names, (a.criterion, b.criterion))}


def _setting_rows(first: SavedReport, second: SavedReport, names: tuple[str, str]) -> Rows:
    settings = _both(_settings(first), _settings(second))
    return [
        {"setting": setting, **_beside(names, [_NONE if value is None else value for value in pair])}
        for setting, pair in settings.items()
        if pair[0] != pair[1]
    ]


def _settings(report: SavedReport) -> dict[str, str]:
    """The settings of a report, by name, as text."""
    scales = dict.fromkeys(cell.scale for cell in report.results)
    seeds = dict.fromkeys(", ".join(map(str, sorted(cell.seeds))) for cell in report.results)
    made = {"scale": "; ".join(scales), "seeds": "; ".join(seeds), "command": report.command}
    return {**made, **{name: str(value) for name, value in report.provenance.items()}}


def check_page(file: Path) -> None:
    """Refuse, before anything is computed, a file that a page of comparisons must not replace.

    Raises:
        ConfigError: the file exists and is not such a page, cannot be read, or its folder does not exist.
    """
    require(file.parent.is_dir(), "html", str(file), "its folder does not exist; create it first")
    try:
        is_ours = file.is_file() and f"<!-- {MARK} -->".encode() in file.read_bytes()[:100]
        is_other = file.exists() and not is_ours
    except OSError as error:
        raise ConfigError(f"html={str(file)!r}: it cannot be read ({error}); choose another file") from error
    require(not is_other, "html", str(file), "it is not a page of comparisons and would be replaced; choose a new name")


def write_page(file: Path, comparisons: Sequence[Comparison], *, reports: Sequence[str] = ()) -> None:
    """Write the comparisons as one self-contained page.

    ``reports`` are folders next to the page, which it links.

    Raises:
        ConfigError: see :func:`check_page`; or the file cannot be written.
    """
    check_page(file)
    try:
        write_whole(file, render("compare.html", mark=MARK, comparisons=comparisons, reports=reports).encode())
    except OSError as error:
        raise ConfigError(f"html={str(file)!r}: it cannot be written ({error}); choose another file") from error
