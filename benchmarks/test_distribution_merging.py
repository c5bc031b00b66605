"""§3.2: instances whose instructions are from different distributions of one task are clustered together."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["distribution-merging"]


def test_distributions_of_one_task_share_clusters(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
