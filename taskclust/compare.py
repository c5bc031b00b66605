"""Compare reports on the terminal: ``taskclust compare reports/paper-256 reports/paper-256-gpt2 [--html FILE]``.

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


def as_text(comparison: Comparison) -> str:
    """A comparison for the terminal."""
    parts = [f"{heading}\n\n{_table(rows)}" for heading, rows in comparison.tables.items()]
    return "\n\n".join([comparison.title, *parts, textwrap.fill(comparison.note, 2 * _WIDTH)])


def _table(rows: Rows) -> str:
    wrap = textwrap.TextWrapper(_WIDTH, break_on_hyphens=False).fill
    return aligned_columns([{name: wrap(value) for name, value in row.items()} for row in rows]) or "none"


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
