"""litdata's optimized chunks.

https://lightning.ai/docs/litdata: `optimize` once, then `StreamingDataset` and
`StreamingDataLoader`.
"""

import io
import os
from collections.abc import Iterable
from multiprocessing import get_all_start_methods, set_start_method
from pathlib import Path
from typing import Any

from dlkit.bench.peers import NotMadeForIt
from dlkit.bench.works import Work, to_image


def loader(work: Work) -> Iterable[Any]:
    """Return a loader of chunks, which this writes first."""
    if work.name not in ("jpeg", "file"):
        raise NotMadeForIt("it streams chunks of files")
    os.environ.setdefault("DATA_OPTIMIZER_CACHE_FOLDER", str(work.folder / "litdata-cache"))
    import litdata

    folder = str(work.folder / "litdata")
    if not Path(folder).exists():
        litdata.optimize(
            _Sample(work), list(range(work.count)), folder, num_workers=1, chunk_bytes="64MB"
        )
        # It has made "spawn" the way of the whole process.
        set_start_method(get_all_start_methods()[0], force=True)
    dataset = _streaming(litdata)(folder, shuffle=work.shuffle)
    made: Iterable[Any] = litdata.StreamingDataLoader(
        dataset,
        batch_size=work.batch_size,
        num_workers=work.workers,
        persistent_workers=work.workers > 0,
    )
    return made


class _Sample:
    """What `litdata.optimize` calls in its worker: the file's bytes, or the record."""

    def __init__(self, work: Work) -> None:
        self.samples, self.encoded = work.samples(), work.name == "jpeg"

    def __call__(self, index: int) -> tuple[Any, int]:
        if self.encoded:
            return Path(self.samples.paths[index]).read_bytes(), index
        return self.samples[index]  # type: ignore[no-any-return]


def _streaming(litdata: Any) -> Any:
    class Decoded(litdata.StreamingDataset):  # type: ignore[misc]
        """Decodes where the sample is read, as the documentation's own subclasses do."""

        def __getitem__(self, index: Any) -> Any:
            content, label = super().__getitem__(index)
            if not isinstance(content, bytes | memoryview):
                return content, label
            from PIL import Image

            with Image.open(io.BytesIO(content)) as image:
                return to_image()(image.convert("RGB")), label

    return Decoded
