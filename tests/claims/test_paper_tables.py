"""The claims about Tables 3, 4 and 8 on the generated data and models, and on records that differ from them."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.test_dataset_statistics import TABLE_4, TABLE_7
from taskclust.claims import judge, load_claims
from taskclust.config import FEED_FORWARD, PRINTED_PARAMETERS, SPLITS, DataConfig, ModelConfig
from taskclust.experiments.paper_tables.config import TablesConfig
from taskclust.experiments.paper_tables.run import count_parameters, run

CLAIMS = load_claims(Path(__file__).parents[2] / "benchmarks")
STATISTICS, PARAMETERS = CLAIMS["dataset-statistics"], CLAIMS["parameter-counts"]


def counted(seed=0, **data):
    """The record of the paper's data set with changes."""
    return run(TablesConfig(data=DataConfig(**data), seed=seed), None, Path())


@pytest.fixture(scope="module")
def records():
    return [counted(seed) for seed in (0, 1)]


@pytest.mark.parametrize("profile", ["smoke", "paper"])
@pytest.mark.parametrize("cell", STATISTICS.cells)
def test_data_set_has_the_counts_and_sizes_of_the_tables(records, cell, profile):
    result = judge(STATISTICS, cell, records, profile)

    assert result.verdict == "reproduced", result.explain()
    assert result.checks[0].null_fails


@pytest.mark.parametrize("profile", ["smoke", "paper"])
@pytest.mark.parametrize("cell", PARAMETERS.cells)
def test_models_have_the_numbers_of_parameters_of_table_8(records, cell, profile):
    result = judge(PARAMETERS, cell, records, profile)

    assert result.verdict == "reproduced", result.explain()
    assert result.checks[0].null_fails


def test_every_count_and_size_of_the_tables_has_a_cell():
    assert set(STATISTICS.cells) == {"table-4", *(f"size-{split}" for split in ("train", *SPLITS))}
    assert set(PARAMETERS.cells) == {f"width-{width}" for width in PRINTED_PARAMETERS}


def test_data_of_table_7_violates_table_4():
    """No hard examples and 65 task symbols."""
    result = judge(STATISTICS, "table-4", [counted(n_hard_tasks=0, n_task_symbols=65)], "paper")

    assert result.verdict == "not reproduced"
    assert result.checks[0].values == [2.0], "the hard tasks and the task symbols"


@pytest.mark.parametrize("row", TABLE_4)
def test_every_row_of_table_4_can_be_violated(records, row):
    wrong = [replace(record, counts={**record.counts, row: [999]}) for record in records]

    result = judge(STATISTICS, "table-4", wrong, "paper")

    assert result.verdict == "not reproduced"
    assert result.checks[0].values == [1.0, 1.0]


def test_every_count_is_a_row_of_table_4(records):
    assert set(records[0].counts) == set(TABLE_4)


def test_one_seed_that_violates_table_4_is_enough(records):
    wrong = replace(records[1], counts={**records[1].counts, "tasks": [49]})

    assert judge(STATISTICS, "table-4", [records[0], wrong], "paper").verdict != "reproduced"


def test_tables_4_and_7_have_the_same_rows():
    assert list(TABLE_7) == list(TABLE_4)
    assert {row for row in TABLE_4 if TABLE_4[row] != TABLE_7[row]} == {
        "hard_tasks",
        "hard_instructions",
        "task_symbols",
    }


@pytest.mark.parametrize("cell", PARAMETERS.cells)
def test_another_feed_forward_width_is_not_table_8(records, cell):
    model = replace(ModelConfig.norm_after(768), tied_head=True)
    counts = count_parameters(DataConfig(), model, {width: 2 * inner for width, inner in FEED_FORWARD.items()})
    wrong = replace(records[0], parameters=counts, wide_parameters=counts)

    assert judge(PARAMETERS, cell, [wrong], "paper").verdict == "not reproduced"
