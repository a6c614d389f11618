# %% [markdown]
# # 10 Storage and caching
#
# **After this notebook you will be able to**
#
# - convert a dataset to any of seven formats and measure each on your machine;
# - say why a shuffled read of one format is many times slower than of another;
# - recognise damage, and know why a pickle from elsewhere must not be opened;
# - put a cache where it helps, and predict its hit rate;
# - find the list that makes every worker's memory grow, and replace it.
#
# **Time:** 60 minutes. **Needs:** [04 Workers](04_workers.ipynb); no network, no GPU.

# %%
import re
import tempfile
from pathlib import Path

import torch
from pyarrow.parquet import ParquetFile

from dlkit import DataLoader, Dataset, Subset
from dlkit.cache import MemoryCache
from dlkit.datasets import PackedStrings, digits, synthetic_images
from dlkit.lab import StorageExplorer
from dlkit.plots.storage import decision, format_rates, growth, hit_curves
from dlkit.storage import DatasetCorruptError, convert, open_dataset
from dlkit.storage.throughput import bytes_on_disk, measure, write_all

# %% [markdown]
# ## One dataset, seven formats
#
# `convert` reads every sample once and writes a file; `open_dataset` recognises the format and
# gives a dataset that any worker can read. The samples are the same whatever the file is called.

# %%
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)
data = synthetic_images(4096, (1, 28, 28), dtype=torch.uint8)
stored = write_all(data, folder)
for dataset in stored.values():
    print(dataset)

# %%
images, labels = next(iter(DataLoader(stored["arrow"], batch_size=4)))
print(images.shape, images.dtype, labels.tolist())
same = all(torch.equal(dataset[1234][0], data[1234][0]) for dataset in stored.values())
print("the same sample from every file:", same)

# %% [markdown]
# A *memmap* is an array in a file: sample $i$ lies at $i$ times its size. *Arrow* and *HDF5* keep
# columns of the same kind. *TFRecord*, *tar* and *pickle* keep one record after another, each of
# which has to be taken apart. *Parquet* compresses groups of rows, and gives back whole groups.
#
# **Predict.** Order the seven by the speed of a shuffled read. Which of them suffers most from
# shuffling? Which file is the smallest?

# %%
# NBVAL_IGNORE_OUTPUT
found = measure(stored, batch_size=256, samples=2048)
rates = {name: {} for name in stored}
for one in found:
    rates[one.format][one.order] = one.samples_per_second
print(f"{'':9}{'MB':>7}{'in order':>12}{'shuffled':>12}   samples/s")
for name, row in rates.items():
    size = bytes_on_disk(stored[name]) / 1e6
    print(f"{name:9}{size:7.2f}{row['in order']:12,.0f}{row['shuffled']:12,.0f}")

# %%
columns, one_by_one = ("memmap", "arrow", "hdf5"), ("tar", "pickle")
slowest = min(rates[name]["shuffled"] for name in columns)
fastest = max(rates[name]["shuffled"] for name in one_by_one)
print("any column format beats tar and pickle, shuffled:", slowest > fastest)
footer = ParquetFile(stored["parquet"].path).metadata
print("Parquet groups of", [footer.row_group(n).num_rows for n in range(4)], "samples")

# %%
format_rates(rates)

# %% [markdown]
# **Investigate.** Three formats read a batch with one *gather*: the file is mapped, and NumPy
# copies 256 rows in one call. Tar and pickle run Python for each record. TFRecord runs it for one,
# and finds out in one step which others of the batch have their bytes in the same places; what is
# left for each is a checksum. Shuffled, Parquet decodes a group of about a thousand samples to take
# one of them, unless it is still in its small cache. Your page cache held all files: from a cold
# disk the order may differ.
#
# **Modify.** Use `synthetic_images(256, (3, 224, 224))`. Do the gaps grow or shrink, and why?
#
# **Make.** Write a class that reads `0.values...npy` with `np.load(mmap_mode="r")`, one row at a
# time, and compare it with `stored["memmap"]`.

# %% [markdown]
# ## Whole, or not at all
#
# A copy that broke off, a disk with a bad sector, a job killed while it wrote: files are damaged
# in ordinary ways. A format should say so. Silence is worst: an epoch that is a little shorter.
#
# **Predict.** The last hundred bytes of each file are cut off. Which formats notice it when they
# are opened? And if one byte in the middle changes?


# %%
def complaint(path, work):
    try:
        work(open_dataset(path, trusted=True))
    except DatasetCorruptError as error:
        text = str(error).removeprefix(f"{path}").lstrip(":, ")
        return re.sub("(?<=damaged):.*", "", text)  # the words of the format's library
    return "nothing"


# %%
for name in ("arrow", "hdf5", "tfrecord", "tar", "parquet"):
    whole = stored[name].path.read_bytes()
    cut = folder / f"cut.{name}"
    cut.write_bytes(whole[:-100])
    print(f"{name:9}", complaint(cut, len))

# %%
for name in ("arrow", "hdf5", "tfrecord", "tar"):
    content = bytearray(stored[name].path.read_bytes())
    content[content.index(data[2048][0].numpy().tobytes())] ^= 1
    changed = folder / f"changed.{name}"
    changed.write_bytes(content)
    opened = complaint(changed, len)
    print(f"{name:9} opened: {opened}; verified: {complaint(changed, lambda d: d.verify())}")


# %%
class Tired(Dataset):
    reads = 0

    def __len__(self):
        return 3000

    def __getitem__(self, index):
        self.reads += 1
        if self.reads == 2000:
            raise KeyboardInterrupt
        return data[index]


# %%
tired = Tired()
for _ in range(2):
    try:
        print(len(convert(tired, folder / "tired.arrow", progress=False)), "samples written")
    except KeyboardInterrupt as error:
        print(error.__notes__[0].split(" in ")[0])
print("samples read in both attempts:", tired.reads)

# %% [markdown]
# A pickle is not data but a program: it names functions, and opening it calls them.

# %%
import pickle


class Surprise:
    def __reduce__(self):
        return (print, ("this could have deleted your files",))


(folder / "gift.pickle").write_bytes(pickle.dumps([Surprise()]))
try:
    open_dataset(folder / "gift.pickle")
except PermissionError as error:
    print(str(error).removeprefix(f"{folder}/").split(";")[0])
print("trusted:", end=" ")
_ = complaint(folder / "gift.pickle", len)

# %% [markdown]
# **Investigate.** Every format notices the cut, because each knows how long it must be. A changed
# byte is found when a record is read (TFRecord and tar have a checksum for each) or when you ask
# (`verify()` for columns, which a gather does not read whole). The interrupted conversion kept what
# it had written, a thousand samples at a time: the second attempt went on there. It reads sample 0
# again, to see that the dataset is the same.
#
# **Modify.** Pass `on_error="skip"` to a loader over `changed.tar`. How many samples are missing?
#
# **Make.** Convert to a path that exists, with `overwrite=True`, while another dataset is open on
# it. What does the old one read afterwards?

# %% [markdown]
# ## Caches and their hit rates
#
# A cache keeps the samples that were expensive. `MemoryCache` holds one copy for all workers. When
# it is full, *first-come* keeps what it has; *LRU* throws out what was used least recently.
#
# **Predict.** Half of the samples fit. What is the hit rate of the second epoch, for each policy,
# in a fixed order? And shuffled?

# %%
small = Subset(digits(), range(400))
everything = MemoryCache(small, max_bytes=1 << 26)
everything.__getitems__(range(400))
needed = everything.info().nbytes


def hit_rate(share, policy, shuffle):
    cache = MemoryCache(small, max_bytes=int(share * needed), policy=policy)
    seed = torch.Generator().manual_seed(0)
    loader = DataLoader(cache, batch_size=10, shuffle=shuffle, generator=seed)
    hits = [(sum(1 for _ in loader), cache.info().hits)[1] for _ in range(2)]
    return (hits[1] - hits[0]) / 400


# %%
curves = {}
for policy, shuffle in (("first-come", True), ("lru", True), ("lru", False)):
    name = f"{policy}, {'shuffled' if shuffle else 'fixed order'}"
    curves[name] = {share / 8: hit_rate(share / 8, policy, shuffle) for share in range(1, 9)}
print(
    "first-come hits what fits:",
    all(abs(hits - share) < 0.05 for share, hits in curves["first-come, shuffled"].items()),
)
at_half = {name: curve[0.5] for name, curve in curves.items()}
print("best at half:", max(at_half, key=at_half.get))
print("LRU in a fixed order, at half:", at_half["lru, fixed order"])

# %%
hit_curves(curves)

# %% [markdown]
# **Investigate.** Every sample is read once an epoch. In a fixed order LRU has always just thrown
# out the sample that comes next: it never hits. First-come hits exactly what fits. LRU is for
# samples that are wanted more often than others.
#
# A cache also freezes what it keeps. Behind a random augmentation it would give every epoch the
# same "random" pictures, so the cache comes first: `cache.then(augment)`.
#
# **Modify.** Draw samples with a `WeightedRandomSampler` in which a tenth of them is wanted nine
# times in ten. Which policy wins now?
#
# **Make.** Use `DiskCache` with a folder, run the notebook twice, and count the hits of the first
# epoch in the second run.

# %% [markdown]
# ## The list that grows in every worker
#
# A forked worker shares your memory *until somebody writes to it*. Reading a Python object is such
# a write: it counts one more reference, in the object itself. So a list of strings is copied, page
# by page, into each worker that reads it.
#
# **Predict.** A list of 200,000 short strings, one worker. How many MB of its own has the worker
# after an epoch? And with the same strings packed into two arrays?


# %%
def own_megabytes():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1e3


class Texts(Dataset):
    def __init__(self, texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def __getitems__(self, indices):
        letters = sum(len(self.texts[index]) for index in indices)
        return [(letters, own_megabytes())]


# %%
texts = [f"sample number {number}" for number in range(200_000)]
megabytes, letters = {}, {}
for name, container in (("list", texts), ("PackedStrings", PackedStrings(texts))):
    loader = DataLoader(
        Texts(container), batch_size=10_000, num_workers=1, multiprocessing_context="fork"
    )
    batches = [(int(count), float(own)) for count, own in loader]
    letters[name] = sum(count for count, _ in batches)
    megabytes[name] = [own for _, own in batches]
grown = {name: values[-1] - values[0] for name, values in megabytes.items()}
print("the same letters:", letters["list"] == letters["PackedStrings"])
print("the list was copied into the worker:", grown["list"] > 5)
print("the packed strings were not:", grown["PackedStrings"] < grown["list"] / 2)

# %%
growth(megabytes, batch_size=10_000)

# %% [markdown]
# **Investigate.** It looks like a memory leak: it grows all through the first epoch, in each
# worker, and then stops. Two arrays, of bytes and of offsets, are two objects, whatever number of
# strings they hold. Arrow keeps text in the same way, and a mapped file is shared by all
# processes.
#
# **Modify.** Replace the list by a dictionary of lists, as annotations often come. Is it better?
#
# **Make.** Convert `texts` to Arrow and give `Texts` the stored dataset. How much does it grow?

# %% [markdown]
# ## Which to choose when
#
# **Predict.** 200 GB of JPEG files with captions, on one server with 64 GB of memory, shuffled,
# read by PyTorch only. Which format do you take?

# %%
decision()

# %%
large = synthetic_images(64, (3, 128, 128), dtype=torch.uint8)
records = {"784 bytes": (stored, 256, 1024)}
records["49 kB"] = (write_all(large, folder, "large"), 16, 64)
measured = {
    name: measure(files, batch_size=size, samples=samples, workers=(0, 2), repeats=1)
    for name, (files, size, samples) in records.items()
}
print({name: len(rows) for name, rows in measured.items()}, "measurements")

# %%
# NBVAL_IGNORE_OUTPUT
StorageExplorer(measured)

# %%
print("formats in the widget:", len({row.format for rows in measured.values() for row in rows}))

# %% [markdown]
# **Investigate.** With large records the formats come closer: copying bytes takes the time, not
# finding them. Threads help where decoding releases the GIL, and cost where a gather was fast
# enough. Measure with your own records, in your order, before you convert a terabyte.
#
# **Modify.** With the buttons: for which format do two threads gain most?
#
# **Make.** Store JPEG bytes of your own pictures in Arrow, decode them with `TransformDataset`,
# and find out whether storage is the bottleneck at all.

# %% [markdown]
# ## Recap
#
# - A column format reads a batch with one gather; a record format takes records apart, one by one
#   unless they are laid out alike.
# - Compression makes files small and shuffled reads slow.
# - A good file knows its length and its checksums; a good writer replaces a file in one step.
# - Open a pickle only if you trust its author with your account.
# - A cache of half the data hits half at best; put it before the random part.
# - Many small Python objects are copied into every worker; arrays are not.

# %% [markdown]
# ## Check yourself
#
# 1. Your epochs have 59,744 samples instead of 60,000 since you copied the files. What do you
#    call?
# 2. Shuffled training from Parquet is slow. Name two cures that keep the samples.
# 3. Memory grows during the first epoch, and faster with more workers. What do you look for?
#
# <details><summary>Answers</summary>
#
# (1) `open_dataset(path).verify()`, and find out which reader was silent. (2) Convert once to
# Arrow or memmap; or shuffle whole row groups and then within a buffer. (3) A list, dictionary or
# data frame of Python objects in the dataset.
#
# </details>

# %% [markdown]
# ## Read on
#
# - NumPy documentation: `numpy.memmap`; Apache Arrow: "Reading and Writing the Apache Arrow IPC
#   Format"; TensorFlow: "TFRecord and tf.train.Example".
# - WebDataset's documentation, on shards of tar files.
# - Python documentation: `pickle`, the warning at its top.
# - Next: [11 Real time](11_real_time.ipynb). In the package: `dlkit/storage/columns.py`, where a
#   batch is one gather.
