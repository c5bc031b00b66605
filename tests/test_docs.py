"""README is short, and links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "own_claim" / "README.md"]


def broken_links(page, text):
    """Relative links of a page that lead nowhere; a report's page and the silent points' are made by a command."""
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", text)
    made = ("index.html", "silent-points.md")
    return [to for to in targets if not to.endswith(made) and not (page.parent / to).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert broken_links(page, page.read_text("utf-8")) == []


def test_a_planted_link_to_nowhere_is_found():
    assert broken_links(ROOT / "README.md", "[a](docs/rounding.md) [b](docs/nowhere.md#x) [c](https://x)") == [
        "docs/nowhere.md"
    ]


def test_readme_is_read_in_two_minutes():
    text = (ROOT / "README.md").read_text("utf-8")

    assert len(text.split()) < 750
    assert max(map(len, text.splitlines())) <= 122
    assert all(page.read_text("utf-8").startswith("# ") for page in PAGES)
