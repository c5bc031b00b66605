"""The verdicts' places in a Markdown file."""

import pytest

from taskclust.report.readme import insert_verdicts, main

PAGE = "# Title\n\n<!-- smoke:begin -->\nold\n<!-- smoke:end -->\n\n<!-- paper-256:begin --><!-- paper-256:end -->\n"


def test_verdicts_stand_between_the_marks_of_their_name():
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

    main(str(readme), *reports)

    expected = insert_verdicts(PAGE, "smoke", "smoke scale\n\n| ✔ holds |")
    assert readme.read_text() == insert_verdicts(expected, "paper-256", "paper-256 scale\n\n| ✔ holds |")


def test_a_file_without_marks_is_left_alone(tmp_path, reports):
    (tmp_path / "README.md").write_text("mine")

    with pytest.raises(ValueError, match="no <!-- smoke:begin -->"):
        main(str(tmp_path / "README.md"), *reports)

    assert (tmp_path / "README.md").read_text() == "mine"
