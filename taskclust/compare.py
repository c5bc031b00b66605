"""Compare reports on the terminal: ``taskclust compare reports/paper-256 reports/paper-256-norm-after [--html FILE]``.

Compares each report with the first: verdicts that differ, each check's two statistics and their difference paired by
seed, and settings that differ. ``--html`` also writes them as a page.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from taskclust.formats import Rows, aligned_columns
from taskclust.report.comparison import Comparison, check_page, compare, write_page

#: Longer texts, e.g. commands, are wrapped at this width.
_WIDTH = 60
#: Columns that are narrower, so that verdicts fit into 100 characters.
_NARROW = {"claim: condition": 28, "check": 36}


def as_text(comparison: Comparison) -> str:
    """A comparison for the terminal."""
    parts = [f"{heading}\n\n{_table(rows)}" for heading, rows in comparison.tables.items()]
    return "\n\n".join([comparison.title, *parts, textwrap.fill(comparison.note, 2 * _WIDTH)])


def _table(rows: Rows) -> str:
    return (
        aligned_columns([{name: _wrapped(name, value) for name, value in row.items()} for row in _named(rows)])
        or "none"
    )


def _wrapped(name: str, value: str) -> str:
    return textwrap.fill(value, _NARROW.get(name, _WIDTH), break_on_hyphens=False)


def _named(rows: Rows) -> Rows:
    """The rows with claim and condition as one name, given where it changes; tables without claims as they are."""
    named, last = [], ""
    for row in rows:
        if "claim" not in row:
            return rows
        name = f"{row['claim']}: {row['cell']}"
        rest = {key: value for key, value in row.items() if key not in ("claim", "cell")}
        named.append({"claim: condition": "" if name == last else name, **rest})
        last = name
    return named


def print_comparisons(reports: Sequence[Path], html: Path | None = None) -> None:
    """Print what differs between two or more reports, and write the same as one page, ``html``.

    Raises:
        ConfigError: a folder is not a report, or the page would replace another file. Nothing is printed then.
    """
    if html is not None:
        check_page(html)
    comparisons = compare(reports)
    if html is not None:
        write_page(html, comparisons)
    print(*map(as_text, comparisons), sep="\n\n\n", flush=True)  # noqa: T201 - the result
