"""§3.3, Figure 4b: the nearest training instances predict the output of unseen ones."""

from taskclust.claims import AtLeast, Check, Claim, Exceeds
from taskclust.experiments.synthetic import statistics as s

CHECKS = (
    Check(
        name="rise",
        brief="rise of neighbors' accuracy",
        statistic=s.knn_rise("accuracy"),
        null=s.knn_rise("accuracy", layer=0),
        null_name="layer 0, the embedding",
        paper=AtLeast(0.1),
        smoke=AtLeast(0.1),
        source="ours",
        reason='"improves consistently": by a tenth at the least',
        worst=-1.0,
    ),
    Check(
        name="late level",
        brief="neighbors' late accuracy",
        statistic=s.knn("accuracy"),
        null=s.knn("accuracy", epoch=0),
        null_name="untrained model",
        paper=AtLeast(0.9),
        smoke=AtLeast(0.6),
        source="ours",
        reason='"until saturating at high values": above 0.9',
    ),
    Check(
        name="late level less that of a bag of symbols",
        statistic=s.knn_above_bag("accuracy"),
        null=s.knn_above_bag("accuracy", epoch=0),
        null_name="untrained model",
        paper=Exceeds(0.05),
        smoke=None,
        source="later",
        reason="what the symbols alone reach shows nothing about the model; the paper does not compare",
        worst=-1.0,
    ),
    Check(
        name="rise from layer 0 to the top, fitted",
        brief="rise to top",
        statistic=s.knn_depth_rise("accuracy"),
        null=s.knn_depth_rise("accuracy", epoch=0),
        null_name="untrained model",
        paper=Exceeds(0.05),
        smoke=Exceeds(0.05),
        source="text",
        reason="a rise worth the name: 0.05; the text says so of the accuracy alone",
        worst=-1.0,
    ),
)

CLAIM = Claim(
    id="knn-accuracy",
    place="§3.3, Figure 4b",
    headline="Neighbors predict the output",
    sentence="The nearest training instances predict an unseen instance's output, better with training and depth.",
    experiment="synthetic",
    order=110,
    cells={"validation": CHECKS},
)


def test_nearest_training_instances_predict_the_output(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
