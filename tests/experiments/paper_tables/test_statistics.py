"""Statistics of counts, on a hand-made record."""

import pytest

from taskclust.experiments.paper_tables import statistics as s
from taskclust.experiments.paper_tables.config import TablesConfig
from taskclust.experiments.paper_tables.record import Record

PARAMETERS = {"32": 55_168, "256": 3_193_856, "768": 23_734_272, "2048": 201_711_616}


def counted(seed=0, counts=None, **sizes):
    """A record of these counts and sizes, with the parameters of Table 8's models."""
    return Record(
        config=TablesConfig(seed=seed),
        sizes={"train": 7_275, "subset": 180, "validation": 315, **sizes},
        counts=counts or {},
        parameters=PARAMETERS,
        wide_parameters=PARAMETERS,
        seconds={"count": 0.1},
        provenance={"commit": "0123abc", "device": "a pocket calculator", "threads": 1},
    )


@pytest.mark.parametrize(
    ("counts", "violated"),
    [
        ({"tasks": [50], "mappings": [4, 5]}, 0),
        ({"tasks": [49], "mappings": [4, 5]}, 1),
        ({"tasks": [49], "mappings": [4, 6]}, 2),
        ({"tasks": [49, 50], "mappings": [5]}, 1),
        ({"tasks": [], "mappings": [5]}, 0),
    ],
    ids=["none", "one", "both", "once is enough", "what does not occur"],
)
def test_rows_are_violated_by_values_that_are_not_allowed(counts, violated):
    table = {"tasks": {50}, "mappings": {4, 5}}

    assert s.violations(table)(counted(counts=counts)) == violated


def test_the_deviation_of_a_size_is_relative_and_absolute():
    record = counted(train=90, subset=210)

    assert s.size_deviation("train", 100)(record) == pytest.approx(0.1)
    assert s.size_deviation("subset", 200)(record) == pytest.approx(0.05)
