"""Outputs compared as nbval compares them, for notebooks that something else has run."""

from pathlib import Path

from nbval.plugin import IPyNbFile, coalesce_streams, get_sanitize_patterns

SANITIZE = Path(__file__).with_name("sanitize.cfg")


def differences(session, path, notebook):
    """What nbval would object to, had it run the notebook that is stored at a path itself.

    Args:
        session: pytest's.
        path: The notebook with the outputs that should come.
        notebook: As it stands after a run, with the same number of code cells.

    Returns:
        A list of (number of the code cell, what is different).
    """
    stored = IPyNbFile.from_parent(session, path=Path(path))
    stored.sanitize_patterns.update(get_sanitize_patterns(SANITIZE.read_text()))
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = []
    for expected, cell in zip(stored.collect(), ran, strict=True):
        assert not expected.options["skip"], "a cell that is skipped is compared with nothing"
        assert cell.execution_count, "a cell that did not run has no outputs to compare"
        if not expected.options["check"]:
            continue
        there = [coalesce_streams(outputs) for outputs in (cell.outputs, expected.cell.outputs)]
        if not expected.compare_outputs(*there):
            found.append((expected.cell_num, "\n".join(expected.comparison_traceback)))
    return found
