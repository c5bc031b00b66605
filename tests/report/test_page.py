"""The report's folder: whole, self-contained, and true to the verdicts."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from taskclust.claims import CLAIMS, QUARANTINE
from taskclust.claims.quarantine import Finding
from taskclust.config import SPLITS, ConfigError
from taskclust.report import check_folder, verdict_rows, write_report
from taskclust.report.figures import figures
from taskclust.silent_points import SILENT_POINTS
from tests.claims.records import dead_record, perfect_record, world
from tests.report.test_tables import results

SIZES = [{"sizes": {"train": 7_275, "subset": 180, "validation": 315}}] * 5
COUNTS = {"counts": {"32": 55_168, "256": 3_193_856, "768": 23_734_272, "2048": 201_711_616}}
FILES = {"verdicts.md", "verdicts.csv", "verdicts.json", "checks.csv", "tables.md", "figures", "index.html"}
FIGURES = {
    "merging",
    "by-mapping",
    "clusters-forming",
    "figure-2-f1",
    "figure-6-all-metrics",
    "figure-3-learning",
    "figure-4-neighbors",
    "components",
}


def write(folder, profile="paper", made=None, scores=(), **changes):
    """A report without figures unless there are scores: they take most of the time."""
    settings = {"datasets": SIZES, "parameters": COUNTS, "command": "pytest benchmarks", **changes}
    write_report(folder, profile, results(profile) if made is None else made, scores=scores, **settings)
    return (folder / "index.html").read_text()


class Page(HTMLParser):
    """Tags with their attributes, and the text without them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A report of each scale; the one at paper scale with figures, which take their time."""
    parent = tmp_path_factory.mktemp("reports")
    write(parent / "smoke", "smoke", overrides="--seeds=5")
    write(parent / "paper", "paper", scores=world(perfect_record))
    return {profile: parent / profile for profile in ("smoke", "paper")}


@pytest.fixture(scope="module", params=["smoke", "paper"])
def profile(request):
    return request.param


@pytest.fixture
def folder(folders, profile):
    return folders[profile]


@pytest.fixture
def page(folder):
    return Page((folder / "index.html").read_text())


def test_report_is_all_there_and_alone(folders):
    for folder in folders.values():
        assert {path.name for path in folder.iterdir()} == FILES
        assert {path.name for path in folder.parent.iterdir()} == set(folders)


def test_figures_stand_in_the_folder_and_on_the_page(folders):
    drawn = list((folders["paper"] / "figures").iterdir())
    page = Page((folders["paper"] / "index.html").read_text())

    assert {path.name for path in drawn} == {f"{name}.png" for name in FIGURES}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert {attributes["alt"] for tag, attributes in page.tags if tag == "img"} == FIGURES


def test_page_loads_nothing_from_elsewhere(page, profile):
    loading = {"script", "link", "iframe", "object", "embed", "base", "video", "audio", "source", "form"}
    sources = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "srcset")]

    assert not loading & {tag for tag, _ in page.tags}
    assert len(sources) == (len(FIGURES) if profile == "paper" else 0)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"url\(|@import", page.text)
    assert not [attributes for _, attributes in page.tags if "href" in attributes or "style" in attributes]


def test_page_is_small(folders):
    assert (folders["paper"] / "index.html").stat().st_size < 2_000_000


def test_page_has_the_papers_sentences_and_what_it_leaves_open(page):
    for claim in CLAIMS.values():
        assert claim.sentence in page.text
        assert claim.where in page.text
    for point in SILENT_POINTS:
        assert point.name in page.text


def test_page_says_its_scale_and_the_settings_that_differ(page, profile):
    assert ("--seeds=5" in page.text) == (profile == "smoke")
    assert ("SMOKE scale" in page.text) == (profile == "smoke")
    assert ("Nothing here is a reproduction of the paper" in page.text) == (profile == "smoke")
    assert ("Paper scale." in page.text) == (profile == "paper")


def test_page_shows_the_provenance_and_the_tables(folders):
    text = Page((folders["paper"] / "index.html").read_text()).text

    for shown in ("a pocket calculator", "Table 3: sizes of the data set", "7275", "Table 8: parameters", "23734272"):
        assert shown in text


def test_verdicts_say_reproduced_at_paper_scale_alone(folder, profile):
    words = [row["verdict"] for name in ("verdicts.csv", "checks.csv") for row in rows(folder / name)]
    cells = re.findall(r'<td class="verdict">(.*?)</td>', (folder / "index.html").read_text())
    written = (folder / "verdicts.md").read_text()

    assert any("✔" in word for word in words)
    assert any("✔" in cell for cell in cells)
    for texts in (words, cells, [written]):
        assert any(re.search(r"\breproduced\b", text) for text in texts) == (profile == "paper")


def test_the_formats_agree(folder, profile):
    made = results(profile)
    expected = {(row["claim"], row["cell"]): row["verdict"] for row in verdict_rows(made)}
    plain = json.loads((folder / "verdicts.json").read_text())
    lines = [[part.strip() for part in line.split("|")] for line in (folder / "verdicts.md").read_text().splitlines()]

    assert {(row["claim"], row["cell"]): row["verdict"] for row in rows(folder / "verdicts.csv")} == expected
    assert {(x[1], x[2]): x[4] for x in lines if len(x) > 4 and x[1] in CLAIMS} == expected
    assert plain["results"] == [result.to_dict() for result in made]
    assert (plain["profile"], plain["command"]) == (profile, "pytest benchmarks")
    assert plain["provenance"] == (perfect_record(0)["provenance"] if profile == "paper" else {})


def test_records_of_several_machines_are_all_named(tmp_path):
    records = [
        {**perfect_record(n), "provenance": {"commit": "0123abc", "device": f"machine {n % 2}"}} for n in range(3)
    ]

    page = write(tmp_path / "report", scores=records)

    assert "<tr><th>commit</th><td>0123abc</td></tr><tr><th>device</th><td>machine 0; machine 1</td></tr>" in page


def test_report_without_records_has_no_figures_and_says_not_run(tmp_path):
    page = write(tmp_path / "report", made=[], datasets=[], parameters=None)

    assert "<img" not in page
    assert page.count("not run") >= sum(len(c.cells) - len(c.paper_only) for c in CLAIMS.values())
    assert list((tmp_path / "report" / "figures").iterdir()) == []


def test_failed_seeds_are_not_drawn(tmp_path):
    failed = [{**record, "failure": "loss is NaN"} for record in world(perfect_record)]

    page = write(tmp_path / "report", scores=failed)

    assert "<img" not in page


def test_report_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "report", "paper")
    (tmp_path / "report" / "figures" / "stale.png").write_text("old")

    write(tmp_path / "report", "smoke")

    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES
    assert list((tmp_path / "report" / "figures").iterdir()) == []
    assert json.loads((tmp_path / "report" / "verdicts.json").read_text())["profile"] == "smoke"


def test_a_report_that_cannot_be_made_leaves_the_old_one(tmp_path):
    before = write(tmp_path / "report")

    with pytest.raises(KeyError):
        write(tmp_path / "report", "smoke", scores=[{"failure": None, "provenance": {}}])

    assert (tmp_path / "report" / "index.html").read_text() == before


def test_what_a_broken_run_left_behind_is_no_part_of_the_next_report(tmp_path):
    (tmp_path / ".report-new").mkdir()
    (tmp_path / ".report-new" / "half").write_text("half")

    write(tmp_path / "report")

    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES


def test_a_quarantined_finding_is_visible(tmp_path, monkeypatch):
    monkeypatch.setitem(QUARANTINE, ("paper-32", "knn-accuracy", "validation"), Finding("too low", "reports/paper"))

    page = write(tmp_path / "report", made=results("paper", dead_record, "paper-32"))

    for text in (page, *((tmp_path / "report" / f"verdicts.{kind}").read_text() for kind in ("md", "csv"))):
        assert text.count("not reproduced (known finding)") == 1
    assert "<td>too low</td><td>reports/paper</td>" in page


@pytest.mark.parametrize("setting", ["command", "overrides"])
def test_text_is_escaped(tmp_path, setting):
    page = write(tmp_path / "report", **{setting: "<script>alert('x')</script> & \"more\""})

    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;more&#34;" in page


def test_provenance_and_checks_are_escaped(tmp_path):
    record = {**perfect_record(0), "failure": "diverged", "provenance": {"<b>": "<i>"}}
    made = results("paper")

    page = write(tmp_path / "report", made=made, scores=[record])

    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;" in page
    assert "&#34;over 0.9 at the late training stage&#34;" in page


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path, taken):
    other = tmp_path / "thesis" if taken == "folder" else tmp_path
    other.mkdir(exist_ok=True)
    (other / "chapter.tex").write_text("years of work")
    folder = other if taken == "folder" else other / "chapter.tex"

    with pytest.raises(ConfigError, match=r"^report=.*chapter.tex|^report=.*thesis.*name a new folder"):
        check_folder(folder)

    assert (other / "chapter.tex").read_text() == "years of work"


def test_a_new_or_empty_folder_or_an_earlier_report_may_be_replaced(tmp_path):
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    (tmp_path / "verdicts.json").write_text("{}")
    check_folder(tmp_path)


def test_components_are_drawn_of_the_splits_that_every_record_has():
    records = world(perfect_record)
    del records[1]["components"]["subset"]

    drawn = figures(records)["components"]

    assert [axis.get_title() for axis in drawn.axes] == ["Top layer, validation set"]


def test_codes_taken_out_are_drawn_where_every_record_has_them():
    records = world(perfect_record)
    for seed, record in enumerate(records):
        curves = {"nothing": 0.3, "input": 0.6 + 0.1 * seed}
        record["f1_without"] = {
            split: {name: [f1] * len(record["epochs"]["raw"]) for name, f1 in curves.items()} for split in SPLITS
        }

    axis = figures(records)["codes-taken-out"].axes[0]

    assert [line.get_label() for line in axis.lines] == ["as it is", "without input"]
    assert axis.lines[1].get_ydata()[-1] == pytest.approx(np.mean([0.6 + 0.1 * seed for seed in range(len(records))]))
    del records[0]["f1_without"]
    assert "codes-taken-out" not in figures(records)
