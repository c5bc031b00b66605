"""§3.2, Figure 3: accuracy stays near zero while the loss falls, then rises."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["plateau-then-rise"]


def test_accuracy_waits_while_the_loss_falls(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
