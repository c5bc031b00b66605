"""§3.2, Figures 2 and 6: distributions, and distributions with mappings, cluster inside the task clusters."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["inner-structure"]


def test_distributions_and_mappings_cluster_inside_tasks(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
