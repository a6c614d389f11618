"""How many cores there are for us."""

import os


def allowed_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has.

    Example:
        >>> 1 <= allowed_cores() <= os.cpu_count()
        True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
