"""Where samples do not go together: what clashes, and at which step of the way down to it."""

from collections.abc import Sequence
from typing import Any


class ClashError(Exception):
    """Samples that do not fit together, with the way down to the place where they do not."""

    def __init__(self, kind: type[Exception], message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.path = ""

    def below(self, step: str) -> "ClashError":
        """Say one step further out where this is: the path grows at its front."""
        self.path = step + self.path
        return self

    def as_error(self, verb: str) -> Exception:
        """Return the error that the user sees, of the type that PyTorch raises here."""
        error = self.kind(f"cannot {verb} sample{self.path}: {self.message}")
        error.__suppress_context__ = True
        return error


def check_same_type(samples: Sequence[Any], kind: type | tuple[type, ...]) -> None:
    """Raise a `TypeError` clash unless all samples are of `kind`."""
    for position, sample in enumerate(samples):
        if not isinstance(sample, kind):
            raise ClashError(
                TypeError,
                f"types differ, {type(samples[0]).__name__} in sample 0 but "
                f"{type(sample).__name__} in sample {position}",
            )


def first_different(values: Sequence[Any]) -> int | None:
    """Return the position of the first value that is not equal to the one at 0."""
    return next((i for i, value in enumerate(values) if value != values[0]), None)
