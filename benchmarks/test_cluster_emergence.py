"""§3.2, Figures 2 and 6: hidden states form clusters by task identity, and the clusters evolve during training."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["cluster-emergence"]


def test_clusters_by_task_form_during_training(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
