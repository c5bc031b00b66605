"""The command line that compares reports."""

import os
import re
import subprocess
import sys

import pytest

from tests.helpers import command
from tests.report.test_comparison import BASE, BETTER, write


@pytest.fixture
def folders(tmp_path):
    return [
        str(write(tmp_path / "base", BASE)),
        str(write(tmp_path / "better", BETTER, command="pytest " + "-k a " * 50)),
    ]


def test_changed_verdicts_come_first_then_checks_then_settings(folders, capsys):
    assert command("compare", *folders) == 0

    text = capsys.readouterr().out
    places = [text.index(part) for part in ("verdicts that differ", "\nchecks\n", "settings that differ", "minus base")]
    assert text.startswith("better against base\n")
    assert places == sorted(places)
    assert text.count("-k") == 50  # a long command is wrapped, and whole
    assert max(map(len, text.splitlines())) < 150


def test_reports_without_differences_say_so(folders, tmp_path, capsys):
    assert command("compare", folders[0], write(tmp_path / "same", BASE)) == 0

    assert "verdicts that differ\n\nnone\n" in capsys.readouterr().out


def test_every_report_is_compared_with_the_first_on_the_terminal_and_the_page(folders, tmp_path, capsys):
    third = str(write(tmp_path / "third", BASE))

    assert command("compare", *folders, third, "--html", tmp_path / "page.html") == 0

    page, text = (tmp_path / "page.html").read_text(), capsys.readouterr().out
    for title in ("better against base", "third against base"):
        assert title in page
        assert title in text


@pytest.mark.parametrize("wrong", [["nowhere"], [], ["--html", "nowhere/page.html", "other"]])
def test_a_wrong_argument_is_one_line_and_prints_nothing_else(folders, capsys, wrong):
    said = command("compare", folders[0], *wrong)

    assert capsys.readouterr().out == ""
    assert isinstance(said, str)  # printed by Python, which then exits with 1
    assert "\n" not in said
    assert "=" in said


def test_a_foreign_page_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "thesis.html").write_text("years of work")

    said = command("compare", "nowhere", "nowhere else", "--html", tmp_path / "thesis.html")

    assert re.match(r"^html='.*thesis.html': ", said)
    assert (tmp_path / "thesis.html").read_text() == "years of work"
    assert capsys.readouterr().out == ""


def test_a_closed_pipe_ends_it_silently(folders, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "taskclust.cli", "compare", *folders, "--html", str(tmp_path / "page.html")]

    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)

    os.close(writing)
    assert done.stderr == ""
    assert (tmp_path / "page.html").exists()
