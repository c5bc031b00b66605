"""§3.3, Figure 4a: the nearest training instances of an unseen instance share its task."""

from taskclust.claims import AtLeast, Check, Claim, Exceeds, KnownFailure
from taskclust.experiments.synthetic import statistics as s

CHECKS = (
    Check(
        name="rise",
        brief="rise of same-task neighbors",
        statistic=s.knn_rise("percentage"),
        null=s.knn_rise("percentage", layer=0),
        null_name="layer 0, the embedding",
        paper=AtLeast(0.1),
        smoke=AtLeast(0.1),
        source="ours",
        reason='"dramatic improvement": by a tenth at the least',
        worst=-1.0,
    ),
    Check(
        name="late level",
        brief="late same-task neighbors",
        statistic=s.knn("percentage"),
        null=s.knn("percentage", epoch=0),
        null_name="untrained model",
        paper=AtLeast(0.9),
        smoke=AtLeast(0.6),
        source="ours",
        reason="read off no number: high, above 0.9",
    ),
    Check(
        name="late level less that of a bag of symbols",
        statistic=s.knn_above_bag("percentage"),
        null=s.knn_above_bag("percentage", epoch=0),
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
        statistic=s.knn_depth_rise("percentage"),
        null=s.knn_depth_rise("percentage", epoch=0),
        null_name="untrained model",
        paper=Exceeds(0.05),
        smoke=Exceeds(0.05),
        source="ours",
        reason="a rise worth the name: 0.05; the text says so of the accuracy alone",
        worst=-1.0,
    ),
)

CLAIM = Claim(
    id="knn-percentage",
    place="§3.3, Figure 4a",
    headline="Neighbors share the task",
    sentence="The nearest training instances of an unseen instance share its task, more with training and depth.",
    experiment="synthetic",
    order=100,
    cells={"validation": CHECKS},
    figures=("figure-4-neighbors",),
    known_failures={
        "paper-256 model=norm-after": {
            "validation": KnownFailure(
                "rises with training and depth, but only to 0.8", "reports/paper-256-norm-after/verdicts.md"
            )
        },
        "paper-256": {
            "validation": KnownFailure(
                "rises with training and depth, but only to 0.89", "reports/paper-256/verdicts.md"
            )
        },
    },
)


def test_nearest_training_instances_share_the_task(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
