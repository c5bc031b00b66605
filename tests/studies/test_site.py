"""The site's generated pages; tox's environment "docs" tests that they build without a warning."""

from pathlib import Path

import pytest

import taskclust
from studies import site
from studies.site import claim_page, command_line, in_site, linked_files, place_of, reference
from taskclust.claims import load_claims

ROOT = Path(__file__).parents[2]
CLAIMS = load_claims(ROOT / "benchmarks")


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claims_page_has_its_sentence_file_and_checks(name):
    claim = CLAIMS[name]

    page = claim_page(claim, ROOT)

    assert page.startswith(f"# {name}\n\n> {claim.sentence}\n")
    file = f"test_{name.replace('-', '_')}.py"
    assert f"({'../../benchmarks/' + file})" in page
    assert (ROOT / "benchmarks" / file).is_file()
    checks = [check for cell in claim.cells.values() for check in cell]
    assert all(check.name.replace("|", "\\|").replace("<", "&lt;") in page for check in checks)


def test_a_claims_page_shows_the_reports_verdicts_numbers_and_figures():
    page = claim_page(CLAIMS["cluster-emergence"], ROOT)

    row = next(line for line in page.splitlines() if "late f1 " in line and "validation" in line)
    cells = [cell.strip() for cell in row.strip("| ").split("|")]
    assert cells == [
        "validation", "late f1", "0.335 [0.277, 0.393]", "5", "≥ 0.8", "0.412 (untrained model)", "ours",
        "not reproduced",
    ]  # fmt: skip
    assert "[paper-256](../../reports/paper-256/verdicts.md)" in page
    assert "✘ not reproduced (known finding)" in page
    assert "## Known failures" in page
    assert "../../reports/paper-256/figures/clusters-forming.png" in page
    assert "smoke/figures" not in page


def test_a_claim_that_was_not_run_says_so(tmp_path):
    (tmp_path / "reports").mkdir()

    assert "It has not been run." in claim_page(CLAIMS["knn-accuracy"], tmp_path)


@pytest.mark.parametrize(
    ("uri", "link", "expected"),
    [
        ("index.md", "docs/findings.md", "findings.md"),
        ("index.md", "docs/findings.md#a", "findings.md#a"),
        ("index.md", "benchmarks", "files/benchmarks.md"),
        ("findings.md", "evidence.md#it", "evidence.md#it"),
        ("findings.md", "../reports/a/figures/b.png", "files/reports/a/figures/b.png"),
        ("findings.md", "../reports/a/verdicts.md", "files/reports/a/verdicts.md"),
        ("findings.md", "../taskclust/silent_points.toml", "files/taskclust/silent_points.toml.md"),
        ("claims/a.md", "../../benchmarks/test_a.py", "../files/benchmarks/test_a.py.md"),
        ("claims/a.md", "../verdicts.md", "../verdicts.md"),
        ("files/examples/own_claim/README.md", "conftest.py", "conftest.py.md"),
        ("findings.md", "https://a.example/b", "https://a.example/b"),
        ("findings.md", "#here", "#here"),
    ],
)
def test_a_link_leads_to_its_page_in_the_site(uri, link, expected):
    assert in_site(f"[a]({link}) and ![b]({link})", uri) == f"[a]({expected}) and ![b]({expected})"


def test_linked_files_are_shown_and_followed_and_what_is_in_docs_is_not(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("x = 1  # [not](a.link)\n")
    (tmp_path / "code" / "data.xz").write_bytes(b"\xff")
    (tmp_path / "other.md").write_text("[a](code/a.py)\n")
    (tmp_path / "figure.png").write_bytes(b"png")
    pages = {"page.md": "[code](../code) ![figure](../figure.png) [other](../other.md) [b](b.md) [none](../none.md)"}

    files = linked_files(pages, tmp_path)

    assert set(files) == {"files/code.md", "files/code/a.py.md", "files/figure.png", "files/other.md"}
    assert files["files/figure.png"] == b"png"
    assert files["files/code.md"].startswith("# code/\n\n- [a.py](code/a.py)\n- data.xz\n")
    code = files["files/code/a.py.md"]
    assert "python\nx = 1  # [not](a.link)\n" in code
    assert in_site(code, "files/code/a.py.md") == code
    assert files["files/other.md"].startswith("# other.md\n\n")


def test_a_page_has_the_path_that_its_links_are_relative_to():
    assert [place_of(uri) for uri in ("index.md", "claims/a.md", "files/a/b.md")] == [
        "README.md", "docs/claims/a.md", "a/b.md",
    ]  # fmt: skip


def test_the_reference_has_every_public_name():
    page = reference()

    assert page.count("\n::: taskclust.") == len(taskclust.__all__)
    assert "::: taskclust.config.ModelConfig\n" in page
    assert "::: taskclust.experiments.synthetic.statistics\n" in page


def test_the_command_line_has_every_command_and_pytests_options():
    page = command_line()

    for name in ("taskclust", "taskclust probe", "taskclust silent-points", "taskclust records load"):
        assert f"\n## {name}\n" in page
    assert "--dry-run" in page
    assert page.rstrip().endswith("```")


def test_a_stale_number_fails_the_build():
    pytest.importorskip("mkdocs")

    class Page:
        class file:  # noqa: N801 - as MkDocs has it
            src_uri = "findings.md"

    text = "It is <!--=paper-256: f1-->0.99<!--=--> or <!--=paper-256: nothing-->1<!--=-->."
    with pytest.raises(Exception, match=r"'0\.99' is '0\.33' today") as stopped:
        site.on_page_markdown(text, Page, None, None)

    assert type(stopped.value).__name__ == "PluginError"
    assert "numbers.toml has no 'nothing'" in str(stopped.value)
    assert site.on_page_markdown("It is <!--=paper-256: f1-->0.33<!--=-->.", Page, None, None) == "It is 0.33."
