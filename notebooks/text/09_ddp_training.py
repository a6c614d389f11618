# %% [markdown]
# # 09 DDP training
#
# **After this notebook you will be able to**
#
# - start ranks from a cell, and read what goes wrong in one of them;
# - say what DDP does to your gradients, and build the exchange yourself;
# - prove that several ranks learn what one process learns, with uneven data too;
# - find the rank that all others wait for, and estimate how many ranks pay;
# - take the same code to `torchrun`, to several hosts, and through the death of a rank.
#
# **Time:** 75 minutes. **Needs:** [07 Train a CNN](07_train_a_cnn.ipynb); no network, no GPU: ranks
# are processes here, which talk through gloo. On GPUs the same code talks through NCCL.

# %%
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dlkit import DataLoader, TensorDataset, ddp
from dlkit.samplers import DistributedSampler
from dlkit.trainer import Trainer

# %% [markdown]
# ## Ranks of your own
#
# A **rank** is a process with a number. All run the same code; `ddp.current()` tells each which one
# it is, from variables that a launcher has set. So no rank is ever written into code.
#
# **Predict.** The function below is defined in this notebook. Can three new processes know it? And
# when rank 1 fails while rank 0 waits for it, which error will you see, and how soon?


# %%
def introduce():
    place = ddp.current()
    total = torch.tensor(float(place.rank))
    distributed.all_reduce(total)  # every rank gives a number, every rank gets the sum
    return f"rank {place.rank} of {place.world_size} on {place.device}, sum {total:.0f}"


for line in ddp.launch(introduce, world_size=3, timeout=240, device="cpu"):
    print(line)


# %%
def fail(how):
    if ddp.current().rank == 1:
        how()
    distributed.all_reduce(torch.zeros(1))


for how in (lambda: {}["label"], lambda: os.kill(os.getpid(), signal.SIGKILL)):
    try:
        ddp.launch(fail, how, world_size=2, timeout=240, device="cpu")
    except (KeyError, ddp.RankDiedError) as error:
        print(type(error).__name__, "-", str(error).split(" (pid")[0])
        note = getattr(error, "__notes__", ["it was killed"])[0]
        print("   ", note.splitlines()[0])

# %% [markdown]
# **Investigate.** The function travels as code. An exception comes back with its own type and its
# rank; rank 0, which only saw a closed connection, is not blamed. Whatever happens, no process is
# left. Ranks are started anew rather than forked: a fork copies locks that other threads hold.
#
# **Modify.** Let rank 1 sleep for a minute instead, with `timeout=5`. What do the notes of the
# error show?
#
# **Make.** Return `os.getpid()` from each rank. Then start a `DataLoader` with workers in a rank.

# %% [markdown]
# ## Gradients, before and after
#
# Each rank holds the whole model and a share of the batch. During `backward`, DDP replaces each
# gradient by its mean over the ranks. Then all take the same step, and stay equal.
#
# **Predict.** The loss of rank $r$ is $(r + 1) \cdot w$, so its gradient is $r + 1$. What does
# `w.grad` hold on each of three ranks, without and with DDP?


# %%
def gradients():
    model = nn.Linear(1, 1, bias=False)
    inputs = torch.tensor([[ddp.current().rank + 1.0]])
    model(inputs).sum().backward()
    own = model.weight.grad.item()
    model.zero_grad()
    parallel = DistributedDataParallel(model)  # what has no name is gone before backward
    parallel(inputs).sum().backward()
    return own, model.weight.grad.item()


before, after = zip(*ddp.launch(gradients, world_size=3, timeout=240, device="cpu"), strict=True)
print("each rank's own:", before)
print("after backward: ", after)

# %% [markdown]
# **Investigate.** The mean, 2, everywhere: a mean over *ranks*. If one rank's batch is smaller, its
# samples weigh more.
#
# **Modify.** Call `backward` inside `model.no_sync()`: what is exchanged? So gradients of several
# batches are accumulated for the price of one exchange.
#
# **Make.** Compute the same mean with `ddp.sum_over_ranks`, without DDP.

# %% [markdown]
# ## Build the ring
#
# How do $N$ ranks add up vectors? If all send theirs to rank 0, rank 0 receives $N - 1$ of them.
# In a *ring*, each rank speaks to its right neighbour only. The vector is cut into $N$ chunks; in
# $N - 1$ turns each chunk travels round, growing; in $N - 1$ more the sums travel round.
#
# **Predict.** For 8 ranks and a vector of 1 MB: how much does each rank send in all?


# %%
def ring_all_reduce(vectors):
    n = len(vectors)
    chunks = [list(vector.clone().chunk(n)) for vector in vectors]
    sent = [0] * n
    for turn in range(2 * (n - 1)):
        adding = turn < n - 1
        messages = []
        for rank in range(n):
            which = (rank - turn) % n if adding else (rank + 1 - (turn - n + 1)) % n
            messages.append((which, chunks[rank][which].clone()))
            sent[rank] += messages[-1][1].nbytes
        for rank, (which, message) in enumerate(messages):
            right = (rank + 1) % n
            chunks[right][which] = chunks[right][which] + message if adding else message
    return [torch.cat(pieces) for pieces in chunks], sent


# %%
for n in (2, 4, 8, 16):
    vectors = [torch.full((262_144,), float(rank)) for rank in range(n)]
    results, sent = ring_all_reduce(vectors)
    total = sum(vectors)
    right = all(torch.equal(result, total) for result in results)
    mb = max(sent) / 2**20
    print(f"{n:2} ranks: right {right}, each sends {mb:.3f} MB; to rank 0: {n - 1} MB")

# %% [markdown]
# **Investigate.** Each rank sends $2 (N - 1) / N$ times the vector, never more than twice, however
# many ranks there are. The number of turns grows, though, and each costs a latency. NCCL and gloo
# use rings for large vectors and trees for small ones.
#
# **Modify.** Use a vector of 100 elements and 16 ranks. What happens to `chunk`, and to the result?
#
# **Make.** Run it on real ranks, with `distributed.isend` and `recv` instead of lists.

# %% [markdown]
# ## The proof
#
# A claim to check: $N$ ranks with batches of $b$ learn what one process learns with $N b$.
#
# **Predict.** 50 samples, 2 ranks, 8 each: the last step has 2 samples, one each. With 3 ranks of 8
# it has 2 again: one rank has none. Are the weights still those of one process? To how many digits?

# %%
generator = torch.Generator().manual_seed(0)
labels = torch.randint(3, (50,), generator=generator)
data = TensorDataset(torch.randn(50, 4, generator=generator) + labels[:, None], labels)


def train(batch_size):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    place = ddp.current()
    sampler = DistributedSampler(data, place.world_size, place.rank, pad=False)
    trainer = Trainer(model, device="cpu", seed=0, progress=False)
    trainer.fit(DataLoader(data, batch_size, sampler=sampler), epochs=3)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), trainer.samples_trained


# %%
def steps():
    shares = [[8, 8, 1], [8, 8, 1], [8, 8]]
    batches = [torch.zeros(size, 4) for size in shares[ddp.current().rank]]
    return [(len(batch), weight) for batch, weight in ddp.join(batches)]


def both():
    return *train(8), steps()


# %%
for world_size in (2, 3):
    expected, _ = train(8 * world_size)  # one process
    ranks = ddp.launch(both, world_size=world_size, timeout=240, device="cpu")
    far = max(float((weights - expected).abs().max()) for weights, *_ in ranks)
    same = all(torch.equal(weights, ranks[0][0]) for weights, *_ in ranks)
    print(f"{world_size} ranks: equal to one process to 6 digits: {far < 1e-6};", end=" ")
    print("among each other bit for bit:", same, "- samples:", ranks[0][1])

for rank, (*_, taken) in enumerate(ranks):
    print("rank", rank, "takes (samples, weight):", taken)

# %% [markdown]
# **Investigate.** To rounding: sums in another order. `ddp.join`, which the trainer uses, keeps all
# ranks in step: each loss is weighted by its share of the samples, and a rank without a batch takes
# part with weight 0. PyTorch's own `model.join()` lets such a rank stand aside; it then misses the
# optimizer's step, and with momentum the ranks drift apart.
#
# **Modify.** Use `pad=True`. How many samples are trained on, and does the equality survive?
#
# **Make.** Omit `seed=0` and add `nn.Dropout(0.5)`: should ranks drop the same units?

# %% [markdown]
# ## Who waits for whom
#
# An exchange ends when the last rank has come. So the slowest sets the pace of all. Under DDP, a
# loader's trace also notes what the ranks exchange.
#
# **Predict.** Rank 1 needs twice as long for a batch. Which ranks wait, and for what share of time?


# %%
def traced():
    place = ddp.current()

    def slowly(inputs):
        time.sleep(0.2 if place.rank == 1 else 0.1)
        return inputs

    sampler = DistributedSampler(data, place.world_size, place.rank, pad=False)
    loader = DataLoader(data, 8, sampler=sampler, trace=True)
    trainer = Trainer(nn.Linear(4, 3), device="cpu", augment=slowly, progress=False)
    trainer.fit(loader, epochs=2)
    return loader.trace


# %%
# NBVAL_IGNORE_OUTPUT
from dlkit.plots.ranks import rank_timeline, scaling

traces = ddp.launch(traced, world_size=3, timeout=240, device="cpu")
times = ddp.time_of_ranks(traces, first_epoch=1)  # the first one pays for starting
for rank, spent in enumerate(times):
    print(f"rank {rank}, {spent}; communication hidden behind computing: {spent.hidden:.3f} s")
rank_timeline(ddp.spans_of_ranks(traces, epoch=1, steps=3))

# %%
print("the slow rank waits least:", min(times, key=lambda spent: spent.ranks) is times[1])
slow, *others = (times[rank].compute / times[rank].seconds for rank in (1, 0, 2))
print("and computes the largest share of its time:", slow > max(others))

# %% [markdown]
# **Investigate.** Only a sliver is communication; the rest of the loss is waiting. Causes: uneven
# work (long texts in one rank's batches), a busy host, one slow disk, saving on rank 0 alone.
#
# **Modify.** Let each rank be slow in another step. Is the total time better?
#
# **Make.** Train `SimpleCNN`, and let no rank sleep: which share is communication?

# %% [markdown]
# ## Scaling, and its limits
#
# With $N$ ranks each computes on $1/N$ of the batch. The exchange does not shrink: a ring takes
# $2 (N - 1) (\text{latency} + \text{bytes} / N / \text{bandwidth})$. DDP hides it behind
# `backward`, about two thirds of the computing. And the ranks need data: `predict` runs the
# loader's own scheduling on a clock, for any number of devices and nodes.
#
# **Predict.** A model of 25 million parameters takes 0.3 s for 256 photographs on one GPU. How many
# GPUs share that batch well with 1 Gbit/s Ethernet, 25 Gbit/s, or 100 GB/s inside a host?

# %%
from dlkit import predict
from dlkit.ddp.scaling import Network, step_seconds
from dlkit.diagnose.costs import Costs

networks = {
    "1 Gbit/s": Network(latency=50e-6, bandwidth=0.125e9),
    "25 Gbit/s": Network(latency=20e-6, bandwidth=3.1e9),
    "100 GB/s": Network(latency=5e-6, bandwidth=100e9),
}
# A photograph: 110 kB to read, 6 ms of a core to decode, 600 kB in the batch; 96 cores a node.
photo = {"fetch_seconds": [0.006], "fetch_cpu_seconds": 0.006, "read_bytes": 110e3}
photos = Costs(**photo, sample_bytes=600e3, cores=96, step_cores=0.0)


# %%
def efficiency(gpus, network, batch_size, **more):
    compute = 0.3 * batch_size * gpus / 256  # on one GPU, all of them
    step = step_seconds(compute, 4 * 25e6, gpus, network, overlap=2 / 3)
    of_nodes = {"devices": min(gpus, 8), "nodes": max(gpus // 8, 1), **more}
    found = predict(
        photos, num_workers=8, batch_size=batch_size, step_time=step, batches=24, band=False,
        **of_nodes,
    )  # fmt: skip
    return found.throughput * 0.3 / 256 / gpus


# %%
counts = [1, 2, 4, 8, 16, 32, 64]
shared = {
    name: [efficiency(n, network, 256 // n) for n in counts] for name, network in networks.items()
}
scaling(counts, shared)

# %% [markdown]
# **Investigate.** Sharing one batch is *strong* scaling, and ends soon. If each rank keeps its
# batch, the global batch grows with $N$ (*weak* scaling), and computing covers the exchange. But
# there are $N$ times fewer steps. The usual answer is a learning rate times $N$, with warm-up; it
# works up to a limit. That is why `dlkit train` prints the global batch.
#
# **Predict.** Each GPU now takes 256 photographs of its own. All nodes share a storage of 2 GB/s,
# or of 10. Which limit comes first, network or storage?

# %%
own = {
    f"storage of {speed} GB/s": [
        efficiency(n, networks["25 Gbit/s"], 256, storage_bandwidth=1e9 * speed) for n in counts
    ]
    for speed in (2, 10)
}
scaling(counts, own, limited_by="storage")

# %%
eight = predict(photos, num_workers=8, batch_size=256, step_time=0.3, devices=8, nodes=8)
for line in eight.assumptions:
    print("-", line)

# %% [markdown]
# **Investigate.** Eight GPUs want 750 MB/s. A prediction is as good as its assumptions, so it says
# them.
#
# **Modify.** Halve the bytes of the gradients, as bf16 does: how far does 25 Gbit/s carry? Halve
# those of a photograph: how far does the storage?
#
# **Make.** Profile a loader of yours (`dlkit.profile(loader).costs`), and predict your machine.

# %% [markdown]
# ## From the cell to many hosts
#
# `torchrun` starts the ranks, watches them, and starts all again when one dies. What changes in the
# code: nothing.
#
# **Predict.** Rank 1 kills itself in the second epoch. How many samples does the run count at its
# end: three epochs of 100, fewer, or more?

# %%
program = """
import os, signal, torch
from dlkit import DataLoader, TensorDataset, ddp
from dlkit.samplers import DistributedSampler
from dlkit.trainer import Callback, Trainer

class DieOnce(Callback):
    def on_step_end(self, trainer, step):
        place = ddp.current()
        if (place.rank, place.restarts, step.global_step) == (1, 0, 9):
            os.kill(os.getpid(), signal.SIGKILL)
"""

# %%
program += """
with ddp.process_group("cpu") as place:
    data = TensorDataset(torch.arange(400.0).view(100, 4), torch.arange(100) % 3)
    loader = DataLoader(data, 10, sampler=DistributedSampler(data, pad=False))
    trainer = Trainer(
        torch.nn.Linear(4, 3), device="cpu", progress=False, metrics={}, callbacks=[DieOnce()],
        checkpoint="run.pt", checkpoint_every=1,
    )
    if ddp.from_first(os.path.exists("run.pt")):
        trainer.resume("run.pt")
    trainer.fit(loader, epochs=3)
    ddp.print_once(f"{place.world_size} ranks; restarts: {place.restarts}")
"""

# %%
folder = Path(tempfile.mkdtemp())
(folder / "program.py").write_text(program)
options = ["--standalone", "--nproc-per-node=2", "--max-restarts=1", "program.py"]
torchrun = [sys.executable, "-m", "torch.distributed.run", *options]
environment = {**os.environ, "OMP_NUM_THREADS": "1"}
done = subprocess.run(torchrun, cwd=folder, env=environment, capture_output=True, text=True)
print(done.stdout, "exit status:", done.returncode)
state = torch.load(folder / "run.pt", weights_only=True)
print("epochs:", state["epoch"], "- steps:", state["global_step"], end=" ")
print("- samples:", state["samples_trained"], "=", 3 * 100)

# %% [markdown]
# **Investigate.** Exactly three epochs: the restart went on from the checkpoint of the step
# before, in mid-epoch. Rank 0 writes it, with every rank's generators; another number of ranks
# may take it up.
#
# `dlkit train` needs no more than this. On two hosts of eight GPUs, the same line on each:
#
# ```sh
# torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=host-a:29400 \
#     --rdzv-id=run1 --max-restarts=3 -m dlkit train --data mnist --out /shared/run1
# ```
#
# Slurm: `srun --nodes=2 --ntasks-per-node=1` in front of it, with the first name of
# `scontrol show hostnames` as endpoint. Kubernetes: a `PyTorchJob` of the Kubeflow trainer, or an
# indexed Job whose pod 0 is the endpoint. Needed: one folder that all see, the same data everywhere
# (compared by a digest before training), and open ports between the hosts.
#
# **Modify.** Use `--nproc-per-node=3`. Which lines of the output change?
#
# **Make.** Run it on two hosts that are not there: `python tests/two_hosts.py` (Linux, root) makes
# two network namespaces with a cable between them.

# %% [markdown]
# ## Recap
#
# - Ranks run the same code; the launcher tells each its number.
# - DDP averages gradients over ranks; weights by samples make that exact.
# - A ring sends each gradient at most twice, however many ranks there are.
# - The slowest rank sets the pace; the network sets how many ranks pay.
# - `torchrun`, several hosts and restarts need checkpoints, and no other change.

# %% [markdown]
# ## Check yourself
#
# 1. Two ranks have 8 samples and 2. By which factors must their mean losses be multiplied, so that
#    DDP's gradient is the mean over all ten?
# 2. Why does `all_reduce` of the same gradients take hardly longer on 64 ranks than on 8?
# 3. A run on 4 ranks evaluates a test set of 10,001 samples with PyTorch's `DistributedSampler`.
#    What is wrong with its accuracy?
#
# <details><summary>Answers</summary>
#
# (1) 2 x 8 / 10 = 1.6 and 2 x 2 / 10 = 0.4: DDP divides by the two ranks.
# (2) Each rank sends 2 (N - 1) / N times the gradients: 1.75 times for 8, 1.97 times for 64. Only
#    the number of messages grows, and with it the latency.
# (3) Shards of 2,501 make 10,004: three samples count twice. `pad=False` counts each once.
#
# </details>

# %% [markdown]
# ## Read on
#
# - Li et al.: *PyTorch Distributed: Experiences on Accelerating Data Parallel Training* (2020).
# - Patarasuk and Yuan: *Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations*
#   (2009).
# - Goyal et al.: *Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour* (2017).
# - PyTorch documentation: "Distributed Data Parallel", "torchrun (Elastic Launch)".
# - In the package: `dlkit/ddp/`, then `dlkit/trainer/ranks.py`.
# - Next: [10 Storage and caching](10_storage_and_caching.ipynb).
