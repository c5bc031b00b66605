"""Verdict tables are put into a Markdown file."""

import json
from pathlib import Path

import pytest

from taskclust.report.readme import condition_table, insert_verdicts, short_table
from tests.helpers import command

PAGE = "# Title\n\n<!-- smoke:begin -->\nold\n<!-- smoke:end -->\n\n<!-- paper-256:begin --><!-- paper-256:end -->\n"


def test_verdicts_are_put_between_the_marks_of_their_name():
    page = insert_verdicts(PAGE, "smoke", "| new |\n")

    assert page == PAGE.replace("old", "| new |")


def test_the_same_verdicts_twice_change_nothing():
    once = insert_verdicts(PAGE, "paper-256", "| new |")

    assert insert_verdicts(once, "paper-256", "| new |") == once


def test_the_old_verdicts_bring_the_old_page_back():
    assert insert_verdicts(insert_verdicts(PAGE, "smoke", "new"), "smoke", "old") == PAGE


def test_verdicts_are_taken_literally():
    text = r"\1 \g<0> $& \n"

    assert text in insert_verdicts(PAGE, "smoke", text)


@pytest.mark.parametrize(
    "page",
    [
        "",
        "# Title\n",
        "<!-- smoke:begin -->\n",
        "<!-- smoke:end -->\n<!-- smoke:begin -->\n",
        PAGE.replace("smoke", "x"),
    ],
    ids=["empty", "none", "half", "swapped", "another's"],
)
def test_a_page_without_marks_is_refused_with_the_marks_to_add(page):
    with pytest.raises(
        ValueError, match=r"^page: no <!-- smoke:begin --> \.\.\. <!-- smoke:end --> in it; add the two"
    ):
        insert_verdicts(page, "smoke", "new")


@pytest.fixture
def reports(tmp_path):
    for name in ("smoke", "paper-256"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "verdicts.md").write_text(f"{name} scale\n\n| ✔ holds |\n")
    return [str(tmp_path / name) for name in ("smoke", "paper-256")]


def test_a_file_is_rewritten_from_reports_folders(tmp_path, reports):
    readme = tmp_path / "README.md"
    readme.write_text(PAGE)

    assert command("table", readme, *reports) == 0

    expected = insert_verdicts(PAGE, "smoke", "smoke scale\n\n| ✔ holds |")
    assert readme.read_text() == insert_verdicts(expected, "paper-256", "paper-256 scale\n\n| ✔ holds |")


def test_a_file_without_marks_is_left_alone(tmp_path, reports):
    (tmp_path / "README.md").write_text("mine")

    assert "no <!-- smoke:begin -->" in command("table", tmp_path / "README.md", *reports)

    assert (tmp_path / "README.md").read_text() == "mine"


def cell(claim, name, verdict, *checks):
    found = [
        {"name": name, "values": [mean], "mean": mean, "low": None, "high": None, "criterion": asked, "verdict": said}
        for name, mean, asked, said in checks
    ]
    return {"claim": claim, "cell": name, "scale": "paper", "seeds": [0], "checks": found, "verdict": verdict}


LONG = "pairs of one task that share a cluster, less pairs of two"


@pytest.fixture
def judged(tmp_path):
    """A report of two claims, one with two conditions, and of a claim that was not run."""
    folder = tmp_path / "paper-256"
    folder.mkdir()
    rise = ("rise", 0.25, "> 0.05", "reproduced")
    cells = [
        cell("emergence", "validation", "reproduced", rise),
        cell("emergence", "subset-task", "not reproduced", rise, (LONG, 0.4, "≥ 0.8", "not reproduced")),
        cell(
            "drops",
            "a cell",
            "inconclusive",
            ("drop (fraction of tuning)", 0.047, "consistent with 0.21, runs within ± 0.1", "inconclusive"),
        ),
    ]
    document = {"profile": "paper", "command": "pytest", "provenance": {}, "results": cells}
    (folder / "verdicts.json").write_text(json.dumps(document), encoding="utf-8")
    rows = ["claim,where,headline", 'emergence,"§3.2, Figure 2",States cluster', "drops,§4.2,", "models,§3.4,"]
    (folder / "verdicts.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_a_claim_has_one_row_with_its_worst_condition(judged):
    assert short_table(judged).splitlines()[2:] == [
        "| States cluster | §3.2 | ✘ no | pairs of one task that share a …: 0.4 (subset, by task) | ≥ 0.8 |",
        "| drops | §4.2 | ? open | drop (fraction of tuning): 0.047 | about 0.21 |",
        "| models | §3.4 | not run |  |  |",
    ]


def rename(folder, condition, brief):
    """Rename the second condition of the report, and give its deciding check a brief name."""
    document = json.loads((folder / "verdicts.json").read_text("utf-8"))
    found = document["results"][1]
    found["cell"], found["checks"][1]["brief"] = condition, brief
    (folder / "verdicts.json").write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("condition", "brief", "shown"),
    [
        ("subset", "pairs merged", "pairs merged: 0.4 (subset)"),
        ("validation", "pairs merged", "pairs merged: 0.4"),
        ("validation-distribution", "late f1", "late F1: 0.4 (by distribution)"),
        ("subset-distribution_mapping", "f1", "F1: 0.4 (subset, by distribution and mapping)"),
        ("best-epoch", "the best epoch", "the best epoch: 0.4"),
        ("drops", "accuracy drops, direct", "accuracy drops, direct: 0.4"),
        ("subset-small", "gain", "gain: 0.4 (subset small)"),
        ("a|b", "P(a|b)", r"P(a\|b): 0.4"),
        ("all the " + "many " * 20 + "of mine", "gain", "gain: 0.4 (all the many many many many many many …)"),
    ],
)
def test_a_row_has_the_brief_name_and_the_condition_that_it_does_not_say(judged, condition, brief, shown):
    rename(judged, condition, brief)

    assert f"| {shown} |" in short_table(judged)


def with_control(folder, mean):
    """Let the controls of all deciding checks pass, or be without a value."""
    document = json.loads((folder / "verdicts.json").read_text("utf-8"))
    for cell in document["results"]:
        cell["checks"][-1] |= {"null_fails": False, "null_mean": mean}
    (folder / "verdicts.json").write_text(json.dumps(document), encoding="utf-8")


def test_an_open_row_says_that_its_control_passes_too(judged):
    with_control(judged, 0.2)

    shown = "| ? open | drop (fraction of tuning): 0.047; control too | about 0.21 |"
    assert shown in short_table(judged)
    assert shown in condition_table(judged)
    assert condition_table(judged).count("control too") == 1  # a claim that is refuted is so whatever its control does


def test_a_row_of_smoke_scale_says_so_too(judged):
    with_control(judged, 0.2)
    document = json.loads((judged / "verdicts.json").read_text("utf-8"))
    words = {"reproduced": "holds (smoke)", "not reproduced": "fails (smoke)", "inconclusive": "unclear (smoke)"}
    document["profile"] = "smoke"
    for one in (one for cell in document["results"] for one in (cell, *cell["checks"])):
        one["verdict"] = words.get(one["verdict"], one["verdict"])
    (judged / "verdicts.json").write_text(json.dumps(document), encoding="utf-8")

    assert condition_table(judged).count("control too") == 1


def test_a_control_without_a_value_does_not_pass(judged):
    with_control(judged, None)

    assert "control too" not in condition_table(judged)


def test_the_only_condition_of_a_claim_is_named_if_it_is_a_set(judged):
    document = json.loads((judged / "verdicts.json").read_text("utf-8"))
    document["results"][2]["cell"] = "subset"
    (judged / "verdicts.json").write_text(json.dumps(document), encoding="utf-8")

    assert "drop (fraction of tuning): 0.047 (subset) |" in short_table(judged)


def test_the_short_table_is_put_between_its_marks(judged, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# Title\n\n<!-- paper-256:short:begin -->\nold\n<!-- paper-256:short:end -->\n", encoding="utf-8")

    assert command("table", page, judged) == 0

    text = page.read_text("utf-8")
    assert short_table(judged) in text
    assert "old" not in text


def test_the_short_table_in_readme_is_that_of_its_report():
    root = Path(__file__).parents[2]
    text = (root / "README.md").read_text("utf-8")

    assert insert_verdicts(text, "paper-256:short", short_table(root / "reports" / "paper-256")) == text


def test_the_tables_of_results_are_those_of_their_reports():
    root = Path(__file__).parents[2]
    text = (root / "docs" / "results.md").read_text("utf-8")

    for name in ("paper-256", "smoke"):
        assert insert_verdicts(text, f"{name}:conditions", condition_table(root / "reports" / name)) == text


def test_a_condition_has_a_row_of_its_deciding_check(judged):
    assert condition_table(judged).splitlines()[2:] == [
        "| **emergence** |  |  |  |",
        "| validation | ✔ yes | rise: 0.25 | > 0.05 |",
        f"| subset-task | ✘ no | {LONG}: 0.4 | ≥ 0.8 |",
        "| **drops** |  |  |  |",
        "| a cell | ? open | drop (fraction of tuning): 0.047 | about 0.21 |",
        "| **models** | not run |  |  |",
    ]


@pytest.mark.parametrize("name", ["paper-256", "smoke"])
def test_a_row_of_a_table_has_at_most_100_characters(name):
    table = condition_table(Path(__file__).parents[2] / "reports" / name)

    assert max(map(len, table.splitlines())) <= 100


def test_both_tables_of_a_report_are_filled(judged, tmp_path):
    (judged / "verdicts.md").write_text("the whole table")
    marks = [f"<!-- paper-256{kind}:{end} -->" for kind in (":short", "") for end in ("begin", "end")]
    page = tmp_path / "page.md"
    page.write_text("\n".join(marks))

    assert command("table", page, judged) == 0

    assert short_table(judged) in page.read_text("utf-8")
    assert "the whole table" in page.read_text("utf-8")


def test_a_short_table_of_a_smoke_report_is_refused(judged, tmp_path):
    document = json.loads((judged / "verdicts.json").read_text("utf-8"))
    (judged / "verdicts.json").write_text(json.dumps({**document, "profile": "smoke"}), encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text("<!-- paper-256:short:begin -->\n<!-- paper-256:short:end -->")

    assert "a short table is only for the paper's scale" in command("table", page, judged)
