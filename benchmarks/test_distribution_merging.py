"""§3.2: instances of one task share clusters even if their instructions are from different distributions."""

from taskclust.claims import Check, Claim, Exceeds
from taskclust.experiments.synthetic import statistics as s


def merging(name, brief, statistic, null):
    return Check(
        name=name,
        brief=brief,
        statistic=statistic,
        null=null,
        null_name="untrained model",
        paper=Exceeds(0.05),
        smoke=Exceeds(0.05),
        source="later",
        reason="an effect worth the name: 0.05; the matched F1 cannot tell merging from chance",
        worst=-1.0,
    )


CLAIM = Claim(
    id="distribution-merging",
    place="§3.2",
    headline="A task's distributions merge",
    sentence="Instances whose instructions are from different distributions of one task are clustered together.",
    experiment="synthetic",
    order=40,
    cells={
        "validation": (
            merging(
                "pairs of one task that share a cluster, less pairs of two",
                "pairs merged above chance",
                s.distributions_merged(),
                s.distributions_merged(epoch=0),
            ),
            merging(
                "the same less that of a bag of symbols",
                "the same, less a bag's",
                s.distributions_merged_above_bag(),
                s.distributions_merged_above_bag(epoch=0),
            ),
        )
    },
    figures=("merging", "by-mapping"),
)


def test_distributions_of_one_task_share_clusters(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
