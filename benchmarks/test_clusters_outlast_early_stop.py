"""§3.2: the best epoch is the 51st; clusters persist long after it."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["clusters-outlast-early-stop"]


def test_clusters_persist_after_the_best_epoch(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
