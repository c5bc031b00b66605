"""Generating the paper's data set (Table 4), and how that grows."""

from itertools import count

import pytest

from taskclust.config import DataConfig
from taskclust.data import generate


@pytest.mark.parametrize("n_tasks", [25, 50, 100])
def test_generation_takes_a_second_or_two(n_tasks, compare):
    config = DataConfig()
    if n_tasks != config.n_tasks:
        config = DataConfig(n_tasks=n_tasks, n_task_symbols=40, distribution_totals=((n_tasks, 3 * n_tasks),))
    instances = generate(config, seed=0).train.n_instances

    seeds = count(1)  # a new one each time: what is written once is remembered

    compare(
        f"generate {n_tasks} tasks",
        {"ours": lambda: generate(config, next(seeds))},
        units=instances,
        unit="instances",
    )

    assert instances > 100 * n_tasks
