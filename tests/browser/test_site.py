"""A part of the site, built as `make site` builds the whole, and read in Chromium offline.

Two notebooks and two modules take a quarter of the time of all; links to what is left out are
left out too, so that warnings are errors here as there.
"""

import subprocess
import sys

import jupyterlab_driver as lab
import pytest

from docs.links import check

NAMES = ("01_batching", "02_shuffling")
PART = ("--only", "01", "02", "--reference", "dlkit", "dlkit.samplers")


def in_browser(test):
    for mark in lab.MARKS:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def site(tmp_path_factory, project):
    folder = tmp_path_factory.mktemp("site") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "docs.build", "--out", folder, *PART],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_notebook_has_its_page_its_slides_and_its_lesson_plan(site):
    for name in NAMES:
        for part in ("notebooks", "slides", "plans"):
            assert (site / part / f"{name}.html").is_file(), (part, name)
    for page in ("index", "glossary", "results", "search", "reference/dlkit.samplers"):
        assert (site / f"{page}.html").is_file(), page


def test_its_links_lead_somewhere_and_nothing_is_fetched_from_outside(site):
    report = check(site)
    assert report.problems == ()
    assert report.links > 500


def test_a_page_shows_code_outputs_pictures_and_formulas(site):
    page = (site / "notebooks" / "02_shuffling.html").read_text(encoding="utf-8")
    assert "RandomSampler" in page
    assert "sorted, it gives at most two:" in page
    assert page.count("<img") >= 4
    assert "<math" in page
    assert 'href="../glossary.html#term-' in page
    reference = (site / "reference" / "dlkit.samplers.html").read_text(encoding="utf-8")
    assert 'id="dlkit.samplers.DistributedSampler"' in reference


@pytest.fixture
def page(browser):
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.asked, page.said = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: message.type == "error" and page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    yield page
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "about:"))] == []
    assert page.said == []
    context.close()


@in_browser
@pytest.mark.parametrize(
    "path", ["index", "notebooks/01_batching", "glossary", "reference/dlkit", "results"]
)
def test_a_page_asks_for_nothing_and_fits_a_narrow_screen(site, page, path):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"file://{site}/{path}.html")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390


@in_browser
def test_search_finds_a_word_without_a_server(site, page):
    page.goto(f"file://{site}/search.html?q=head-of-line")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("document.body.innerText.includes('Search finished')")
    assert "Glossary" in page.inner_text("#search-results")


@in_browser
def test_slides_go_on_by_key_show_outputs_late_and_fit(site, page):
    page.set_viewport_size({"width": 1280, "height": 800})
    for name in NAMES:
        page.goto(f"file://{site}/slides/{name}.html")
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        too_large = page.evaluate(
            """() => [...document.querySelectorAll('.slides section:not(.stack)')].filter(slide => {
              Reveal.slide(...Object.values(Reveal.getIndices(slide)).slice(0, 2));
              return slide.scrollHeight > 700 || slide.scrollWidth > 1120;
            }).map(slide => slide.innerText.slice(0, 60))"""
        )
        assert too_large == [], name
    page.keyboard.press("Home")
    page.goto(f"file://{site}/slides/01_batching.html#/1/1")
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    output = page.locator("section.present section.present .output.fragment").first
    assert "visible" not in (output.get_attribute("class") or "")
    page.keyboard.press("Space")
    assert "visible" in (output.get_attribute("class") or "")
