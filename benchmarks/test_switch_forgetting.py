"""§4.2, Table 2: all methods align, and a switch network forgets least."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["switch-forgetting"]


def test_switch_networks_align_with_the_least_forgetting(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
