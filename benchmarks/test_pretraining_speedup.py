"""§4.1, Figure 5b: pre-training on task identities makes tuning faster and better."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["pretraining-speedup"]


def test_identity_pretraining_beats_instruction_pretraining_and_none(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
