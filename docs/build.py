"""Build the site: ``python -m docs.build``, or ``make site``.

    python -m docs.build              # all of it, into build/site
    python -m docs.build --only 01 --reference dlkit.samplers  # a part, to look at a change

Warnings are errors. Nothing is fetched, and nothing in what is built fetches anything: it can be
opened from the disk, or served by any web server.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from docs.links import Report, check
from docs.stage import DOCS, ROOT, gather

BUILD = ROOT / "build"


def build(folder: Path, chosen: Sequence[str] = (), modules: Sequence[str] = ()) -> Report:
    """Build the site and check it.

    Args:
        folder: where the pages go. Their sources are staged beside it.
        chosen: how the names of the notebooks begin; all if empty.
        modules: which pages of the reference; all if empty.

    Returns:
        What the check of the links found.

    Raises:
        RuntimeError: if Sphinx warned of anything.
    """
    from sphinx.cmd.build import main as sphinx

    sources = folder.with_name(f"{folder.name}-sources")
    shutil.rmtree(folder, ignore_errors=True)
    gather(sources, chosen, modules)
    staged = [
        f"-Dhtml_static_path={sources / '_static'}",
        f"-Dhtml_extra_path={sources / '_extra'}",
    ]
    options = ["-q", "-W", "--keep-going", *staged, "-c", str(DOCS)]
    if sphinx([*options, "-d", str(sources / "_doctrees"), str(sources), str(folder)]):
        raise RuntimeError("Sphinx failed; its messages say where")
    return check(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Build the site from the command line.

    Args:
        argv: arguments; those of the process when None.

    Returns:
        0 when all is well, 1 when a page could not be built or a link leads nowhere.
    """
    parser = argparse.ArgumentParser(prog="python -m docs.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=BUILD / "site", help="folder of the pages")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="these notebooks")
    parser.add_argument("--reference", nargs="+", default=[], metavar="MODULE", help="these pages")
    options = parser.parse_args(argv)
    try:
        report = build(options.out.absolute(), options.only, options.reference)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in report.problems:
        print(problem, file=sys.stderr)
    print(
        f"{report.pages} pages; {report.links} links and files within the site checked, "
        f"{len(report.outward)} addresses of other sites not (that needs a network)"
    )
    print(f"open {options.out / 'index.html'}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
