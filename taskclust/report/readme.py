"""Put the verdict tables of reports into a Markdown file, each between two marks with its folder's name.

Marks that end in ":short" get one row per claim: ``taskclust table README.md reports/paper-256``. Marks that end in
":conditions" get one row per condition: ``taskclust table docs/results.md reports/paper-256 reports/smoke``. Others get
the report's whole table.
"""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from taskclust.claims import shown
from taskclust.claims.criteria import Verdict
from taskclust.config import LABELS, SPLITS, ConfigError, require
from taskclust.formats import measured
from taskclust.report.saved import SavedCell, SavedReport, read_report
from taskclust.report.tables import verdict_word
from taskclust.store.folders import write_whole


def insert_verdicts(page: str, name: str, verdicts: str) -> str:
    """The page with ``verdicts`` between the marks of ``name``.

    Raises:
        ConfigError: the page has no such marks.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    marks = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not marks.search(page):
        raise ConfigError(f"page: no {begin} ... {end} in it; add the two lines where the table should be")
    return marks.sub(lambda _: f"{begin}\n{verdicts.strip()}\n{end}", page)


_WORST_FIRST: tuple[Verdict, ...] = ("not reproduced", "inconclusive", "reproduced")
#: What a row may take, so that it can be read in the file as well.
_WIDTH = 100
#: Characters of a condition's name.
_LONGEST_CONDITION = 40
_ANSWERS: dict[Verdict, str] = {"reproduced": "✔ yes", "inconclusive": "? open", "not reproduced": "✘ no"}


def short_table(folder: Path) -> str:
    """The claims of a report at the paper's scale as Markdown, one row each: the deciding check of its worst condition.

    Raises:
        ConfigError: the folder has no report, or one at another scale, whose verdicts have other words.
    """
    report = read_report(folder)
    require(report.profile == "paper", "report", str(folder), "a short table is only for the paper's scale")
    listed = {row["claim"]: row for row in _listed(folder)}
    rows = []
    for claim, cells in _by_claim(folder, report).items():
        headline, place = listed[claim].get("headline") or claim, listed[claim]["where"].split(",")[0]
        rows.append(_row(headline, place, cells=cells, profile=report.profile, names_condition=True))
    return _table(("claim", "section", "reproduced?"), rows)


def condition_table(folder: Path) -> str:
    """The conditions of a report as Markdown, one row each with its deciding check, below their claim's name.

    Raises:
        ConfigError: the folder does not hold a report.
    """
    report = read_report(folder)
    rows: list[Sequence[str]] = []
    for claim, cells in _by_claim(folder, report).items():
        rows.append((f"**{claim}**", "" if cells else "not run", "", ""))
        rows += [_row(cell.cell, cells=[cell], profile=report.profile) for cell in cells]
    return _table(("condition", "reproduced?" if report.profile == "paper" else "verdict"), rows)


def _by_claim(folder: Path, report: SavedReport) -> dict[str, list[SavedCell]]:
    """The conditions of every claim, in the order of the report's table; none of a claim that was not run."""
    cells: dict[str, list[SavedCell]] = {row["claim"]: [] for row in _listed(folder)}
    for cell in report.results:
        cells[cell.claim].append(cell)
    return cells


def _listed(folder: Path) -> list[dict[str, str]]:
    """The rows of the report's table of verdicts."""
    rows = csv.DictReader(_text(folder / "verdicts.csv").splitlines())
    has_columns = {"claim", "where"} <= {*(rows.fieldnames or ())}
    require(has_columns, "report", str(folder), "verdicts.csv lacks its columns")
    return list(rows)


def _table(first: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    header = (*first, "measured", "required")
    return "\n".join(_line(row) for row in (header, ("---",) * len(header), *rows))


def _line(row: Sequence[str]) -> str:
    cells = [cell.replace("|", "\\|") for cell in row]
    return f"| {' | '.join(cells)} |"


def _answer(verdict: Verdict, profile: str) -> str:
    return _ANSWERS[verdict] if profile == "paper" else verdict_word(verdict, profile)


def _row(*names: str, cells: Sequence[SavedCell], profile: str, names_condition: bool = False) -> tuple[str, ...]:
    """The deciding check of the worst condition: its verdict, statistic with interval, and what we require.

    It says so if the negative control passes too, because the statistic then decides nothing.
    With ``names_condition`` the condition's name follows, unless the statistic says it.
    """
    found = ((verdict, cell) for verdict in _WORST_FIRST for cell in cells if cell.verdict == shown(verdict, profile))
    verdict, worst = next(found, (None, None))
    if verdict is None or worst is None or not worst.checks:
        return *names, "not run", "", ""
    check = next((one for one in worst.checks if one.verdict == worst.verdict), worst.checks[0])
    required = check.criterion.replace("consistent with", "about").split(",")[0]
    statistic = re.sub(r"\b(f1|ari|ami)\b", lambda one: one[0].upper(), check.brief or check.name)
    condition = _condition(worst.cell, len(cells)) if names_condition else ""
    said, needed = ({*re.findall(r"\w+", text.casefold())} for text in (statistic, condition))
    label = "" if needed <= said else f" ({_shortened(condition, _LONGEST_CONDITION)})"
    is_undecided = (
        check.verdict == shown("inconclusive", profile) and not check.null_fails and check.null_mean is not None
    )
    control = "; control too" if is_undecided else ""
    value = measured(check.mean, check.low, check.high) + label + control
    before = (*names, _answer(verdict, profile))
    room = _WIDTH - len(_line((*before, f": {value}", required)))
    return *before, f"{_shortened(statistic, room)}: {value}", required


def _condition(cell: str, n_cells: int) -> str:
    """A condition in words; empty for unseen instructions, and for a claim's only condition unless it is a set."""
    split, _, label = cell.partition("-")
    if split in SPLITS and label in ("", *LABELS):
        by = label and f"by {label.replace('_', ' and ')}"
        return ", ".join(filter(None, (split.removeprefix("validation"), by)))
    return "" if n_cells == 1 else cell.replace("-", " ")


def _shortened(name: str, room: int) -> str:
    """The name, cut after a word if there is no room for it."""
    if len(name) <= room:
        return name
    words = name.split(" ")
    while len(words) > 1 and len(" ".join(words)) + 2 > room:
        words.pop()
    return " ".join(words).rstrip(",") + " …"


def insert_tables(page: Path, reports: Sequence[Path]) -> None:
    """Rewrite ``page`` with the verdicts of the reports, between all marks that it has for each.

    Raises:
        ConfigError: a folder is not a report, or not at the paper's scale for a short table; or the page has no marks
            for it, or is not text. The page is then unchanged.
    """
    text = _text(page)
    kinds: dict[str, Callable[[Path], str]] = {":short": short_table, ":conditions": condition_table}
    for folder in (report.resolve() for report in reports):
        there = [kind for kind in kinds if f"<!-- {folder.name}{kind}:begin -->" in text]
        for kind in there:
            text = insert_verdicts(text, f"{folder.name}{kind}", kinds[kind](folder))
        if not there or f"<!-- {folder.name}:begin -->" in text:
            text = insert_verdicts(text, folder.name, _text(folder / "verdicts.md"))
    write_whole(page, text.encode())


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r}: cannot be read as UTF-8 ({error})") from error
