"""Tables 3 and 8 with our numbers, from hand-made records."""

from taskclust.experiments.paper_tables.tables import count_rows, size_rows, tables
from tests.experiments.paper_tables.test_statistics import PARAMETERS, counted


def test_sizes_are_shown_with_table_3s():
    assert size_rows([counted(), counted(seed=1, subset=175)]) == [
        {"set": "train", "paper": 7_300, "ours": "7275", "seeds": 2},
        {"set": "subset", "paper": 180, "ours": "175, 180", "seeds": 2},
        {"set": "validation", "paper": 315, "ours": "315", "seeds": 2},
    ]


def test_counts_are_shown_with_table_8s():
    rows = count_rows(counted())

    assert [row["hidden dimension"] for row in rows] == [32, 256, 768, 2048]
    assert [row["paper"] for row in rows] == [55_000, 3_000_000, 23_000_000, 202_000_000]
    assert [row["ours"] for row in rows] == list(PARAMETERS.values())


def test_without_records_there_are_no_rows():
    assert list(tables([]).values()) == [[], []]
