"""The command line that compares reports."""

import os
import subprocess
import sys

import pytest

from taskclust.compare import main
from tests.report.test_comparison import BASE, BETTER, write


@pytest.fixture
def folders(tmp_path):
    return [
        str(write(tmp_path / "base", BASE)),
        str(write(tmp_path / "better", BETTER, command="pytest " + "-k a " * 50)),
    ]


def test_changed_verdicts_come_first_then_checks_then_settings(folders, capsys):
    main(folders)

    text = capsys.readouterr().out
    places = [text.index(part) for part in ("verdicts that differ", "\nchecks\n", "settings that differ", "minus base")]
    assert text.startswith("better against base\n")
    assert places == sorted(places)
    assert text.count("-k") == 50  # a long command is wrapped, and whole
    assert max(map(len, text.splitlines())) < 150


def test_what_does_not_differ_is_said(folders, tmp_path, capsys):
    main([folders[0], str(write(tmp_path / "same", BASE))])

    assert "verdicts that differ\n\nnone\n" in capsys.readouterr().out


def test_every_report_is_compared_with_the_first_on_the_terminal_and_the_page(folders, tmp_path, capsys):
    third = str(write(tmp_path / "third", BASE))

    main([*folders, third, "--html", str(tmp_path / "page.html")])

    page, text = (tmp_path / "page.html").read_text(), capsys.readouterr().out
    for title in ("better against base", "third against base"):
        assert title in page
        assert title in text


@pytest.mark.parametrize("wrong", [["nowhere"], [], ["--html", "nowhere/page.html", "other"]])
def test_a_wrong_argument_is_one_line_and_prints_nothing_else(folders, capsys, wrong):
    with pytest.raises(SystemExit) as stopped:
        main([folders[0], *wrong])

    assert capsys.readouterr().out == ""
    assert isinstance(stopped.value.code, str)  # printed by Python, which then exits with 1
    assert "\n" not in stopped.value.code
    assert "=" in stopped.value.code


def test_a_foreign_page_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "thesis.html").write_text("years of work")

    with pytest.raises(SystemExit, match=r"^html='.*thesis.html': "):
        main(["nowhere", "nowhere else", "--html", str(tmp_path / "thesis.html")])

    assert (tmp_path / "thesis.html").read_text() == "years of work"
    assert capsys.readouterr().out == ""


def test_the_module_is_a_command():
    done = subprocess.run([sys.executable, "-m", "taskclust.compare"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "reports=[]: name the folders of two reports or more\n"


def test_a_reader_that_has_enough_is_no_error(folders, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "taskclust.compare", *folders, "--html", str(tmp_path / "page.html")]

    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)

    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "page.html").exists()
