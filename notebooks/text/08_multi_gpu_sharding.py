# %% [markdown]
# # 08 Multi-GPU sharding
#
# **After this notebook you will be able to**
#
# - say which rank gets which sample in which step, before any GPU has run;
# - find the four classic mistakes by a map and by a number;
# - evaluate on several ranks and get the same accuracy to the last digit;
# - say why `nn.DataParallel` is not what you want;
# - continue an epoch on fewer ranks and lose nothing.
#
# **Time:** 60 minutes. **Needs:** [02 Shuffling](02_shuffling.ipynb) and
# [04 Workers](04_workers.ipynb); no network, no GPU. The ranks here are loaders side by side in one
# process.

# %%
import copy
import io
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

import torch
from torch.utils import data as torch_data

from dlkit import DataLoader
from dlkit.datasets import digits
from dlkit.lab import ShardingExplorer
from dlkit.plots.sharding import seen_samples, sharding_map
from dlkit.samplers import DistributedSampler, plan_of, shard_plan

# %%
train, test = digits(), digits(train=False)
size = len(train)
classes = [index // 6 for index in range(24)]  # a small sorted dataset for the maps


def seen(orders, n=size):
    return len(set(chain(*orders))) / n


print(f"{size} training samples, {len(test)} test samples")

# %% [markdown]
# ## Who gets what
#
# *Data parallel* training: every **rank** (a process, usually with one GPU) has the same model and
# computes gradients on its own part of the batch; the gradients are averaged. The **world size** is
# the number of ranks. A `DistributedSampler` on each rank draws the same order and keeps every
# world-size-th index.
#
# **Predict.** 10 samples, 3 ranks, batches of 2, no shuffling. Which samples does rank 2 get? There
# are 12 places: what fills the last two?

# %%
plan = shard_plan(10, num_replicas=3, batch_size=2, shuffle=False)
for rank, steps in enumerate(plan.indices.tolist()):
    print(f"rank {rank}", *steps)
print(plan.summary())

# %%
ShardingExplorer(samples=22, ranks=3, batch_size=4)

# %%
for options in ({}, {"drop_last": True}, {"pad": False}):
    plan = shard_plan(22, 3, 4, **options)
    lengths = [len(share) for share in plan.shares]
    times = Counter(plan.counts.tolist())
    print(f"{options!s:20} samples of each rank {lengths}, times shown {dict(times)}")

# %% [markdown]
# **Investigate.** Ranks must make the same number of steps, since each waits for the others'
# gradients. So the last turn is *padded* with samples from the start of the order, or *dropped*.
# With `pad=False`, which PyTorch does not have, every sample comes once and ranks are uneven.
#
# **Modify.** Drag the ranks to 6 and the samples to 13. How many places are wasted, at worst?
#
# **Make.** Untick `set_epoch` and drag the epoch. What would you see in the loss curve? (Nothing.)

# %% [markdown]
# ## Mistake 1: every process is rank 0
#
# A script is copied from a tutorial, with `rank=0` in it. It runs on four GPUs, all busy, and the
# loss falls.
#
# **Predict.** Which share of the data does it train on? How much does averaging four such
# gradients help?

# %%
fixed = [list(DistributedSampler(range(24), 4, rank=0)) for _ in range(4)]
right = [list(DistributedSampler(range(24), 4, rank=rank)) for rank in range(4)]
maps = {"rank=0 everywhere": plan_of(fixed, 24, 3), "each its own": plan_of(right, 24, 3)}
sharding_map(maps, classes)

# %%
for name, get_rank in (("fixed rank", lambda rank: 0), ("own rank", lambda rank: rank)):
    orders = [list(DistributedSampler(train, 4, get_rank(rank))) for rank in range(4)]
    print(f"{name}: {seen(orders):.1%} of the samples in an epoch")

# %% [markdown]
# **Investigate.** Four equal gradients have the average of one: four GPUs do the work of one, on a
# quarter of the data. No error, no warning, a plausible curve.
#
# **Modify.** Let only ranks 2 and 3 be wrong: both take rank 2. What is lost?
#
# **Make.** Write an assertion for the start of a run that catches this: what could ranks exchange?

# %% [markdown]
# ## Mistake 2: `set_epoch` forgotten
#
# The order is drawn from `seed + epoch`, not from random numbers that a rank happens to have drawn.
# Somebody must say which epoch it is.
#
# **Predict.** 8 ranks, batches of 32, `drop_last=True`. Without `set_epoch`, which share of the
# training set is never seen, in 10 epochs or in 100?

# %%
forgotten = torch_data.DataLoader(
    range(8), 4, sampler=torch_data.DistributedSampler(range(8), 2, 0)
)
print("PyTorch's loader:", [torch.cat(list(forgotten)).tolist() for _ in range(3)])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    told = DataLoader(range(8), 4, sampler=torch_data.DistributedSampler(range(8), 2, 0))
    print("dlkit's loader:  ", [torch.cat(list(told)).tolist() for _ in range(3)])
print(len(caught), "warning:", str(caught[0].message)[:47])

# %%
numbers = {"epoch 0": 0, "epoch 1, forgotten": 0, "epoch 1, set_epoch": 1}
maps = {name: shard_plan(26, 4, 3, epoch=n, drop_last=True) for name, n in numbers.items()}
sharding_map(maps, [index * 4 // 26 for index in range(26)])

# %%
curves = {"forgotten": [], "set_epoch": []}
for name, curve in curves.items():
    orders = []
    for epoch in range(6):
        number = epoch if name == "set_epoch" else 0
        plan = shard_plan(size, 8, 32, epoch=number, drop_last=True)
        full_steps = plan.indices[
            :, (plan.indices >= 0).all(axis=(0, 2))
        ]  # the loader drops others
        orders.append(full_steps.ravel().tolist())
        curve.append(seen(orders))
seen_samples(curves)

# %%
for name, curve in curves.items():
    print(f"{name:9}", " ".join(f"{share:.1%}" for share in curve))

# %% [markdown]
# **Investigate.** Each epoch drops the *same* samples: to this model they do not exist. And the
# same samples always meet in a batch. dlkit's loader numbers its passes itself; an explicit
# `set_epoch` wins, and an order that repeats is warned of.
#
# **Modify.** Pass `dlkit.samplers.DistributedSampler` to dlkit's loader. What about the warning?
#
# **Make.** Which batch size per rank loses the most samples for good? Plot it.

# %% [markdown]
# ## Mistake 3: each rank shuffles for itself
#
# Two variants: `shuffle=True` in the loader and no sampler at all, or a sampler with a seed of its
# own on every rank, "so that the ranks differ".
#
# **Predict.** Four ranks. In the first variant, how many steps does an epoch have? In the second,
# which share of the data is seen in an epoch?


# %%
def own_order(rank, n):
    return torch.randperm(n, generator=torch.Generator().manual_seed(rank)).tolist()


def own_seed(rank, n):
    return list(DistributedSampler(range(n), 4, rank, seed=rank))


wrong = {"no sampler": own_order, "a seed of its own": own_seed}
maps = {name: plan_of([order(rank, 24) for rank in range(4)], 24, 3)
        for name, order in wrong.items()}  # fmt: skip
sharding_map(maps, classes)

# %%
for name, order in wrong.items():
    orders = [order(rank, size) for rank in range(4)]
    shown = Counter(chain(*orders))
    print(f"{name}: {len(orders[0])} samples a rank, {seen(orders):.1%} seen,", end=" ")
    print(f"a sample up to {max(shown.values())} times")
print(f"1 - (1 - 1/4) ** 4 = {1 - (1 - 1 / 4) ** 4:.1%}")

# %% [markdown]
# **Investigate.** Without a sampler an "epoch" is four epochs: the schedule of the learning rate is
# wrong by four, and nothing got faster. With seeds of their own, ranks take shares of *different*
# orders, which overlap. Ranks must agree on the order and differ in the rank; only augmentation
# wants a seed per rank.
#
# **Modify.** Give all ranks the same generator seed in `own_order`. What does the map show?
#
# **Make.** Derive the share seen after two epochs with seeds of their own. Check it by counting.

# %% [markdown]
# ## Mistake 4: padding counted in evaluation
#
# **Predict.** A classifier is right for 90 % of the test samples. Evaluated on 2, 3, ... ranks with
# PyTorch's sampler, do you get the same number?

# %%
images, labels = (
    column.flatten(1).float() for column in (train.tensors[0], train.tensors[1][:, None])
)
centres = torch.stack([images[labels[:, 0] == digit].mean(dim=0) for digit in range(10)])
nearest = torch.cdist(test.tensors[0].flatten(1).float(), centres).argmin(dim=1)
correct = (nearest == test.tensors[1]).tolist()
print(f"one process: {sum(correct)} of {len(correct)}, {sum(correct) / len(correct):.6f}")


# %%
def evaluate(world, pad):
    shares = [
        list(DistributedSampler(test, world, r, shuffle=False, pad=pad)) for r in range(world)
    ]
    right = [sum(correct[index] for index in share) for share in shares]
    pooled = sum(right) / sum(map(len, shares))  # one all-reduce of two sums
    of_means = sum(r / len(share) for r, share in zip(right, shares, strict=True)) / world
    return pooled, of_means


for world in (1, 2, 3, 7, 16, 50):
    print(f"{world:2} ranks: padded {evaluate(world, True)[0]:.6f}   no padding:", end=" ")
    print("mean of means {1:.6f}, sums {0:.6f}".format(*evaluate(world, False)))

# %%
small = range(13)
maps = {f"pad={pad}": plan_of([list(DistributedSampler(small, 5, r, shuffle=False, pad=pad))
                               for r in range(5)], 13, 3) for pad in (True, False)}  # fmt: skip
sharding_map(maps)

# %% [markdown]
# **Investigate.** Padding counts some samples twice, and which ones depends on the world size: two
# runs with the same weights report different accuracies. Without padding shares are uneven, and the
# mean of the ranks' means is wrong again: it weights a sample of a short share more. Right is: sum
# what is right, sum the counts, divide once.
#
# **Modify.** Do the same for a mean squared error. Which two sums do ranks exchange?
#
# **Make.** Accuracy per class on uneven shares: what must be summed, and where may a 0 stand?

# %% [markdown]
# ## DataParallel against DDP
#
# `nn.DataParallel` needs no sampler, no ranks, no launcher: one process, one loader, one line. In
# each step it copies the model to every GPU, scatters the batch, runs a thread for each replica and
# gathers the outputs on GPU 0.
#
# **Predict.** 8 GPUs, a model of 100 MB. How many bytes pass through the busiest GPU in a step?

# %%
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
device = "cuda" if torch.cuda.is_available() else "cpu"
inputs, targets = torch.rand(32, 64), torch.randint(10, (32,))
wrapped = nn.DataParallel(
    copy.deepcopy(model).to(device)
)  # without a GPU it calls the model itself
same = torch.allclose(wrapped(inputs.to(device)).cpu(), model(inputs), atol=1e-5)
print("the same outputs as without it:", same)


# %%
def gradient(output, target, *replicas):
    loss = nn.functional.cross_entropy(output, target)
    grads = torch.autograd.grad(loss, [p for r in replicas for p in r.parameters()])
    return torch.cat([g.flatten() for g in grads]).view(len(replicas), -1)


whole = gradient(model(inputs), targets, model)[0]
replicas = [copy.deepcopy(model) for _ in range(4)]  # what DataParallel does in every step
with ThreadPoolExecutor(4) as threads:
    outputs = torch.cat(list(threads.map(lambda run, x: run(x), replicas, inputs.chunk(4))))
gathered = gradient(outputs, targets, *replicas).sum(dim=0)
parts = zip(inputs.chunk(4), targets.chunk(4), strict=True)
averaged = torch.stack([gradient(model(x), y, model)[0] for x, y in parts]).mean(dim=0)  # DDP
print("DataParallel equals one process:", torch.allclose(gathered, whole, atol=1e-6))
print("DDP equals one process:         ", torch.allclose(averaged, whole, atol=1e-6))

# %%
megabytes = 100
print("GPUs  through GPU 0 with DataParallel  through each GPU with DDP (ring)")
for gpus in (2, 4, 8, 64):
    copies = 2 * megabytes * (gpus - 1)  # the weights out, the gradients in
    ring = 2 * megabytes * (gpus - 1) / gpus
    print(f"{gpus:4} {copies:27} MB {ring:29.0f} MB")

# %% [markdown]
# **Investigate.** The arithmetic agrees; the traffic does not. DataParallel's grows with the GPUs,
# all through one of them, and its threads share one Python lock. DDP keeps a process and a replica
# on each GPU and exchanges only gradients, while backward still runs. DataParallel cannot leave the
# machine, either. PyTorch's documentation advises DDP even on one machine.
#
# **Modify.** Take 30 samples: `chunk(4)` gives 8, 8, 8 and 6. Which of the two is now wrong, and
# why?
#
# **Make.** Correct DDP's average for uneven parts. What must each rank know of the others?

# %% [markdown]
# ## Fewer ranks tomorrow
#
# Three ranks have done two steps when the machine is taken away. Tomorrow there are two ranks.
#
# **Predict.** Every rank has taken 2 batches of 4. How much must a checkpoint say so that the rest
# of the epoch can be dealt to two ranks?


# %%
def ranks(world, batch_size):
    samplers = [DistributedSampler(range(50), world, rank, pad=False) for rank in range(world)]
    return [DataLoader(range(50), batch_size, sampler=sampler) for sampler in samplers]


today, tomorrow, checkpoint = [], [], io.BytesIO()
for loader in ranks(3, 4):
    today += torch.cat(list(islice(loader, 2))).tolist()
torch.save(loader.state_dict(), checkpoint)  # the same on every rank

# %%
checkpoint.seek(0)
state = torch.load(checkpoint)
for loader in ranks(2, 6):
    loader.load_state_dict(state)
    tomorrow += torch.cat(list(loader)).tolist()
print(state["epoch"]["order"]["source"]["legs"], len(today), "+", len(tomorrow), "samples")
print("each sample once:", sorted(today + tomorrow) == list(range(50)))

# %% [markdown]
# **Investigate.** Samples are dealt like cards, so after k turns of W ranks the first kW of the
# order are gone. "3 ranks took 8 turns" says it all; any number of ranks deals out the rest. The
# global batch stays at 12 here, so the learning rate may too.
#
# **Modify.** Stop again after one step on two ranks, and end on one.
#
# **Make.** Had each rank a contiguous block instead, what would the state have to hold?

# %% [markdown]
# ## Recap
#
# - Ranks agree on the order (seed and epoch) and differ in the rank alone.
# - A map of ranks and steps shows each classic mistake; counts of samples prove it.
# - Equal steps cost padding or dropped samples; evaluation wants neither: sums, then one division.
# - DDP moves gradients between equals; DataParallel moves everything through one GPU.
# - Where an epoch stands is how many turns how many ranks took.

# %% [markdown]
# ## Check yourself
#
# 1. A run on 8 GPUs has exactly the loss curve of a run on 1 GPU with the same batch size per GPU.
#    Which mistake do you look for first?
# 2. Test accuracy changes in the fourth digit between 4 and 6 ranks, same weights. Why?
# 3. Why must the seed of the sampler be the same on all ranks, and that of the augmentation not?
#
# <details><summary>Answers</summary>
#
# (1) A fixed rank: all compute the same gradient. (2) Padding, or a mean of means. (3) Shares of
# different orders overlap and leave gaps; equal augmentation would only repeat the same noise.
#
# </details>

# %% [markdown]
# ## Read on
#
# - PyTorch documentation: `torch.utils.data.distributed.DistributedSampler`, `DataParallel`, and
#   "Distributed Data Parallel" under the notes.
# - Li and others: *PyTorch Distributed: Experiences on Accelerating Data Parallel Training* (2020).
# - Goyal and others: *Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour* (2017), on the
#   learning rate and the global batch.
# - Next: [09 DDP training](09_ddp_training.ipynb): real ranks in real processes.
