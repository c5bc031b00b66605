"""§4.1, Figure 5a: task clusters evolve while a model is pre-trained on task identities."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["pretraining-clusters"]


def test_task_clusters_evolve_during_identity_pretraining(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
