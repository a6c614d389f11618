"""What every demonstration returns: its numbers, a sentence about them, and their picture."""

from __future__ import annotations

from abc import ABC, abstractmethod

from dlkit.plots.style import Picture


class Result(ABC):
    """The outcome of a demonstration; the attributes of each kind are its numbers."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """What came out, in one sentence with its numbers."""

    @abstractmethod
    def picture(self) -> Picture:
        """Draw the numbers."""

    def __repr__(self) -> str:
        return self.summary
