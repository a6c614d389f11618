"""Formulas as MathML, which browsers draw by themselves: MathJax would have to be fetched."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def inline(latex: str) -> str:
    """Return a formula in a line of text.

    >>> inline("L = 2")[:5]
    '<math'
    """
    return str(convert(latex))


def with_formulas(markdown: str) -> str:
    """Replace each `$formula$` of a text by MathML; code is left as it is.

    >>> with_formulas("costs `$5`, $x$")[:21]
    'costs `$5`, <math xml'
    """
    parts = re.split(r"(`[^`]*`)", markdown)
    return "".join(
        part if part.startswith("`") else re.sub(r"\$([^$\n]+)\$", lambda m: inline(m[1]), part)
        for part in parts
    )


def _visit_inline(writer: Any, node: nodes.Node) -> None:
    writer.body.append(inline(node.astext()))
    raise nodes.SkipNode


def _visit_block(writer: Any, node: nodes.Node) -> None:
    writer.body.append(str(convert(node.astext(), display="block")))
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer with Sphinx."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
