"""§3.2, Figures 2 and 6: states cluster by distribution too, and by distribution and mapping."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["inner-structure"]


def test_states_cluster_by_distribution_and_by_mapping_too(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
