"""Put reports' verdict tables into a Markdown file, each between the two marks of its folder's name.

``taskclust table docs/results.md reports/paper-256 reports/smoke`` made the tables there. Marks that end in ":short"
get a table of one row per claim: ``taskclust table README.md reports/paper-256``.
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
        raise ConfigError(f"page: no {begin} ... {end} in it; add the two lines where the table should stand")
    return marks.sub(lambda _: f"{begin}\n{verdicts.strip()}\n{end}", page)


_WORST_FIRST: tuple[Verdict, ...] = ("not reproduced", "inconclusive", "reproduced")
#: What a row of the short table may take, so that it can be read in the file as well.
_WIDTH = 100
_HEADER = ("claim", "verdict", "deciding statistic", "value", "required")


def short_table(folder: Path) -> str:
    """The claims of a report at the paper's scale as Markdown, one row each: the deciding check of its worst condition.

    Raises:
        ConfigError: the folder does not hold a report, or one of another scale, whose verdicts are in other words.
    """
    report = read_report(folder)
    require(report.profile == "paper", "report", str(folder), "a short table is of the paper's scale")
    listed = csv.DictReader(_text(folder / "verdicts.csv").splitlines())
    require("claim" in (listed.fieldnames or ()), "report", str(folder), "verdicts.csv lacks its columns")
    claims = dict.fromkeys(row["claim"] for row in listed)
    cells: dict[str, list[SavedCell]] = {}
    for cell in report.results:
        cells.setdefault(cell.claim, []).append(cell)
    rows = [_HEADER, ("---",) * len(_HEADER)]
    rows += [_row(claim, cells.get(claim, [])) for claim in claims]
    return "\n".join(_line(row) for row in rows)


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


def _row(claim: str, cells: Sequence[SavedCell]) -> tuple[str, ...]:
    """A claim with the deciding check of its worst condition: verdict, statistic, value, and what we require."""
    found = ((verdict, cell) for verdict in _WORST_FIRST for cell in cells if cell.verdict == verdict)
    verdict, worst = next(found, (None, None))
    if verdict is None or worst is None or not worst.checks:
        return claim, "not run", "", "", ""
    check = next((one for one in worst.checks if one.verdict == verdict), worst.checks[0])
    required = check.criterion.replace("consistent with", "about").split(",")[0]
    others = (claim, verdict_word(verdict, "paper"), number(check.mean), required)
    name = re.sub(r"\bf1\b", "F1", check.name.split(", against")[0])
    name = _shortened(name, _WIDTH - len(_line(("", *others))))
    return *others[:2], name, *others[2:]


def _shortened(name: str, room: int) -> str:
    """The name cut after a word, with its unit if that stands at its end in parentheses."""
    if len(name) <= room:
        return name
    start, mark, unit = name.partition(" (")
    end = f" …{mark}{unit}"
    return start[: room - len(end) + 1].rsplit(" ", 1)[0].rstrip(",") + end


def insert_tables(page: Path, reports: Sequence[Path]) -> None:
    """Rewrite ``page`` with the verdicts of the reports' folders, between all marks of each that it has.

    Raises:
        ConfigError: a folder is no report, or not at the paper's scale where a short table is to stand, or the page has
            no marks of it, or is no text. The page is then as it was.
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
