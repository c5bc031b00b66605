"""Put a report's verdict table into a Markdown file, between its two marks.

``python -m taskclust.report.readme README.md reports/smoke`` is what made the table in the README.
"""

import re
import sys
from pathlib import Path

_BEGIN, _END = "<!-- verdicts:begin -->", "<!-- verdicts:end -->"


def insert_verdicts(page: str, verdicts: str) -> str:
    """The page with ``verdicts`` between its marks.

    Raises:
        ValueError: the page has no marks.
    """
    marks = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"page: no {_BEGIN} ... {_END} in it; add the two lines where the table should stand")
    return marks.sub(lambda _: f"{_BEGIN}\n{verdicts.strip()}\n{_END}", page)


def main(page: str, report: str) -> None:
    """Rewrite ``page`` with the verdicts of the report's folder."""
    path = Path(page)
    path.write_text(insert_verdicts(path.read_text(), (Path(report) / "verdicts.md").read_text()))


if __name__ == "__main__":
    main(*sys.argv[1:])
