"""The claim about language models: decided on an interval over instructions, beside two nulls."""

import pytest

from taskclust.claims import judge_model
from taskclust.claims.language import CELLS
from taskclust.config import PRINTED_CLUSTERS
from tests.claims.language_records import language_record

REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "inconclusive"


def verdicts(label="task", **changes):
    result = judge_model(language_record(**changes), label, "a-model")
    return result.verdict, *(check.verdict for check in result.checks)


def test_bounds_are_the_lowest_printed():
    assert [str(CELLS[label][0].criterion) for label in ("task", "distribution_mapping")] == ["≥ 0.88", "≥ 0.93"]
    assert min(row["task"][0] for row in PRINTED_CLUSTERS.values()) == 0.887


@pytest.mark.parametrize("label", CELLS)
def test_table_1s_pattern_holds(label):
    assert verdicts(label) == (REPRODUCED,) * 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": (0.3, 0.7)}, (NOT, NOT, REPRODUCED)),
        ({"model": (0.3, 0.9), "spread": 0.05}, (OPEN, OPEN, REPRODUCED)),
        ({"bag": 0.97}, (NOT, REPRODUCED, NOT)),
        ({"bag": 0.9, "spread": 0.0}, (REPRODUCED,) * 3),
        ({"twin": (0.3, 0.95)}, (NOT, OPEN, NOT)),
        ({"twin": (0.3, 0.6), "bag": 0.1}, (REPRODUCED,) * 3),
    ],
    ids=[
        "low",
        "wide",
        "words reach the same",
        "words do not",
        "an untrained model does as well",
        "the last word leads",
    ],
)
def test_what_refutes_it(changes, expected):
    assert verdicts(**changes) == expected


def test_the_layer_is_the_one_of_best_f1_by_task_in_every_part():
    record = language_record()
    table = record["model"]["scores"]["tsne"]
    table["distribution_mapping"] = {"f1": [0.1, 0.2, 0.3]}

    check = judge_model(record, "distribution_mapping", "a-model").checks[0]

    assert check.mean == 0.2


def test_of_other_architectures_no_clusters_by_mapping_are_asserted():
    record = language_record() | {"architecture": {"model_type": "gptj"}}

    by_task, by_mapping = (judge_model(record, label, "a-model") for label in ("task", "distribution_mapping"))

    assert by_task.verdict == REPRODUCED
    assert by_mapping.verdict == OPEN
    assert {check.verdict for check in by_mapping.checks} == {None}


def test_result_names_the_model_and_says_that_it_is_about_it():
    result = judge_model(language_record(), "task", "a-model")

    assert (result.claim, result.cell, result.profile) == ("open-llm-clusters", "a-model: task", "llm")
    assert "holds (this model)" in result.explain()
    assert "reproduced" not in result.explain()
    assert "randomly initialised twin" in result.explain()
