"""§3.3, Figure 4b: predicting by the nearest training instances works."""

from taskclust.claims import CLAIMS

CLAIM = CLAIMS["knn-accuracy"]


def test_nearest_training_instances_predict_the_output(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
