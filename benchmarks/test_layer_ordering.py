"""§3.2, Figure 2: clustering improves with depth, and the word embedding hardly changes."""

from taskclust.claims import Check, Claim, Exceeds, KnownFailure
from taskclust.experiments.synthetic import statistics as s


def rises_with_depth(split):
    return Check(
        name="rise of f1 from layer 0 to the top, fitted",
        brief="rise of F1 to the top",
        statistic=s.depth_rise(split, "task", "f1"),
        null=s.depth_rise(split, "task", "f1", epoch=0),
        null_name="untrained model",
        paper=Exceeds(0.05),
        smoke=Exceeds(0.05),
        source="text",
        reason="a rise worth the name: 0.05",
        worst=-1.0,
    )


def layer_0_hardly_changes(split, *, smoke):
    return Check(
        name="a quarter of the top layer's change less layer 0's",
        brief="layer 0 changes less, by",
        statistic=s.baseline_stillness(split, "task", "f1"),
        null=s.baseline_stillness(split, "task", "shuffled_f1"),
        null_name="shuffled labels",
        paper=Exceeds(0),
        smoke=smoke,
        source="ours",
        reason='"does not undergo much change ... compared to": less than a quarter of the top layer\'s',
        worst=-1.0,
    )


NO_CHANGE = KnownFailure(
    "F1 rises with the layer, but the top layer ends no higher than before training, so layer 0's change is not small "
    "in comparison",
    "reports/paper-256/verdicts.md",
)

CLAIM = Claim(
    id="layer-ordering",
    place="§3.2, Figure 2",
    headline="Higher layers cluster",
    sentence="Clustering improves in higher layers; layer 0, the word embedding, hardly changes.",
    experiment="synthetic",
    order=50,
    cells={
        "validation": (
            rises_with_depth("validation"),
            layer_0_hardly_changes("validation", smoke=Exceeds(0)),
        ),
        "subset": (
            rises_with_depth("subset"),
            layer_0_hardly_changes("subset", smoke=None),
        ),
    },
    smoke_asserts="the order on both splits; that layer 0 hardly changes only on unseen instructions: on hard examples "
    "the top layer has not changed enough",
    figures=("figure-2-f1",),
    known_failures={"paper-256": {"validation": NO_CHANGE, "subset": NO_CHANGE}},
)


def test_higher_layers_cluster_better_and_layer_0_hardly_moves(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
