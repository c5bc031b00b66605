"""Put reports' verdict tables into a Markdown file, each between the two marks of its folder's name.

``python -m taskclust.report.readme README.md reports/paper-256 reports/smoke`` is what made the tables in the README.
"""

import re
import sys
from pathlib import Path


def insert_verdicts(page: str, name: str, verdicts: str) -> str:
    """The page with ``verdicts`` between the marks of ``name``.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    marks = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"page: no {begin} ... {end} in it; add the two lines where the table should stand")
    return marks.sub(lambda _: f"{begin}\n{verdicts.strip()}\n{end}", page)


def main(page: str, *reports: str) -> None:
    """Rewrite ``page`` with the verdicts of the reports' folders."""
    path = Path(page)
    text = path.read_text("utf-8")
    for folder in map(Path, reports):
        text = insert_verdicts(text, folder.name, (folder / "verdicts.md").read_text("utf-8"))
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
