"""§4.1, Figure 5b: pre-training on task identities makes tuning converge faster and end higher."""

from taskclust.claims import AtLeast, Check, Claim, Exceeds, KnownFailure
from taskclust.experiments.pretraining import statistics as s

#: At smoke scale we only require not to be behind, and pre-training on shuffled identities is not behind either.
UNTUNED = "the same model before its tuning"
#: What six seeds can show. Over 30 seeds outside the profile (reports/twins/seeds.md), gains deviate by 0.03 to 0.04.
#: Two thirds of all draws of six are inconclusive for -0.01, and none for this. The control is at -0.65.
#: tests/studies/test_rounding_twins.py computes both from the committed values.
NOT_BEHIND = -0.1


def gain(name, brief, statistic, null, *, paper, smoke, reason, smoke_null=None):
    """The gain of identity pre-training over the better of instruction pre-training and none, paired by seed."""
    return Check(
        name=f"{name}, against the better of instruction pre-training and none",
        brief=brief,
        statistic=statistic,
        null=null,
        null_name="pre-training on shuffled identities",
        paper=paper,
        smoke=smoke,
        source="ours",
        reason=reason,
        worst=-1.0,
        smoke_null=smoke_null,
    )


def epochs_saved(level):
    return gain(
        f"epochs saved to accuracy {level} (fraction of tuning)",
        "share of epochs saved" + (f" to {level}" if level > 0.5 else ""),
        s.epochs_saved("identity", level),
        s.epochs_saved("shuffled", level),
        paper=Exceeds(0.025),
        smoke=None,
        reason='"converges faster": by more than one of 40 epochs',
    )


CLAIM = Claim(
    id="pretraining-speedup",
    place="§4.1, Figure 5b",
    headline="Task pre-training speeds tuning",
    sentence="Pre-training on task identities makes tuning converge faster and end higher than pre-training on only "
    "instructions, and than no pre-training.",
    experiment="pretraining",
    order=130,
    cells={
        "validation": (
            epochs_saved(0.5),
            epochs_saved(0.8),
            gain(
                "area under the accuracy curve",
                "mean accuracy gained",
                s.area_gain("identity"),
                s.area_gain("shuffled"),
                paper=Exceeds(0.01),
                smoke=AtLeast(NOT_BEHIND),
                smoke_null=(s.untuned_gain("identity"), UNTUNED),
                reason='"converges faster": a hundredth of accuracy, over all epochs',
            ),
            gain(
                "final accuracy",
                "final accuracy gained",
                s.final_gain("identity"),
                s.final_gain("shuffled"),
                paper=Exceeds(0.005),
                smoke=AtLeast(NOT_BEHIND),
                smoke_null=(s.untuned_gain("identity"), UNTUNED),
                reason='"higher task accuracy": one or two instances of 315',
            ),
        )
    },
    smoke_asserts="that identity pre-training is no more than 0.1 behind the better of the two, in area and at "
    "the end; small models gain little, depending on the seed",
    figures=("figure-5b-pretraining-speedup",),
    known_failures={
        "paper-256": {
            "validation": KnownFailure(
                "in no seed do identities save more than one of 40 epochs to accuracy 0.5, compared with instructions; "
                "mean accuracy gains 0.02, in four seeds of five",
                "reports/paper-256/tables.md",
            )
        }
    },
)


def test_identity_pretraining_beats_instruction_pretraining_and_none(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
