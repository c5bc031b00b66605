"""What did the runs cost, and what would their missing seeds cost?

``python -m studies.compute`` prints ``reports/compute/compute.md``: for each run that ``docs/numbers.toml`` lists, the
seeds, their hours of one core from their records (threads times seconds), and for runs with fewer than five seeds the
command that adds the others.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from studies.numbers import ROOT, sources
from taskclust.exchange import read_record

SEEDS = 5


def core_hours(record: Any) -> float:
    """The hours that one core would take for a record's run if threads divided the work evenly."""
    return float(sum(record.seconds.values()) * record.provenance["threads"] / 3600)


def command(report: Path) -> str:
    """The command of a report, with five seeds.

    Raises:
        ValueError: the report does not begin with its command.
    """
    first = (report / "tables.md").read_text("utf-8").splitlines()[0]
    made = re.fullmatch(r"Made by `(.*--seeds )\d+( .*)`\.", first)
    if made is None:
        raise ValueError(f"{report}: tables.md does not begin with a command that has --seeds; make the report again")
    return f"{made[1]}{SEEDS}{made[2]}"


def row(name: str, records: Sequence[Any], root: Path = ROOT) -> dict[str, Any]:
    """A run's row; ``root`` has the reports of runs that lack seeds."""
    hours = np.array([core_hours(record) for record in records])
    missing = SEEDS - len(records)
    return {
        "run": name,
        "seeds": len(records),
        "processors": ", ".join(sorted({record.provenance["device"] for record in records})),
        "hours a seed": " to ".join(dict.fromkeys(f"{bound:.1f}" for bound in (hours.min(), hours.max()))),
        "hours": f"{hours.sum():.1f}",
        "hours left": f"{missing * hours.mean():.1f}" if missing > 0 else "",
        "completed by": f"`{command(root / 'reports' / name)}`" if missing > 0 else "",
    }


def table(runs: Mapping[str, Sequence[Any]], root: Path = ROOT) -> str:
    """The table of runs, each with its records, and a sum."""
    found = [row(name, records, root) for name, records in runs.items()]
    sums = {name: f"{sum(float(one[name] or 0) for one in found):.1f}" for name in ("hours", "hours left")}
    whole = [*found, {"run": "all", "seeds": sum(one["seeds"] for one in found), **sums}]
    return tabulate(whole, headers="keys", tablefmt="github", disable_numparse=True, colalign=["left"] * len(found[0]))


def main() -> None:
    """Print the page."""
    known = sources()
    runs = {
        name: [read_record(known.root / "reports" / "records" / file) for file in files]
        for name, files in known.runs.items()
    }
    print("# What the runs cost\n")  # noqa: T201 - the result
    print("Made by `python -m studies.compute`.\n")  # noqa: T201
    print(  # noqa: T201
        "Hours are of one core, i.e. hours times threads, some of them beside other work. Hours left are the mean of a "
        "run's seeds\ntimes the seeds that are missing to five. No run of width 2048 was made.\n"
    )
    print(table(runs))  # noqa: T201


if __name__ == "__main__":
    main()
