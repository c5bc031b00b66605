"""Generating the paper's data set (Table 4), and how that grows."""

from functools import partial

import pytest

from taskclust.config import DataConfig
from taskclust.data import generate


@pytest.mark.parametrize("n_tasks", [25, 50, 100])
def test_generation_takes_a_second_or_two(n_tasks, compare):
    config = DataConfig()
    if n_tasks != config.n_tasks:
        config = DataConfig(n_tasks=n_tasks, n_task_symbols=40, distribution_totals=((n_tasks, 3 * n_tasks),))
    instances = generate(config, seed=0).train.n_instances

    compare(f"generate {n_tasks} tasks", {"ours": partial(generate, config, 0)}, units=instances, unit="instances")

    assert instances > 100 * n_tasks
