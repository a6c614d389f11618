"""mosaicml-streaming's MDS shards.

https://docs.mosaicml.com/projects/streaming: `MDSWriter` once, then a subclass of
`StreamingDataset` that transforms a sample, and PyTorch's loader.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader

from dlkit.bench.peers import NotMadeForIt
from dlkit.bench.works import RECORD, Work, to_image


def loader(work: Work) -> Iterable[Any]:
    """Return a loader of shards, which this writes first."""
    if work.name not in ("jpeg", "file"):
        raise NotMadeForIt("it streams shards of files")
    folder = str(work.folder / "mds")
    if not Path(folder).exists():
        _write(work, folder)
    clean_stale_shared_memory()  # of an earlier run that was killed
    dataset = _Samples(local=folder, shuffle=work.shuffle, batch_size=work.batch_size)
    return DataLoader(
        dataset,
        work.batch_size,
        num_workers=work.workers,
        persistent_workers=work.workers > 0,
    )


def _write(work: Work, folder: str) -> None:
    samples, encoded = work.samples(), work.name == "jpeg"
    columns = {"x": "bytes" if encoded else f"ndarray:uint8:{RECORD}", "y": "int"}
    with MDSWriter(out=folder, columns=columns) as writer:
        for index in range(work.count):
            if encoded:
                content: Any = Path(samples.paths[index]).read_bytes()
            else:
                content = samples[index][0].numpy()
            writer.write({"x": content, "y": index})


class _Samples(StreamingDataset):  # type: ignore[misc]
    def __getitem__(self, index: Any) -> Any:
        import io

        from PIL import Image

        sample = super().__getitem__(index)
        if not isinstance(sample["x"], bytes):
            return sample["x"], sample["y"]
        with Image.open(io.BytesIO(sample["x"])) as image:
            return to_image()(image.convert("RGB")), sample["y"]
