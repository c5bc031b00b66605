"""One page over all reports of a folder: scale and settings, counts of verdicts, and all claims side by side."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from taskclust.config import ConfigError, require
from taskclust.formats import Rows
from taskclust.report.page import render
from taskclust.report.saved import SavedCell, SavedReport, read_report
from taskclust.store.folders import write_whole

MARK = "made by taskclust index"
#: The sign of a verdict by its first word, worst first; the worst of a claim's conditions is shown.
_SIGNS = {"not": "✘", "fails": "✘", "inconclusive": "?", "unclear": "?", "reproduced": "✔", "holds": "✔"}
_NONE = "–"


def sign(cells: list[SavedCell]) -> str:
    """The sign of the worst verdict of some conditions; a dash if none was judged."""
    found = {_SIGNS.get(cell.verdict.split()[0], _NONE) for cell in cells}
    return next((one for one in _SIGNS.values() if one in found), _NONE)


def about(name: str, report: SavedReport) -> dict[str, str]:
    """A report's row in the first table."""
    seeds = sorted({seed for cell in report.results for seed in cell.seeds})
    signs = Counter(sign([cell]) for cell in report.results)
    return {
        "report": name,
        "scale": report.profile,
        "seeds": ", ".join(map(str, seeds)) or _NONE,
        "✔": str(signs["✔"]),
        "✘": str(signs["✘"]),
        "?": str(signs["?"]),
        "made by": report.command,
    }


def claims(reports: Mapping[str, SavedReport]) -> Rows:
    """The second table: one row per claim, one column per report."""
    found = dict.fromkeys(cell.claim for report in reports.values() for cell in report.results)
    columns = {name: f"{name} " if name == "claim" else name for name in reports}  # a folder may have the column's name
    return [
        {"claim": claim}
        | {columns[name]: sign([c for c in r.results if c.claim == claim]) for name, r in reports.items()}
        for claim in found
    ]


def write_index(folder: Path) -> Path:
    """Write a self-contained ``index.html`` that shows and links the reports in ``folder``.

    Raises:
        ConfigError: there is no report, one cannot be read, or another file would be replaced.
    """
    reports = {path.parent.name: read_report(path.parent) for path in sorted(folder.glob("*/verdicts.json"))}
    require(bool(reports), "reports", str(folder), "no folder in it has a verdicts.json; name the folder of reports")
    file = folder / "index.html"
    is_ours = file.is_file() and f"<!-- {MARK} -->".encode() in file.read_bytes()[:100]
    require(
        is_ours or not file.exists(), "reports", str(file), "it is another file and would be replaced; move it away"
    )
    pages = {name: next(page for page in ("index.html", "verdicts.md") if (folder / name / page).exists()
                        or page == "verdicts.md") for name in reports}  # fmt: skip
    rows = [about(name, report) for name, report in reports.items()]
    text = render("index.html", mark=MARK, pages=pages, reports=rows, claims=claims(reports))
    try:
        write_whole(file, text.encode())
    except OSError as error:
        raise ConfigError(f"reports={str(folder)!r}: {file.name} cannot be written ({error})") from error
    return file
