"""Comparisons of reports show what differs, by how much, and on which seeds."""

import json
import re
import shutil
import statistics
from dataclasses import replace

import pytest

from taskclust.claims import AtLeast, judge
from taskclust.claims.criteria import interval
from taskclust.config import ConfigError
from taskclust.formats import number
from taskclust.report import write_report
from taskclust.report.comparison import _difference, check_page, compare, write_page
from tests.records import SEEDS, perfect_record
from tests.report.test_page import Page
from tests.report.test_saved import COMMITTED
from tests.report.test_tables import CLAIMS

JUDGED = CLAIMS["knn-accuracy"]
BASE = {seed: 0.5 + seed / 100 for seed in SEEDS}
#: Seeds in another order; every seed gains 0.25 + seed / 50.
BETTER = {seed: BASE[seed] + 0.25 + seed / 50 for seed in reversed(SEEDS)}


def write(folder, values, *, bound=0.7, cells=("validation",), **settings):
    """A report of one check whose statistic has these values by seed in each condition."""
    late = replace(JUDGED.cells["validation"][1], statistic=lambda r: values[r.config.seed], paper=AtLeast(bound))
    claim = replace(JUDGED, cells={cell: [late] for cell in cells})
    made = [judge(claim, cell, [perfect_record(seed) for seed in values], "paper") for cell in cells]
    write_report(folder, "paper", made, {claim.id: claim}, {}, **{"command": "pytest benchmarks", **settings})
    return folder


@pytest.fixture
def folders(tmp_path):
    return [write(tmp_path / "base", BASE), write(tmp_path / "better", BETTER)]


def test_a_changed_verdict_is_shown_for_the_condition_and_its_check(folders):
    (comparison,) = compare(folders)

    about = {"claim": "knn-accuracy", "cell": "validation", "base": "not reproduced", "better": "reproduced"}
    assert comparison.verdicts == [{**about, "check": "all"}, {**about, "check": "late level"}]
    assert list(comparison.tables) == ["verdicts that differ", "checks", "settings that differ"]


def test_a_small_p_value_is_not_zero():
    first = {seed: 0.1 + seed / 1000 for seed in range(12)}

    assert _difference(first, {seed: value + 0.5 for seed, value in first.items()})[1] == "< 0.001"
    assert _difference(first, first)[1] == "1"


def test_the_difference_is_paired_by_seed(folders):
    (comparison,) = compare(folders)

    (row,) = comparison.checks
    changes = [0.25 + seed / 50 for seed in SEEDS]
    low, high = interval(changes)
    assert row["difference"] == f"{number(statistics.fmean(changes))} [{number(low)}, {number(high)}]"
    assert row["p"] == "0.062"
    assert row["base"].startswith("0.52 [")
    assert row["better"].startswith("0.81 [")


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [(BASE, {0: 1.0, 7: 2.0}, "0.98 (unpaired)"), ({3: 0.5}, {3: 0.75}, "0.25 (one seed)")],
    ids=["other seeds", "one seed"],
)
def test_unpaired_seeds_have_no_interval_and_no_p_value(tmp_path, first, second, text):
    (comparison,) = compare([write(tmp_path / "base", first), write(tmp_path / "better", second)])

    (row,) = comparison.checks
    assert (row["difference"], row["p"]) == (text, "–")


def test_a_condition_of_one_report_is_listed_after_the_changed_ones(tmp_path):
    folders = [write(tmp_path / "base", BASE, cells=("a", "b")), write(tmp_path / "better", BETTER, cells=("b", "c"))]

    (comparison,) = compare(folders)

    assert [(row["cell"], row["check"], row["base"], row["better"]) for row in comparison.verdicts] == [
        ("b", "all", "not reproduced", "reproduced"),
        ("b", "late level", "not reproduced", "reproduced"),
        ("a", "all", "not reproduced", "not run"),
        ("c", "all", "not run", "reproduced"),
    ]
    assert [row["cell"] for row in comparison.checks] == ["b"]


def test_a_check_of_one_report_has_no_difference(folders):
    file = folders[1] / "verdicts.json"
    file.write_text(file.read_text().replace('"late level"', '"later level"'))

    (comparison,) = compare(folders)

    assert [(row["check"], row["difference"], row["p"]) for row in comparison.checks] == [
        ("late level", "–", "–"),
        ("later level", "–", "–"),
    ]
    assert [(row["base"] == "–", row["better"] == "–") for row in comparison.checks] == [(False, True), (True, False)]


def test_settings_are_shown_where_they_differ(tmp_path):
    folders = [
        write(tmp_path / "base", BASE, command="pytest"),
        write(tmp_path / "better", {0: 1.0, 1: 1.0}, bound=0.75, command="pytest --seeds 2"),
    ]
    for folder, provenance in zip(
        folders, ({"torch": "2", "threads": 1}, {"torch": "3", "threads": 1, "x": None}), strict=True
    ):
        document = json.loads((folder / "verdicts.json").read_text())
        (folder / "verdicts.json").write_text(json.dumps({**document, "provenance": provenance}))

    (comparison,) = compare(folders)

    assert {row["setting"]: (row["base"], row["better"]) for row in comparison.settings} == {
        "seeds": ("0, 1, 2, 3, 4", "0, 1"),
        "command": ("pytest", "pytest --seeds 2"),
        "torch": ("2", "3"),
        "x": ("–", "None"),
        "criterion of knn-accuracy, validation: late level": ("≥ 0.7", "≥ 0.75"),
    }


def test_a_report_does_not_differ_from_its_copy(folders, tmp_path):
    shutil.copytree(folders[0], tmp_path / "copy")

    (comparison,) = compare([folders[0], tmp_path / "copy"])

    assert (comparison.verdicts, comparison.settings) == ([], [])
    assert [(row["difference"], row["p"]) for row in comparison.checks] == [("0", "1")]


def test_more_than_two_reports_are_each_compared_with_the_first(folders, tmp_path):
    third = write(tmp_path / "third", dict.fromkeys(SEEDS, 0.25))

    found = compare([*folders, third])

    assert [comparison.title for comparison in found] == ["better against base", "third against base"]
    assert [comparison.checks[0]["difference"].split(" ")[0] for comparison in found] == ["0.29", "-0.27"]


@pytest.mark.parametrize("names", [("a/report", "b/report"), ("a/check", "b/report")], ids=["same", "a column's"])
def test_ambiguous_names_are_replaced_by_paths(tmp_path, names):
    folders = [write(tmp_path / name, BASE) for name in names]

    (comparison,) = compare(folders)

    assert [comparison.first, comparison.second] == [str(folder) for folder in folders]
    assert list(comparison.checks[0])[:5] == ["claim", "cell", "check", *map(str, folders)]


@pytest.mark.parametrize("other", COMMITTED, ids=lambda path: path.name)
def test_committed_reports_can_be_compared(other):
    first = next(folder for folder in COMMITTED if folder.name == "paper-256")
    if other == first:
        other = next(folder for folder in COMMITTED if folder.name == "smoke")

    (comparison,) = compare([first, other])

    assert comparison.settings
    assert bool(comparison.checks) == (other.name != "llm")  # no claim is about both


def test_fewer_than_two_reports_or_one_twice_are_refused(folders):
    with pytest.raises(ConfigError, match=r"^reports=\[\]: name the folders of two reports or more$"):
        compare([])
    with pytest.raises(ConfigError, match=r"^reports=\['.*base'\]: name the folders of two reports or more$"):
        compare(folders[:1])
    with pytest.raises(ConfigError, match=r"^report='.*': it is given twice; name each report once$"):
        compare([*folders, folders[0] / ".." / "base"])


# --- the page


def test_the_page_holds_every_table_and_loads_nothing(folders, tmp_path):
    write_page(tmp_path / "page.html", compare(folders))

    page = Page((tmp_path / "page.html").read_text())
    for shown in ("better against base", "verdicts that differ", "not reproduced", "late level", "0.062", "None."):
        assert shown in page.text
    assert "never below 0.0625" in page.text
    assert not {"script", "link", "iframe", "object", "embed", "base", "img", "a"} & {tag for tag, _ in page.tags}
    assert not [attributes for _, attributes in page.tags if {"src", "href", "style"} & attributes.keys()]
    assert not re.search(r"url\(|@import", page.text)


def test_the_page_is_escaped(folders, tmp_path):
    folder = write(tmp_path / "other", BASE, command="<script>alert('x')</script> & more")

    write_page(tmp_path / "page.html", compare([folders[0], folder]))

    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; more" in text


def test_an_own_page_is_replaced(folders, tmp_path):
    file = tmp_path / "page.html"
    write_page(file, compare(folders))

    write_page(file, compare(folders[::-1]))

    assert "base against better" in file.read_text()
    assert "better against base" not in file.read_text()


@pytest.mark.parametrize(
    "content", ["", "my thesis", "<!doctype html>\n" + "x" * 100 + "<!-- made by taskclust.compare -->"]
)
def test_another_file_than_our_page_is_refused_and_unchanged(folders, tmp_path, content):
    file = tmp_path / "page.html"
    file.write_text(content)

    for refuse in (lambda: check_page(file), lambda: write_page(file, compare(folders))):
        with pytest.raises(ConfigError, match=r"^html='.*page.html': it is not a page of comparisons"):
            refuse()

    assert file.read_text() == content


@pytest.mark.parametrize(
    ("where", "fault"),
    [("no/page.html", "its folder does not exist"), (".", "it is not a page"), ("n" * 300, "it cannot be read")],
    ids=["no folder", "a folder", "a name too long"],
)
def test_a_page_that_cannot_be_written_is_one_line(tmp_path, where, fault):
    with pytest.raises(ConfigError, match=rf"^html='[^\n]*': {fault}[^\n]*$"):
        check_page(tmp_path / where)


def test_a_page_whose_writing_fails_is_one_line(folders, tmp_path, monkeypatch):
    found = compare(folders)
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))

    with pytest.raises(ConfigError, match=r"^html='[^\n]*': it cannot be written \([^\n]*full[^\n]*$"):
        write_page(tmp_path / "page.html", found)
