"""The plugin in a user's repository, through pytester: each run is a process without our files."""

import csv

import pytest

CLAIM = """
    from taskclust.claims import Always, Check, Claim

    CLAIM = Claim(
        id="own-claim",
        place="our lab's notes",
        sentence="There are 315 unseen instances.",
        experiment="paper_tables",
        cells={
            "unseen": (
                Check(
                    name="instances",
                    statistic=lambda record: float(record.sizes["validation"]),
                    null=lambda record: float(record.sizes["subset"]),
                    null_name="the training subset",
                    paper=Always(EXPECTED),
                    smoke=Always(EXPECTED),
                    source="ours",
                ),
            )
        },
    )

    def test_own_claim(cell, decide):
        result = decide(CLAIM, cell)

        assert result.verdict == "reproduced", result.explain()
"""


@pytest.fixture
def elsewhere(pytester):
    """A function that runs pytest in a repository with a conftest of one line and its own claim."""
    pytester.makeconftest('pytest_plugins = ["taskclust.plugin"]')

    def run(*arguments, expected=315):
        pytester.makepyfile(test_own=CLAIM.replace("EXPECTED", str(expected)))
        options = ("--strict-markers", "--seeds=1", "--store=store", "--report=report", "-p", "no:cacheprovider")
        return pytester.runpytest_subprocess(*options, *arguments)

    return run


def test_an_own_claim_is_judged_and_reported(elsewhere, pytester):
    elsewhere().assert_outcomes(passed=1)

    (row,) = csv.DictReader((pytester.path / "report" / "verdicts.csv").read_text().splitlines())
    assert (row["claim"], row["where"]) == ("own-claim", "our lab's notes")
    assert row["verdict"] == "✔ holds (smoke)"


def test_a_failing_claim_shows_its_numbers(elsewhere):
    result = elsewhere(expected=316)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*instances: 315, criterion = 316; null 180 (the training subset): fails (smoke)*"])


def test_without_the_plugin_its_options_are_unknown(pytester):
    result = pytester.runpytest_subprocess("--dry-run")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unrecognized arguments: --dry-run*"])
