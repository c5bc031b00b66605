"""Put reports' verdict tables into a Markdown file, each between the two marks of its folder's name.

``taskclust table docs/results.md reports/paper-256 reports/smoke`` made the tables there. Between marks that end in
":short" stands a row a claim: ``taskclust table README.md reports/paper-256``.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from taskclust.claims.criteria import Verdict
from taskclust.config import ConfigError
from taskclust.formats import number
from taskclust.report.saved import SavedCell, read_report
from taskclust.report.tables import verdict_word


def insert_verdicts(page: str, name: str, verdicts: str) -> str:
    """The page with ``verdicts`` between the marks of ``name``.

    Raises:
        ConfigError: the page has no such marks.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    marks = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not marks.search(page):
        raise ConfigError(f"page: no {begin} ... {end} in it; add the two lines where the table should stand")
    return marks.sub(lambda _: f"{begin}\n{verdicts.strip()}\n{end}", page)


_WORST_FIRST: tuple[Verdict, ...] = ("not reproduced", "inconclusive", "reproduced")
_LONGEST = 26


def short_table(folder: Path) -> str:
    """The claims of a report at the paper's scale as Markdown, a row each: what its worst condition is judged by.

    Raises:
        ConfigError: the folder does not hold a report.
    """
    listed = csv.DictReader((folder / "verdicts.csv").read_text("utf-8").splitlines())
    places = {row["claim"]: row["where"] for row in listed}
    cells: dict[str, list[SavedCell]] = {}
    for cell in read_report(folder).results:
        cells.setdefault(cell.claim, []).append(cell)
    rows = [("claim", "in the paper", "verdict", "measured", "asked"), ("---",) * 5]
    rows += [(claim, place.split(",")[0], *_short(cells.get(claim, []))) for claim, place in places.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _short(cells: Sequence[SavedCell]) -> tuple[str, str, str]:
    """Of the worst condition, and of its worst check: the verdict, the number and what was asked of it."""
    found = ((verdict, cell) for verdict in _WORST_FIRST for cell in cells if cell.verdict == verdict)
    verdict, worst = next(found, (None, None))
    if verdict is None or worst is None:
        return "not run", "", ""
    check = next((one for one in worst.checks if one.verdict == verdict), worst.checks[0])
    name = check.name.split(",")[0]
    name = name if len(name) <= _LONGEST else f"{name[:_LONGEST].rsplit(' ', 1)[0]} …"
    asked = check.criterion.replace("consistent with", "about").split(",")[0]
    return verdict_word(verdict, "paper"), f"{name} {number(check.mean)}", asked


def insert_tables(page: Path, reports: Sequence[Path]) -> None:
    """Rewrite ``page`` with the verdicts of the reports' folders.

    Raises:
        ConfigError: a folder is no report, or the page has no marks of it.
        OSError: a file is not there. The page is then as it was.
    """
    text = page.read_text("utf-8")
    for folder in reports:
        if f"<!-- {folder.name}:short:begin -->" in text:
            text = insert_verdicts(text, f"{folder.name}:short", short_table(folder))
        else:
            text = insert_verdicts(text, folder.name, (folder / "verdicts.md").read_text("utf-8"))
    page.write_text(text, encoding="utf-8")
