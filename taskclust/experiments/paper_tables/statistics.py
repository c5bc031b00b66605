"""Statistics of the counts for Tables 3, 4 and 8: deviations from what the paper prints."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from taskclust.experiments.paper_tables.record import Record

Statistic = Callable[[Record], float]


def violations(table: Mapping[str, AbstractSet[int]]) -> Statistic:
    """The number of rows of a table that a data set violates; the table gives the allowed values per quantity."""
    return lambda r: float(sum(not set(r.counts[name]) <= allowed for name, allowed in table.items()))


def size_deviation(split: str, printed: int) -> Statistic:
    """The relative deviation of a split's size from the printed size."""
    return lambda r: abs(r.sizes[split] / printed - 1)
