"""The tables of perf.md: ways of the same work beside one another, and what work costs as it grows."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from taskclust.formats import Rows, markdown

#: Seconds and peak memory (MB) of each round.
Rounds = Sequence[tuple[float, float]]


def timed(rounds: Rounds) -> dict[str, str]:
    """The median of the seconds, and their range, as cells."""
    seconds = [each for each, _ in rounds]
    return {"seconds": f"{statistics.median(seconds):.4g}", "range": f"{min(seconds):.3g}-{max(seconds):.3g}"}


def peak(rounds: Rounds) -> str:
    """The largest peak of memory (MB), as a cell."""
    return f"{max(megabytes for _, megabytes in rounds):,.0f}"


def fitted_exponent(seconds: Mapping[int, float]) -> float:
    """The b of ``seconds = a * size ** b``, by least squares between the logarithms."""
    sizes = [math.log(size) for size in seconds]
    return statistics.linear_regression(sizes, [math.log(each) for each in seconds.values()]).slope


def growth_rows(work: str, grows_with: str, taken: Mapping[int, Rounds], fitted: Sequence[int] | None) -> Rows:
    """A row for each size, in ascending order.

    Args:
        work: what is timed.
        grows_with: what the sizes count.
        taken: the rounds of each size.
        fitted: the sizes that the exponent is fitted over; it is in the row of the largest size. None: the work stays
            the same, as for workers, and each row says how many times it is faster than the first. The memory of other
            processes is not seen, so these rows have none.
    """
    medians = {size: statistics.median(seconds for seconds, _ in rounds) for size, rounds in sorted(taken.items())}
    first, last = min(medians), max(medians)
    rows = []
    for size, median in medians.items():
        row: dict[str, Any] = {"work": work, "grows with": grows_with, "size": f"{size:,}", **timed(taken[size])}
        has_exponent = fitted is not None and size == last
        row["exponent"] = f"{fitted_exponent({n: medians[n] for n in fitted}):.2f}" if has_exponent else ""
        row["fitted over"] = ", ".join(f"{n:,}" for n in fitted) if has_exponent else ""
        row["speed-up"] = f"{medians[first] / median:.2f}x" if fitted is None and size != first else ""
        row["peak memory (MB)"] = peak(taken[size]) if fitted is not None else ""
        rows.append(row)
    return rows


def page(made: str, comparisons: Rows, growth: Rows) -> str:
    """The text of perf.md; a table without rows is left out."""
    parts = [made]
    if comparisons:
        parts.append(markdown(comparisons))
    if growth:
        parts += ["## Cost as work grows", GROWTH, markdown(growth)]
    return "\n\n".join(parts) + "\n"


GROWTH = (
    "Seconds are medians over rounds. The exponent b is that of seconds = a · size^b, fitted by least squares between "
    "the logarithms over the sizes named. Workers share a fixed amount of work, so they have a speed-up instead."
)
