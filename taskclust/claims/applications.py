"""The claims of §4: what the paper does with the clusters. Their paper column was written before any run at its scale.

The smoke column was settled by trial on the seeds it is run with, as in :mod:`taskclust.claims.registry`.
"""

from dataclasses import replace

from taskclust.claims import measures as m
from taskclust.claims.registry import Check, Claim, emergence
from taskclust.claims.statistics import AtLeast, ConsistentWith, Criterion, Exceeds
from taskclust.config import PRINTED_DROPS, SPLITS

_SHUFFLED = "pre-training on shuffled identities"
_SEEN = '"clusters indeed evolve": Figure 5a is not printed as numbers; as asked of training on the task'


def _evolution(split: str) -> tuple[Check, ...]:
    """Emergence as in §3.2; of small models' rises in F1, some are no greater than the spread of a t-SNE."""
    checks = emergence(split, "task", 0.8, None, "ours", _SEEN)
    return tuple(replace(check, smoke=None) if check.name == "rise of f1" else check for check in checks)


def _gain(name: str, reading: m.Reading, null: m.Reading, paper: Criterion, smoke: Criterion | None, why: str) -> Check:
    """Identity pre-training ahead of the better of instruction pre-training and none, paired by seed."""
    return Check(
        name=f"{name}, against the better of instruction pre-training and none",
        reading=reading,
        null=null,
        null_name=_SHUFFLED,
        paper=paper,
        smoke=smoke,
        source="ours",
        reason=why,
        worst=-1.0,
    )


def _speedup() -> tuple[Check, ...]:
    faster = '"converges faster": by more than one of 40 epochs'
    return (
        *(
            _gain(
                f"epochs saved to accuracy {level} (fraction of tuning)",
                m.epochs_saved("identity", level),
                m.epochs_saved("shuffled", level),
                Exceeds(0.025),
                None,
                faster,
            )
            for level in m.LEVELS
        ),
        _gain(
            "area under the accuracy curve",
            m.area_gain("identity"),
            m.area_gain("shuffled"),
            Exceeds(0.01),
            AtLeast(-0.01),
            '"converges faster": a hundredth of accuracy, over all epochs',
        ),
        _gain(
            "final accuracy",
            m.final_gain("identity"),
            m.final_gain("shuffled"),
            Exceeds(0.005),
            AtLeast(-0.01),
            '"higher task accuracy": one or two instances of 315',
        ),
    )


def _source_accuracy(method: str) -> Check:
    return Check(
        name=f"source accuracy, {method}",
        reading=m.aligned(method, "source"),
        null=lambda r: float(r["base"]["source"]),
        null_name="base model",
        paper=AtLeast(0.995),
        smoke=AtLeast(0.9),
        source="table",
        reason="1.00 as printed, two digits behind the point",
    )


def _switch_order(kind: str) -> Check:
    return Check(
        name=f"head's drop less the {kind} switch's, less its cost in source accuracy",
        reading=m.less_forgetting(kind),
        null=m.less_forgetting(kind, "shuffled"),
        null_name="switch trained on shuffled labels",
        paper=Exceeds(0.01),
        smoke=Exceeds(0.03),
        source="ours",
        reason="the order of Table 2, by a hundredth at the least",
        worst=-1.0,
    )


_BASE = Check(
    name="the base model's accuracy on the other tasks",
    reading=lambda r: float(r["base"]["others"]),
    null=lambda r: float(r["base"]["source"]),
    null_name="on toxic instructions, with the outputs it has not learned",
    paper=AtLeast(0.9),
    smoke=AtLeast(0.7),
    source="ours",
    reason="what has not been learned cannot be forgotten",
)

_ORDER = (
    Check(
        name="direct fine-tuning's drop less the head's",
        reading=lambda r: m.aligned("direct", "drop")(r) - m.aligned("head", "drop")(r),
        null=lambda r: 0.0,
        null_name="base model against itself, 0 by its making",
        paper=Exceeds(0.01),
        smoke=None,
        source="ours",
        reason="the order of Table 2, by a hundredth at the least",
        worst=-1.0,
    ),
    _switch_order("linear"),
    _switch_order("mlp"),
    Check(
        name="the linear switch's drop less the MLP's",
        reading=lambda r: m.aligned("linear", "drop")(r) - m.aligned("mlp", "drop")(r),
        null=lambda r: float(r["shuffled"]["linear"]["drop"] - r["shuffled"]["mlp"]["drop"]),
        null_name="switches trained on shuffled labels",
        paper=Exceeds(),
        smoke=None,
        source="table",
        reason='"slightly better": 0.087 and 0.080 leave no room for a margin',
        worst=-1.0,
    ),
    _BASE,
)


def _printed_drop(method: str, printed: float) -> Check:
    return Check(
        name=f"accuracy drop, {method}",
        reading=m.aligned(method, "drop"),
        null=lambda r: 0.0,
        null_name="base model, which drops nothing",
        paper=ConsistentWith(printed, resolution=printed / 2, rounding=0.0005),
        smoke=None,
        source="table",
        reason="runs that scatter by more than half of the printed number would agree with no drop, too",
        worst=1.0,
    )


_CLAIMS = (
    Claim(
        id="pretraining-clusters",
        where="§4.1, Figure 5a",
        sentence="Task clusters evolve while a model is pre-trained to predict task identities.",
        needs="pretraining",
        cells={split: _evolution(split) for split in SPLITS},
        smoke_asserts="the rises of ARI and AMI, on unseen instructions alone; no level: clusters are still forming",
        paper_only=frozenset({"subset"}),
    ),
    Claim(
        id="pretraining-speedup",
        where="§4.1, Figure 5b",
        sentence="Pre-training on task identities makes tuning converge faster and end higher than pre-training on "
        "instructions alone, and than none.",
        needs="pretraining",
        cells={"validation": _speedup()},
        smoke_asserts="that identity pre-training is no more than 0.01 behind the better of the two, in area and at "
        "the end; what small models gain is little and hangs on the seed",
    ),
    Claim(
        id="switch-forgetting",
        where="§4.2, Table 2",
        sentence="All four methods give updated source tasks their healthy outputs; direct fine-tuning forgets most, "
        "then head fine-tuning, then the linear switch network, then the MLP's.",
        needs="alignment",
        cells={
            "source-accuracy": tuple(_source_accuracy(method) for method in PRINTED_DROPS),
            "order": _ORDER,
            "drops": (*(_printed_drop(method, printed) for method, printed in PRINTED_DROPS.items()), _BASE),
        },
        smoke_asserts="a source accuracy of 0.9, and that both switches forget less than head tuning; direct "
        "fine-tuning forgets less than head tuning here, and the printed drops are no small model's",
        paper_only=frozenset({"drops"}),
    ),
)

APPLICATIONS: dict[str, Claim] = {claim.id: claim for claim in _CLAIMS}
