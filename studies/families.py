"""Is the phenomenon specific to Transformers? The claims of §3 on several architectures, at smoke scale, side by side.

For each family ``pytest benchmarks --model FAMILY --report reports/families/FAMILY`` judges the claims (``-k`` can
leave out those that train no model of §3). ``python -m studies.families reports/families`` writes ``families.md`` there
from each folder's ``verdicts.json``, the only file that the repository keeps. The report ``decoder`` has the profile's
own model.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taskclust.config import ConfigError, require
from taskclust.formats import markdown
from taskclust.report.saved import read_report

#: Numbers to show: claim, condition, check, and whether its negative control is shown, too.
SHOWN = (
    ("plateau-then-rise", "validation", "highest accuracy", False),
    ("cluster-emergence", "validation", "late f1", True),
    ("cluster-emergence", "validation", "late f1 less that of a bag of symbols", False),
    ("distribution-merging", "validation", "pairs of one task that share a cluster, less pairs of two", True),
    ("layer-ordering", "validation", "rise of f1 from layer 0 to the top, fitted", True),
    ("knn-accuracy", "validation", "late level", True),
)

Report = dict[str, Any]


def read(folder: Path) -> dict[str, Report]:
    """The report of each family, by the name of its folder.

    Raises:
        ConfigError: there is no report.
    """
    found = {}
    for path in sorted(folder.glob("*/verdicts.json")):
        read_report(path.parent)  # refuses other files
        found[path.parent.name] = json.loads(path.read_text("utf-8"))
    require(bool(found), "folder", str(folder), "no FAMILY/verdicts.json there; run pytest benchmarks --model first")
    return found


def cell(report: Report, claim: str, name: str) -> dict[str, Any] | None:
    """One condition of a report."""
    return next((c for c in report["results"] if (c["claim"], c["cell"]) == (claim, name)), None)


def number(report: Report, claim: str, name: str, check: str, *, with_control: bool) -> str:
    """A check's mean and interval, with its negative control in brackets."""
    found = cell(report, claim, name)
    (one,) = [c for c in found["checks"] if c["name"] == check] if found else [None]
    if one is None or one["mean"] is None:
        return "–"
    control = f" ({one['null_mean']:.2f})" if with_control else ""
    band = "" if one["low"] is None else f" [{one['low']:.2f}, {one['high']:.2f}]"  # one seed has none
    return f"{one['mean']:.2f}{band}{control}"


def numbers(reports: dict[str, Report]) -> list[dict[str, str]]:
    """One row per number, one column per family."""
    rows = []
    for claim, name, check, with_control in SHOWN:
        head = {"claim": claim, "measured": f"{check} (control)" if with_control else check}
        values = {f: number(r, claim, name, check, with_control=with_control) for f, r in reports.items()}
        rows.append({**head, **values})
    return rows


def verdicts(reports: dict[str, Report]) -> list[dict[str, str]]:
    """One row per condition, one column per family."""
    names = list(dict.fromkeys((c["claim"], c["cell"]) for r in reports.values() for c in r["results"]))
    rows = []
    for claim, name in names:
        cells = {family: cell(report, claim, name) for family, report in reports.items()}
        words = {family: str(c["verdict"]) if c else "–" for family, c in cells.items()}
        rows.append({"claim": claim, "condition": name, **words})
    return rows


def page(reports: dict[str, Report]) -> str:
    """The page with both tables.

    Raises:
        ConfigError: a report is not of the smoke scale, is empty, or has other seeds than the first.
    """
    for family, report in reports.items():
        scales = {result["profile"] for result in report["results"]}
        require(scales == {"smoke"}, "report", family, "give reports at the smoke scale, with verdicts")
    seeds, *_ = (report["results"][0]["seeds"] for report in reports.values())
    for family, report in reports.items():
        own = report["results"][0]["seeds"]
        fix = f"its seeds are {own}, those of the first {seeds}; run them with the same"
        require(own == seeds, "report", family, fix)
    machines = sorted({f"{r['provenance']['device']}, {r['provenance']['instructions']}" for r in reports.values()})
    commands = "\n".join(f"    {report['command']}" for report in reports.values())
    return f"""# Does the phenomenon belong to Transformers?

Made by `python -m studies.families reports/families` from the reports of

{commands}

Smoke scale: small models with the sizes of the smoke profile, {len(seeds)} seeds each, no reproduction. `decoder` is
our own model there (norm after, sinusoids), which the profile was chosen for; the others are transformers' classes with
their own initial weights. Mean over seeds with its 95 % interval. Computed on {"; ".join(machines)}.

{markdown(numbers(reports))}

{markdown(verdicts(reports))}
"""


def main(arguments: Sequence[str]) -> None:
    """Write the page into the folder named on the command line."""
    if len(arguments) != 1:
        sys.exit("usage: python -m studies.families FOLDER")
    folder = Path(arguments[0])
    try:
        (folder / "families.md").write_text(page(read(folder)), "utf-8")
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
