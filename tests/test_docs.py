"""The site's parts: lesson plans, glossary, slides and the check of links, each by itself."""

import re

import nbformat
import pytest

from dlkit.cli import COMMANDS
from dlkit.plots.style import STAGE_COLOURS
from dlkit.trace import STAGES
from docs import links, reference, slides, stage, terms
from docs.notebook_page import minutes_of, notebook_page
from docs.still import HINT, still

NOTEBOOKS = stage.notebooks()
PLANS = stage.DOCS / "pages" / "plans"
GLOSSARY = (stage.DOCS / "pages" / "glossary.md").read_text(encoding="utf-8")
PLAN_HEADINGS = [
    "Aims", "Minutes", "Misconceptions", "Discussion questions", "Where learners get stuck",
]  # fmt: skip


@pytest.fixture(params=NOTEBOOKS)
def name(request):
    return request.param


def parts_of_plan(name):
    text = (PLANS / f"{name}.md").read_text(encoding="utf-8")
    title, *parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)[1:]
    return title, dict(zip(parts[1::2], parts[2::2], strict=True))


def headings_of(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def test_every_notebook_has_a_lesson_plan_and_every_plan_a_notebook():
    assert {path.stem for path in PLANS.glob("[0-9]*.md")} == NOTEBOOKS.keys()


def test_a_lesson_plan_says_everything_that_a_teacher_needs(name):
    title, parts = parts_of_plan(name)
    assert title.endswith(": lesson plan")
    assert title.startswith(NOTEBOOKS[name].cells[0].source.partition("\n")[0].removeprefix("# "))
    assert list(parts) == PLAN_HEADINGS
    for heading in ("Aims", "Misconceptions", "Where learners get stuck"):
        assert len(re.findall(r"^- ", parts[heading], re.MULTILINE)) >= 3, heading
    assert len(re.findall(r"^\d\. .*", parts["Discussion questions"], re.MULTILINE)) >= 3


def test_the_minutes_of_a_lesson_plan_are_those_of_the_notebook_section_by_section(name):
    _, parts = parts_of_plan(name)
    rows = re.findall(r"^\| (\d+) \| (.+?) \| .{10,} \|$", parts["Minutes"], re.MULTILINE)
    assert sum(int(minutes) for minutes, _ in rows) == minutes_of(NOTEBOOKS[name])
    planned, there = [section for _, section in rows], headings_of(NOTEBOOKS[name])
    assert planned == [section for section in there if section in planned]
    # What a lesson leaves out is what is read at home.
    assert set(there) - set(planned) <= {"Recap", "Check yourself", "Read on"}


def test_the_glossary_explains_every_stage_first_and_other_words_in_their_order():
    explained = terms.terms_of(GLOSSARY)
    assert tuple(explained[: len(STAGES)]) == STAGES
    others = explained[len(STAGES) :]
    assert others == sorted(others, key=lambda word: word.lower().replace("-", " "))
    assert len(set(explained)) == len(explained)


def test_a_stage_has_the_colour_that_plots_give_it():
    style = terms.stage_styles()
    rules = dict(re.findall(r'#term-(\w+)::before { content: ""; background: (\S+); }', style))
    assert rules == STAGE_COLOURS


def test_notebooks_link_to_the_words_that_they_use():
    explained = terms.terms_of(GLOSSARY)
    linked = {}
    for name, notebook in NOTEBOOKS.items():
        page = notebook_page(name, notebook, explained)
        text = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
        linked[name] = re.findall(r"\{term\}`[^`]*?([\w' -]+)>?`", text)
    assert set(STAGES) <= set(linked["00_start_here"])
    assert all(len(set(words)) == len(words) for words in linked.values()), "once on each page"
    assert sum(map(bool, linked.values())) > len(NOTEBOOKS) / 2


def test_a_page_keeps_everything_that_a_notebook_shows_and_needs_no_kernel(name):
    page = notebook_page(name, NOTEBOOKS[name], [])
    assert "widgets" not in page.metadata
    before = [o for c in NOTEBOOKS[name].cells if c.cell_type == "code" for o in c.outputs]
    after = [o for c in page.cells if c.cell_type == "code" for o in c.outputs]
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        if any("widget-view" in kind for kind in old.get("data", {})):
            assert list(new.data) == ["text/html"]
            assert HINT in new.data["text/html"]
            drawn = "image/png" in old.data
            assert ("data:image/png;base64," in new.data["text/html"]) >= drawn
        else:
            assert new.get("data") == old.get("data")
    assert not any("NBVAL" in cell.source for cell in page.cells)


def pictures(cells):
    outputs = [output for cell in cells for output in cell.outputs]
    return sum("image/png" in str(output.get("data", {})) for output in outputs)


def test_a_widget_that_has_drawn_nothing_yet_shows_no_broken_picture():
    value = {"path": ["value"], "data": ""}
    picture = {"model_name": "ImageModel", "state": {}, "buffers": [value]}
    assert "<img" not in still({"a": picture}, "a")
    value["data"] = "iVBORw0KGgo="
    assert '<img src="data:image/png;base64,iVBORw0KGgo="' in still({"a": picture}, "a")


def test_a_deck_has_a_slide_for_each_heading_and_every_picture_and_no_long_code(name):
    notebook = NOTEBOOKS[name]
    deck = slides.deck_of(notebook)
    kinds = [cell.metadata["slideshow"]["slide_type"] for cell in deck.cells]
    assert set(kinds) <= {"slide", "subslide", "skip"}
    assert kinds[0] == "slide"
    starts = [cell.source for cell, kind in zip(deck.cells, kinds, strict=True) if kind == "slide"]
    assert [text.partition("\n")[0] for text in starts[1:]] == [
        f"## {heading}" for heading in headings_of(notebook)
    ]
    shown = [cell for cell, kind in zip(deck.cells, kinds, strict=True) if kind != "skip"]
    code = [cell for cell in shown if cell.cell_type == "code"]
    assert max(len(cell.source.splitlines()) for cell in code) <= slides.MOST_LINES
    assert pictures(code) >= pictures(cell for cell in notebook.cells if cell.cell_type == "code")


def test_an_output_appears_after_its_code():
    cell = nbformat.v4.new_code_cell("1 + 1", execution_count=1)
    cell.outputs = [
        nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)
    ]
    title = nbformat.v4.new_markdown_cell("# 99 Sums")
    html = slides.deck_html("99_sums", nbformat.v4.new_notebook(cells=[title, cell]))
    assert '<div class="output fragment"><pre>2</pre></div>' in html
    assert "<title>99 Sums: slides</title>" in html
    assert html.count("<section>") == html.count("</section>") == 3  # a stack of two


def test_the_results_are_those_of_the_readme_and_their_commands_with_them():
    readme = (stage.ROOT / "README.md").read_text(encoding="utf-8")
    page = stage.results_page(readme)
    tables = re.findall(r"^\|.*\|$", page, re.MULTILINE)
    assert len(tables) > 20
    assert all(row in readme for row in tables)
    assert "make bench" in page
    assert "dlkit train --data" in page


def test_the_reference_has_a_page_for_each_public_package_and_each_command():
    packages = {
        f"dlkit.{path.parent.name}"
        for path in (stage.ROOT / "dlkit").glob("*/__init__.py")
        if path.parent.name != "cli"  # its page shows the commands
    }
    assert packages <= reference.PAGES.keys()
    page = reference.commands_page()
    assert all(f"dlkit {command}\n" in page for command in COMMANDS)


def test_a_public_name_is_described_once():
    described = []
    for text in reference.reference_pages().values():
        for module, members in re.findall(r"automodule:: (\S+)\n   :members: (.*)", text):
            described += [f"{module}.{name}" for name in members.split(", ")]
    assert len(set(described)) == len(described) > 150
    assert {"dlkit.DataLoader", "dlkit.datasets.Dataset", "dlkit.trace.Trace"} <= set(described)
    assert "dlkit.Dataset" not in described


def test_the_reference_describes_every_module_that_a_notebook_imports_from(name):
    described = {f"{page}.{part}" for page, parts in reference.PAGES.items() for part in parts}
    described |= reference.PAGES.keys()
    code = "\n".join(cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "code")
    assert set(re.findall(r"^from (dlkit[\w.]*) import", code, re.MULTILINE)) <= described


# ---- the check of links ----------------------------------------------------------------------


def site(folder, body, **others):
    (folder / "index.html").write_text(f"<html><body>{body}</body></html>")
    for name, text in others.items():
        (folder / name.replace("_", ".")).write_text(text)
    return links.check(folder)


def test_a_sound_site_has_no_problems_and_its_outward_links_are_counted(tmp_path):
    report = site(
        tmp_path,
        '<p id="here"><a href="#here">x</a> <a href="other.html#there">y</a>'
        '<a href="https://example.org/a">z</a> <img src="data:image/png;base64,xx">'
        '<a href="mailto:a@b">m</a><a href="#">top</a>',
        other_html='<h1 id="there">',
    )
    assert report.problems == ()
    assert (report.pages, report.outward) == (2, {"https://example.org/a"})


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="lost.html">', "refers to lost.html, which is not there"),
        ('<a href="#lost">', "refers to #lost, where there is no such anchor"),
        ('<a href="other.html#lost">', "where there is no such anchor"),
        ('<img src="lost.png">', "refers to lost.png, which is not there"),
        ('<a href="../outside.html">', "which is not there"),
        ('<script src="https://cdn.example/x.js"></script>', "fetches https://cdn.example/x.js"),
        ('<script src="//cdn.example/x.js"></script>', "fetches //cdn.example/x.js"),
        ('<link rel="stylesheet" href="http://cdn.example/x.css">', "fetches http://cdn.example"),
        ('<img srcset="https://cdn.example/x.png 2x">', "fetches https://cdn.example/x.png"),
        ("<style>@import 'https://cdn.example/x.css';</style>", "fetches https://cdn.example"),
        ('<p style="background: url(https://cdn.example/x.png)">', "fetches https://cdn.example"),
    ],
)
def test_each_kind_of_broken_or_outside_reference_is_found(tmp_path, body, problem):
    (tmp_path / "outside.html").write_text("")
    folder = tmp_path / "site"
    folder.mkdir()
    (found,) = site(folder, body, other_html="<h1>").problems
    assert problem in found


def test_a_list_of_pictures_may_end_with_a_comma(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    assert site(tmp_path, '<img srcset="a.png 1x, ">').problems == ()


def test_a_style_sheet_that_fetches_a_font_from_outside_is_found(tmp_path):
    report = site(tmp_path, "", site_css="@font-face { src: url(https://fonts.example/a.woff2) }")
    assert "site.css fetches https://fonts.example/a.woff2" in report.problems
