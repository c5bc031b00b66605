"""Put the verdict tables of reports into a Markdown file, each between two marks with its folder's name.

``taskclust table docs/results.md reports/paper-256 reports/smoke`` made the tables there. Marks that end in ":short"
enclose a table with one row per claim: ``taskclust table README.md reports/paper-256``.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from taskclust.claims.criteria import Verdict
from taskclust.config import ConfigError, require
from taskclust.formats import number
from taskclust.report.saved import SavedCell, read_report
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
_LONGEST = 26


def short_table(folder: Path) -> str:
    """A Markdown table of a report at the paper's scale: one row per claim, with the check that decided its verdict.

    Raises:
        ConfigError: the folder has no report, or one at another scale, whose verdicts have other words.
    """
    report = read_report(folder)
    require(report.profile == "paper", "report", str(folder), "a short table is only for the paper's scale")
    listed = csv.DictReader(_text(folder / "verdicts.csv").splitlines())
    require({"claim", "where"} <= {*(listed.fieldnames or ())}, "report", str(folder), "verdicts.csv lacks its columns")
    places = {row["claim"]: row["where"] for row in listed}
    cells: dict[str, list[SavedCell]] = {}
    for cell in report.results:
        cells.setdefault(cell.claim, []).append(cell)
    rows = [("claim", "in the paper", "verdict", "measured", "asked"), ("---",) * 5]
    rows += [(claim, place.split(",")[0], *_short(cells.get(claim, []))) for claim, place in places.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _short(cells: Sequence[SavedCell]) -> tuple[str, str, str]:
    """The verdict of the worst condition, and the number and criterion of its worst check."""
    found = ((verdict, cell) for verdict in _WORST_FIRST for cell in cells if cell.verdict == verdict)
    verdict, worst = next(found, (None, None))
    if verdict is None or worst is None or not worst.checks:
        return "not run", "", ""
    check = next((one for one in worst.checks if one.verdict == verdict), worst.checks[0])
    name = check.name.split(",")[0]
    name = name if len(name) <= _LONGEST else f"{name[:_LONGEST].rsplit(' ', 1)[0]} …"
    asked = check.criterion.replace("consistent with", "about").split(",")[0]
    return verdict_word(verdict, "paper"), f"{name} {number(check.mean)}", asked


def insert_tables(page: Path, reports: Sequence[Path]) -> None:
    """Rewrite ``page`` with the verdicts of the reports, between all marks that it has for each.

    Raises:
        ConfigError: a folder is not a report, or not at the paper's scale for a short table; or the page has no marks
            for it, or is not text. The page is then unchanged.
    """
    text = _text(page)
    for folder in (report.resolve() for report in reports):
        is_short = f"<!-- {folder.name}:short:begin -->" in text
        if is_short:
            text = insert_verdicts(text, f"{folder.name}:short", short_table(folder))
        if not is_short or f"<!-- {folder.name}:begin -->" in text:
            text = insert_verdicts(text, folder.name, _text(folder / "verdicts.md"))
    write_whole(page, text.encode())


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r}: cannot be read as UTF-8 ({error})") from error
