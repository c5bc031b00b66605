"""Counts of data sets and models."""

from dataclasses import replace

import pytest

from taskclust.config import FEED_FORWARD, DataConfig, ModelConfig
from taskclust.data import PAD, generate
from taskclust.engines import local, obtain_all
from taskclust.experiments.paper_tables import run as module
from taskclust.experiments.paper_tables.config import TablesConfig
from taskclust.experiments.paper_tables.run import count, count_parameters
from taskclust.runner import Runner
from taskclust.store import Store, encode
from tests.experiments.small import CONFIG, DATA

TABLES = TablesConfig(data=DATA, model=CONFIG.model, seed=5)


@pytest.fixture
def runner(tmp_path):
    return Runner(Store(tmp_path))


def test_a_data_set_is_counted_by_hand(runner):
    dataset = generate(DATA, CONFIG.seed)
    found = count(dataset)
    sizes = runner.record("paper_tables", replace(TABLES, seed=CONFIG.seed)).sizes

    distributions = [len(task.distributions) for task in dataset.tasks[:4]]
    assert sum(distributions) == 6
    assert found["distributions"] == sorted(set(distributions))
    assert (found["tasks"], found["hard_tasks"]) == ([4], [2])
    held_out, hard, mappings = 3, 3, 3
    unseen = sum(distributions[:3]) * held_out
    imitations = sum(distributions[:2]) * hard
    assert sizes == {
        "train": (6 * 10 - unseen + imitations) * mappings,
        "subset": 2 * imitations * mappings,
        "validation": unseen * mappings,
    }
    assert (found["instructions"], found["hard_instructions"], found["mappings"]) == ([10], [3], [3])
    assert (found["validation_tasks"], found["subset_tasks"]) == ([3], [2])
    assert found["validation_instructions"] == [3]
    assert (found["instruction_symbols"], found["task_symbols"]) == ([12], [6])
    assert found["shared_mappings"] == found["leaked_instructions"] == [0]
    assert set(found["metacharacters"]) <= {1, 2, 3}
    assert set(found["characters"]) <= {3, 4}
    patterns = [d.pattern for task in dataset.tasks[:4] for d in task.distributions]
    assert found["metacharacters"] == sorted({len(pattern.pieces) for pattern in patterns})


def test_a_validation_instruction_that_is_trained_on_is_counted():
    dataset = generate(DATA, CONFIG.seed)
    length = dataset.validation.lengths[1]
    dataset.train.instructions[4] = PAD
    dataset.train.instructions[4, :length] = dataset.validation.instructions[1, :length]
    dataset.train.lengths[4] = length

    assert count(dataset)["leaked_instructions"] == [1]


def test_a_mapping_that_two_tasks_share_is_counted():
    dataset = generate(DATA, CONFIG.seed)
    dataset.tasks[1] = replace(dataset.tasks[1], function=dataset.tasks[0].function)

    assert count(dataset)["shared_mappings"] == [DATA.n_mappings]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ModelConfig(), {"32": 54_592, "256": 3_189_248, "768": 23_720_448, "2048": 201_674_752}),
        (ModelConfig.norm_after(768), {"32": 55_168, "256": 3_193_856, "768": 23_734_272, "2048": 201_711_616}),
    ],
    ids=["gpt2", "norm-after"],
)
def test_the_papers_models_have_the_parameters_of_table_8(model, expected):
    assert count_parameters(DataConfig(), model, FEED_FORWARD) == expected


def test_counts_of_a_data_set_and_of_parameters_are_stored(runner, monkeypatch):
    record = runner.record("paper_tables", TABLES)
    for name in ("generate", "count_parameters"):
        monkeypatch.setattr(module, name, None)

    assert encode(runner.record("paper_tables", TABLES)) == encode(record)
    assert runner.is_stored("paper_tables", TABLES)
    assert record.config == TABLES
    assert record.counts == count(generate(DATA, 5))
    assert record.parameters == count_parameters(DATA, CONFIG.model, FEED_FORWARD)
    assert all(record.wide_parameters[width] > record.parameters[width] for width in ("32", "768", "2048"))
    assert record.provenance["commit"] is None or len(record.provenance["commit"]) == 40


@pytest.mark.parametrize("changed", [{"seed": 6}, {"data": DataConfig()}, {"model": ModelConfig()}])
def test_each_setting_is_part_of_the_key(runner, changed):
    assert runner.key("paper_tables", replace(TABLES, **changed)) != runner.key("paper_tables", TABLES)


def test_quick_experiments_start_no_process(runner, monkeypatch):
    monkeypatch.setattr(local, "ProcessPoolExecutor", None)

    records = obtain_all(runner, "paper_tables", [replace(TABLES, seed=seed) for seed in (6, 5)], workers=2)

    assert [record.config.seed for record in records] == [6, 5]


def test_another_number_of_held_out_instructions_is_counted():
    assert count(generate(replace(DATA, n_validation_instructions=2), 0))["validation_instructions"] == [2]
