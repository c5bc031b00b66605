"""The report's page in a browser: it fits a phone, has no error, and its clusters move; by ``tox run -e browser``."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from taskclust.report import write_report
from taskclust.runner import Runner
from taskclust.store import Store
from tests.experiments.small import CONFIG
from tests.report.test_tables import CLAIMS, results

playwright = pytest.importorskip("playwright.sync_api", reason="installed by tox run -e browser")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="installed by tox run -e browser")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report with scenes: the verdicts of made-up records, and a run of seconds."""
    record = Runner(Store(tmp_path_factory.mktemp("store"))).record("synthetic", CONFIG)
    folder = tmp_path_factory.mktemp("reports") / "paper"
    write_report(folder, "paper", results("paper"), CLAIMS, {"synthetic": [record]}, command="pytest benchmarks")
    return folder / "index.html"


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium, which playwright drives."""
    path = shutil.which("chromium")
    assert path, "install it: apt-get install chromium"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--enable-unsafe-swiftshader"])
        yield browser
        browser.close()


@pytest.fixture(params=[(400, 844), (800, 1000), (1400, 900)], ids=["phone", "tablet", "desk"])
def page(request, chromium, report):
    width, height = request.param
    opened = chromium.new_page(viewport={"width": width, "height": height})
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("request", lambda asked: opened.faults.append(asked.url) if asked.url.startswith("http") else None)
    opened.goto(report.as_uri())
    opened.wait_for_selector(".js-plotly-plot .slider-group")
    yield opened
    opened.close()


def test_the_page_has_no_errors_and_loads_nothing(page):
    assert page.faults == []


def test_it_fits_the_window(page):
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")

    assert wide <= window


def test_every_figure_has_a_text_and_every_link_leads_somewhere(page):
    assert page.evaluate("[...document.images].every(image => image.alt.length > 20)")
    assert page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].every(link => document.querySelector(link.hash))"
    )


def test_axe_finds_no_serious_fault(page):
    found = axe.Axe().run(page).response["violations"]

    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []


def test_hovering_over_a_point_shows_its_instance(page):
    told = page.evaluate(f"{SHOWN}._fullData[0].text[0]")

    assert "→" in told
    assert page.evaluate(f"{SHOWN}._fullData[0].hovertemplate") == "%{text}<extra></extra>"


SHOWN = "document.querySelector('.js-plotly-plot')"


def test_clusters_move_when_played(page):
    before = page.evaluate(f"Array.from({SHOWN}._fullData[0].x).slice(0, 5).join()")

    page.evaluate(f"Plotly.animate({SHOWN}, ['0'], {{mode: 'immediate', frame: {{duration: 0}}}})")
    page.wait_for_function(f"{SHOWN}.layout.title.text.startsWith('epoch 0:')")

    assert page.evaluate(f"Array.from({SHOWN}._fullData[0].x).slice(0, 5).join()") != before


def test_the_buttons_play_and_color(page):
    page.locator(".updatemenu-button", has_text="play").first.click()
    page.wait_for_function(f"!{SHOWN}.layout.title.text.startsWith('epoch {CONFIG.training.epochs}:')")
    colors = page.evaluate(f"{SHOWN}.data[0].marker.color.join()")
    page.locator(".updatemenu-header", has_text="color: task").first.click()
    page.locator(".updatemenu-dropdown-button", has_text="color: mapping").first.click()

    page.wait_for_function(f"{SHOWN}.data[0].marker.color.join() !== '{colors}'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots_are_kept(page, scheme, tmp_path):
    """Screenshots at three widths, for people to look at, in the folder that SCREENSHOTS names."""
    width = page.viewport_size["width"]
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.emulate_media(color_scheme=scheme)

    page.screenshot(path=folder / f"report-{width}-{scheme}.png", full_page=True)

    with Image.open(folder / f"report-{width}-{scheme}.png") as picture:
        assert picture.width == width
        assert picture.height > 3 * width
        assert len(picture.convert("RGB").resize((64, 64)).getcolors(5000)) > 100


def test_text_is_readable_in_dark_mode(chromium, report):
    page = chromium.new_page(color_scheme="dark")
    page.goto(report.as_uri())

    ink, paper = page.evaluate("['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name])")

    def light(color):
        return sum(int(part) for part in color[4:-1].split(",")) / 3

    assert light(paper) < 60
    assert light(ink) > 180
