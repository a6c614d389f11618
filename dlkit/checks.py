"""Argument checks whose messages name the argument, what it was, and what is accepted."""

import numbers
from collections.abc import Sized
from typing import Any

import torch


def check_positive_int(name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is an integer of at least 1 (a bool is not).

    Example:
        >>> check_positive_int("batch_size", 0)
        Traceback (most recent call last):
        ...
        ValueError: batch_size must be a positive integer, but got 0
    """
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} must be a positive integer, but got {value!r}")


def is_real(value: Any) -> bool:
    """Whether `value` is a real number (a bool is not, nor is a tensor or an array).

    Example:
        >>> is_real(0.5), is_real(True), is_real(torch.zeros(2))
        (True, False, False)
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_bool(name: str, value: Any, error: type[Exception] = ValueError) -> None:
    """Raise `error` unless `value` is True or False."""
    if not isinstance(value, bool):
        raise error(f"{name} must be True or False, but got {value!r}")


def check_generator(generator: Any) -> None:
    """Raise `TypeError` unless `generator` is a `torch.Generator` or None."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator or None, but got {generator!r}; "
            "torch.Generator().manual_seed(0) makes one"
        )


def check_sized(name: str, value: Any) -> None:
    """Raise `TypeError` unless `len(value)` works."""
    if not isinstance(value, Sized):
        raise TypeError(f"{name} must have a length, but got a {type(value).__name__}")
