# %% [markdown]
# # 01 Batching
#
# **After this notebook you will be able to**
#
# - follow a batch by hand, from indices over samples to stacked tensors;
# - say how many steps an epoch has, and when `drop_last` helps or hurts;
# - batch nested samples and sequences of different lengths;
# - weigh throughput, memory and gradient noise when you choose a batch size.
#
# **Time:** 45 minutes. **Needs:** [00 Start here](00_start_here.ipynb); no network, no GPU.
#
# Every section goes the same way. *Predict* first, and write your prediction down: a wrong one is
# what you will remember. Then run the cells, *investigate*, *modify*, and *make* something.

# %%
import time

import torch
from torch import nn

from dlkit import DataLoader, Subset, default_collate, pad_collate
from dlkit.datasets import digits
from dlkit.lab import BatchingExplorer
from dlkit.plots.batching import batch_size_costs, padded_batches, steps_per_epoch
from dlkit.samplers import BatchSampler, LengthBucketSampler, SequentialSampler

train = digits()
image, label = train[0]
print(f"{len(train)} digits; the first is a {label} and has shape {tuple(image.shape)}")

# %% [markdown]
# ## From indices to a batch
#
# The first three stages of the pipeline do one thing each: **sample** decides on indices, **fetch**
# reads what they point to, **collate** stacks it.
#
# **Predict.** Ten samples, batch size 4, no shuffling: which indices form which batch? And which
# `dtype` does a batch of the two Python numbers 0.5 and 1.5 have?

# %%
small = Subset(train, range(10))
plan = list(BatchSampler(SequentialSampler(small), batch_size=4, drop_last=False))
samples = [small[index] for index in plan[0]]
images, labels = default_collate(samples)
print("sample: ", plan)
print("fetch:  ", len(samples), "samples, each", tuple(samples[0][0].shape), "and a label")
print("collate:", tuple(images.shape), images.dtype, "and", tuple(labels.shape), labels.dtype)

# %%
from_loader = next(iter(DataLoader(small, batch_size=4)))
same = torch.equal(images, from_loader[0]) and torch.equal(labels, from_loader[1])
print("the loader gives the same batch:", same)

# %%
for numbers in ([0.5, 1.5], [1, 2], [True, False]):
    print(f"{numbers!s:14} becomes {default_collate(numbers).dtype}")

# %% [markdown]
# **Investigate.** A Python float has 64 bits, so a batch of them has too; a model with 32-bit
# weights then refuses it. Which of the three stages would you change to cure that?
#
# **Modify.** Set `batch_size=3` in the first cell. Before you run it: what shape does the *last*
# batch have?
#
# **Make.** Write `my_collate(samples)` with two calls of `torch.stack`, pass it as `collate_fn=` to
# a `DataLoader`, and check with `torch.equal` that nothing changes.

# %% [markdown]
# ## The last batch
#
# **Predict.** 1,442 digits in batches of 64: how many steps does an epoch have, and how large is
# the last batch? Somebody reports the mean of the batch accuracies as the accuracy. Is it?

# %%
sizes = [len(labels) for _, labels in DataLoader(train, batch_size=64)]
print(f"{len(sizes)} steps, the last batch has {sizes[-1]} samples")
print("steps with drop_last:", len(DataLoader(train, batch_size=64, drop_last=True)))

# %%
correct = torch.ones(len(train))
correct[-sizes[-1] :] = 0  # a model that fails on the last batch only
batch_means = torch.stack([part.mean() for part in correct.split(64)])
print(f"accuracy {correct.mean():.2%}, mean of the batch accuracies {batch_means.mean():.2%}")

# %%
try:
    nn.BatchNorm1d(3)(torch.ones(1, 3))
except ValueError as error:
    print("ValueError:", error)

# %%
steps_per_epoch(len(train), [8, 16, 32, 64, 128, 256, 512])

# %%
generator = torch.Generator().manual_seed(0)
loader = DataLoader(range(10), batch_size=4, shuffle=True, drop_last=True, generator=generator)
for epoch in range(3):
    seen = torch.cat(list(loader)).tolist()
    print("epoch", epoch, "never showed", sorted(set(range(10)) - set(seen)))

# %% [markdown]
# **Investigate.** A small last batch weighs its samples more: each of its 34 counted almost twice.
# Batch normalisation cannot normalise a batch of one row at all. So training often drops the last
# batch, and shuffling sees to it that others are left out in the next epoch. Evaluation never drops
# a sample: the result would be about other data.
#
# **Modify.** Leave out `shuffle=True` in the last cell. Which samples does the model now never see,
# however long it trains?
#
# **Make.** Compute the accuracy exactly from `batch_means` and `sizes`.

# %% [markdown]
# ## Watch the index strip
#
# Each cell is one index, each colour one batch. A framed batch is smaller than the others, a
# crossed-out index is in none. Drag, or focus a slider with the Tab key and use the arrow keys.
#
# **Predict.** 100 samples, batch size 128, `drop_last` on. What does a training loop do?

# %%
BatchingExplorer(size=50, batch_size=8)

# %%
loader = DataLoader(range(100), batch_size=128, drop_last=True)
print("steps:", len(loader), "- batches seen by a training loop:", sum(1 for _ in loader))

# %% [markdown]
# **Investigate.** No step and no error: the model stays as it was. Reproduce it with the sliders.
#
# **Modify.** Keep 50 samples. Find the batch size below 20 that leaves a last batch of exactly one.
#
# **Make.** Write `steps(n, batch_size, drop_last)` in one line without a loop, and compare it with
# `len(loader)` for a hundred combinations.

# %% [markdown]
# ## Nested samples
#
# A sample is rarely one tensor. Collate goes into tuples, lists and dictionaries, and stacks what
# it finds at the same place.
#
# **Predict.** Every sample says `"size": (28, 30)`. What is `batch["size"]` for three samples:
# three pairs, two triples, or a tensor of shape `[3, 2]`?

# %%
samples = [{"image": train[k][0], "size": (28, 30), "name": f"digit-{k}.png"} for k in range(3)]
batch = default_collate(samples)
print("image:", tuple(batch["image"].shape))
print("size: ", batch["size"])
print("name: ", batch["name"])

# %%
try:
    default_collate([{"image": torch.zeros(1, 28, 28)}, {"image": torch.zeros(1, 28, 27)}])
except RuntimeError as error:
    print(error)

# %% [markdown]
# **Investigate.** The structure of one sample stays, each leaf gains a batch dimension: two numbers
# become two tensors of three. Text cannot be stacked and stays a list. When shapes clash, read the
# error's path first: it names the place inside the sample.
#
# **Modify.** Make `"size"` a tensor, `torch.tensor([28, 30])`. Which of the three answers do you
# get now?
#
# **Make.** Let the dataset return a `NamedTuple` with the fields `image` and `label`. What type is
# the batch?

# %% [markdown]
# ## Different lengths
#
# Sentences, sounds and point clouds have no common shape. `pad_collate` fills the shorter ones up
# and returns a mask that says what is real.
#
# **Predict.** The sequences `[2, 2, 2]`, `[2]` and `[2, 2]` are padded with zeros. What is the mean
# of the batch?

# %%
padded = pad_collate([torch.full((length,), 2.0) for length in (3, 1, 2)])
print(padded.values)
print("mean of everything:", round(padded.values.mean().item(), 2))
print("mean under the mask:", padded.values[padded.mask].mean().item())

# %%
generator = torch.Generator().manual_seed(0)
lengths = torch.randint(5, 60, (512,), generator=generator)
orders = {
    "as they come": list(BatchSampler(range(512), 8, drop_last=False)),
    "similar lengths": list(LengthBucketSampler(lengths, 8, generator=generator)),
}
masks = {}
for name, batches in orders.items():
    every = [pad_collate([torch.ones(lengths[i]) for i in batch]).mask for batch in batches]
    real, all_places = sum(mask.sum().item() for mask in every), sum(mask.numel() for mask in every)
    masks[name] = every[0]
    print(f"{name}: {1 - real / all_places:.1%} of all places are padding")

# %%
padded_batches(masks)

# %% [markdown]
# **Investigate.** Padding changes every mean, sum and norm that ignores the mask. It also costs
# compute: a place is multiplied whether real or not. Batches of similar lengths waste little.
#
# **Modify.** Pass `bucket_batches=2` to the `LengthBucketSampler`. Why is there more padding again?
#
# **Make.** Pad on the left, with -1, to a multiple of 8: `functools.partial(pad_collate, ...)` as
# `collate_fn`.

# %% [markdown]
# ## What the batch size costs
#
# A larger batch does three things: it spreads the fixed cost of a step over more samples, it needs
# more memory, and its gradient is a better estimate of the gradient over all data.
#
# **Predict.** From batch size 16 to 64: by which factor do memory and gradient noise change?

# %%
pixels, targets = train.tensors[0].flatten(1), nn.functional.one_hot(train.tensors[1], 10)
weights = torch.zeros(784, 10)  # softmax regression before its first step


def gradient(rows):
    error = torch.softmax(pixels[rows] @ weights, dim=1) - targets[rows]
    return pixels[rows].T @ error / len(error)


def noise(batch_size, draws=100):
    full, generator = gradient(slice(None)), torch.Generator().manual_seed(0)
    picks = [torch.randperm(len(train), generator=generator)[:batch_size] for _ in range(draws)]
    return sum((gradient(rows) - full).norm() / full.norm() for rows in picks).item() / draws


# %%
batch_sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
megabytes = [size * image.numel() * image.element_size() / 1e6 for size in batch_sizes]
noises = [noise(size) for size in batch_sizes]
print(f"memory of a batch, 16 to 64: x{megabytes[6] / megabytes[4]:.0f}")
print(f"gradient noise, 16 to 64: divided by {noises[4] / noises[6]:.1f}")

# %%
# NBVAL_IGNORE_OUTPUT
delivered, throughput = [], []
for size in batch_sizes:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        delivered.append(sum(len(labels) for _, labels in DataLoader(train, batch_size=size)))
        seconds.append(time.perf_counter() - start)
    throughput.append(len(train) / min(seconds))
    print(f"batch size {size:3}: {throughput[-1]:12,.0f} samples/s")

# %%
print("every batch size delivered every sample:", set(delivered) == {len(train)})

# %%
batch_size_costs(batch_sizes, throughput, megabytes, noises)

# %% [markdown]
# **Investigate.** Memory grows in proportion, but four times the batch only halves the noise: it
# falls with the square root. Throughput rises steeply, then levels off. Somewhere there, more
# samples a step stop being worth it.
#
# **Modify.** Let `noise` draw with `torch.randint` instead of `torch.randperm`. Compare batch size
# 512 before and after: drawing without replacement is less noisy. Why?
#
# **Make.** Find the smallest batch size that reaches 80 % of your best throughput.

# %% [markdown]
# ## Recap
#
# - **sample, fetch, collate**: indices, samples, one batch.
# - An epoch has n / batch size steps, rounded up, or down with `drop_last`: that may be zero.
# - Training may drop the last batch; evaluation must not, and weighs batches by their size.
# - Collate keeps a sample's structure and adds a dimension to each leaf.
# - Padding needs a mask; batches of similar lengths need less padding.
# - Noise of the gradient falls with the square root of the batch size, memory grows in proportion.

# %% [markdown]
# ## Check yourself
#
# 1. 1,000 samples, batch size 300, `drop_last=True`: how many samples does an epoch of shuffled
#    training leave out, and are they the same in the next epoch?
# 2. Each sample is `(image, {"boxes": tensor of shape [k, 4]})` with another k in each sample. What
#    does `default_collate` do, and what would you do?
# 3. You double the batch size and keep the number of epochs. What happens to the number of
#    optimizer steps?
#
# <details><summary>Answers</summary>
#
# (1) 100, others each time. (2) It raises an error that names the path to the boxes; use
# `pad_collate`. (3) It halves, which is why the learning rate is usually raised, too.
#
# </details>

# %% [markdown]
# ## Read on
#
# - PyTorch documentation, `torch.utils.data`: "Automatic batching" and "Working with collate_fn".
# - McCandlish, Kaplan, Amodei: *An Empirical Model of Large-Batch Training* (2018), on gradient
#   noise and the largest useful batch.
# - Goyal and others: *Accurate, Large Minibatch SGD* (2017), on batch size and learning rate.
# - Next: [02 Shuffling](02_shuffling.ipynb).
