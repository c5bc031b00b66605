"""Statistics of what is counted for Tables 3, 4 and 8."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from taskclust.experiments.paper_tables.record import Record

Statistic = Callable[[Record], float]


def violations(table: Mapping[str, AbstractSet[int]]) -> Statistic:
    """How many rows of a table of allowed values a data set does not keep to."""
    return lambda r: float(sum(not set(r.counts[name]) <= allowed for name, allowed in table.items()))


def size_deviation(split: str, printed: int) -> Statistic:
    """Relative deviation of a split's size from the printed one."""
    return lambda r: abs(r.sizes[split] / printed - 1)
