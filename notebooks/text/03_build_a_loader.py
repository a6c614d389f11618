# %% [markdown]
# # 03 Build a loader
#
# **After this notebook you will be able to**
#
# - write a loader in eight steps that gives PyTorch's batches, bit for bit;
# - say why every stage of it is a variation of `map(fetch, tasks)`;
# - run it in a thread and in processes without losing errors, order or processes;
# - stop it anywhere and continue exactly there;
# - name what dlkit's loader does differently, and why that is faster.
#
# **Time:** 75 minutes. **Needs:** [02 Shuffling](02_shuffling.ipynb); no network, no GPU.

# %%
from itertools import islice

import torch
from torch.utils.data import DataLoader as TorchLoader

import dlkit

train, read = dlkit.datasets.digits(), []


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)  # raises, and says what differs
    return True


# %% [markdown]
# ## Steps 1 and 2: batch and shuffle
#
# A **task** is the list of indices of one batch. Fetching turns a task into samples, and Python's
# `map` turns tasks into batches: that is a loader.
#
# **Predict.** How many samples has `map(fetch, tasks)` read before anybody asks for a batch? And is
# `torch.randperm`, with the same seed, PyTorch's order: in the first epoch, in the second?


# %%
def batched(items, size):
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def fetch(task):
    read.extend(task)
    return [train[index] for index in task]


def shuffled(n, generator):
    torch.empty((), dtype=torch.int64).random_(generator=generator)  # drawn to seed workers
    yield from torch.randperm(n, generator=generator).tolist()
    torch.randperm(n, generator=generator)  # drawn in case more than n samples are wanted


# %%
def seeded():
    return torch.Generator().manual_seed(0)


batches = map(fetch, batched(range(100), 64))
print("samples read before a batch is asked for:", len(read))
theirs = TorchLoader(train, batch_size=64, collate_fn=list)
print("equal:", same(next(batches), next(iter(theirs))), "- samples read:", len(read))
loader = TorchLoader(range(1000), batch_size=64, shuffle=True, generator=seeded())
theirs = [torch.cat(list(loader)).tolist() for epoch in range(2)]
plain, ours = seeded(), seeded()
alone = [torch.randperm(1000, generator=plain).tolist() == epoch for epoch in theirs]
print("randperm alone, equal:", alone)
print("shuffled(), equal:    ", [list(shuffled(1000, ours)) == epoch for epoch in theirs])

# %% [markdown]
# **Investigate.** Nothing is read until somebody asks: `map` is lazy. PyTorch draws a number for
# workers even if there are none, and throws a whole permutation away at the end of an epoch. To
# give the same batches is to draw the same numbers in the same order.
#
# **Modify.** Remove the last line of `shuffled`: which epoch is still equal? Remove the first line
# of `batched`, and print the first three batches of `range(10)`. Why?
#
# **Make.** Give `batched` the argument `drop_last`.

# %% [markdown]
# ## Steps 3 and 4: collate, and streams
#
# Collate stacks a list of samples, field by field. A stream has no indices to plan with: there, the
# task is the samples themselves.
#
# **Predict.** A sample is the tuple `(image, {"weight": 0.5})`. Is PyTorch's batch a tuple, and is
# 0.5 a 32-bit number in it? If the dataset is an iterator, how many batches does its second epoch
# have? And two workers read a stream of ten samples: how many arrive?


# %%
def collate(samples):
    first = samples[0]
    if isinstance(first, torch.Tensor):
        return torch.stack(samples)
    if isinstance(first, float):
        return torch.tensor(samples, dtype=torch.float64)
    if isinstance(first, int):
        return torch.tensor(samples)
    if isinstance(first, str):
        return samples
    if isinstance(first, dict):
        return {key: collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple | list):
        return [collate(list(field)) for field in zip(*samples, strict=True)]
    raise TypeError(f"cannot collate {type(first).__name__}")


# %%
class MiniLoader:
    def __init__(self, dataset, batch_size, generator=None, run=map):
        self.dataset, self.batch_size = dataset, batch_size
        self.generator, self.run = generator, run

    def tasks(self):
        n = len(self.dataset)
        order = range(n) if self.generator is None else shuffled(n, self.generator)
        return batched(order, self.batch_size)

    def fetch(self, task):
        return collate([self.dataset[index] for index in task])

    def __iter__(self):
        return iter(self.run(self.fetch, self.tasks()))


# %%
class StreamLoader(MiniLoader):
    fetch = staticmethod(collate)

    def tasks(self):
        return batched(self.dataset, self.batch_size)


class Numbers(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(range(10))


for stream in (iter(range(10)), Numbers()):
    epochs = [len(list(StreamLoader(stream, 4))) for epoch in range(2)]
    print(f"{type(stream).__name__:14} batches in each epoch: {epochs}")

# %%
samples = [(image, {"weight": 0.5, "size": (28, 28)}) for image, label in (train[0], train[1])]
theirs = torch.utils.data.default_collate(samples)
weight = theirs[1]["weight"]
print(type(theirs).__name__, weight.dtype, "- equal:", same(collate(samples), theirs))
ours = MiniLoader(train, 64, seeded())
theirs = TorchLoader(train, 64, shuffle=True, generator=seeded())
print("two shuffled epochs, equal:", [same(list(ours), list(theirs)) for epoch in range(2)])
ours, theirs = StreamLoader(Numbers(), 4), TorchLoader(Numbers(), 4)
print("a stream, equal:", same(list(ours), list(theirs)))
twice = dlkit.DataLoader(Numbers(), 4, num_workers=2)
print("samples of the stream from two workers:", sum(len(batch) for batch in twice))

# %% [markdown]
# **Investigate.** A list and 64 bits: collate keeps what a Python float is, but no tuples. An
# iterator is used up after one epoch; a dataset is something that can make a new iterator. And
# twenty: each worker has a copy of the dataset and reads all of it, unless the dataset asks
# `get_worker_info` for its share.
#
# **Modify.** Give `collate` a list of `None`. Which sample would you blame in a real project, with
# this message?
#
# **Make.** Let `collate` keep named tuples. Compare with `default_collate`.

# %% [markdown]
# ## Step 5: a prefetch thread
#
# The loader has a place for something better than `map`: anything that takes `fetch` and `tasks`
# and yields batches. `serve` is all that a worker does, `exchange` keeps `ahead` tasks in flight;
# neither knows how tasks and batches travel.
#
# **Predict.** Fetching a batch takes 16 ms, computing on it too: what does one thread save? Now
# batches of 4, two in flight, and your loop stops after the first. How many samples were read: 4,
# 8 or 12?


# %%
def serve(fetch, get, put):
    while (task := get()) is not None:
        try:
            put(fetch(task))
        except Exception as error:
            error.add_note(f"while fetching {task}")
            put(error)


class Watched(torch.utils.data.TensorDataset):
    def __getitem__(self, index):
        read.append(index)
        return super().__getitem__(index)


# %%
import queue
import threading


def in_thread(fetch, tasks, ahead=2):
    todo, done = queue.SimpleQueue(), queue.SimpleQueue()
    arguments = (fetch, todo.get, done.put)
    thread = threading.Thread(target=serve, args=arguments, daemon=True)
    thread.start()
    try:
        yield from exchange(tasks, todo.put, done.get, ahead)
    finally:
        todo.put(None)
        thread.join()


# %%
def exchange(tasks, send, receive, ahead):
    tasks, in_flight = iter(tasks), 0
    for task in islice(tasks, ahead):
        send(task)
        in_flight += 1
    while in_flight:
        if isinstance(batch := receive(), Exception):
            raise batch
        for task in islice(tasks, 1):  # one came back, so one more may go
            send(task)
            in_flight += 1
        in_flight -= 1
        yield batch


# %%
# NBVAL_IGNORE_OUTPUT
from time import perf_counter, sleep

from dlkit.datasets import Cost, synthetic_images

slow = synthetic_images(128, (1, 28, 28), cost=Cost(wait_seconds=0.002))
for run in (map, in_thread):
    start = perf_counter()
    for _batch in MiniLoader(slow, 8, run=run):
        sleep(0.016)  # the model computes
    print(f"{run.__name__:9} {perf_counter() - start:.2f} s")

# %%
read.clear()
for _batch in MiniLoader(Watched(*train.tensors), 4, run=in_thread):
    break
print("samples read for one batch:", len(read))
try:
    list(MiniLoader([train[0], None], 1, run=in_thread))
except TypeError as error:
    print(f"TypeError: {error}, {error.__notes__[0]}")
left = [thread for thread in threading.enumerate() if "(serve)" in thread.name]
ours = MiniLoader(train, 64, seeded(), in_thread)
theirs = TorchLoader(train, 64, shuffle=True, generator=seeded())
print("threads left over:", len(left), "- equal:", same(list(ours), list(theirs)))

# %% [markdown]
# **Investigate.** Almost half: fetching runs while the model computes. And twelve: the batch in
# your hand, and two in flight. `break` drops the generator, whose `finally` ends the thread. An
# error travels like a batch and is raised where you wait, with its task as a note.
#
# **Modify.** Set `ahead=1`. Is the time still saved? Then replace the two lines under `finally` by
# `pass`: what is left over after `break`?
#
# **Make.** Start two threads on the same two queues. Which promise of `map` is now broken?

# %% [markdown]
# ## Step 6: worker processes
#
# Threads take turns at running Python code, so fetching that is mostly Python needs processes. They
# share nothing: tasks and batches travel through pipes. Task t goes to worker t % 2.
#
# **Predict.** `Watched` notes what it reads in a list. After an epoch in two processes, how long is
# the list? And what must a new Python know to use a function from a cell?

# %%
import functools
import multiprocessing
import sys

import cloudpickle

context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


class Portable(functools.partial):
    def __reduce__(self):
        plain = functools.partial(self.func, *self.args)
        return cloudpickle.loads, (cloudpickle.dumps(plain),)


# %%
import pickle
import subprocess

new = [sys.executable, "-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"]
for function in (batched, Portable(batched)):
    done = subprocess.run(new, input=pickle.dumps(function), capture_output=True)
    print(f"{type(function).__name__:8} arrives in a new Python:", done.returncode == 0)


# %%
def work(fetch, far_end, pipe):
    far_end.close()  # while any copy is open, nobody notices that the main process died
    torch.set_num_threads(1)  # the threads of OpenMP do not survive a fork
    with suppress(EOFError, OSError):  # the main process died
        serve(fetch, pipe.recv, pipe.send)


def start_worker(fetch):
    ours, theirs = ends = context.Pipe()
    arguments = (Portable(fetch), *ends)
    process = context.Process(target=Portable(work), args=arguments, daemon=True)
    process.start()
    theirs.close()
    return ours, process


# %%
from contextlib import suppress
from multiprocessing.connection import wait


def receive(pipes):
    pipe = wait(pipes)[0]
    with suppress(EOFError, OSError):
        return pipe.recv()
    raise RuntimeError(f"worker {pipes.index(pipe)} died")


def numbered(fetch, task):
    return task[0], fetch(task[1])


# %%
def in_processes(fetch, tasks, workers=2, ahead=4):
    job = functools.partial(numbered, fetch)
    pipes, processes = zip(*[start_worker(job) for _ in range(workers)], strict=True)

    def send(task):
        with suppress(OSError):  # that worker died; receive will tell
            pipes[task[0] % workers].send(task)

    try:
        yield from exchange(enumerate(tasks), send, lambda: receive(pipes), ahead)
    finally:
        for process in processes:
            process.terminate()
            process.join()


# %%
import os

read.clear()
arrived = dict(MiniLoader(Watched(*train.tensors), 64, seeded(), in_processes))
by_number = [arrived[number] for number in sorted(arrived)]
theirs = TorchLoader(train, 64, shuffle=True, generator=seeded())
print("samples noted here:", len(read), "- equal once sorted:", same(by_number, list(theirs)))
for dataset in ([None], dlkit.TransformDataset([1], os._exit)):
    try:
        list(MiniLoader(dataset, 1, run=in_processes))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
print("processes left over:", len(multiprocessing.active_children()))

# %% [markdown]
# **Investigate.** Zero: each worker notes in its own copy of the list. A pickled function is only a
# name, `__main__.batched`, which another Python does not have. A *forked* process is a copy and has
# it already; *spawn* and *forkserver* start anew and need the code itself, which cloudpickle sends.
# A worker that dies closes its pipe, so nobody waits for ever. Batches come as pairs with their
# number, because they come in any order.
#
# **Modify.** Set `context` to `"spawn"` and run from there. Does it still work, and how long does
# the first batch take? Then leave out `Portable`.
#
# **Make.** Raise an exception whose `__init__` needs two arguments. What arrives, and why?

# %% [markdown]
# ## Steps 7 and 8: back in order, and resume
#
# Workers finish when they finish; `map` promises an order. A *reorder buffer* keeps what came
# early. And where does an epoch stand? Its order follows from the generator's state at its
# beginning; the rest is a count of batches.
#
# **Predict.** Batch 0 is slow, four tasks are in flight. How many batches can worker 1 finish
# before worker 0 finishes its first? You stop after three batches, when at least seven tasks have
# been sent: which batch comes first tomorrow, and how many samples are read to get there?


# %%
from dlkit.plots.building import reorder_buffer


def in_order(fetch, tasks):
    early, due = {}, 0
    for number, batch in in_processes(fetch, tasks):
        early[number] = batch
        while due in early:
            yield early.pop(due)
            due += 1


ours = MiniLoader(train, 64, seeded(), in_order)
theirs = TorchLoader(train, 64, shuffle=True, generator=seeded(), num_workers=2)
print("two epochs, equal:", [same(list(ours), list(theirs)) for epoch in range(2)])

# %%
gate, arrivals = context.Event(), []


class Slow(list):
    def __getitem__(self, index):
        if index == 0:
            gate.wait(timeout=20)
        return super().__getitem__(index)


for number, _batch in MiniLoader(Slow(range(28)), 4, run=in_processes):
    arrivals.append(number)
    if number == 5:
        gate.set()
reorder_buffer(arrivals, workers=2)


# %%
class Resumable(MiniLoader):
    skip = 0

    def __iter__(self):
        start, delivered, self.skip = self.generator.get_state(), self.skip, 0
        for batch in self.run(self.fetch, islice(self.tasks(), delivered, None)):
            delivered += 1
            self.state = {"generator": start, "batches": delivered}
            yield batch
        self.state = {"generator": self.generator.get_state(), "batches": 0}

    def resume(self, state):
        self.skip = state["batches"]
        self.generator.set_state(state["generator"])


# %%
today = Resumable(train, 64, seeded(), in_order)
list(islice(today, 3))

read.clear()
tomorrow = Resumable(Watched(*train.tensors), 64, torch.Generator())
tomorrow.resume(today.state)
rest = list(tomorrow)
theirs = TorchLoader(train, 64, shuffle=True, generator=seeded())
print("stopped after batch", today.state["batches"], "- rest equal:", same(rest, list(theirs)[3:]))
print("samples read in vain:", len(read) - sum(len(labels) for images, labels in rest))
print("next epoch equal:", same(list(tomorrow), list(theirs)))
print("PyTorch's loader has a state_dict:", hasattr(theirs, "state_dict"))

# %% [markdown]
# **Investigate.** Three: 1, 3 and 5. Then tasks 0, 2, 4 and 6 are in flight, all of them worker
# 0's, and worker 1 idles: *head-of-line blocking*. The limit is wanted, or a slow batch would let
# the buffer grow without bound. Resuming begins with the fourth batch: a state counts what was
# *delivered*, not what was sent. Skipping a task costs its indices, never its samples; and we
# stopped with two workers and went on with none.
#
# **Modify.** Use `range(80)` and never open the gate. How many batches arrive in the 20 seconds?
# Then let the state count the tasks that were sent: what is lost at each stop?
#
# **Make.** Send each task to the worker that has fewest. What is gained, and what must be limited
# now?

# %% [markdown]
# ## What dlkit adds
#
# The same eight steps, in the order in which to read them:
#
# | here | `dlkit/` | beyond it |
# |---|---|---|
# | `batched`, `shuffled` | `samplers/` | more orders, all resumable |
# | `collate` | `collate/` | writes into memory that exists |
# | `fetch` | `fetch.py` | one gather for a whole batch |
# | `exchange`, `in_order` | `workers/ahead.py` | one limit for sent and early batches |
# | `serve`, `in_thread` | `workers/worker.py`, `threads.py` | seeds, `get_worker_info` |
# | `work`, `in_processes` | `workers/child.py`, `processes.py` | time-outs, restarts |
# | the pipe | `workers/parcel.py`, `shared_memory.py` | slots |
# | `MiniLoader`, `Resumable` | `epoch.py`, `loader.py` | streams too |
#
# **Predict.** Both we and PyTorch put every tensor of a batch into new shared memory, so that only
# a handle goes through the pipe. What is slow, then?

# %%
# NBVAL_IGNORE_OUTPUT
import math
import mmap
from timeit import repeat

images, shape = list(torch.rand(128, 3, 224, 224)), (128, 3, 224, 224)


def shared_memory():
    return torch.frombuffer(mmap.mmap(-1, 4 * math.prod(shape)), dtype=torch.float32).view(shape)


slot = shared_memory()
new = min(repeat(lambda: torch.stack(images, out=shared_memory()), number=1))
used = min(repeat(lambda: torch.stack(images, out=slot), number=1))
print(f"new memory {new * 1e3:.1f} ms, a slot used before {used * 1e3:.1f} ms: {new / used:.1f}x")

# %%
print("our batches are shared memory:", next(iter(ours))[0].is_shared())
print("new memory or slot, equal:", same(torch.stack(images, out=shared_memory()), slot))
loader = dlkit.DataLoader(train, 64, shuffle=True, num_workers=2, generator=seeded())
theirs = list(TorchLoader(train, 64, shuffle=True, generator=seeded()))
print("dlkit, two workers, equal:", same(list(loader), theirs))
loader.generator.manual_seed(0)
list(islice(loader, 3))
other = dlkit.DataLoader(train, 64, shuffle=True, num_workers=1, generator=seeded())
other.load_state_dict(loader.state_dict())
print("resumed with one worker, equal:", same(list(other), theirs[3:]))

# %% [markdown]
# **Investigate.** The memory itself: the system must find and clear each new page, 77 MB of them a
# batch. A *slot* is made once; it returns to its worker when the last tensor over it is gone.
# Threads need no slot at all.
#
# **Modify.** Make the images 8x8. Is a slot still worth it?
#
# **Make.** Time an epoch of digits through `MiniLoader`, PyTorch's loader and dlkit's, with two
# workers each. Where do slots not help?

# %% [markdown]
# ## Recap
#
# - A loader is `map(fetch, tasks)`; threads and processes are other maps.
# - Equal batches need equal draws, in equal order.
# - Tasks in flight bound memory and hide latency; a reorder buffer restores the order.
# - Errors travel as values; a closed pipe tells of a death; `finally` leaves nothing behind.
# - A state is the generator at the start and the number of batches delivered.
# - New shared memory costs more than the copy; slots are used again.

# %% [markdown]
# ## Check yourself
#
# 1. Why does a stream come twice from two PyTorch workers, and would come once from ours?
# 2. `ahead=8`, batches of 20 MB, two workers. Roughly how much memory can be in use, and where?
# 3. A state counts the batches that were fetched, not those delivered. When does nobody notice?
#
# <details><summary>Answers</summary>
#
# (1) PyTorch copies the dataset into each worker, which must read its own share; our tasks carry
# the samples themselves, and pay for sending them. (2) Eight in flight, seven in the reorder buffer
# and one in hand: up to 320 MB. (3) Without prefetching: then fetched and delivered are the same.
#
# </details>

# %% [markdown]
# ## Read on
#
# - PyTorch documentation, `torch.utils.data`: "Multi-process data loading";
#   `torch.multiprocessing`: "Sharing strategies".
# - Python documentation: `multiprocessing`, "Contexts and start methods"; PEP 574 on pickling data
#   out of band.
# - Mohan and others: *Analyzing and Mitigating Data Stalls in DNN Training* (2021).
# - Next: [04 Workers](04_workers.ipynb).
