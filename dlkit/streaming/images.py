"""A folder of images, or a film, as a stream of frames.

    FolderSource("frames/", rate=30)      the files of a folder, in the order of their names
    FilmSource("film.gif")                the frames of one file, with its own durations

Frames are read when they are due, so a film of hours takes the memory of one frame.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.streaming.checks import check_positive
from dlkit.streaming.clock import Clock
from dlkit.streaming.timed import Stamped, TimedSource

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
Pixels = npt.NDArray[np.uint8]


class FolderSource(TimedSource):
    """The images of a folder at a steady rate.

    Args:
        folder: where they lie; files whose suffix is not that of an image are passed over.
        rate: frames/s.
        mode: Pillow's name of the pixels' form: `"RGB"` gives `[height, width, 3]`, `"L"`
            `[height, width]`.
        loop: whether to begin again after the last one.
        clock: whose time; the machine's by default.

    Raises:
        FileNotFoundError: if there is no such folder, or no image in it.
        ValueError: if there is no such rate.
    """

    def __init__(
        self,
        folder: str | Path,
        rate: float,
        mode: str = "RGB",
        loop: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        check_positive("rate", rate, "frames/s")
        where = Path(folder)
        found = where.iterdir() if where.is_dir() else ()
        self.files = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
        if not self.files:
            raise FileNotFoundError(f"folder must hold images, but there are none in {where}")
        self._rate, self._mode, self._loop = rate, mode, loop
        self._number = 0

    def advance(self) -> tuple[float, Any] | None:
        """Return when the next image is due, and its pixels."""
        from PIL import Image

        if self._number >= len(self.files) and not self._loop:
            return None
        with Image.open(self.files[self._number % len(self.files)]) as image:
            pixels = np.asarray(image.convert(self._mode))
        seen = self._number / self._rate
        self._number += 1
        return seen, Stamped(seen, pixels)


class FilmSource(TimedSource):
    """The frames of a film in one file.

    GIF, WebP, APNG and TIFF are read by Pillow, with the duration that each frame has; any other
    film by PyAV, if it is installed.

    Args:
        file: the film.
        speed: 2 plays twice as fast.
        rate: frames/s for files that do not say how long a frame lasts.
        mode: Pillow's name of the pixels' form, `"RGB"` or `"L"`.
        clock: whose time; the machine's by default.

    Raises:
        FileNotFoundError: if there is no such file.
        ModuleNotFoundError: if reading it takes PyAV and that is not installed.
    """

    def __init__(
        self,
        file: str | Path,
        speed: float = 1.0,
        rate: float = 25.0,
        mode: str = "RGB",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        check_positive("speed", speed, "times as fast")
        check_positive("rate", rate, "frames/s")
        path = Path(file)
        if not path.is_file():
            raise FileNotFoundError(f"file must be a film, but there is none at {path}")
        self._speed = speed
        pillow = path.suffix.lower() in SUFFIXES
        self._frames = _by_pillow(path, rate, mode) if pillow else _by_pyav(path, mode)

    def advance(self) -> tuple[float, Any] | None:
        """Return when the next frame is due, and its pixels."""
        frame = next(self._frames, None)
        return None if frame is None else (frame.stamp / self._speed, frame)

    def close(self) -> None:
        """End the stream, and close the file."""
        super().close()
        with self._lock:  # a reader may be inside a frame
            self._frames.close()


def _by_pillow(path: Path, rate: float, mode: str) -> Generator[Stamped, None, None]:
    from PIL import Image, ImageSequence

    seen = 0.0
    with Image.open(path) as film:
        for frame in ImageSequence.Iterator(film):
            pixels: Pixels = np.asarray(frame.convert(mode))
            duration = frame.info.get("duration") or 1000.0 / rate  # milliseconds
            yield Stamped(seen, pixels)
            seen += duration / 1000.0


def _by_pyav(path: Path, mode: str) -> Generator[Stamped, None, None]:
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reading {path.suffix} films needs PyAV (pip install av); GIF, WebP and TIFF do not"
        ) from error
    names = {"RGB": "rgb24", "L": "gray"}

    def frames() -> Generator[Stamped, None, None]:
        with av.open(str(path)) as film:
            for frame in film.decode(video=0):
                yield Stamped(float(frame.time), frame.to_ndarray(format=names.get(mode, mode)))

    return frames()
