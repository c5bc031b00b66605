"""Table 8: 55 thousand, 3 million, 23 million and 202 million parameters."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["parameter-counts"]


def test_models_have_the_printed_numbers_of_parameters(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
