"""The glossary's terms: where they are named in a notebook's text, a link leads to their meaning.

The stages have the colours that traces and plots give them, in the glossary and in every link.
"""

import re
from collections.abc import Collection

from dlkit.plots.style import STAGE_COLOURS
from dlkit.trace import STAGES

_EMPHASISED = re.compile(r"(?<![*\w`])(\*{1,2})(?=[^\s*])([^*\n]+?)\1(?![*\w])")
_ENTRY = re.compile(r"^(?!:)(\S.*)\n(?= {2,}\S)", re.MULTILINE)


def terms_of(glossary: str) -> list[str]:
    r"""List the terms that a page's `glossary` directive explains.

    Args:
        glossary: the page's text.

    Returns:
        The terms, in their order.

    >>> terms_of("```{glossary}\nbatch\n  Several samples.\n\nepoch\n  A pass.\n```\n")
    ['batch', 'epoch']
    """
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", glossary, re.DOTALL)
    return [term.strip() for block in blocks for term in _ENTRY.findall(block)]


def link_terms(text: str, terms: Collection[str], linked: set[str]) -> str:
    """Turn emphasised terms into links to the glossary, each at its first place in a page.

    Args:
        text: Markdown, without code blocks.
        terms: those that the glossary explains.
        linked: terms that the page has linked already; changed in place.

    Returns:
        The text with `term` roles.

    >>> link_terms("To **fetch**, *then* **wait**. **fetch**", ["fetch", "wait"], set())
    'To **{term}`fetch`**, *then* **{term}`wait`**. **fetch**'
    >>> link_terms("the stages **sample, fetch**", ["fetch"], set())
    'the stages **sample, {term}`fetch`**'
    """
    known = {term.lower(): term for term in terms}

    def link(word: str) -> str:
        term = known.get(word.lower()) or known.get(word.lower().removesuffix("s"))
        if term is None or term in linked:
            return word
        linked.add(term)
        return f"{{term}}`{word}`" if word == term else f"{{term}}`{word} <{term}>`"

    def emphasis(match: re.Match[str]) -> str:
        words = ", ".join(link(word) for word in match[2].split(", "))
        return f"{match[1]}{words}{match[1]}"

    return _EMPHASISED.sub(emphasis, text)


def stage_styles() -> str:
    """Return the style sheet that gives each stage its colour wherever it is named."""
    return "".join(
        f'#term-{stage}::before {{ content: ""; background: {STAGE_COLOURS[stage]}; }}\n'
        f'a[href$="#term-{stage}"] {{ text-decoration-color: {STAGE_COLOURS[stage]}; }}\n'
        for stage in STAGES
    )
