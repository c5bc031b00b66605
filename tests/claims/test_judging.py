"""From checks to one verdict a cell."""

import itertools
import json
from dataclasses import replace

import pytest

from taskclust.claims import Check, Claim, judge
from taskclust.claims.statistics import Always, AtLeast

REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "inconclusive"
RANKS = [NOT, OPEN, REPRODUCED]
#: AtLeast(0.5) gives these verdicts of them.
VALUES = {REPRODUCED: [0.9, 0.91, 0.92], NOT: [0.1, 0.11, 0.12], OPEN: [0.1, 0.9, 0.5]}


def check(name="value", null=0.0, **changes):
    settings = {
        "name": name,
        "reading": lambda record: record[name],
        "null": lambda _record: null,
        "null_name": "nothing",
        "paper": AtLeast(0.5),
        "smoke": AtLeast(0.2),
        "source": "text",
        "reason": "half",
    }
    return Check(**{**settings, **changes})


def claim(*checks):
    return Claim(id="a-claim", where="§0", sentence="It is so.", cells={"cell": checks})


def records(**values):
    """One record a seed; each keyword gives a name's value for every seed."""
    return [{"failure": None, **dict(zip(values, row, strict=True))} for row in zip(*values.values(), strict=True)]


def decide(checks, given, profile="paper"):
    return judge(claim(*checks), "cell", given, profile, range(len(given)))


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


def test_a_null_that_passes_too_makes_it_inconclusive():
    result = decide([check(null=0.6)], records(value=VALUES[REPRODUCED]))

    assert result.verdict == result.checks[0].verdict == OPEN
    assert not result.checks[0].null_fails


def test_a_null_that_passes_does_not_excuse_what_fails():
    assert decide([check(null=0.6)], records(value=VALUES[NOT])).verdict == NOT


def test_nothing_asserted_is_inconclusive():
    result = decide([check(smoke=None)], records(value=VALUES[REPRODUCED]), "smoke")

    assert result.checks[0].verdict is None
    assert result.verdict == OPEN


def test_what_is_not_asserted_does_not_weigh_on_the_rest():
    given = records(value=VALUES[REPRODUCED], other=VALUES[NOT])

    assert decide([check(), check("other", smoke=None)], given, "smoke").verdict == REPRODUCED
    assert decide([check(), check("other", smoke=None)], given, "paper").verdict == NOT


def test_what_is_not_asserted_is_shown_with_the_papers_criterion():
    shown = decide([check(smoke=None)], records(value=VALUES[REPRODUCED]), "smoke").checks[0]

    assert shown.criterion == "≥ 0.5"
    assert shown.values == VALUES[REPRODUCED]


def test_each_scale_has_its_criterion():
    given = records(value=[0.3, 0.31, 0.32])

    assert decide([check()], given, "smoke").verdict == REPRODUCED
    assert decide([check()], given, "paper").verdict == NOT


def test_a_failed_seed_counts_as_the_worst():
    given = [*records(value=[0.9, 0.91, 0.92, 0.93]), {"failure": "loss is NaN at epoch 3"}]

    result = judge(claim(check(worst=-1.0)), "cell", given, "paper", [4, 5, 6, 7, 8])

    assert result.checks[0].values == [0.9, 0.91, 0.92, 0.93, -1.0]
    assert result.verdict != REPRODUCED
    assert result.failures == ["seed 8: loss is NaN at epoch 3"]
    assert "seed 8: loss is NaN at epoch 3" in result.explain()


def test_a_failed_seed_does_not_make_the_null_look_worse():
    given = [*records(value=[0.9] * 7, null=[0.6] * 7), {"failure": "loss is NaN"}]

    result = decide([replace(check(worst=-10.0), null=lambda record: record["null"])], given).checks[0]

    assert result.null_mean == pytest.approx(0.6)
    assert not result.null_fails


def test_seeds_that_all_fail_do_not_reproduce():
    assert decide([check(worst=-1.0)], [{"failure": "loss is NaN"}] * 5).verdict == NOT


def test_one_record_a_seed_is_asked_for():
    with pytest.raises(ValueError, match="zip"):
        judge(claim(check()), "cell", records(value=[0.9, 0.91]), "paper", [0, 1, 2])


def test_explanation_names_the_claim_the_numbers_and_the_null():
    result = judge(claim(check(null=0.25)), "cell", records(value=[0.1, 0.2, 0.3]), "paper", [0, 3, 7])

    text = result.explain()

    assert text.startswith("a-claim[cell] at paper scale, seeds [0, 3, 7]: not reproduced")
    assert "value: 0.2 [-0.0484, 0.448], criterion ≥ 0.5; null 0.25 (nothing): not reproduced" in text


def test_explanation_says_that_the_null_passes_and_what_is_not_asserted():
    text = decide([check(null=0.6), check("other", smoke=None)], records(value=[0.9] * 3, other=[1] * 3), "smoke")

    assert "null 0.6 (nothing), which passes too: unclear (smoke)" in text.explain()
    assert "other: 1" in text.explain()
    assert text.explain().endswith("not asserted")


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
