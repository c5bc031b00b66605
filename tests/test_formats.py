"""Numbers and tables as text."""

import csv
import io
import math
import re

import pytest

from taskclust.formats import aligned_columns, comma_separated, latex, markdown, measured, number, with_interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (0.12345, "0.123"),
        (1.0, "1"),
        (0.0, "0"),
        (-0.05, "-0.05"),
        (999.5, "999.5"),
        (23_734_272.0, "23,734,272"),
        (-1_000.0, "-1,000"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_number_is_short(value, text):
    assert number(value) == text


def test_zero_after_rounding_has_no_sign():
    assert number(-0.0001) == "0"


@pytest.mark.parametrize(
    ("values", "text"),
    [([0.1, 0.2, 0.3], "0.2 [-0.048, 0.448]"), ([0.2], "0.2"), ([0.2, 0.2], "0.2")],
    ids=["seeds", "one seed", "equal seeds"],
)
def test_a_mean_has_its_interval_if_that_has_a_width(values, text):
    assert with_interval(values) == text


@pytest.mark.parametrize(
    ("mean", "low", "high", "text"),
    [
        (0.29, 0.234, 0.346, "0.290 ± 0.056"),
        (165.4, 154.378, 176.422, "165 ± 11"),
        (1234.5, 1134.5, 1334.5, "1,234 ± 100"),
        (-0.0001, -0.0002, 0.0, "0.000 ± 0.000"),
        (0.5, 0.5, 0.5, "0.5"),
        (0.5, None, None, "0.5"),
        (0.5, 0.1, 0.6, "0.5 [0.1, 0.6]"),
        (math.nan, math.nan, math.nan, "– [–, –]"),
        (None, None, None, "–"),
        (0.5, -math.inf, math.inf, "0.5 [-inf, inf]"),
        (0.5, 0.5 - 1e-12, 0.5 + 1e-12, "0.500 ± 0.000"),
    ],
)
def test_a_mean_and_its_interval_have_the_same_digits(mean, low, high, text):
    assert measured(mean, low, high) == text


def test_tables_keep_numbers_as_they_are_written():
    rows = [{"value": "0.10", "text": "a"}, {"value": "1e5", "text": "b"}]

    for table in (markdown(rows), aligned_columns(rows)):
        assert "0.10" in table
        assert "1e5" in table
    assert markdown(rows).startswith("| value")


def test_bars_and_brackets_are_escaped_in_markdown():
    lines = markdown([{"model|<b>": "a|b", "value": "1"}]).splitlines()

    assert [cell.strip() for cell in re.split(r"(?<!\\)\|", lines[2])[1:-1]] == [r"a\|b", "1"]
    assert lines[0].count("&lt;b>") == 1


def test_latex_has_booktabs_rules_and_escapes_special_characters():
    lines = latex([{"a_b": "50 % & $x$", "n": "0.10"}]).splitlines()

    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert re.split(r"\s+", lines[2].strip()) == [r"a\_b", "&", "n", r"\\"]
    assert r"50 \% \& \$x\$" in lines[4]
    assert "0.10" in lines[4]


def test_csv_round_trips():
    rows = [{"check": "late f1", "reason": 'in "quotes", with a comma'}, {"check": "a\nline", "reason": 0.5}]

    found = list(csv.DictReader(io.StringIO(comma_separated(rows), newline="")))

    assert found == [{name: str(value) for name, value in row.items()} for row in rows]


def test_csv_of_no_rows_is_empty():
    assert comma_separated([]).strip() == ""
