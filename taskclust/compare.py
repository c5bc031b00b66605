"""Compare reports: ``python -m taskclust.compare reports/paper-256 reports/paper-256-gpt2 [--html FILE]``.

Prints, for every report against the first, the verdicts that differ, each check's statistic side by side with the
difference paired by seed, and the settings that differ. ``--html FILE`` writes the same as one page.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from taskclust.config import ConfigError
from taskclust.formats import Rows, aligned_columns
from taskclust.report.comparison import Comparison, check_page, compare, write_page

#: Longer texts, e.g. commands, are wrapped.
_WIDTH = 60


def as_text(comparison: Comparison) -> str:
    """A comparison for the terminal."""
    parts = [f"{heading}\n\n{_table(rows)}" for heading, rows in comparison.tables.items()]
    return "\n\n".join([comparison.title, *parts, textwrap.fill(comparison.note, 2 * _WIDTH)])


def _table(rows: Rows) -> str:
    wrap = textwrap.TextWrapper(_WIDTH, break_on_hyphens=False).fill
    return aligned_columns([{name: wrap(value) for name, value in row.items()} for row in rows]) or "none"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="*", metavar="REPORT", help="a report's folder; two or more")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page, too")
    options = parser.parse_intermixed_args(arguments)
    try:
        if options.html:
            check_page(options.html)
        comparisons = compare(options.reports)
        if options.html:
            write_page(options.html, comparisons)
        print(*map(as_text, comparisons), sep="\n\n\n", flush=True)  # noqa: T201 - the result
    except ConfigError as error:
        raise SystemExit(str(error)) from error
    except BrokenPipeError:  # the reader, e.g. head, has enough; without this, Python's flush at exit fails again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
