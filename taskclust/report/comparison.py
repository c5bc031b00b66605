"""What differs between reports: verdicts, the statistics of their checks, and how they were made."""

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
#: Stands at the beginning of a page that may be replaced.
MARK = "made by taskclust.compare"
_COLUMNS = {"claim", "cell", "check", "difference", "p", "setting"}
_NONE = "–"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One report against another, as tables; the two reports' names are columns.

    Attributes:
        first: the name of the report that the other is compared with.
        second: the name of the other.
        verdicts: conditions and checks with another verdict, then conditions that only one report has.
        checks: the statistic of every check of the conditions that both have, with the difference.
        settings: scale, seeds, command, provenance and criteria, where they differ.
    """

    first: str
    second: str
    verdicts: Rows
    checks: Rows
    settings: Rows

    @property
    def title(self) -> str:
        """Which report is compared with which."""
        return f"{self.second} against {self.first}"

    @property
    def tables(self) -> dict[str, Rows]:
        """The tables by heading, in reading order."""
        return {"verdicts that differ": self.verdicts, "checks": self.checks, "settings that differ": self.settings}

    @property
    def note(self) -> str:
        """How the differences are to be read."""
        return (
            f"The difference is {self.second} minus {self.first}: the mean over seeds, paired by seed, with its 95 % "
            "interval. p is that of the two-sided sign-flip test, which with five seeds is never below 0.0625; it is "
            "not corrected for the number of checks. Where the seeds differ (unpaired), or where there is only one, "
            "there is neither."
        )


def compare(folders: Sequence[Path]) -> list[Comparison]:
    """Every report against the first.

    Raises:
        ConfigError: fewer than two folders, a folder given twice, or one that does not hold a report.
    """
    require(len(folders) > 1, "reports", [str(folder) for folder in folders], "name the folders of two reports or more")
    first, *others = map(read_report, folders)
    whole = [folder.resolve() for folder in folders]
    for place, folder in enumerate(folders):
        require(whole[place] not in whole[:place], "report", str(folder), "it is given twice; name each report once")
    name, *names = _labels(whole)
    return [_compared(first, other, (name, second)) for second, other in zip(names, others, strict=True)]


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names; their paths where two names are the same, or one is another column's."""
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
    """Both values by key, None where there is none; in the order of the first, then of the second."""
    return {key: (first.get(key), second.get(key)) for key in {**first, **second}}


def _beside(names: tuple[str, str], values: Sequence[str]) -> dict[str, str]:
    return dict(zip(names, values, strict=True))


def _pairs(first: SavedCell, second: SavedCell) -> dict[str, tuple[SavedCheck | None, SavedCheck | None]]:
    return _both(*({check.name: check for check in cell.checks} for cell in (first, second)))


def _changed(first: SavedCell, second: SavedCell, names: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """The condition's verdict and its checks', where they differ."""
    pairs = {"all": (first, second), **_pairs(first, second)}
    for check, (a, b) in pairs.items():
        if a and b and a.verdict != b.verdict:
            verdicts = _beside(names, (a.verdict, b.verdict))
            yield {"claim": first.claim, "cell": first.cell, "check": check, **verdicts}


def _check_rows(first: SavedCell, second: SavedCell, names: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """Every check's statistic in both, and the difference."""
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
    return number(found.mean) + band(found.low, found.high) + hint, number(found.p)


def _criterion_rows(first: SavedCell, second: SavedCell, names: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """The checks' criteria, where they differ."""
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
    """What a report was made with, by name, as text."""
    scales = dict.fromkeys(cell.scale for cell in report.results)
    seeds = dict.fromkeys(", ".join(map(str, sorted(cell.seeds))) for cell in report.results)
    made = {"scale": "; ".join(scales), "seeds": "; ".join(seeds), "command": report.command}
    return {**made, **{name: str(value) for name, value in report.provenance.items()}}


def check_page(file: Path) -> None:
    """Refuse, before anything is computed, a file that a page of comparisons must not replace.

    Raises:
        ConfigError: it exists and is no such page, it cannot be read, or its folder does not exist.
    """
    require(file.parent.is_dir(), "html", str(file), "its folder does not exist; make it first")
    try:
        is_ours = file.is_file() and f"<!-- {MARK} -->".encode() in file.read_bytes()[:100]
        is_other = file.exists() and not is_ours
    except OSError as error:
        raise ConfigError(f"html={str(file)!r}: it cannot be read ({error}); name a file of yours") from error
    require(not is_other, "html", str(file), "it is not a page of comparisons, which would replace it; name a new file")


def write_page(file: Path, comparisons: Sequence[Comparison], *, reports: Sequence[str] = ()) -> None:
    """Write the comparisons as one page that loads nothing from elsewhere.

    ``reports`` are folders of reports beside the page, to which it links.

    Raises:
        ConfigError: see :func:`check_page`; or the file cannot be written.
    """
    check_page(file)
    try:
        write_whole(file, render("compare.html", mark=MARK, comparisons=comparisons, reports=reports).encode())
    except OSError as error:
        raise ConfigError(f"html={str(file)!r}: it cannot be written ({error}); name a file of yours") from error
