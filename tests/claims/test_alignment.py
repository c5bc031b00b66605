"""The claim of §4.2 on hand-made records: which reproduce it and which do not."""

from dataclasses import replace
from pathlib import Path

import pytest

from taskclust.claims import judge, load_claims
from tests.experiments.alignment.test_statistics import table_2

FORGETTING = load_claims(Path(__file__).parents[2] / "benchmarks")["switch-forgetting"]
SEEDS = range(5)


def verdicts(records, profile="paper"):
    return {cell: judge(FORGETTING, cell, records, profile).verdict for cell in FORGETTING.cells}


def test_the_papers_own_table_2_reproduces_it():
    records = [table_2(seed) for seed in SEEDS]

    assert verdicts(records) == dict.fromkeys(("source-accuracy", "order", "drops"), "reproduced")


@pytest.mark.parametrize(
    ("changes", "cell"),
    [
        ({"mlp": {"source": 0.9}}, "source-accuracy"),
        ({"direct": {"drop": 0.1}}, "order"),
        ({"linear": {"drop": 0.13}}, "order"),
        ({"linear": {"drop": 0.0, "source": 0.8}}, "order"),  # fires too rarely
        ({"head": {"drop": 0.3}}, "drops"),
    ],
    ids=["source-not-aligned", "direct-forgets-little", "switch-forgets-much", "switch-does-not-fire", "other-drop"],
)
def test_values_that_differ_from_table_2_do_not_reproduce_it(changes, cell):
    records = [table_2(seed, **changes) for seed in SEEDS]

    assert verdicts(records)[cell] == "not reproduced"


def test_a_base_that_has_not_learned_the_other_tasks_shows_no_forgetting():
    records = [table_2(seed) for seed in SEEDS]
    unlearned = [replace(record, base=replace(record.base, others=0.5)) for record in records]

    found = verdicts(unlearned)

    assert (found["order"], found["drops"]) == ("not reproduced", "not reproduced")


def test_a_failed_seed_counts_as_the_worst():
    records = [table_2(seed) for seed in SEEDS]
    records[2] = replace(records[2], failure="the loss became nan")

    assert "reproduced" not in verdicts(records).values()
