"""From checks to one verdict per condition."""

import itertools
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from taskclust.claims import Always, AtLeast, AtMost, Check, Claim, ConsistentWith, Exceeds, ResampledCheck, judge

REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "inconclusive"
RANKS = [NOT, OPEN, REPRODUCED]
#: Values with these verdicts by AtLeast(0.5).
VALUES = {REPRODUCED: [0.9, 0.91, 0.92, 0.93, 0.94], NOT: [0.1, 0.11, 0.12, 0.13, 0.14], OPEN: [0.1, 0.9, 0.5, 0.2, 1]}


def check(name="value", null=0.0, **changes):
    settings = {
        "name": name,
        "statistic": lambda record: record.values[name],
        "null": lambda _record: null,
        "null_name": "nothing",
        "paper": AtLeast(0.5),
        "smoke": AtLeast(0.2),
        "source": "text",
        "reason": "half",
    }
    return Check(**{**settings, **changes})


def by_name(name):
    return lambda record: record.values[name]


def resampled(**changes):
    """A check of one record's draws; the negative control's are all 0."""
    settings = {
        "name": "value",
        "draws": lambda record: record.values,
        "null": lambda record: [0.0, 0.0, 0.0],
        "null_name": "nothing",
        "criterion": AtLeast(0.5),
        "source": "table",
        "reason": "half",
    }
    return ResampledCheck(**{**settings, **changes})


def claim(*checks, **changes):
    return Claim(
        id="a-claim", place="§0", sentence="It is so.", experiment="synthetic", cells={"cell": checks}, **changes
    )


def record(seed, failure=None, **values):
    return SimpleNamespace(config=SimpleNamespace(seed=seed), failure=failure, values=values)


def records(**values):
    """One record per seed; each keyword gives the values of a name, one per seed."""
    rows = zip(*values.values(), strict=True)
    return [record(seed, **dict(zip(values, row, strict=True))) for seed, row in enumerate(rows)]


def drawn(*values):
    return SimpleNamespace(config=SimpleNamespace(seed=0), failure=None, values=list(values))


def decide(checks, given, profile="paper", **settings):
    return judge(claim(*checks), "cell", given, profile, **settings)


@pytest.mark.parametrize("verdict", VALUES)
def test_verdict_of_one_check_is_the_cells(verdict):
    result = decide([check()], records(value=VALUES[verdict]))

    assert result.verdict == result.checks[0].verdict == verdict


@pytest.mark.parametrize("verdicts", list(itertools.product(RANKS, repeat=3)), ids="-".join)
def test_verdict_is_the_worst_of_its_checks(verdicts):
    names = ("first", "second", "third")
    given = records(**{name: VALUES[v] for name, v in zip(names, verdicts, strict=True)})

    result = decide([check(name) for name in names], given)

    assert [c.verdict for c in result.checks] == list(verdicts)
    assert result.verdict == min(verdicts, key=RANKS.index)


def test_a_passing_negative_control_makes_it_inconclusive():
    result = decide([check(null=0.6)], records(value=VALUES[REPRODUCED]))

    assert result.verdict == result.checks[0].verdict == OPEN
    assert not result.checks[0].null_fails


def test_a_passing_negative_control_does_not_excuse_a_failure():
    assert decide([check(null=0.6)], records(value=VALUES[NOT])).verdict == NOT


def test_nothing_asserted_is_inconclusive():
    result = decide([check(smoke=None)], records(value=VALUES[REPRODUCED]), "smoke")

    assert result.checks[0].verdict is None
    assert result.verdict == OPEN


def test_checks_that_are_not_asserted_do_not_affect_the_verdict():
    given = records(value=VALUES[REPRODUCED], other=VALUES[NOT])

    assert decide([check(), check("other", smoke=None)], given, "smoke").verdict == REPRODUCED
    assert decide([check(), check("other", smoke=None)], given, "paper").verdict == NOT


def test_checks_that_are_not_asserted_show_the_papers_criterion():
    shown = decide([check(smoke=None)], records(value=VALUES[REPRODUCED]), "smoke").checks[0]

    assert shown.criterion == "≥ 0.5"
    assert shown.values == VALUES[REPRODUCED]


def test_each_scale_has_its_criterion():
    given = records(value=[0.3, 0.31, 0.32, 0.33, 0.34])

    assert decide([check()], given, "smoke").verdict == REPRODUCED
    assert decide([check()], given, "paper").verdict == NOT


def test_a_failed_seed_counts_as_the_worst():
    given = [*records(value=[0.9, 0.91, 0.92, 0.93]), record(8, failure="loss is NaN at epoch 3")]

    result = decide([check(worst=-1.0)], given)

    assert result.checks[0].values == [0.9, 0.91, 0.92, 0.93, -1.0]
    assert result.verdict != REPRODUCED
    assert result.failures == ["seed 8: loss is NaN at epoch 3"]
    assert "seed 8: loss is NaN at epoch 3" in result.explain()


def test_a_failed_seed_does_not_worsen_the_negative_control():
    given = [*records(value=[0.9] * 7, null=[0.6] * 7), record(7, failure="loss is NaN")]

    result = decide([replace(check(worst=-10.0), null=lambda r: r.values["null"])], given).checks[0]

    assert result.null_mean == pytest.approx(0.6)
    assert not result.null_fails


def test_seeds_that_all_fail_do_not_reproduce():
    failed = [record(seed, failure="loss is NaN") for seed in range(5)]

    assert decide([check(worst=-1.0)], failed).verdict == NOT


def test_seeds_are_the_records_own_in_their_order():
    given = [record(seed, value=0.9) for seed in (4, 0, 7)]

    assert decide([check()], given).seeds == [4, 0, 7]


def test_explanation_names_the_claim_the_numbers_and_the_null():
    given = [record(seed, value=value) for seed, value in ((0, 0.1), (3, 0.2), (7, 0.3))]

    text = decide([check(null=0.25)], given).explain()

    assert text.startswith("a-claim[cell] at paper scale, seeds [0, 3, 7]: not reproduced")
    assert "value: 0.2 [-0.0484, 0.448], criterion ≥ 0.5; null 0.25 (nothing): not reproduced" in text


def test_explanation_mentions_a_passing_control_and_unasserted_checks():
    text = decide([check(null=0.6), check("other", smoke=None)], records(value=[0.9] * 5, other=[1] * 5), "smoke")

    assert "null 0.6 (nothing), which passes too: unclear (smoke)" in text.explain()
    assert "other: 1" in text.explain()
    assert text.explain().endswith("not asserted")


def test_a_failed_seed_does_not_make_the_control_fail():
    """Its control is left out, and four seeds reproduce nothing."""
    given = [*records(value=[1.0] * 4), record(4, failure="loss is NaN")]
    same = check(null=1.0, paper=AtLeast(0.3), worst=0.0)

    found = [decide([same], each).checks[0] for each in (given, records(value=[1.0] * 5))]

    assert [(one.null_fails, one.verdict) for one in found] == [(False, OPEN), (False, OPEN)]


@pytest.mark.parametrize(("null", "fails"), [(0.6, False), (0.5, False), (0.4, True)])
def test_over_few_seeds_the_controls_mean_decides(null, fails):
    assert decide([check(null=null)], records(value=[0.9])).checks[0].null_fails is fails


@pytest.mark.parametrize(
    ("criterion", "values", "nulls", "fails"),
    [
        (Exceeds(0.05), [0.32] * 5, [0.3, 0.3, 0.3, 0.3, 0.04], False),  # not by the margin in every seed
        (Exceeds(0.05), [0.36, 0.37, 0.36, 0.38, 0.36], [0.3, 0.3, 0.3, 0.3, 0.04], True),
        (Exceeds(0.05), [0.23, 0.2, 0.3, 0.2, 0.18], [0.07, 0.04, 0.02, 0.08, 0.03], True),  # its mean does not
        (Exceeds(0), [0.04, 0.05, 0.003, 0.06, 0.05], [0.004, -0.012, 0.005, 0.002, 0.004], True),  # chance
        (AtLeast(0.8), [0.95, 0.9, 0.97, 0.9, 0.9], [0.99, 0.99, 0.99, 0.99, 0.6], False),
        (AtLeast(0.8), [0.999, 0.998, 1.0, 1.0, 0.997], [0.99, 0.99, 0.99, 0.99, 0.6], True),
        (AtMost(0.2), [0.1, 0.11, 0.12, 0.1, 0.1], [0.11, 0.12, 0.13, 0.11, 0.4], True),
        (AtMost(0.2), [0.1, 0.11, 0.12, 0.1, 0.1], [0.09, 0.12, 0.13, 0.11, 0.5], False),
        (ConsistentWith(0.21, 0.1), [0.2, 0.21, 0.22, 0.21, 0.2], [0.2, 0.22, 0.23, 0.19, 0.2], False),
    ],
    ids=str,
)
def test_a_control_whose_mean_passes_fails_only_if_the_statistic_is_better(criterion, values, nulls, fails):
    one = replace(
        check(paper=criterion, smoke=None, worst=-1.0 if criterion != AtMost(0.2) else 1.0), null=by_name("null")
    )

    found = decide([one], records(value=values, null=nulls)).checks[0]

    assert criterion.judge(values) == REPRODUCED
    assert (found.null_fails, found.verdict) == (fails, REPRODUCED if fails else OPEN)


def test_another_seed_never_makes_a_passing_control_fail():
    """Its mean stays above the margin."""
    nulls = [0.3, 0.3, 0.3, 0.3, 0.04, 0.3, 0.3]
    one = replace(check(paper=Exceeds(0.05)), null=by_name("null"))

    found = [decide([one], records(value=[0.32] * n, null=nulls[:n])).checks[0] for n in range(1, 8)]

    assert not any(each.null_fails for each in found)


def test_two_trainings_that_failed_alike_refute_nothing():
    given = [record(0, failure="loss is NaN"), record(1, failure="loss is NaN")]

    assert decide([check(worst=0.0)], given).verdict == OPEN


def test_an_infinite_statistic_is_refused():
    with pytest.raises(TypeError, match="gave inf; it must give a finite number, or NaN"):
        decide([check()], records(value=[math.inf]))


def test_a_control_without_a_value_is_not_said_to_pass():
    text = decide([check(null=math.nan)], records(value=[0.9] * 3)).explain()

    assert "null nan (nothing), which has no value: inconclusive" in text


def test_scale_is_the_profiles_unless_another_is_named():
    given = records(value=VALUES[REPRODUCED])

    assert decide([check()], given).scale == "paper"
    assert decide([check()], given, scale="paper-768").scale == "paper-768"
    assert decide([check()], given, scale="paper-768").explain().startswith("a-claim[cell] at paper-768 scale")


def test_one_seed_has_no_interval():
    result = decide([check()], records(value=[0.9]))

    assert (result.checks[0].low, result.checks[0].high) == (None, None)
    assert result.verdict == OPEN
    assert "value: 0.9, criterion" in result.explain()


@pytest.mark.parametrize("n", [1, 3])
def test_result_is_json(n):
    given = records(value=[0.9, 0.91, 0.92][:n])
    result = decide([check(), check(paper=Always(50), smoke=None)], given)

    plain = result.to_dict()

    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["verdict"] == result.verdict
    assert plain["checks"][0]["values"] == result.checks[0].values
    assert plain["checks"][1]["terms"] == {"relation": "=", "bound": 50, "tolerance": 0.0}


# --- by resamples


@pytest.mark.parametrize(
    ("draws", "verdict"),
    [([0.6, 0.7, 0.8], REPRODUCED), ([0.1, 0.2, 0.3], NOT), ([0.4, 0.5, 0.6], OPEN)],
    ids=["above", "below", "across"],
)
def test_the_whole_interval_over_resamples_decides(draws, verdict):
    result = decide([resampled()], [drawn(0.55, *draws)], "llm")

    assert result.verdict == verdict


def test_the_point_is_shown_and_only_the_resamples_make_the_interval():
    shown = decide([resampled()], [drawn(0.55, *[0.6 + 0.01 * n for n in range(41)])], "llm").checks[0]

    assert (shown.mean, shown.values) == (0.55, [0.55])
    assert (shown.low, shown.high) == (pytest.approx(0.61), pytest.approx(0.99))


def test_a_negative_control_whose_resamples_pass_makes_it_inconclusive():
    result = decide([resampled(null=lambda record: [0.0, 0.6, 0.7])], [drawn(0.9, 0.9, 0.9)], "llm")

    assert result.verdict == OPEN
    assert not result.checks[0].null_fails


def test_nothing_is_asserted_about_records_that_the_check_does_not_concern():
    result = decide([resampled(is_asserted=lambda record: False)], [drawn(0.9, 0.9, 0.9)], "llm")

    assert result.checks[0].verdict is None
    assert result.verdict == OPEN


def test_resamples_are_of_one_record():
    with pytest.raises(ValueError, match="too many values to unpack"):
        decide([resampled()], [drawn(0.9, 0.9)] * 2, "llm")


# --- several subjects


def test_subjects_of_one_claim_are_judged_separately():
    one, other = (
        decide([resampled()], [drawn(value, value, value)], "llm", subject=name)
        for name, value in (("a-model", 0.9), ("b-model", 0.1))
    )

    assert (one.cell, one.verdict) == ("a-model: cell", REPRODUCED)
    assert (other.cell, other.verdict) == ("b-model: cell", NOT)


def test_a_cell_of_one_subject_has_its_own_name():
    assert decide([check()], records(value=VALUES[REPRODUCED])).cell == "cell"


def test_explanation_names_the_subject_and_says_that_it_is_about_it():
    result = decide([resampled()], [drawn(0.9, 0.9, 0.9)], "llm", subject="a-model")

    assert result.explain().startswith("a-claim[a-model: cell] at llm scale, seeds [0]: holds (this model)")
    assert "reproduced" not in result.explain()


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), 1, True], ids=repr)
def test_any_single_number_is_judged_as_a_float(value):
    (found,) = decide([check()], records(value=[value] * 3)).checks

    assert [type(one) for one in found.values] == [float] * 3


@pytest.mark.parametrize("value", [None, "much", [1, 2], {}], ids=repr)
def test_a_statistic_without_a_number_is_refused_by_its_value(value):
    with pytest.raises(TypeError, match=r"a statistic gave .*; it must give one number"):
        decide([check()], records(value=[value] * 3))


def test_resamples_of_a_control_without_a_value_are_inconclusive():
    nothing = resampled(null=lambda record: [math.nan] * 3)

    assert decide([nothing], [drawn(0.9, 0.9, 0.9)], "llm").verdict == OPEN


def test_a_nan_control_is_inconclusive():
    given = records(value=VALUES[REPRODUCED])

    assert decide([check(null=0.0)], given).verdict == REPRODUCED
    assert decide([check(null=math.nan)], given).verdict == OPEN


def test_a_check_may_have_another_control_at_smoke_scale():
    one = check(null=0.3, smoke_null=(lambda _record: -1.0, "worse"))
    given = records(value=VALUES[REPRODUCED])

    smoke, paper, lacking = (
        decide([one], given, "smoke"), decide([one], given), decide([check(null=0.3)], given, "smoke"),
    )  # fmt: skip

    assert (smoke.verdict, paper.verdict, lacking.verdict) == (REPRODUCED, REPRODUCED, OPEN)
    assert [(c.checks[0].null_name, c.checks[0].null_mean) for c in (smoke, paper)] == [("worse", -1), ("nothing", 0.3)]
