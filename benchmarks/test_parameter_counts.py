"""Table 8: the models have the printed numbers of parameters."""

from taskclust.claims import Always, Check, Claim
from taskclust.config import PRINTED_PARAMETERS


def parameters(width, printed):
    last_digit = 10 ** (len(str(printed)) - len(str(printed).rstrip("0")))
    return Check(
        name="parameters",
        statistic=lambda record: float(record.parameters[str(width)]),
        null=lambda record: float(record.wide_parameters[str(width)]),
        null_name="feed-forward of 4 x width, as in GPT-2",
        paper=Always(printed, last_digit - 1),
        smoke=Always(printed, last_digit - 1),
        source="table" if width == 768 else "fitted",
        reason="within one of the last printed digit (23.7 million was cut, 201.7 million rounded); of 768 Table 5 "
        "gives the feed-forward width, the others' were chosen by these counts",
    )


CLAIM = Claim(
    id="parameter-counts",
    place="Table 8",
    headline="Models have the printed sizes",
    sentence="The models have 55 thousand, 3 million, 23 million and 202 million parameters.",
    experiment="paper_tables",
    order=20,
    smoke_asserts="the same: the paper's models are counted at every scale",
    exact=True,
    cells={f"width-{width}": (parameters(width, printed),) for width, printed in PRINTED_PARAMETERS.items()},
)


def test_models_have_the_printed_numbers_of_parameters(cell, decide):
    result = decide(CLAIM, cell)

    assert result.verdict == "reproduced", result.explain()
