"""The verdicts' place in a Markdown file."""

import pytest

from taskclust.report.readme import insert_verdicts, main

PAGE = "# Title\n\n<!-- verdicts:begin -->\nold\n<!-- verdicts:end -->\n\nafter\n"


def test_verdicts_stand_between_the_marks():
    page = insert_verdicts(PAGE, "| new |\n")

    assert page == "# Title\n\n<!-- verdicts:begin -->\n| new |\n<!-- verdicts:end -->\n\nafter\n"


def test_the_same_verdicts_twice_change_nothing():
    once = insert_verdicts(PAGE, "| new |")

    assert insert_verdicts(once, "| new |") == once


def test_the_old_verdicts_bring_the_old_page_back():
    assert insert_verdicts(insert_verdicts(PAGE, "new"), "old") == PAGE


def test_verdicts_are_taken_literally():
    text = r"\1 \g<0> $& \n"

    assert text in insert_verdicts(PAGE, text)


@pytest.mark.parametrize(
    "page",
    ["", "# Title\n", "<!-- verdicts:begin -->\n", "<!-- verdicts:end -->\n<!-- verdicts:begin -->\n"],
    ids=["empty", "none", "half", "swapped"],
)
def test_a_page_without_marks_is_refused_with_the_marks_to_add(page):
    with pytest.raises(ValueError, match=r"^page: no <!-- .*begin --> \.\.\. <!-- .*end --> in it; add the two lines"):
        insert_verdicts(page, "new")


def test_a_file_is_rewritten_from_a_reports_folder(tmp_path):
    readme, report = tmp_path / "README.md", tmp_path / "report"
    readme.write_text(PAGE)
    report.mkdir()
    (report / "verdicts.md").write_text("SMOKE scale\n\n| ✔ holds |\n")

    main(str(readme), str(report))

    assert readme.read_text() == PAGE.replace("old", "SMOKE scale\n\n| ✔ holds |")


def test_a_file_without_marks_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "verdicts.md").write_text("new")

    with pytest.raises(ValueError, match="no <!-- verdicts:begin -->"):
        main(str(tmp_path / "README.md"), str(tmp_path))

    assert (tmp_path / "README.md").read_text() == "mine"
