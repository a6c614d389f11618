"""webdataset's tar shards.

https://webdataset.github.io/webdataset/gettingstarted: shards that are split among workers, a
shuffle buffer, decoding, batches made in the worker, and `WebLoader`.
"""

from collections.abc import Iterable
from typing import Any

import webdataset

from dlkit.bench.peers import NotMadeForIt
from dlkit.bench.works import Work, to_image

SHARDS = 4


def loader(work: Work) -> Iterable[Any]:
    """Return a loader of shards, which this writes first."""
    if work.name not in ("jpeg", "file"):
        raise NotMadeForIt("it reads shards of files one after another")
    shards = [str(work.folder / f"webdataset-{number}.tar") for number in range(SHARDS)]
    _write(work, shards)
    dataset = webdataset.WebDataset(shards, shardshuffle=SHARDS if work.shuffle else False)
    if work.shuffle:
        dataset = dataset.shuffle(1_000)
    if work.name == "jpeg":
        dataset = dataset.decode("pil").to_tuple("jpg", "cls").map_tuple(to_image(), int)
    else:
        dataset = dataset.decode().to_tuple("npy", "cls")
    batches = dataset.batched(work.batch_size)
    made: Iterable[Any] = webdataset.WebLoader(
        batches, batch_size=None, num_workers=work.workers, persistent_workers=True
    )
    return made


def _write(work: Work, shards: list[str]) -> None:
    samples = work.samples()
    share = -(-work.count // SHARDS)
    for number, shard in enumerate(shards):
        with webdataset.TarWriter(shard) as writer:
            for index in range(number * share, min(work.count, (number + 1) * share)):
                one: dict[str, Any] = {"__key__": f"{index:06}", "cls": index}
                if work.name == "jpeg":
                    with open(samples.paths[index], "rb") as file:
                        one["jpg"] = file.read()
                else:
                    one["npy"] = samples[index][0].numpy()
                writer.write(one)
