"""What running an answer on one case gave: a value, or the way in which it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Kinds after which the answer's other cases are not run: each would take as long again.
FINAL = ("died", "timeout", "stuck", "memory", "exit", "unpicklable")


@dataclass(frozen=True)
class Outcome:
    """The result of one case.

    Args:
        kind: "value", "raised", "iterator", "mutated", "exit", "memory", "timeout", "stuck",
            "died" or "unpicklable".
        value: The result as plain data; the types' names, most special first, when it raised.
        text: The error's last line and the answer's own lines of the traceback.
        printed: What the answer printed, cut.
        printed_bytes: How much it printed.
    """

    kind: str
    value: Any = None
    text: str = ""
    printed: str = ""
    printed_bytes: int = 0
