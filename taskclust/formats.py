"""Numbers and tables as text: for the terminal, Markdown and CSV."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from taskclust.claims.criteria import interval

#: A table: rows of cells by column.
Rows = list[dict[str, Any]]


def number(value: float | None) -> str:
    """A value with three digits after the point, or as a count."""
    if value is None or math.isnan(value):
        return "–"
    rounded = round(value, 3) + 0.0  # no -0
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{rounded:.3f}".rstrip("0").rstrip(".")


def with_interval(values: Sequence[float]) -> str:
    """The mean over seeds with its 95 % interval, where there is one and it has a width."""
    mean, low, high = map(number, (sum(values) / len(values), *interval(values)))
    return mean if len(values) < 2 or low == high else f"{mean} [{low}, {high}]"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def plain(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a table for the terminal."""
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


def comma_separated(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
