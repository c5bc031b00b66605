"""The claim about language models: decided by an interval over instructions, with two negative controls."""

from pathlib import Path

import pytest

from taskclust.claims import judge, load_claims
from taskclust.config import PRINTED_CLUSTERS
from tests.language_records import language_record

CLUSTERS = load_claims(Path(__file__).parents[2] / "benchmarks")["open-llm-clusters"]
REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "inconclusive"


def decide(cell="task", **changes):
    return judge(CLUSTERS, cell, [language_record(**changes)], "llm", subject="a-model")


def verdicts(cell="task", **changes):
    result = decide(cell, **changes)
    return result.verdict, *(check.verdict for check in result.checks)


@pytest.mark.parametrize(
    ("cell", "models"),
    [("task", PRINTED_CLUSTERS), ("distribution_mapping", ("LLaMa-7B", "LLaMa-13B", "LLaMa-2-7B-Instruct"))],
    ids=["task", "distribution_mapping"],
)
def test_bound_is_the_lowest_printed_to_two_digits(cell, models):
    lowest = min(PRINTED_CLUSTERS[name][cell][0] for name in models)

    assert CLUSTERS.cells[cell][0].criterion.bound == int(lowest * 100) / 100


@pytest.mark.parametrize("cell", CLUSTERS.cells)
def test_table_1s_values_are_reproduced(cell):
    assert verdicts(cell) == (REPRODUCED,) * 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": (0.3, 0.7)}, (NOT, NOT, REPRODUCED)),
        ({"model": (0.3, 0.9), "spread": 0.05}, (OPEN, OPEN, REPRODUCED)),
        ({"bag": 0.97}, (NOT, REPRODUCED, NOT)),
        ({"bag": 0.9, "spread": 0.0}, (REPRODUCED,) * 3),
        ({"untrained": (0.3, 0.95)}, (NOT, OPEN, NOT)),
        ({"untrained": (0.3, 0.6), "bag": 0.1}, (REPRODUCED,) * 3),
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
def test_values_that_refute_it(changes, expected):
    assert verdicts(**changes) == expected


def test_other_architectures_have_no_asserted_clusters_by_mapping():
    by_task, by_mapping = (decide(cell, model_type="gptj") for cell in ("task", "distribution_mapping"))

    assert by_task.verdict == REPRODUCED
    assert by_mapping.verdict == OPEN
    assert {check.verdict for check in by_mapping.checks} == {None}


def test_result_names_the_model_and_says_that_it_is_about_it():
    result = decide()

    assert (result.claim, result.cell, result.profile) == ("open-llm-clusters", "a-model: task", "llm")
    assert "holds (this model)" in result.explain()
    assert "reproduced" not in result.explain()
    assert "untrained models, mean" in result.explain()


def test_models_are_judged_separately():
    other = judge(CLUSTERS, "task", [language_record(model=(0.3, 0.7), name="b-model")], "llm", subject="b-model")

    assert (decide().cell, decide().verdict) == ("a-model: task", REPRODUCED)
    assert (other.cell, other.verdict) == ("b-model: task", NOT)
