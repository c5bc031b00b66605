"""§3.3, Figure 4a: the nearest training instances of an unseen instance share its task."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["knn-percentage"]


def test_nearest_training_instances_share_the_task(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
