# %% [markdown]
# # 04 Workers
#
# **After this notebook you will be able to**
#
# - say what a worker shares with you and what it only has a copy of;
# - choose between processes, threads and no worker for a given kind of work;
# - predict which worker fetches which batch when, and how many are in flight;
# - find and cure repeated augmentations and repeated streams;
# - read every way in which a worker can fail, and decide what the loader should do then.
#
# **Time:** 75 minutes. **Needs:** [02 Shuffling](02_shuffling.ipynb); no network, no GPU.

# %%
import os
import re
import time

import numpy as np
import torch
from torch.utils.data import DataLoader as TorchLoader

from dlkit import DataLoader, Dataset, IterableDataset, TransformDataset, get_worker_info
from dlkit.datasets import Cost, synthetic_images
from dlkit.lab import LiveTimeline, WorkersExplorer, stderr_of_children
from dlkit.plots.workers import speedups
from dlkit.workers.simulated import simulate

# %% [markdown]
# ## A worker is a copy
#
# A worker runs **fetch** and **collate** beside your training loop. A *process* has its own memory,
# and so its own copy of the dataset. A *thread* lives in your process and shares everything.
#
# **Predict.** The dataset below notes each index that it reads in a list. After an epoch of eight
# samples with two workers, how long is your list? And what do two workers read from a *stream* of
# six numbers?


# %%
class Diary(Dataset):
    def __init__(self):
        self.read = []

    def __len__(self):
        return 8

    def __getitem__(self, index):
        self.read.append(index)
        return index, os.getpid()


# %%
ways = {
    "no worker": {},
    "2 threads": {"num_workers": 2, "worker_method": "thread"},
    "2 processes": {"num_workers": 2},
}
for name, settings in ways.items():
    diary = Diary()
    processes = {int(pid) for _, pid in DataLoader(diary, **settings)}
    here = os.getpid() in processes
    print(f"{name:11}: {len(diary.read)} entries,", end=" ")
    print(f"read by {len(processes)} process(es), this one among them: {here}")


# %%
class Stream(IterableDataset):
    def __init__(self, takes_its_share):
        self.takes_its_share = takes_its_share

    def __iter__(self):
        info = get_worker_info()  # None outside of workers
        start, step = (info.id, info.num_workers) if self.takes_its_share else (0, 1)
        return iter(range(start, 6, step))


for takes_its_share in (False, True):
    stream = Stream(takes_its_share)
    read = list(DataLoader(stream, batch_size=None, num_workers=2))
    print(f"{takes_its_share=!s:5}", read)

# %% [markdown]
# **Investigate.** The processes wrote into their own lists, which ended with them. Only batches
# come back. A map-style dataset is told which indices to read; a stream is not, so every copy reads
# all of it, unless it asks who it is.
#
# **Modify.** Let `Diary` count in a tensor: `torch.zeros(8).share_memory_()`. Do the processes'
# marks arrive?
#
# **Make.** Write a stream of the lines of several files, in which each worker reads whole files.

# %% [markdown]
# ## Which work gains from which worker
#
# Python's *global lock* lets one thread run Python code at a time. Waiting for a disk releases it;
# so do image decoders and large NumPy and PyTorch operations.
#
# **Predict.** Three kinds of work, 4 ms each; two threads or two processes on two cores. One of the
# six combinations gains nothing. Which one?

# %%
kinds = {
    "Python code": Cost(cpu_seconds=0.004),
    "waiting": Cost(wait_seconds=0.004),
    "work without the lock": Cost(cpu_seconds=0.004, gil=False),
}
rates, delivered = {kind: dict.fromkeys(ways, 0.0) for kind in kinds}, set()


def measure(kind, way):
    data = synthetic_images(48, (1, 8, 8), cost=kinds[kind])
    loader = DataLoader(data, batch_size=4, **ways[way], persistent_workers=way != "no worker")
    for _ in range(6):  # the best counts: others may use the machine too
        start = time.perf_counter()
        delivered.add(sum(len(labels) for _, labels in loader))
        rates[kind][way] = max(rates[kind][way], len(data) / (time.perf_counter() - start))


# %%
# NBVAL_IGNORE_OUTPUT
for kind in kinds:
    for way in ways:
        measure(kind, way)
    print(f"{kind:21}", "  ".join(f"{way} {rate:4.0f}/s" for way, rate in rates[kind].items()))

# %%
gain = {kind: {way: r[way] / r["no worker"] for way in ways} for kind, r in rates.items()}
print("samples in every epoch:", delivered)
print("threads help while waiting:    ", gain["waiting"]["2 threads"] > 1.5)
print("processes help while waiting:  ", gain["waiting"]["2 processes"] > 1.5)
print("threads hardly help Python code:", gain["Python code"]["2 threads"] < 1.5)
speedups(rates)

# %% [markdown]
# **Investigate.** Threads cannot speed up Python code. For the other two they do as well as
# processes, and copy nothing: no second dataset, no batch sent across. Waiting needs no core, so it
# gains from more workers than cores; computing gains only from cores that are free. If your machine
# is busy with something else, the picture shows that.
#
# **Modify.** Set `num_workers` to 8 in both ways. Which kind gains further?
#
# **Make.** Add a fourth kind: `Cost(read_bytes=4_000_000)`. What limits it?

# %% [markdown]
# ## Running ahead, in order
#
# Batch $t$ goes to worker $t$ modulo the number of workers, however fast it is. The loader keeps
# `prefetch_factor` (2, unless you say otherwise) batches in flight for each worker: for each one
# that you take, one more goes in.
#
# **Predict.** Two workers, batches of four. How many indices have been drawn from the sampler
# before you ask for the first batch? Then, batches of one: sample 0 takes half a second, the others
# nothing, and `in_order=False`. As which of the eight does sample 2 arrive?

# %%
drawn = []


class Order:
    def __iter__(self):
        for index in range(100):
            drawn.append(index)
            yield index


batches = iter(DataLoader(range(100), batch_size=4, sampler=Order(), num_workers=2))
for taken in range(4):
    print(f"batches taken: {taken}, indices drawn: {len(drawn)}")
    next(batches)
del batches  # ends the workers


# %%
class Straggler(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        time.sleep(0.5 if index == 0 else 0)
        return index


for in_order in (True, False):
    loader = DataLoader(Straggler(), **ways["2 threads"], in_order=in_order)
    journeys = simulate([0.5] + 7 * [0.001], workers=2, in_order=in_order)
    print(f"in_order={in_order!s:5}, loaded:   ", [int(batch) for batch in loader])
    print(f"in_order={in_order!s:5}, simulated:", [journey.number for journey in journeys])

# %%
WorkersExplorer(workers=2, prefetch_factor=2, slow=100, step=20)

# %%
LiveTimeline(workers=2, prefetch_factor=2, sample=5, batch_size=8, step=20)

# %% [markdown]
# **Investigate.** The first picture is the loader's own scheduling, run on a clock; a line is a
# batch that lies ready. Batch 8 is slow, and holds up all after it: *head-of-line blocking*.
# Meanwhile the other worker idles, because enough is in flight. Out of order, only what the slow
# worker has comes late, but which batch comes when then depends on speed: two runs differ. The
# second picture is a prediction until you press *run*: then real workers fill the lower half of
# each row. What they take beyond it goes to starting, to handing over, and to other programs.
#
# **Modify.** With the first sliders: which `prefetch_factor` hides batch 8? And with 10 ms of
# computing? Why does none? With the second: from how many workers on does training not wait?
#
# **Make.** Print `loader.memory_bound()` for images of 3x224x224 after one batch. Which batches
# does it count beside those in flight?

# %% [markdown]
# ## The augmentation that repeats
#
# **Predict.** The dataset holds a NumPy generator, and draws from it and from PyTorch's global one.
# Two processes, two epochs of four samples: which numbers repeat?


# %%
class Jittered(Dataset):
    def __init__(self):
        self.own = np.random.default_rng(0)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return int(self.own.integers(1000)), int(torch.randint(1000, ()))


loader = DataLoader(Jittered(), num_workers=2, generator=torch.Generator().manual_seed(0))
for epoch in range(2):
    own, shared = torch.tensor(list(loader)).T.tolist()
    print(f"epoch {epoch}: held by the dataset {own}, global {shared}")


# %%
class Cured(Jittered):
    epoch = 0

    def __getitem__(self, index):
        return np.random.default_rng((self.epoch, index)).integers(1000)


cured = Cured()
for settings in ways.values():
    numbers = []
    for cured.epoch in range(2):
        numbers.append([int(number) for number in DataLoader(cured, **settings)])
    print(numbers)

# %% [markdown]
# **Investigate.** Each process starts with a copy of the generator *as it is here*, where nobody
# ever draws from it: the same numbers in both workers, in every epoch. Nothing fails; the model
# just sees less variety. Global generators are seeded anew for each worker and epoch, so their
# numbers change with the number of workers. The cure depends on neither: seed from what the sample
# *is*, its epoch and index.
#
# **Modify.** Add `persistent_workers=True` to the cured loader of two processes, made once before
# the loop. Why does the epoch stand still?
#
# **Make.** Seed `self.own` in a `worker_init_fn`, from `get_worker_info().seed`. What changes with
# three workers?

# %% [markdown]
# ## How a process starts
#
# *fork* duplicates this process with all that it holds; *spawn* starts a new Python and sends it
# the dataset; *forkserver* forks from a clean Python started once. Python 3.14 made forkserver
# Linux's default.
#
# **Predict.** The cell below changes PyTorch's default dtype, then makes a number in a worker.
# Which dtype arrives under each? It calls a function of this notebook: can a new Python know it?


# %%
# NBVAL_IGNORE_OUTPUT
def precision(_sample):
    return str(torch.tensor(0.5).dtype)


data, arrived = TransformDataset([0], precision), {}
torch.set_default_dtype(torch.float64)
for method in ("fork", "forkserver", "spawn"):
    start = time.perf_counter()
    loader = DataLoader(data, num_workers=1, multiprocessing_context=method)
    arrived[method] = next(iter(loader))[0]
    print(f"{method:10} {time.perf_counter() - start:.2f} s to the first batch")
torch.set_default_dtype(torch.float32)

# %%
print(arrived)
with stderr_of_children() as lines:
    try:
        list(TorchLoader(data, num_workers=1, multiprocessing_context="spawn"))
    except RuntimeError as error:
        print("PyTorch's worker exited unexpectedly:", "exited unexpectedly" in str(error))
print("its last words:", lines[-1].partition(":")[0], "- on precision:", "precision" in lines[-1])

# %% [markdown]
# **Investigate.** Only fork takes your settings along; set them in `worker_init_fn` and they hold
# everywhere. PyTorch sends a function or class as its name, which a new Python cannot look up;
# dlkit sends those of a notebook as code, by *cloudpickle*. Fork is fast, but it copies only the
# thread that forks: a lock held by another one stays locked for ever.
#
# **Modify.** Move `precision` into a file beside the notebook and import it. Does PyTorch work now?
#
# **Make.** Set the dtype in a `worker_init_fn`, and get float64 three times.

# %% [markdown]
# ## Pinned memory
#
# The system may move ordinary memory at any time, so an accelerator cannot copy from it by itself;
# the driver copies it twice. *Pinned* memory stays where it is: the copy runs while Python goes on.
#
# **Predict.** Without an accelerator, is `pin_memory=True` an error, a warning, or ignored?

# %%
# NBVAL_IGNORE_OUTPUT
import warnings

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    data = synthetic_images(4, (3, 64, 64))
    images, _ = next(iter(DataLoader(data, batch_size=4, pin_memory=True)))
print("accelerator:", torch.accelerator.is_available(), "- pinned:", images.is_pinned())
print(*(warning.message for warning in said))

# %%
print("either pinned or told why not:", images.is_pinned() != bool(said))

# %% [markdown]
# **Investigate.** A warning, and ordinary memory. Pinning costs a copy and memory that cannot be
# swapped out: it pays only for batches on their way to a device.
#
# **Modify.** Pass `device="cpu"` instead: what changes? (To an accelerator, `device=` pins and
# copies, one batch ahead.)
#
# **Make.** With a GPU: time `images.to("cuda", non_blocking=True)` from ordinary and pinned memory.

# %% [markdown]
# ## What failures look like
#
# **Predict.** Sample 5 of 12 does harm: it raises, kills its worker, or hangs. For each: does the
# loader raise at once, late, or never? Does an exception keep its type on its way here?

# %%
import multiprocessing
import signal


def fragile(harm):
    return TransformDataset(range(12), lambda index: (harm() or 5) if index == 5 else index)


def attempt(loader):
    try:
        return [batch.tolist() for batch in loader]
    except Exception as error:
        lines = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]
        text = "\n    ".join(re.split(r"; |\n", line)[0] for line in lines)
        return re.sub(r"pid \d+", "pid ...", text)


# %%
damaged = fragile(lambda: b"\xff".decode())
settings = {"batch_size": 4, "num_workers": 2}
print("PyTorch:", attempt(TorchLoader(damaged, **settings, multiprocessing_context="fork")))
print("dlkit:  ", attempt(DataLoader(damaged, **settings)))
loader = DataLoader(damaged, **settings, on_error="skip")
print("skip:   ", attempt(loader), loader.errors, sep="\n    ")


# %%
def die():
    os.kill(os.getpid(), signal.SIGKILL)


for harm in (die, lambda: os._exit(3)):
    print(attempt(DataLoader(fragile(harm), **settings)))

# %%
died = torch.zeros(1).share_memory_()  # seen by all processes


def die_once():
    if not died:
        died.fill_(1)
        die()


for restarts in (0, 1):
    died.zero_()
    loader = DataLoader(fragile(die_once), **settings, restart_workers=restarts)
    print(f"restart_workers={restarts}:", attempt(loader))
    print("    the next epoch:", attempt(loader))
print("worker processes left:", len(multiprocessing.active_children()))

# %%
from dlkit import WorkerTimeoutError

batches = iter(DataLoader(fragile(lambda: time.sleep(3)), **settings, timeout=1))
seen = []
while len(seen) < 12:
    try:
        seen += next(batches).tolist()
    except WorkerTimeoutError as error:
        message = str(error)
print(message.partition(":")[0])
print("after asking again:", seen)

# %% [markdown]
# **Investigate.** An exception keeps its type, and its notes say where it was. A dead worker is
# noticed at once, with no `timeout` set; killed without a reason usually means out of memory. A
# time-out does not end the epoch: the next call waits again. `on_error="skip"` hides data, so look
# at `errors`. Whatever happened, the same loader starts afresh in the next epoch.
#
# **Modify.** Let every sample fail under `on_error="skip"`, then lower `error_limit`.
#
# **Make.** Kill a worker by hand in a terminal, while an epoch runs. Which line tells you the
# signal?

# %% [markdown]
# ## Recap
#
# - A process works on a copy of the dataset; only batches come back. A thread shares it.
# - Threads for waiting and for work that leaves the global lock, processes for Python code.
# - `prefetch_factor` times `num_workers` batches are in flight; order costs waiting, and no order
#   costs reproducibility.
# - A copied generator or stream repeats: seed from epoch and index, take a share by
#   `get_worker_info`.
# - Set up workers in `worker_init_fn`: only fork takes this process's settings along.
# - A failure names its sample or its signal; skipping and replacing are your decision.

# %% [markdown]
# ## Check yourself
#
# 1. Your dataset keeps a cache in a dictionary. With four process workers, how many caches are
#    there, and which one can you see?
# 2. Four workers, `prefetch_factor=2`, batches of 100 MB. How much memory do batches in flight
#    take, and what does halving the factor risk?
# 3. The loss falls more slowly since you moved augmentation into a class with its own generator.
#    What do you print first?
#
# <details><summary>Answers</summary>
#
# (1) Five; yours, which stays empty. (2) 800 MB; that one slow batch is no longer hidden. (3) The
# random numbers of the first samples, in two workers and two epochs.
#
# </details>

# %% [markdown]
# ## Read on
#
# - PyTorch documentation, `torch.utils.data`: "Multi-process data loading", "Randomness in
#   multi-process data loading" and "Memory Pinning".
# - Python documentation: `multiprocessing`, "Contexts and start methods"; the glossary on the
#   global interpreter lock.
# - Murray and others: *tf.data: A Machine Learning Data Processing Framework* (2021), on
#   prefetching and parallel fetching.
# - Next: [05 Find the bottleneck](05_find_the_bottleneck.ipynb). In the package:
#   `dlkit/workers/ahead.py`, the scheduling in one page.
