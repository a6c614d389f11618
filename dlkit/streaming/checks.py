"""Checks of times, rates and choices, and the errors that a stream raises.

Messages name the argument, what it was, and what is accepted, as everywhere in the package.
"""

import math
from collections.abc import Iterable
from typing import Any

from dlkit.checks import is_real


class StreamError(RuntimeError):
    """What went wrong in a stream and is not an exception of the user's own code."""


class StalledError(StreamError):
    """A source has been silent for longer than it may be."""


class StreamTimeoutError(StreamError, TimeoutError):
    """No batch came within the time that the consumer was ready to wait."""


class EndOfStream(Exception):  # noqa: N818  # the field's name, as StopIteration is
    """A source has no more items, and never will; not an error."""


def check_positive(name: str, value: Any, unit: str = "seconds") -> None:
    """Raise `ValueError` unless `value` is a finite number above 0.

    Example:
        >>> check_positive("rate", 0, "items/s")
        Traceback (most recent call last):
        ...
        ValueError: rate must be a finite number of items/s above 0, but got 0
    """
    if not is_real(value) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number of {unit} above 0, but got {value!r}")


def check_not_negative(name: str, value: Any, unit: str = "seconds") -> None:
    """Raise `ValueError` unless `value` is a finite number of at least 0."""
    if not is_real(value) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number of {unit}, 0 or more, but got {value!r}")


def check_share(name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is a number from 0 to below 1."""
    if not is_real(value) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a share from 0 to below 1, but got {value!r}")


def check_choice(name: str, value: Any, accepted: Iterable[str]) -> None:
    """Raise `ValueError` unless `value` is one of the accepted words.

    Example:
        >>> check_choice("policy", "drop", ("block", "drop_oldest"))
        Traceback (most recent call last):
        ...
        ValueError: policy must be "block" or "drop_oldest", but got 'drop'
    """
    words = list(accepted)
    if value not in words:
        *some, last = [f'"{word}"' for word in words]
        listed = f"{', '.join(some)} or {last}" if some else last
        raise ValueError(f"{name} must be {listed}, but got {value!r}")


def check_stamp(stream: str, stamp: Any) -> float:
    """Return a time stamp as a float.

    Raises:
        ValueError: if it is NaN or infinite, because nothing can be ordered by it.
        TypeError: if it is no number.
    """
    try:
        value = float(stamp)
    except (TypeError, ValueError):
        raise TypeError(
            f"time stamps must be numbers of seconds, but stream {stream!r} gave {stamp!r}"
        ) from None
    if not math.isfinite(value):
        raise ValueError(f"time stamps must be finite, but stream {stream!r} gave {stamp!r}")
    return value
