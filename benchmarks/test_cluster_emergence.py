"""§3.2, Figures 2 and 6: task clusters form while the model learns."""

from taskclust.claims import AtLeast, Check, Claim, Exceeds, KnownFailure
from taskclust.experiments.synthetic import statistics as s


def rise(split, label, metric, *, smoke):
    return Check(
        name=f"rise of {metric}",
        statistic=s.rise(split, label, metric),
        null=s.rise(split, label, "shuffled_f1" if metric == "f1" else "shuffled_ari"),
        null_name=f"shuffled labels{' ARI' if metric == 'ami' else ''}, near 0 by its making",
        paper=Exceeds(0.05),
        smoke=smoke,
        source="text",
        reason="a rise worth the name: 0.05",
        worst=-1.0,
    )


def late_f1(split, *, paper, smoke, source, reason):
    return Check(
        name="late f1",
        statistic=s.late(split, "task", "f1"),
        null=s.early(split, "task", "f1"),
        null_name="untrained model",
        paper=paper,
        smoke=smoke,
        source=source,
        reason=reason,
    )


def above_bag(split):
    """Not asserted at smoke scale: one seed in eight is below the baseline, so with six seeds rounding would decide."""
    return Check(
        name="late f1 less that of a bag of symbols",
        statistic=s.above_bag(split, "task", "f1"),
        null=s.above_bag(split, "task", "f1", epoch=0),
        null_name="untrained model",
        paper=Exceeds(0.05),
        smoke=None,
        source="later",
        reason="what the symbols alone reach shows nothing about the model; the paper does not compare",
        worst=-1.0,
    )


LINEAGE = "hard examples share with their originals several times the variance that distinguishes their tasks"
HARD_ANSWERS = (
    "nearly all hard examples are learned, but cluster by distribution and mapping (F1 0.95); with one cluster per "
    "task, a tenth of them are separated from their originals"
)

CLAIM = Claim(
    id="cluster-emergence",
    place="§3.2, Figures 2 and 6",
    headline="States form one cluster per task",
    sentence="Hidden states form clusters by task identity, and the clusters evolve throughout training.",
    experiment="synthetic",
    order=30,
    cells={
        "validation": (
            rise("validation", "task", "f1", smoke=Exceeds(0.05)),
            rise("validation", "task", "ari", smoke=Exceeds(0.05)),
            rise("validation", "task", "ami", smoke=Exceeds(0.05)),
            late_f1(
                "validation",
                paper=AtLeast(0.8),
                smoke=AtLeast(0.5),
                source="ours",
                reason='"saturating at some high values": the figures are not printed as numbers',
            ),
            above_bag("validation"),
        ),
        "subset": (
            # hard examples are not learned at smoke scale, so half of the tasks cannot have their own cluster
            rise("subset", "task", "f1", smoke=None),
            rise("subset", "task", "ari", smoke=Exceeds(0.05)),
            rise("subset", "task", "ami", smoke=Exceeds(0.05)),
            late_f1(
                "subset", paper=AtLeast(0.9), smoke=None, source="text", reason='"over 0.9 at the late training stage"'
            ),
            above_bag("subset"),
        ),
    },
    smoke_asserts="the rises (on the training subset only of ARI and AMI) and, on unseen instructions, a late f1 of "
    "0.5; the comparison with the bag-of-symbols baseline is left to distribution-merging",
    figures=("clusters-forming", "figure-6-all-metrics"),
    known_failures={
        "paper-256 model=norm-after": {
            "validation": KnownFailure(
                "F1 rises but stays far below 0.8: the task has a fifteenth of the states' variance and would need two "
                "fifths (reports/search/share-needed.md)",
                "reports/paper-256-norm-after/verdicts.md",
            ),
            "subset": KnownFailure(LINEAGE, "docs/evidence.md"),
        },
        "paper-256": {
            "validation": KnownFailure(
                "it learns nearly everything, but clusters by input and output: F1 by mapping is 0.7, F1 by task is no "
                "higher than the untrained model's",
                "reports/paper-256/tables.md",
            ),
            "subset": KnownFailure(HARD_ANSWERS, "docs/evidence.md"),
        },
    },
)


def test_clusters_by_task_form_during_training(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
