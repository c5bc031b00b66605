"""Tables 3 and 4: the data set has the printed counts and sizes."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["dataset-statistics"]


def test_has_the_counts_of_table_4_and_the_sizes_of_table_3(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
