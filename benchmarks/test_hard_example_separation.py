"""§3.2: hard examples and their originals fall in different clusters."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["hard-example-separation"]


def test_hard_examples_leave_their_originals(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
