"""Our lab's notes: the weights of the paper's largest model fit in one gigabyte."""

import math

from taskclust import AtMost, Check, Claim


def gigabytes(parameters):
    return 4 * parameters["2048"] / 1e9  # four bytes per parameter


CLAIM = Claim(
    id="fits-in-a-gigabyte",
    place="our lab's notes",
    sentence="In float32, the weights of the paper's model of width 2048 take one gigabyte at most.",
    experiment="paper_tables",
    cells={
        "width-2048": (
            Check(
                name="gigabytes in float32",
                statistic=lambda record: gigabytes(record.parameters),
                null=lambda record: gigabytes(record.wide_parameters),
                null_name="feed-forward of 4 x width, as in GPT-2",
                paper=AtMost(1.0),
                smoke=AtMost(1.0),
                source="ours",
                reason="the memory that we have",
                worst=math.inf,  # the value of a seed that failed, which must not pass
            ),
        ),
    },
    smoke_asserts="the same: the paper's models are counted at every scale",
    exact=True,
)


def test_the_weights_fit_in_a_gigabyte(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
