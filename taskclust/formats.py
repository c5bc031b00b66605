"""Numbers and tables as text, for the terminal, Markdown and CSV."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from taskclust.claims.criteria import interval

#: A table: a list of rows, each a value by column.
Rows = list[dict[str, Any]]


def number(value: float | None) -> str:
    """A number as text: at most three digits after the point, none from 1,000 on, and a dash for None or NaN."""
    if value is None or math.isnan(value):
        return "–"
    rounded = round(value, 3) + 0.0  # no -0
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{rounded:.3f}".rstrip("0").rstrip(".")


def band(low: float | None, high: float | None) -> str:
    """An interval as text to follow a number; empty if there is none or it has no width."""
    return "" if low is None or high is None or low == high else f" [{number(low)}, {number(high)}]"


def measured(mean: float | None, low: float | None, high: float | None) -> str:
    """A mean with its interval: as ± half the width if the interval is symmetric, else with both ends.

    After ± both numbers have the digits that the half has with two significant ones, and three at most.
    """
    if mean is None or low is None or high is None or low == high:
        return number(mean)
    half = (high - low) / 2
    if not math.isfinite(half) or abs(low + high - 2 * mean) > 2e-6 * half:
        return number(mean) + band(low, high)
    digits = min(max(1 - math.floor(math.log10(half)), 0), 3)
    return f"{round(mean, digits) + 0.0:,.{digits}f} ± {half:,.{digits}f}"


def with_interval(values: Sequence[float]) -> str:
    """The mean over seeds as text, with its 95 % interval unless there is one seed or the interval has no width."""
    mean, low, high = map(number, (sum(values) / len(values), *interval(values)))
    return mean if len(values) < 2 or low == high else f"{mean} [{low}, {high}]"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table, with ``|`` and ``<`` in values escaped."""
    safe = [{_escaped(name): _escaped(value) for name, value in row.items()} for row in rows]
    return tabulate(safe, headers="keys", tablefmt="github", disable_numparse=True)


def _escaped(value: Any) -> Any:
    return value.replace("|", "\\|").replace("<", "&lt;") if isinstance(value, str) else value


def aligned_columns(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table for the terminal."""
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


def latex(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a LaTeX tabular with rules of the package booktabs; special characters are escaped."""
    return tabulate(rows, headers="keys", tablefmt="latex_booktabs", disable_numparse=True)


def comma_separated(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV, with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
