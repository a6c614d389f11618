# %% [markdown]
# # 02 Shuffling
#
# **After this notebook you will be able to**
#
# - show what goes wrong when a model sees sorted data;
# - make an order reproducible, and say what a seed does and does not fix;
# - choose between sampling with and without replacement, weighted and stratified;
# - shuffle data that does not fit into memory, and measure how well it is mixed.
#
# **Time:** 60 minutes. **Needs:** [01 Batching](01_batching.ipynb); no network, no GPU.

# %%
from itertools import chain

import torch

from dlkit import DataLoader, Subset
from dlkit.datasets import digits
from dlkit.lab import ShuffleExplorer
from dlkit.mixing import class_shares, displacement, mixing, run_lengths
from dlkit.models import SimpleCNN
from dlkit.plots.shuffling import accuracy_by_order, batch_classes, displacements
from dlkit.samplers import BatchSampler, BlockShuffleSampler, RandomSampler, ShuffleBuffer
from dlkit.trainer import Trainer

# %%
train, test = digits(), digits(train=False)
by_label = Subset(train, train.tensors[1].argsort(stable=True).tolist())
sorted_labels = train.tensors[1].sort().values


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


print("first labels:", sorted_labels[:12].tolist(), "last:", sorted_labels[-3:].tolist())

# %% [markdown]
# ## Why shuffle at all
#
# Many datasets arrive sorted: one folder for each class, one file for each day. The digits above
# are sorted by label. An epoch shows every sample once, whatever the order.
#
# **Predict.** The same network, the same samples, three epochs. Shuffled, it reaches about 90 %
# test accuracy. What does it reach sorted: a little less, about half, or no better than guessing?

# %%
held_out = DataLoader(test, batch_size=len(test))
curves, models = {}, {}


def learn(name, loader):
    torch.manual_seed(0)  # the same first weights for every order
    model = SimpleCNN()
    sgd = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    models[name] = Trainer(model, optimizer=sgd, seed=0, progress=False)
    curves[name] = models[name].fit(loader, 3, held_out).column("val_accuracy")


learn("sorted", DataLoader(by_label, batch_size=32))
learn("shuffled", DataLoader(by_label, batch_size=32, shuffle=True, generator=seeded()))

# %%
# NBVAL_IGNORE_OUTPUT
for name, curve in curves.items():
    print(f"{name:9}", " ".join(f"{accuracy:6.1%}" for accuracy in curve))

# %%
answers = {name: model.predict(held_out).argmax(dim=1) for name, model in models.items()}
print("accuracy above 75 %, shuffled:  ", curves["shuffled"][-1] > 0.75)
print("accuracy below 25 %, sorted:    ", curves["sorted"][-1] < 0.25)
print("different answers, shuffled:    ", len(answers["shuffled"].unique()))
print("sorted, it gives at most two:   ", len(answers["sorted"].unique()) <= 2)

# %%
accuracy_by_order(curves, chance=0.1)

# %% [markdown]
# **Investigate.** For four or five steps in a row every label is the same, and every one of these
# steps says: answer this digit, whatever you see. The network learns exactly that: to ignore the
# image. A step assumes that its batch looks like the whole data; a sorted batch never does.
#
# **Modify.** Lower the learning rate in `learn` to 0.001. Does that cure the sorted run?
#
# **Make.** Print the loss of each sorted batch during the third epoch. Where does it jump, and why
# there?

# %% [markdown]
# ## Seeds, generators, epochs
#
# A shuffled order comes from a generator: a machine that turns a seed into a fixed stream of
# numbers. Whoever draws from it moves it on.
#
# **Predict.** A loader with `generator=seeded(0)` runs for two epochs: the same order twice? And
# does a loader *without* shuffling draw random numbers?

# %%
loader = DataLoader(range(8), batch_size=8, shuffle=True, generator=seeded(0))
print("epoch 0      ", next(iter(loader)).tolist())
print("epoch 1      ", next(iter(loader)).tolist())
loader.generator.manual_seed(0)
print("seeded again ", next(iter(loader)).tolist())

# %%
torch.manual_seed(0)
alone = torch.rand(())
torch.manual_seed(0)
next(iter(DataLoader(range(8), batch_size=4)))  # no shuffling here
print("the same number after a loader ran:", torch.equal(alone, torch.rand(())))
torch.manual_seed(0)
next(iter(DataLoader(range(8), batch_size=4, generator=seeded(1))))
print("with a generator of its own:       ", torch.equal(alone, torch.rand(())))

# %%
loader = DataLoader(range(8), batch_size=2, shuffle=True, generator=seeded(0))
batches = iter(loader)
print("before the stop:", [next(batches).tolist() for _ in range(2)])
state = loader.state_dict()
rest = [batch.tolist() for batch in batches]
loader.load_state_dict(state)
print("rest of the epoch, and again after loading:", rest, [b.tolist() for b in loader] == rest)

# %% [markdown]
# **Investigate.** Each iterator draws one number, a seed for its workers, even without shuffling.
# So one more loader changes every random number after it, such as those of dropout. A generator of
# its own keeps a loader's randomness to itself.
#
# **Modify.** Replace the generator by `torch.manual_seed(0)` before the loader is made. Then insert
# `torch.rand(1)` before the loop. What changes?
#
# **Make.** Show epoch 7 without running epochs 0 to 6: seed the generator with `1000 + epoch`.

# %% [markdown]
# ## With and without replacement
#
# Theory often draws each sample independently: *with* replacement. Practice deals out the whole
# deck before it starts over: *without*.
#
# **Predict.** 1,000 draws with replacement from 1,000 samples: which share is seen at least once?

# %%
n = 1000
for replacement in (False, True):
    sampler = RandomSampler(range(n), replacement=replacement, generator=seeded())
    seen = torch.zeros(n, dtype=torch.int64)
    for epoch in range(3):
        seen += torch.bincount(torch.tensor(list(sampler)), minlength=n)
        share = (seen > 0).float().mean()
        print(f"replacement={replacement!s:5} epochs {epoch + 1}: seen {share:.1%}")
    print(f"    times a sample was shown: {seen.min()} to {seen.max()}")

# %% [markdown]
# **Investigate.** A draw misses a given sample with probability $1 - 1/n$, and $(1 - 1/n)^n$ is
# close to $1/e$: 37 % are missed. Without replacement every sample counts the same.
#
# **Modify.** How many epochs with replacement until fewer than 1 % are unseen?
#
# **Make.** Draw only 200 of the 1,000 in each epoch with `num_samples=200`. Which kind of sampling
# shows more distinct samples?

# %% [markdown]
# ## Unbalanced classes
#
# Take all ones but only twelve eights: 8 % of the data.
#
# **Predict.** Batches of 16, shuffled. How many of the ten batches hold no eight at all? A
# *weighted* sampler draws both classes equally often: how often does it show one and the same eight
# in an epoch?

# %%
from dlkit.samplers import StratifiedBatchSampler, WeightedRandomSampler

ones, eights = (torch.where(train.tensors[1] == digit)[0] for digit in (1, 8))
rare = Subset(train, torch.cat([ones, eights[:12]]).tolist())
is_eight = torch.tensor([int(label == 8) for _, label in rare])
weights = torch.where(is_eight == 1, 1 / 12, 1 / len(ones))
weighted = WeightedRandomSampler(weights, len(rare), generator=seeded())
ways = {
    "shuffled": list(BatchSampler(RandomSampler(rare, generator=seeded()), 16, False)),
    "stratified": list(StratifiedBatchSampler(is_eight, 16, generator=seeded())),
    "weighted": list(BatchSampler(weighted, 16, False)),
}

# %%
for name, batches in ways.items():
    counts = [int(is_eight[batch].sum()) for batch in batches]
    shown = torch.bincount(torch.tensor(list(chain(*batches))), minlength=len(rare))
    often = shown[is_eight == 1]
    print(f"{name:10} eights in each batch {counts}")
    print(f"{'':10} an eight is shown {often.min()} to {often.max()} times,", end=" ")
    print(f"{int((shown == 0).sum())} of {len(rare)} samples never")

# %%
shares = {name: class_shares(is_eight, batches, 2) for name, batches in ways.items()}
batch_classes(shares, ["one", "eight"])

# %% [markdown]
# **Investigate.** Stratified batches keep the class shares and every sample comes once: the data is
# what it was, only steadier. Weighting changes the data: twelve eights repeat, some ones vanish,
# and the model learns that eights are as frequent as ones. Evaluate on the true shares.
#
# **Modify.** Make batches of 4. What can stratification no longer do?
#
# **Make.** Weight by `1 / sqrt(class count)`, a common compromise. Which share of eights results?

# %% [markdown]
# ## Data that does not fit
#
# A full shuffle needs any sample at any time. A stream cannot do that, and on a disk it is slow.
# Two remedies: a *shuffle buffer* holds some samples and releases a random one; a *block shuffle*
# reads blocks in random order and shuffles inside each.
#
# **Predict.** Both may hold 100 of the 1,442 sorted digits in memory. Which trains better?

# %%
size = len(by_label)
orders = {
    "none": list(range(size)),
    "block 100": list(BlockShuffleSampler(range(size), 100, generator=seeded())),
    "buffer 100": list(ShuffleBuffer(range(size), 100, generator=seeded())),
    "full": list(RandomSampler(range(size), generator=seeded())),
}
displacements(orders)

# %%
for name, order in orders.items():
    moved, runs = displacement(order), run_lengths(sorted_labels[order])
    batches = sorted_labels[order].split(32)
    classes = sum(len(batch.unique()) for batch in batches) / len(batches)
    print(f"{name:10} moved {abs(moved).mean():3.0f} places, mixing {mixing(order):.2f},", end=" ")
    print(f"longest run of a class {runs.max():3}, classes in a batch {classes:.1f}")

# %%
block = BlockShuffleSampler(by_label, 100, generator=seeded())
learn("block 100", DataLoader(by_label, batch_size=32, sampler=block))
learn("buffer 100", DataLoader(ShuffleBuffer(by_label, 100, generator=seeded()), batch_size=32))
for name in ("block 100", "buffer 100"):
    print(f"{name} is below 40 %: {curves[name][-1] < 0.4}")

# %% [markdown]
# **Investigate.** Neither helps: a buffer smaller than a class still shows one class after the
# other. Block shuffling moves samples far and hardly mixes: neighbours travel together. So `mixing`
# measures how far apart in the dataset *neighbours of the epoch* are: 0 for the data's own order,
# about 1 for a full shuffle.
#
# **Modify.** Which buffer size reaches 60 % in three epochs? Compare it with the size of a class.
#
# **Make.** Combine both: shuffle the order of small blocks first, then pass them through a buffer.
# What mixing do you get with 100 samples in memory?

# %% [markdown]
# ## Turn the knobs
#
# A thousand samples run through a shuffle buffer. Sliders work with the mouse and the arrow keys.
#
# **Predict.** With a buffer of 100, how many places early can a sample come out? How many late?

# %%
ShuffleExplorer(buffer_size=100)

# %%
for seed in range(3):
    moved = displacement(ShuffleBuffer(range(1000), 100, generator=seeded(seed)))
    print(f"seed {seed}: at most {moved.max()} places early, at most {-moved.min()} late")

# %% [markdown]
# **Investigate.** A sample cannot leave before it is read: 99 places early is the limit. But it may
# be unlucky again and again, and stay long. That is the tail below the diagonal.
#
# **Modify.** Find the smallest buffer with a mixing above 0.9. How much of the data is it?
#
# **Make.** Plot mixing against buffer size for seeds 0 to 4, with `mixing` and a loop.

# %% [markdown]
# ## Recap
#
# - A step assumes that its batch looks like the data; sorted data breaks that, and the model fails.
# - A generator with a seed fixes the order; each epoch moves it on; a state continues it.
# - Without replacement, an epoch shows every sample once; with it, 63 % of them.
# - Stratified batches keep the shares of the classes, weighted sampling changes them.
# - Moving samples is not mixing them; a small buffer or block shuffle does not repair sorted data.

# %% [markdown]
# ## Check yourself
#
# 1. Two runs have the same seed, but one evaluates after every epoch with a second loader. Why may
#    their training orders differ, and what is the cure?
# 2. A sampler draws a class of 1 % as often as the other of 99 %. Which share of the rare class
#    will a model expect on new data?
# 3. Your files hold one day each. You shuffle the order of the files and read each from start to
#    end. What is the mixing, roughly?
#
# <details><summary>Answers</summary>
#
# (1) Each iterator draws from the global generator; give each loader a generator of its own.
# (2) One half. (3) Close to 0: neighbours stay neighbours.
#
# </details>

# %% [markdown]
# ## Read on
#
# - PyTorch documentation: `torch.utils.data.Sampler`, and the note "Reproducibility".
# - Bottou: *Curiously Fast Convergence of some Stochastic Gradient Descent Algorithms* (2009), on
#   drawing without replacement.
# - Meng and others: *Convergence Analysis of Distributed Stochastic Gradient Descent with
#   Shuffling* (2019), on partial shuffles.
# - TensorFlow documentation: `tf.data.Dataset.shuffle`, the best-known shuffle buffer.
# - Next: [03 Build a loader](03_build_a_loader.ipynb).
