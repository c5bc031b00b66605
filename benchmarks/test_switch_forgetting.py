"""§4.2, Table 2: four ways to align a model; switch networks forget least."""

from taskclust.claims import AtLeast, Check, Claim, ConsistentWith, Exceeds, KnownFailure
from taskclust.config import PRINTED_DROPS
from taskclust.experiments.alignment import statistics as s

#: The four ways in a word or two.
TUNED = {"direct": "tuning", "head": "head tuning", "linear": "the linear switch", "mlp": "the MLP switch"}


def source_accuracy(method):
    return Check(
        name=f"source accuracy, {method}",
        brief="source accuracy",
        statistic=s.aligned(method, "source"),
        null=lambda record: record.base.source,
        null_name="base model",
        paper=AtLeast(0.995),
        smoke=AtLeast(0.9),
        source="table",
        reason="1.00 as printed, two digits behind the point",
    )


def switch_before_head(kind):
    return Check(
        name=f"head's drop less the {kind} switch's, less its cost in source accuracy",
        statistic=s.less_forgetting(kind),
        null=s.less_forgetting(kind, "shuffled"),
        null_name="switch trained on shuffled labels",
        paper=Exceeds(0.01),
        smoke=Exceeds(0.03),
        source="ours",
        reason="the order of Table 2, by a hundredth at the least",
        worst=-1.0,
    )


HEAD_BEFORE_DIRECT = Check(
    name="direct fine-tuning's drop less the head's",
    statistic=lambda record: record.methods["direct"].drop - record.methods["head"].drop,
    null=lambda record: 0.0,
    null_name="base model against itself, 0 by its making",
    paper=Exceeds(0.01),
    smoke=None,
    source="ours",
    reason="the order of Table 2, by a hundredth at the least",
    worst=-1.0,
)

MLP_BEFORE_LINEAR = Check(
    name="the linear switch's drop less the MLP's",
    statistic=lambda record: record.methods["linear"].drop - record.methods["mlp"].drop,
    null=lambda record: record.shuffled["linear"].drop - record.shuffled["mlp"].drop,
    null_name="switches trained on shuffled labels",
    paper=Exceeds(0),
    smoke=None,
    source="table",
    reason='"slightly better": 0.087 and 0.080 leave no room for a margin',
    worst=-1.0,
)

BASE = Check(
    name="the base model's accuracy on the other tasks",
    statistic=lambda record: record.base.others,
    null=lambda record: record.base.source,
    null_name="on toxic instructions, with the outputs it has not learned",
    paper=AtLeast(0.9),
    smoke=AtLeast(0.7),
    source="ours",
    reason="what has not been learned cannot be forgotten",
)


def printed_drop(method, printed):
    return Check(
        name=f"accuracy drop, {method}",
        brief=f"drops by {TUNED[method]}",
        statistic=s.aligned(method, "drop"),
        null=lambda record: 0.0,
        null_name="base model, which drops nothing",
        paper=ConsistentWith(printed, resolution=printed / 2, rounding=0.0005),
        smoke=None,
        source="table",
        reason="runs that scatter by more than half of the printed number would agree with no drop, too",
        worst=1.0,
    )


CLAIM = Claim(
    id="switch-forgetting",
    place="§4.2, Table 2",
    headline="Tuning forgets, switch networks less",
    sentence="All four methods give updated source tasks their healthy outputs; direct fine-tuning forgets most, "
    "then head fine-tuning, then the linear switch network, then the MLP switch network.",
    experiment="alignment",
    order=140,
    cells={
        "source-accuracy": tuple(source_accuracy(method) for method in PRINTED_DROPS),
        "order": (
            HEAD_BEFORE_DIRECT,
            switch_before_head("linear"),
            switch_before_head("mlp"),
            MLP_BEFORE_LINEAR,
            BASE,
        ),
        "drops": (*(printed_drop(method, printed) for method, printed in PRINTED_DROPS.items()), BASE),
    },
    smoke_asserts="a source accuracy of 0.9, and that both switches forget less than head tuning; at this scale direct "
    "fine-tuning forgets less than head tuning, and the printed drops do not apply to small models",
    paper_only=frozenset({"drops"}),
    figures=("forgetting",),
    known_failures={
        "paper-256 model=norm-after": {
            "drops": KnownFailure(
                "on average every method forgets less than half of what the paper reports",
                "reports/paper-256-norm-after/verdicts.md",
            )
        }
    },
)


def test_switch_networks_align_with_the_least_forgetting(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
