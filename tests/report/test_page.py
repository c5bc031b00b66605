"""The report's folder is complete, self-contained, and agrees with the verdicts."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from taskclust.claims import judge
from taskclust.config import ConfigError
from taskclust.report import check_folder, verdict_rows, write_report
from taskclust.report.page import caption_of
from tests.experiments.alignment.test_statistics import table_2
from tests.experiments.paper_tables.test_statistics import counted
from tests.experiments.pretraining.test_statistics import tuned
from tests.language_records import language_record
from tests.records import dead_record, perfect_record, world
from tests.report.test_tables import CLAIMS, of_models, results, with_known

COUNTED = {"paper_tables": [counted(seed) for seed in range(5)]}
FILES = {
    "verdicts.md",
    "verdicts.csv",
    "verdicts.json",
    "checks.csv",
    "values.csv",
    "tables.md",
    "tables.tex",
    "figures",
    "index.html",
}
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


def write(folder, profile="paper", made=None, claims=CLAIMS, records=COUNTED, **changes):
    """Write a report; it has figures, which take most of the time, only if records are given."""
    settings = {"command": "pytest benchmarks", **changes}
    write_report(folder, profile, results(profile) if made is None else made, claims, records, **settings)
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
    """A report at each scale; only the one at paper scale has figures, which take time."""
    parent = tmp_path_factory.mktemp("reports")
    write(parent / "smoke", "smoke", overrides="--seeds=5")
    write(parent / "paper", "paper", records={**COUNTED, "synthetic": world(perfect_record)})
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


def test_a_report_has_exactly_its_files(folders):
    for folder in folders.values():
        assert {path.name for path in folder.iterdir()} == FILES
        assert {path.name for path in folder.parent.iterdir()} == set(folders)


def test_figures_are_in_the_folder_and_on_the_page(folders):
    drawn = list((folders["paper"] / "figures").iterdir())
    page = Page((folders["paper"] / "index.html").read_text())

    assert {path.name for path in drawn} == {f"{name}.png" for name in FIGURES}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    captions = {caption_of(name, {"synthetic": []}) for name in FIGURES}
    assert not captions & FIGURES, "every figure has a sentence of its own"
    assert {attributes["alt"] for tag, attributes in page.tags if tag == "img"} == captions
    assert all(page.texts.count(caption) == 1 for caption in captions)


def test_page_loads_nothing_from_elsewhere(page, profile):
    loading = {"script", "link", "iframe", "object", "embed", "base", "video", "audio", "source", "form"}
    sources = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "srcset")]

    assert not loading & {tag for tag, _ in page.tags}
    assert len(sources) == (len(FIGURES) if profile == "paper" else 0)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"url\(|@import", page.text)
    links = [attributes["href"] for _, attributes in page.tags if "href" in attributes]
    assert {link for link in links if not link.startswith("#")} == {"https://aclanthology.org/2025.findings-naacl.296/"}
    assert {link[1:] for link in links if link.startswith("#")} <= {attributes.get("id") for _, attributes in page.tags}
    assert not [attributes for _, attributes in page.tags if "style" in attributes]


def test_page_begins_with_counts_a_matrix_and_what_to_look_at_first(page, folder):
    verdicts = list(csv.DictReader((folder / "verdicts.csv").read_text().splitlines()))
    n_holding = sum(row["verdict"].startswith("✔") for row in verdicts)
    text = " ".join(page.text.split())

    assert f"of {len(verdicts)} conditions {n_holding} ✔ " in text
    assert text.index("verdict by condition") < text.index("Claims")
    for row in verdicts:
        assert f"{row['verdict']} {row['cell']}" in text.replace("  ", " ")


def test_page_is_small(folders):
    assert (folders["paper"] / "index.html").stat().st_size < 2_000_000


def test_failing_claims_are_what_to_look_at_first(tmp_path):
    made = results("paper", dead_record)
    failing = [result.claim for result in made if result.verdict == "not reproduced"]

    text = " ".join(write(tmp_path / "report", made=made).split())

    first = re.search(r"Look first at (.*?)</p>", text)[1]
    assert re.findall(r'href="#(.*?)"', first)[0] == failing[0]


def test_page_has_the_papers_sentences_and_names_the_page_of_what_it_leaves_open(page):
    for claim in CLAIMS.values():
        assert claim.sentence in page.text
        assert claim.place in page.text
    assert "taskclust silent-points" in page.text


def test_page_says_its_scale_and_the_settings_that_differ(page, profile):
    assert ("--seeds=5" in page.text) == (profile == "smoke")
    assert ("SMOKE scale" in page.text) == (profile == "smoke")
    assert ("Nothing here is a reproduction of the paper" in page.text) == (profile == "smoke")
    assert ("Paper scale." in page.text) == (profile == "paper")


def test_page_shows_the_provenance_and_the_tables(folders):
    text = Page((folders["paper"] / "index.html").read_text()).text

    for shown in ("a pocket calculator", "Table 3: sizes of the data set", "7275", "Table 8: parameters", "23734272"):
        assert shown in text


def test_verdicts_say_reproduced_only_at_paper_scale(folder, profile):
    words = [row["verdict"] for name in ("verdicts.csv", "checks.csv") for row in rows(folder / name)]
    cells = re.findall(r'<td class="verdict">(.*?)</td>', (folder / "index.html").read_text())
    written = (folder / "verdicts.md").read_text()

    assert any("✔" in word for word in words)
    assert any("✔" in cell for cell in cells)
    for texts in (words, cells, [written]):
        assert any(re.search(r"\breproduced\b", text) for text in texts) == (profile == "paper")


def test_the_formats_agree(folder, profile):
    made = results(profile)
    expected = {(row["claim"], row["cell"]): row["verdict"] for row in verdict_rows(made, CLAIMS)}
    plain = json.loads((folder / "verdicts.json").read_text())
    lines = [[part.strip() for part in line.split("|")] for line in (folder / "verdicts.md").read_text().splitlines()]

    assert {(row["claim"], row["cell"]): row["verdict"] for row in rows(folder / "verdicts.csv")} == expected
    assert {(x[1], x[2]): x[4] for x in lines if len(x) > 4 and x[1] in CLAIMS} == expected
    assert plain["results"] == [result.to_dict() for result in made]
    assert (plain["profile"], plain["command"]) == (profile, "pytest benchmarks")
    # counts are the same everywhere, so they have no provenance
    assert plain["provenance"] == (perfect_record(0).provenance if profile == "paper" else {})


def test_checks_and_values_come_back_as_the_unrounded_numbers(folder, profile):
    made = results(profile)
    checks = [(result, check) for result in made for check in result.checks]

    read, values = rows(folder / "checks.csv"), rows(folder / "values.csv")

    for column, name in (("mean", "mean"), ("low", "low"), ("high", "high"), ("control", "null_mean")):
        assert [float(row[column]) for row in read] == [getattr(check, name) for _, check in checks]
    assert [float(row["bound"]) for row in read] == [check.terms.bound for _, check in checks]
    assert [row["tolerance"] for row in read] == [
        "" if check.terms.tolerance is None else str(check.terms.tolerance) for _, check in checks
    ]
    assert [(row["claim"], row["cell"], row["check"], int(row["seed"]), float(row["value"])) for row in values] == [
        (result.claim, result.cell, check.name, seed, check.values[place])
        for result, check in checks
        for place, seed in enumerate(result.seeds)
    ]


def test_missing_numbers_are_empty_in_checks_and_values(tmp_path):
    claim = CLAIMS["knn-accuracy"]
    check = replace(claim.cells["validation"][0], statistic=lambda record: np.nan)
    result = judge(replace(claim, cells={"validation": [check]}), "validation", [perfect_record(0)], "paper")

    write(tmp_path / "report", made=[result], records={})

    (of_check,), (of_seed,) = (rows(tmp_path / "report" / name) for name in ("checks.csv", "values.csv"))
    assert [of_check[name] for name in ("mean", "low", "high", "tolerance")] == [""] * 4
    assert of_seed["value"] == ""


def test_tables_are_written_for_latex_too(folder):
    plain, latex = ((folder / f"tables.{kind}").read_text() for kind in ("md", "tex"))

    titles = re.findall(r"^## (.+)$", plain, re.MULTILINE)
    assert titles
    assert re.findall(r"^% (.+)$", latex, re.MULTILINE) == titles
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [len(titles)] * 3
    assert "7275" in latex


def test_records_of_several_machines_are_all_named(tmp_path):
    failed = tuned(none=[0.0, 0.5], failure="so that nothing is drawn")
    records = [replace(failed, provenance={"commit": "0123abc", "device": f"machine {n % 2}"}) for n in range(3)]

    page = write(tmp_path / "report", records={"pretraining": records})

    assert "<tr><th>commit</th><td>0123abc</td></tr><tr><th>device</th><td>machine 0; machine 1</td></tr>" in page


def test_report_without_records_has_no_figures_and_says_not_run(tmp_path):
    page = write(tmp_path / "report", made=[], records={})

    assert "<img" not in page
    assert page.count("not run") >= sum(len(c.cells) - len(c.paper_only) for c in CLAIMS.values() if not c.elsewhere)
    assert list((tmp_path / "report" / "figures").iterdir()) == []
    assert json.loads((tmp_path / "report" / "verdicts.json").read_text())["provenance"] == {}


def test_failed_seeds_are_not_drawn(tmp_path):
    failed = [replace(record, failure="loss is NaN") for record in world(perfect_record)]

    page = write(tmp_path / "report", records={"synthetic": failed})

    assert "<img" not in page


def shown_figures(page):
    """The figures' names in their order on the page."""
    return [attributes["title"] for tag, attributes in Page(page).tags if tag == "img"]


def test_report_on_applications_shows_figures_with_their_claims(tmp_path):
    records = {"pretraining": [tuned(none=[0.0, 0.5])], "alignment": [table_2()]}

    page = write(tmp_path / "report", made=[], records=records)

    assert shown_figures(page) == ["figure-5a-pretraining-clusters", "figure-5b-pretraining-speedup", "forgetting"]
    assert "Table 2: alignment" in page
    assert "Figure 5b in numbers" in page


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A report on two language models."""
    folder = tmp_path_factory.mktemp("models") / "llm"
    records = {"natural_language": [language_record(), language_record(name="b-model", model=(0.3, 0.7))]}
    write(folder, "llm", made=of_models(a_model=0.97, b_model=0.7), records=records)
    return folder


def test_report_on_language_models_has_verdicts_table_and_figures(models):
    verdicts = (models / "verdicts.md").read_text()

    assert "a-model: task" in verdicts
    assert "holds (this model)" in verdicts
    assert "not run" not in verdicts
    assert "LLaMa-13B (paper)" in (models / "tables.md").read_text()
    names = {f"language-{kind}-{model}" for kind in ("layers", "clusters") for model in ("a-model", "b-model")}
    assert {path.stem for path in (models / "figures").iterdir()} == names


def test_every_models_figures_follow_the_claim_in_pattern_order(models):
    assert shown_figures((models / "index.html").read_text()) == [
        "language-layers-a-model",
        "language-layers-b-model",
        "language-clusters-a-model",
        "language-clusters-b-model",
    ]


def test_figures_that_no_pattern_fits_are_in_the_folder_and_not_on_the_page(tmp_path):
    claim = replace(CLAIMS["open-llm-clusters"], figures=("language-clusters-*", "language-layers-b-model", "figure-*"))
    records = {"natural_language": [language_record(), language_record(name="b-model")]}

    page = write(tmp_path / "llm", "llm", made=of_models(a_model=0.97), claims={claim.id: claim}, records=records)

    assert shown_figures(page) == ["language-clusters-a-model", "language-clusters-b-model", "language-layers-b-model"]
    assert (tmp_path / "llm" / "figures" / "language-layers-a-model.png").exists()


def test_only_the_claims_given_are_on_the_page(tmp_path):
    claims = {name: CLAIMS[name] for name in ("knn-accuracy", "knn-percentage")}

    page = write(tmp_path / "report", claims=claims)

    assert re.findall(r'<h3 id="(.+?)">', page) == list(claims)


def test_smoke_page_says_what_is_asserted_and_why_it_has_the_power(folders):
    smoke, paper = (Page((folders[name] / "index.html").read_text()).text for name in ("smoke", "paper"))

    for claim in CLAIMS.values():
        said = f"Asserted at smoke scale: {claim.smoke_asserts}. Power: {claim.smoke_power}."
        assert said in smoke
    assert "At smoke scale asserted" not in paper


def test_report_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "report", "paper")
    (tmp_path / "report" / "figures" / "stale.png").write_text("old")

    write(tmp_path / "report", "smoke")

    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES
    assert list((tmp_path / "report" / "figures").iterdir()) == []
    assert json.loads((tmp_path / "report" / "verdicts.json").read_text())["profile"] == "smoke"


def test_other_files_in_the_reports_folder_are_kept(tmp_path):
    write(tmp_path / "report")
    (tmp_path / "report" / "notes.md").write_text("mine")
    record = tmp_path / "report" / "store" / "synthetic" / "key" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")

    write(tmp_path / "report", "smoke")

    assert (tmp_path / "report" / "notes.md").read_text() == "mine"
    assert record.read_text() == "{}"


def test_a_report_that_cannot_be_made_leaves_the_old_one(tmp_path):
    before = write(tmp_path / "report")

    with pytest.raises(KeyError):
        write(tmp_path / "report", "smoke", records={"synthetic": [replace(perfect_record(0), by_mapping={})]})

    assert (tmp_path / "report" / "index.html").read_text() == before


def test_leftovers_of_a_broken_run_are_not_in_the_next_report(tmp_path):
    (tmp_path / ".report-new").mkdir()
    (tmp_path / ".report-new" / "half").write_text("half")

    write(tmp_path / "report")

    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES


def test_a_known_failure_is_visible(tmp_path):
    claims = with_known("knn-accuracy", "paper-32", "validation")

    page = write(tmp_path / "report", made=results("paper", dead_record, "paper-32"), claims=claims)

    texts = [(tmp_path / "report" / f"verdicts.{kind}").read_text() for kind in ("md", "csv")]
    assert [text.count("not reproduced (known finding)") for text in (page, *texts)] == [
        2,
        1,
        1,
    ]  # the matrix has it, too
    assert "<td>too low</td><td>reports/paper</td>" in page


def test_a_known_failure_of_another_scale_is_not_listed(tmp_path):
    claims = with_known("knn-accuracy", "paper-32", "validation")

    page = write(tmp_path / "report", made=results("paper", dead_record, "paper-2048"), claims=claims)

    assert "<h2>Known failures</h2>" not in page
    assert "too low" not in page


@pytest.mark.parametrize("setting", ["command", "overrides"])
def test_text_is_escaped(tmp_path, setting):
    page = write(tmp_path / "report", **{setting: "<script>alert('x')</script> & \"more\""})

    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;more&#34;" in page


def test_provenance_and_checks_are_escaped(tmp_path):
    record = replace(tuned(none=[0.0, 0.5], failure="so that nothing is drawn"), provenance={"<b>": "<i>"})

    page = write(tmp_path / "report", records={"pretraining": [record]})

    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;" in page
    assert "&#34;over 0.9 at the late training stage&#34;" in page


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_a_folder_of_other_files_is_refused_and_unchanged(tmp_path, taken):
    other = tmp_path / "thesis" if taken == "folder" else tmp_path
    other.mkdir(exist_ok=True)
    (other / "chapter.tex").write_text("years of work")
    folder = other if taken == "folder" else other / "chapter.tex"

    with pytest.raises(ConfigError, match=r"^report=.*chapter.tex|^report=.*thesis.*choose a new folder"):
        check_folder(folder)

    assert (other / "chapter.tex").read_text() == "years of work"


def test_a_new_or_empty_folder_or_an_earlier_report_may_be_replaced(tmp_path):
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    (tmp_path / "verdicts.json").write_text("{}")
    check_folder(tmp_path)


@pytest.mark.parametrize("where", ["file/report", "loop/report", "n" * 300, "read-only/report"])
def test_a_folder_that_cannot_be_written_is_one_error_before_anything_is_run(tmp_path, monkeypatch, where):
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    if where.startswith("read-only"):
        monkeypatch.setattr("pathlib.Path.mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError("not yours")))

    with pytest.raises(ConfigError, match=r"^report='.*': cannot be written \(.+\); choose another folder$"):
        check_folder(tmp_path / where)
