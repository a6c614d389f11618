"""What a learner has done, kept in their own data folder and nowhere else.

One line of JSON for every event, appended under a lock: two kernels may write at once, and a
crash in the middle of a write costs one line at most. A file with lines that cannot be read is kept
aside under another name, whole, and the readable lines go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dlkit.files import replacing

VARIABLE = "DLKIT_PROGRESS"
KINDS = ("coding", "bug-hunt", "card", "parsons", "interview", "test")
EVENTS = ("failed", "solved", "hint", "solution", "answered", "started", "finished")


@dataclass(frozen=True)
class Event:
    """One thing that a learner did.

    Args:
        when: Seconds since 1970.
        kind: One of ``KINDS``.
        name: Of the exercise, card or problem.
        event: One of ``EVENTS``.
        detail: Whatever belongs to it, such as the mistake that was made.
    """

    when: float
    kind: str
    name: str
    event: str
    detail: str = ""


def data_folder() -> Path:
    """Return the folder of all that is kept: ``DLKIT_PROGRESS``, or the user's data folder."""
    import platformdirs

    return Path(os.environ.get(VARIABLE) or platformdirs.user_data_dir("dlkit", appauthor=False))


class Progress:
    """The events of one learner.

    Args:
        folder: Where they are kept; ``data_folder()`` when None.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._folder = None if folder is None else Path(folder)

    @property
    def path(self) -> Path:
        """The file."""
        return (self._folder or data_folder()) / "progress.jsonl"

    def record(self, name: str, event: str, kind: str = "coding", detail: str = "") -> None:
        """Add one event.

        Raises:
            ValueError: If ``kind`` or ``event`` is none of those known.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, but got {kind!r}")
        if event not in EVENTS:
            raise ValueError(f"event must be one of {EVENTS}, but got {event!r}")
        line = json.dumps(asdict(Event(time.time(), kind, name, event, detail))) + "\n"
        # One write to a file opened for appending: a reader sees the line or does not.
        with self._locked(), open(self.path, "ab") as file:
            if file.tell() and not self._ends_a_line():
                line = "\n" + line
            file.write(line.encode())

    def events(self) -> list[Event]:
        """Return all events, the oldest first; lines that cannot be read are set aside."""
        with self._locked():
            if not self.path.exists():
                return []
            lines = self.path.read_bytes().splitlines()
            events = [_event(line) for line in lines if line.strip()]
            if None in events:
                self._set_aside([line for line in lines if _event(line)])
            return [event for event in events if event is not None]

    def solved(self, kind: str = "coding") -> set[str]:
        """Return the names of all that was solved."""
        return {e.name for e in self.events() if e.kind == kind and e.event == "solved"}

    def mastery(self) -> dict[str, tuple[int, int]]:
        """Return for each topic of the coding exercises how many are solved, and how many exist."""
        from dlkit.lab.exercises.contract import TOPICS, names

        solved = self.solved()
        return {
            topic: (len(solved & set(names(topic))), len(names(topic)))
            for topic in TOPICS
            if names(topic)
        }

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write all events to a JSON file.

        Args:
            path: The file to write.

        Returns:
            Its path.
        """
        target = Path(path)
        write_whole(target, json.dumps([asdict(event) for event in self.events()], indent=1))
        return target

    def delete(self) -> None:
        """Forget everything, interviews and files that were set aside included."""
        folder = self.path.parent
        with self._locked():
            kept = [*folder.glob("progress.jsonl.corrupt-*"), *folder.glob("interviews/*.*")]
            for path in [self.path, *kept]:
                path.unlink(missing_ok=True)

    def _ends_a_line(self) -> bool:
        with open(self.path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _set_aside(self, good: list[bytes]) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.corrupt-{number}")).exists():
            number += 1
        shutil.copy2(self.path, aside)
        write_whole(self.path, b"".join(line + b"\n" for line in good).decode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other kernels out; a lock of the system, so that it ends with its process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "ab") as lock:
            with contextlib.suppress(ImportError):
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _event(line: bytes) -> Event | None:
    try:
        read: dict[str, Any] = json.loads(line)
        event = Event(**read)
    except (ValueError, TypeError):
        return None
    right = isinstance(event.when, int | float) and isinstance(event.name, str)
    return event if right and event.kind in KINDS and event.event in EVENTS else None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is the old or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode("utf-8"))
