"""§3.2, Figure 2: clustering improves in higher layers; the word embedding hardly changes."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["layer-ordering"]


def test_higher_layers_cluster_better_and_layer_0_hardly_moves(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
