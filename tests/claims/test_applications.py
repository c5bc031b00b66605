"""The claims of §4 on records made by hand: what they read, what reproduces them, and what does not."""

import pytest

from taskclust.claims import CLAIMS, judge
from taskclust.claims import measures as m
from taskclust.config import PRINTED_DROPS

SEEDS = range(5)


def tuned(**curves):
    """A record of §4.1 with these validation accuracies."""
    full = {"instruction": curves["none"], "shuffled": curves["none"], **curves}
    return {
        "failure": None,
        "tuning": {arm: {"history": [{"validation_accuracy": a} for a in curve]} for arm, curve in full.items()},
    }


def table_2(seed=0, **changes):
    """A record of §4.2 with the printed drops, give or take what a seed does; ``changes`` of a method's row."""
    shift = 0.004 * (seed - 2)
    methods = {name: {"source": 1.0, "others": 0.9, "drop": drop + shift} for name, drop in PRINTED_DROPS.items()}
    for name, row in changes.items():
        methods[name] = {**methods[name], **row}
    shuffled = {kind: {"source": 0.85, "others": 0.8, "drop": 0.1 + shift} for kind in ("linear", "mlp")}
    return {"failure": None, "base": {"source": 0.0, "others": 1.0}, "methods": methods, "shuffled": shuffled}


def verdicts(claim, records):
    return {cell: judge(CLAIMS[claim], cell, records, "paper", SEEDS).verdict for cell in CLAIMS[claim].cells}


def test_epochs_are_counted_to_the_first_that_reaches_the_level():
    curve = m.tuning(tuned(none=[0.0, 0.5, 0.4, 0.9]), "none")

    assert [m.epochs_to(curve, level) for level in (0.0, 0.5, 0.6, 0.95)] == [0, 1, 3, 4]


def test_gains_are_over_the_better_of_the_two_rivals():
    record = tuned(identity=[0.0, 0.8, 1.0], instruction=[0.0, 0.2, 0.9], none=[0.4, 0.4, 0.4])

    assert m.epochs_saved("identity", 0.5)(record) == pytest.approx(1 / 2)
    assert m.area_gain("identity")(record) == pytest.approx(0.6 - 0.4)
    assert m.final_gain("identity")(record) == pytest.approx(0.1)
    assert m.final_gain("shuffled")(record) == pytest.approx(-0.5)


def curves(identity):
    slow = [0.0] + [0.0] * 20 + [0.1 * i for i in range(10)] + [0.9] * 10
    fast = [0.0] + [0.1 * i for i in range(10)] + [0.95] * 30
    return tuned(identity=fast if identity else slow, instruction=slow, none=slow)


def test_speedup_is_reproduced_by_a_faster_and_higher_arm_alone():
    assert verdicts("pretraining-speedup", [curves(True)] * 5) == {"validation": "reproduced"}
    assert verdicts("pretraining-speedup", [curves(False)] * 5) == {"validation": "not reproduced"}


def test_speedup_that_shuffled_identities_give_too_shows_nothing():
    record = curves(True)
    record["tuning"]["shuffled"] = record["tuning"]["identity"]

    assert verdicts("pretraining-speedup", [record] * 5) == {"validation": "inconclusive"}


def test_the_papers_own_table_2_reproduces_it():
    records = [table_2(seed) for seed in SEEDS]

    assert verdicts("switch-forgetting", records) == dict.fromkeys(("source-accuracy", "order", "drops"), "reproduced")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"mlp": {"source": 0.9}}, "source-accuracy"),
        ({"direct": {"drop": 0.1}}, "order"),
        ({"linear": {"drop": 0.13}}, "order"),
        ({"linear": {"drop": 0.0, "source": 0.8}}, "order"),  # fires too rarely
        ({"head": {"drop": 0.3}}, "drops"),
    ],
    ids=["source-not-aligned", "direct-forgets-little", "switch-forgets-much", "switch-does-not-fire", "other-drop"],
)
def test_what_differs_from_table_2_does_not(changes, part):
    records = [table_2(seed, **changes) for seed in SEEDS]

    assert verdicts("switch-forgetting", records)[part] == "not reproduced"


def test_a_failed_seed_counts_as_the_worst():
    records = [table_2(seed) for seed in SEEDS]
    records[2]["failure"] = "the loss became nan"

    assert "reproduced" not in verdicts("switch-forgetting", records).values()
