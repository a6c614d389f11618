"""The rules a committed notebook keeps; each yields what is wrong with it, or nothing.

nbval compares outputs, but it passes a cell without an execution count, a blank picture, and a
cell that should raise and does not. These rules close those holes, and keep the house style.
"""

import base64
import re
from itertools import pairwise

from dlkit.lab.text import ROOT

CELLS = range(25, 41)
WORDS = range(1000, 1501)
CODE_LINES = 15
MARKER = "NBVAL_IGNORE_OUTPUT"
# The five steps of a section, in the order in which they must appear; the code is "Run".
STEPS = ("**Predict", "**Investigate", "**Modify", "**Make")
BLANK_PNG_BYTES = 3000
PERSONAL_PATH = rf"{re.escape(str(ROOT.parent))}|(?<![\w.])/(?:home|root|Users)/[\w.-]+|~/[\w./-]+"
CLOSING = ("Recap", "Check yourself", "Read on")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def code_lines(cell):
    """The lines that count: without nbval's marker."""
    return [line for line in cell.source.strip().splitlines() if line.strip() != f"# {MARKER}"]


def first_line(cell):
    return next(iter(code_lines(cell)), "")


def is_ignored(cell):
    return any(line.strip() == f"# {MARKER}" for line in cell.source.splitlines())


def may_raise(cell):
    return "raises-exception" in cell.metadata.get("tags", ())


def words(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```", " ", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.findall(r"\w[\w'.-]*", text)


def counts_are_complete(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}"


def only_marked_cells_raise_and_they_do(notebook):
    for cell in code_cells(notebook):
        raised = any(output.output_type == "error" for output in cell.outputs)
        if raised != may_raise(cell):
            yield f"{first_line(cell)!r}: tagged to raise: {may_raise(cell)}, raised: {raised}"
        if raised and is_ignored(cell):
            yield f"{first_line(cell)!r}: nobody checks that this cell raises"


def nothing_goes_to_stderr(notebook):
    for cell in code_cells(notebook):
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield f"{first_line(cell)!r} wrote to stderr"


def ignored_cells_have_a_reason(notebook, reasons):
    ignored = [first_line(cell) for cell in code_cells(notebook) if is_ignored(cell)]
    for line in ignored:
        if not reasons.get(line, "").strip():
            yield f"{line!r} is not compared and ignored_outputs.toml gives no reason"
    for line in reasons:
        if line not in ignored:
            yield f"{line!r} stands in ignored_outputs.toml and in no cell"


def nothing_else_is_unchecked(notebook):
    for cell in code_cells(notebook):
        for line in cell.source.splitlines():
            if "NBVAL_" in line and line.strip() != f"# {MARKER}":
                yield f"{line!r}: the only marker is '# {MARKER}', alone on its line"
        if {tag for tag in cell.metadata.get("tags", ()) if tag.startswith("nbval")}:
            yield f"{first_line(cell)!r} hides from nbval by a tag"
        if not is_ignored(cell) and "clear_output" in cell.source:
            yield f"{first_line(cell)!r}: clear_output in a cell that is compared"


def an_invariant_follows_what_varies(notebook):
    cells = code_cells(notebook)
    if cells and is_ignored(cells[-1]):
        yield f"{first_line(cells[-1])!r} varies and no cell after it prints an invariant"
    for cell, following in pairwise(cells):
        printed = any(output.get("name") == "stdout" for output in following.outputs)
        if is_ignored(cell) and (is_ignored(following) or not printed):
            yield f"{first_line(cell)!r} varies and the next cell prints no invariant"


def pictures_are_drawn_and_described(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/svg+xml" in data:
                yield f"{first_line(cell)!r}: an SVG holds the date; use PNG"
            if "image/png" not in data:
                continue
            if len(base64.b64decode(data["image/png"])) < BLANK_PNG_BYTES:
                yield f"{first_line(cell)!r}: the picture is as small as a blank one"
            if not re.match(r"<\w+: .*\d", data.get("text/plain", ""), re.DOTALL):
                yield f"{first_line(cell)!r}: no caption with numbers that nbval could compare"


def size_is_right(notebook):
    if len(notebook.cells) not in CELLS:
        yield f"{len(notebook.cells)} cells, wanted {CELLS[0]} to {CELLS[-1]}"
    if len(words(notebook)) not in WORDS:
        yield f"{len(words(notebook))} words, wanted {WORDS[0]} to {WORDS[-1]}"
    for cell in code_cells(notebook):
        if len(code_lines(cell)) > CODE_LINES:
            yield f"{first_line(cell)!r}: {len(code_lines(cell))} lines belong in the package"


def sections(notebook):
    """(heading, source of all its cells) of each part under a second-level heading."""
    found = []
    for cell in notebook.cells:
        heading = re.match(r"## (.+)", cell.source) if cell.cell_type == "markdown" else None
        if heading:
            found.append((heading[1], []))
        if found:
            found[-1][1].append(cell)
    return found


def opening_and_closing_are_there(notebook):
    opening = notebook.cells[0].source if notebook.cells[0].cell_type == "markdown" else ""
    for wanted in ("# ", "able to", "minutes", "needs"):
        if wanted.lower() not in opening.lower():
            yield f"the first cell does not say {wanted!r}"
    tail = dict(sections(notebook)[-len(CLOSING) :])
    if tuple(tail) != CLOSING:
        yield f"the notebook ends with the sections {tuple(tail)}, wanted {CLOSING}"
        return
    questions = re.findall(r"^\d+\. ", tail["Check yourself"][0].source, flags=re.MULTILINE)
    if questions != ["1. ", "2. ", "3. "]:
        yield f"'Check yourself' has {len(questions)} numbered questions, wanted 3"


def every_section_takes_all_five_steps(notebook):
    for heading, cells in sections(notebook):
        if heading in CLOSING:
            continue
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        places = [text.find(step) for step in STEPS]
        if -1 in places or places != sorted(places):
            yield f"section {heading!r} does not go {' '.join(STEPS)}"
        if not any(cell.cell_type == "code" for cell in cells):
            yield f"section {heading!r} runs nothing"


def nothing_tells_whose_machine_it_was(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            text = str({key: value for key, value in output.items() if key != "data"})
            text += output.get("data", {}).get("text/plain", "")
            for found in re.findall(
                r"(?<![\w.])/(?:home|root|work|Users)/[\w.-]+|~/[\w./-]+", text
            ):
                yield f"{first_line(cell)!r} shows the path {found}"


def links_lead_somewhere(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
                if "://" in target or not (ROOT / target).exists():
                    yield f"the link to {target} does not work, at least not without a network"


RULES = (
    links_lead_somewhere,
    counts_are_complete,
    only_marked_cells_raise_and_they_do,
    nothing_goes_to_stderr,
    nothing_else_is_unchecked,
    an_invariant_follows_what_varies,
    pictures_are_drawn_and_described,
    size_is_right,
    opening_and_closing_are_there,
    every_section_takes_all_five_steps,
    nothing_tells_whose_machine_it_was,
)
