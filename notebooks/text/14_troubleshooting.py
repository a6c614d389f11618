# %% [markdown]
# # 14 Troubleshooting
#
# **After this notebook you will be able to**
#
# - go from a complaint about a loader to the evidence that names its cause;
# - tell a slow loader from a slow training loop, and one that is not parallel from both;
# - recognise wrong orders, repeated augmentation and shared files before they cost you a run;
# - say what eats memory, files and shared memory, and how to stop it;
# - repair a loader that hangs.
#
# **Time:** 60 minutes. **Needs:** [04 Workers](04_workers.ipynb); no network, no GPU. It is a
# clinic of twelve complaints, all of them real: symptom, evidence, cause, cure.

# %%
import time

import numpy as np
import torch
from torch.utils.data import DistributedSampler

import dlkit
from dlkit import DataLoader, WorkerTimeoutError
from dlkit.datasets import Cost, synthetic_images
from dlkit.diagnose.running import run_for
from dlkit.lab import clinic
from dlkit.plots.prediction import throughput
from dlkit.samplers import ShuffleBuffer

# %% [markdown]
# ## "It is too slow" and "it is not parallel"
#
# Never guess where the time goes: `dlkit.profile` runs a few steps and counts how long the training
# loop *waits*. If it hardly waits, no setting of the loader will help you.
#
# **Predict.** A sample takes 4 ms from a slow disk, a batch has 8 of them, a training step takes
# 10 ms. Which share of its time does the loop wait without workers? With how many workers does the
# waiting end? And what can keep two workers from being faster than one?

# %%
# NBVAL_IGNORE_OUTPUT
slow_disk = synthetic_images(4_000, (1, 8, 8), cost=Cost(wait_seconds=0.004))


def make_loader(**settings):
    return DataLoader(slow_disk, batch_size=8, **settings)


def step(batch):
    time.sleep(0.010)  # an accelerator computes, and this process waits for it


sick = dlkit.profile(make_loader(), steps=20, step=step)
print(sick.summary())

# %%
print("training waits most of its time:", sick.wait_share > 0.5)
print("most of fetching is waiting too:", sick.costs.fetch_wait > 0.5)
print("diagnosed:", "no_workers" in {finding.name for finding in sick.diagnose()})
rates = {n: dlkit.predict(sick, num_workers=n) for n in range(7)}
enough = next(n for n in rates if rates[n].throughput > 0.95 * rates[6].throughput)
print("some workers, and fewer than six, are predicted to be enough:", 0 < enough < 6)

# %%
# NBVAL_IGNORE_OUTPUT
found = dlkit.tune(make_loader, step=step, budget_seconds=3, max_workers=6)
print(found)
cured = run_for(make_loader(**found.settings), 0.4, step)
throughput({"predicted": list(rates.values())}, {"predicted": {0: sick.samples_per_second}})

# %%
print("workers were chosen:", found.settings["num_workers"] > 1)
print("training waits less than before:", cured.wait_share < sick.wait_share)

# %%
for alone in (True, False):
    dataset = clinic.Reader(alone=alone)
    list(DataLoader(dataset, batch_size=4, num_workers=2, worker_method="thread"))
    print(f"one lock for all readers: {alone!s:5}  most at once: {dataset.most_at_once}")
short = DataLoader(range(100), batch_size=100, num_workers=4)
print("batches in an epoch:", len(short), "- workers that get one: at most", len(short))

# %% [markdown]
# **Investigate.** The wait share is the first figure to look at; the second is whether a sample
# computes or waits, because only cores can speed up computing. `tune` predicts every setting and
# measures a few. The other loader has workers that queue: for a lock in the dataset, for Python's
# own lock, or because an epoch has fewer batches than there are workers.
#
# **Modify.** Let `step` take 40 ms. Which settings does `tune` return now, and why so few workers?
#
# **Make.** Put your own loader into `make_loader`, and your own training step into `step`.

# %% [markdown]
# ## "The first batch takes for ever" and "it is slow only from a notebook"
#
# A worker process that does not fork receives the dataset through a pipe. And each line that a
# notebook shows is a message to the browser.
#
# **Predict.** A dataset keeps 100,000 file names in a list. How many bytes travel to each worker?
# How many processes do two epochs with two workers start? How often does a progress bar of 200
# batches write, if nothing holds it back?

# %%
import cloudpickle

for held in (True, False):
    size = len(cloudpickle.dumps(clinic.Catalogue(held)))
    print(f"names held: {held!s:5}  more than a megabyte to each worker: {size > 1e6}")
for persistent in (False, True):
    loader = DataLoader(range(8), num_workers=2, persistent_workers=persistent)
    started = clinic.workers_seen(loader, epochs=2)
    print(f"persistent_workers={persistent!s:5}  processes started in two epochs: {started}")

# %%
from tqdm import tqdm

for every in (1, 50):
    messages = clinic.Messages()
    for _ in tqdm(DataLoader(range(200)), file=messages, miniters=every, mininterval=0):
        pass
    print(f"a line every {every:2} batches: {messages.count} messages")

# %% [markdown]
# **Investigate.** What is large and can be made again does not belong in a dataset: keep the
# folder, not the list; open files in the worker. Workers that live on pay once. From a script the
# bar writes into a terminal, which is cheap; from a notebook every update travels through two
# sockets and changes the page. The loader is innocent: its wait share would be the same.
#
# **Modify.** Hold the names in a NumPy array of bytes. How much travels now?
#
# **Make.** Time the first batch of your own loader with `run_for(loader, 1).first_batch`.

# %% [markdown]
# ## "It is not shuffled" and "every epoch has the same order"
#
# **Predict.** Labels stand in the file sorted by class. How many classes does a batch of ten have?
# Which line is missing in most scripts for several GPUs, so that all epochs are alike?

# %%
labels = torch.arange(10).repeat_interleave(50)
for shuffle in (False, True):
    generator = torch.Generator().manual_seed(0)
    batches = list(DataLoader(labels, batch_size=10, shuffle=shuffle, generator=generator))
    print(f"{shuffle=!s:5}  classes in the first five batches:", clinic.classes_in(batches[:5]))
stream = clinic.Sorted(12)
try:
    DataLoader(stream, shuffle=True)
except ValueError as error:
    print(str(error).partition(";")[2].strip())
buffer = ShuffleBuffer(stream, 6, generator=torch.Generator().manual_seed(0))
print([int(number) for number in DataLoader(buffer, batch_size=None)])

# %%
sampler = DistributedSampler(range(100), num_replicas=2, rank=0)
for told in (False, True):
    orders = []
    for epoch in range(2):
        if told:
            sampler.set_epoch(epoch)
        orders.append(list(sampler))
    print(f"set_epoch called: {told!s:5}  both epochs alike: {orders[0] == orders[1]}")
alike = [list(DataLoader(range(50), shuffle=True, generator=torch.Generator().manual_seed(7)))
         for epoch in range(2)]  # fmt: skip
print("a generator made anew for each epoch, both alike:", alike[0] == alike[1])

# %% [markdown]
# **Investigate.** The default is `shuffle=False`; a stream sets its own order, so that it must be
# shuffled on the way. An order comes from a seed: a sampler that is not told the epoch, or a
# generator that is made inside the loop, draws from the same seed each time. The evidence is cheap:
# print the classes of a few batches, and the first indices of two epochs.
#
# **Modify.** With which `buffer_size` can the last number of the stream come first?
#
# **Make.** Add both checks to the script that you use most.

# %% [markdown]
# ## "All workers augment alike" and "the data are inconsistent"
#
# **Predict.** Two processes draw from a generator that the dataset holds, and read through a file
# that the dataset has opened. How many different numbers do eight samples get? Are records wrong
# always, never, or sometimes? Would one worker show it?


# %%
class Augmented(dlkit.Dataset):
    def __init__(self, copied):
        self.copied, self.generator = copied, np.random.default_rng(0)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = self.generator if self.copied else np.random.default_rng((0, index))
        return generator.integers(1_000_000)


for copied in (True, False):
    numbers = torch.cat(list(DataLoader(Augmented(copied), num_workers=2))).tolist()
    print(f"generator copied: {copied!s:5}  different numbers: {len(set(numbers))} of 8")

# %%
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    path = clinic.write_records(Path(folder) / "records", 400)
    for shared, workers in ((True, 2), (True, 1), (False, 2)):
        records = clinic.Records(path, shared)
        settings = {"num_workers": workers, "multiprocessing_context": "fork"}
        read = torch.cat(list(DataLoader(records, batch_size=10, **settings))).tolist()
        wrong = sum(number != index for index, number in enumerate(read))
        print(f"one open file: {shared!s:5}  workers: {workers}  wrong records: {wrong > 0}")
        records.close()

# %% [markdown]
# **Investigate.** A fork copies generators with their state: both workers draw the same numbers.
# It does *not* copy an open file: both move one position, and each now and then reads where the
# other has just gone. Nothing fails, and one worker shows nothing. Databases and archives
# (SQLite, HDF5, zip) suffer in the same way. The cure is the same for all of them: open in the
# process that reads, and seed from what the sample is.
#
# **Modify.** Read with `os.pread(file, RECORD, index * RECORD)` instead. Why does that help?
#
# **Make.** Compare `[dataset[i] for i in range(100)]` with what two workers yield of your dataset.

# %% [markdown]
# ## "Memory grows until it is killed", "too many open files", "bus error"
#
# **Predict.** A forked worker shares the dataset's memory until somebody *writes* to it. Does
# reading a list of strings write? And how many files does a script hold open that keeps a list of
# 300 batches?

# %%
# NBVAL_IGNORE_OUTPUT
grown = {}
for kind, as_objects in {"list of strings": True, "array of bytes": False}.items():
    grown[kind] = clinic.memory_growth(clinic.Names(as_objects))
    print(f"{kind:16}", "  ".join(f"{size / 1e6:5.1f} MB" for size in grown[kind]))

# %%
kept = """
from torch.utils.data import DataLoader as TorchLoader
from dlkit import DataLoader
batches = list({kind}(range(300), num_workers=1, multiprocessing_context="fork"))
print("all", len(batches), "batches kept")
"""
once, array = grown["list of strings"][-1], grown["array of bytes"][-1]
print("reading strings copies them, reading the array does not:", once > 4 * max(array, 1e6))
said = clinic.in_child(kept.format(kind="TorchLoader"), open_files=256)
print("PyTorch, 256 files:", said.partition(".")[0])
print("dlkit, 256 files:  ", clinic.in_child(kept.format(kind="DataLoader"), open_files=256))

# %%
# NBVAL_IGNORE_OUTPUT
large = """
import torch
from torch.utils.data import DataLoader as TorchLoader
from dlkit import DataLoader
loader = {kind}(torch.zeros(32, 100_000), batch_size=8, num_workers=2)
print(sum(len(batch) for batch in loader), "samples")
"""
small = {
    kind: clinic.in_child(large.format(kind=kind), small_shared_memory=True)
    for kind in ("TorchLoader", "DataLoader")
}
print("PyTorch says:", small["TorchLoader"])

# %%
print("dlkit with 64 kB of /dev/shm:", small["DataLoader"])

# %% [markdown]
# **Investigate.** Each Python object counts its users, and the count stands beside it: to read a
# string is to write to its page, which is then copied, in every worker, once. Growth that ends is
# this; growth that goes on is a list that you fill. An array is one object. PyTorch sends each
# tensor as an open file, so that batches that are kept hold files; and it needs `/dev/shm`, which
# has 64 MB in a container unless you start it with `--shm-size`. dlkit writes batches into memory
# that is used again and has no name there.
#
# **Modify.** Hold the names in a `pyarrow` array. Which of the two does it resemble?
#
# **Make.** Run `dlkit doctor` in the container that you train in.

# %% [markdown]
# ## "It hangs"
#
# **Predict.** A dataset has a lock, and this process holds it at the moment when workers fork. When
# does the copy in the worker come free?


# %%
def attempt(dataset):
    settings = {"num_workers": 1, "multiprocessing_context": "fork", "timeout": 2}
    with dataset.lock:  # as another thread would, at the wrong moment
        try:
            return [int(batch) for batch in DataLoader(dataset, **settings)]
        except WorkerTimeoutError as error:
            return f"{type(error).__name__}: {str(error).partition(':')[0]}"


for own_lock in (False, True):
    print(f"a lock of its own: {own_lock!s:5} ", attempt(clinic.Guarded(own_lock)))

# %% [markdown]
# **Investigate.** Never: fork copies the lock as it is, but not the thread that would release it.
# Libraries hold such locks as well: OpenMP, logging, a database client. `timeout=` turns silence
# into an error; `py-spy dump --pid` shows where a worker stands. The cure is to make locks and
# connections in the process that uses them, or to start workers with `forkserver`.
#
# **Modify.** Pass `multiprocessing_context="forkserver"`. What does a new Python say to the lock?
#
# **Make.** Look for what your dataset opens in `__init__`: does it survive a fork?

# %% [markdown]
# ## Recap
#
# | complaint | evidence | cause | cure |
# |---|---|---|---|
# | too slow | wait share | samples wait | workers; `dlkit.tune` |
# | not parallel | most at once | a lock, few batches | no shared lock |
# | first batch | bytes sent, processes | a large dataset, new workers | open late, persist |
# | slow in a notebook | messages | output per batch | report less often |
# | not shuffled | classes in a batch | the default | `shuffle=True`, `ShuffleBuffer` |
# | same order | two epochs alike | the same seed | `set_epoch`, one generator |
# | augment alike | different numbers | a copied generator | seed by index |
# | inconsistent | wrong records | a shared file | open in the worker |
# | memory grows | private bytes | counted objects | arrays |
# | too many files | a kept list | a file for each tensor | copy, or dlkit |
# | bus error | size of `/dev/shm` | a small container | `--shm-size`, or dlkit |
# | hangs | `timeout=` | a lock held at fork | make it in the worker |

# %% [markdown]
# ## Check yourself
#
# 1. The wait share is 3 %. A colleague adds eight workers. What changes?
# 2. Memory of all workers together grows for one epoch and then stands still. What is it?
# 3. Validation accuracy differs between one and two workers. Which two causes come first?
#
# <details><summary>Answers</summary>
#
# (1) Memory, not speed. (2) Pages that were shared are copied when their objects are counted. (3) A
# file or connection opened before the fork; random numbers that depend on the worker.
#
# </details>

# %% [markdown]
# ## Read on
#
# - PyTorch documentation: `torch.utils.data` ("Multi-process data loading") and "Multiprocessing
#   best practices".
# - PyTorch issue 13246, on memory of workers that grows; it is the longest thread about loaders.
# - Linux manual: `fork(2)`, on what a child shares with its parent; `shm_overview(7)`.
# - Next: [15 Bug hunt](15_bug_hunt.ipynb); and [04 Workers](04_workers.ipynb) once more, with the
#   predictions of this notebook.
