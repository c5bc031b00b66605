"""Generating data, as the tasks grow more."""

from functools import partial
from itertools import count

from taskclust.config import DataConfig
from taskclust.data import generate

SIZES = (25, 50, 100, 200)


def with_tasks(n_tasks: int) -> DataConfig:
    """The paper's data set with another number of tasks, three distributions per task as there, and enough symbols."""
    return DataConfig(n_tasks=n_tasks, n_task_symbols=60, distribution_totals=((n_tasks, 3 * n_tasks),))


def test_generation_grows_with_the_tasks(grow):
    seeds = count()  # a new one each time: what is written once is remembered

    def run(config: DataConfig) -> None:
        generate(config, next(seeds))

    cases = {n_tasks: partial(run, with_tasks(n_tasks)) for n_tasks in SIZES}
    seconds = grow("generating data", "tasks", cases, fitted=SIZES, warmed=SIZES[:1])

    assert seconds[200] < 8**2.5 * seconds[25]
