# %% [markdown]
# # 15 Bug hunt
#
# **After this notebook you will be able to**
#
# - tell bugs that raise from bugs that only make a model worse, and know which to fear;
# - say what a piece of loading code does before you run it;
# - find a bug by the smallest input that shows it;
# - repair code as it circulates in articles, and prove the repair.
#
# **Time:** 90 minutes, in pieces. **Needs:** [02 Shuffling](02_shuffling.ipynb) and
# [04 Workers](04_workers.ipynb); no network, no GPU.

# %%
import tempfile
from collections import Counter

import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler

from dlkit.lab import Progress
from dlkit.lab.exercises import find, hunt, names

scratch = Progress(tempfile.mkdtemp())  # for answers that are wrong on purpose
levels = Counter(find(name).level for name in names("hunts"))
print(len(names("hunts")), "hunts, by level:", dict(sorted(levels.items())))

# %% [markdown]
# ## Bugs that speak
#
# A hunt shows broken code. First you *diagnose*: you choose what it does, before it runs. Then you
# *see* it run on the smallest input that goes wrong. Then you *repair* it: write the function
# again, and `check` runs your version in a process of its own.
#
# **Predict.** Read the code below. Which of the three symptoms does it have? Answer before you run
# the cell after it.

# %%
transform = hunt("transform_argument", progress=scratch)
transform

# %%
print(transform.diagnose(2))
print(transform.see())


# %%
def transform_argument(numbers, batch_size):  # one repair of several
    data = [2 * number + 1 for number in numbers]
    return [batch.tolist() for batch in DataLoader(data, batch_size=batch_size)]


transform.check(transform_argument)

# %% [markdown]
# **Investigate.** This is the kind bug: it raises where it stands. The repair above preprocesses
# everything ahead, which is right for six numbers and wrong for a million images: a dataset whose
# `__getitem__` preprocesses does it sample by sample, in the workers. The grader accepts both,
# because it looks at what comes out and not at how.
#
# **Modify.** Let the repair forget to add 1. Which mistake does the grader name?
#
# **Make.** Repair `hunt("sampler_and_shuffle")` and `hunt("integer_inputs")`. Both raise; both
# messages, read slowly, say what to do.

# %% [markdown]
# ## Bugs that keep silent
#
# The next ones run to the end. Shapes are right, the loss falls, nobody is told. They are found
# only by somebody who knows what *should* come out.
#
# **Predict.** Features 0 to 4 carry the labels 100 to 104. After the code below, how many pairs
# still belong together: five, about one, or none?

# %%
apart = hunt("labels_apart", progress=scratch)
apart

# %%
shuffled_apart = find("labels_apart").broken
pairs = [shuffled_apart([*range(5)], [*range(100, 105)], seed) for seed in range(1000)]
torn = [sum(label == 100 + feature for feature, label in drawn) for drawn in pairs]
print("pairs that belong together, on average:", round(sum(torn) / len(torn)))
print(apart.see().message.splitlines()[-1].strip())

# %% [markdown]
# The same happens without any shuffling, where one shape is read as another:

# %%
mixed = hunt("view_mixes_samples", progress=scratch)
mixed.see()

# %% [markdown]
# Your turn. The next cell holds the first of the two as it was found: repair it there. Until you
# do, the check shows the smallest case that goes wrong.


# %%
def labels_apart(features: list[int], labels: list[int], seed: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(features), rng.permutation(labels)
    return [(int(x), int(y)) for x, y in zip(*mixed, strict=True)]


# %%
hunt("labels_apart").check(labels_apart)

# %% [markdown]
# **Investigate.** On average one pair still fits, however many there are: a random permutation
# leaves one place as it was, on average. A model trained on this learns to guess. The second bug is
# worse, since it leaves something to learn: `view` keeps the numbers in their order and only cuts
# them into other rows, so that channels and places are mixed, in the same way in training and in
# testing.
#
# **Modify.** Predict what `view_mixes_samples` shows for an image of one row and one column. Why is
# that input no use as a test?
#
# **Make.** Repair `labels_apart` above, then `hunt("view_mixes_samples")` and
# `hunt("transform_unused")` in cells of your own. For each, write the assertion on one batch that
# would have found it on the first day.

# %% [markdown]
# ## Bugs in the figures
#
# A model may be fine and its report wrong.
#
# **Predict.** Three batches of eight samples and one of three; the mean of the batches' accuracies
# is taken. Whose errors count more: those of the full batches or those of the short one? How many
# times more?

# %%
uneven = hunt("uneven_accuracy", progress=scratch)
uneven.see()

# %%
right = [[True] * 8] * 3 + [[False] * 3]
reported = find("uneven_accuracy").broken(right)
exact = sum(map(sum, right)) / sum(map(len, right))
print(f"reported {reported:.3f}, exact {exact:.3f}")
print(f"a sample of the short batch weighs {8 / 3:.2f} times as much")

# %%
padded = hunt("padded_evaluation", progress=scratch)
for world_size in (1, 2, 3, 4):
    accuracy = find("padded_evaluation").broken([True, False, False, False, False], world_size)
    print(f"{world_size} rank(s): accuracy {accuracy:.3f}")


# %%
def uneven_accuracy(batches: list[list[bool]]) -> float:
    return sum(sum(batch) / len(batch) for batch in batches) / len(batches)


# %%
hunt("uneven_accuracy").check(uneven_accuracy)

# %% [markdown]
# **Investigate.** Accuracy over samples is one number; the mean over batches, or over ranks, is
# another whenever they differ in size. `DistributedSampler` makes ranks equal by repeating samples
# from the start, so the figure moves with the number of ranks. Where the repeated sample is one of
# the rare right ones, it even looks better.
#
# **Modify.** Put the one right answer last instead of first. What does the accuracy do now, and
# why?
#
# **Make.** Repair `uneven_accuracy` above, then `last_loss`, `constant_divisor`,
# `evaluation_mode` and `drop_last_at_evaluation`. Which of the five makes results look *better*
# than they are?

# %% [markdown]
# ## Bugs of many processes
#
# Workers and ranks run the same code with other numbers. Whoever forgets to pass the numbers on
# gets the same work several times over.
#
# **Predict.** Four ranks, eight samples, and `rank=0` written down as a constant. How many
# different samples does the whole training see? And two epochs without `set_epoch`: how many
# different orders?

# %%
seen = [tuple(find("fixed_rank").broken(8, rank, 4)) for rank in range(4)]
print("samples of each rank:", seen)
print("different samples in training:", len({index for share in seen for index in share}))
sampler = DistributedSampler(range(8), num_replicas=2, rank=0)
print("different orders in two epochs:", len({tuple(sampler) for epoch in range(2)}))

# %%
alike = hunt("identical_augmentation", progress=scratch)
print(alike.see())


# %%
def by_the_sum(seed, worker, epoch, n):
    generator = torch.Generator().manual_seed(seed + worker + epoch)
    return torch.rand(n, generator=generator).tolist()


verdict = alike.check(by_the_sum)
print(verdict.passed, verdict.counterexample.arguments)


# %%
def fixed_rank(n: int, rank: int, world_size: int) -> list[int]:
    sampler: DistributedSampler[int] = DistributedSampler(
        range(n),
        num_replicas=world_size,
        rank=0,
        shuffle=False,
    )
    return list(sampler)


# %%
hunt("fixed_rank").check(fixed_rank)

# %% [markdown]
# **Investigate.** Nothing hangs and nothing raises: four ranks train on the same quarter, and the
# loss on it falls nicely. Adding seed, worker and epoch looks like a cure and is not: worker 1 in
# epoch 0 draws what worker 0 draws in epoch 1. A tuple of the three cannot collide.
#
# **Modify.** Multiply instead of adding. For which workers does that fail at once?
#
# **Make.** Repair `fixed_rank` above, then `repeated_stream`, `forgotten_set_epoch` and
# `lambda_under_spawn`. The last one works here and fails on another system: which start method does
# your system use?

# %% [markdown]
# ## Bugs of memory and of caches
#
# **Predict.** `total += loss` runs over a thousand batches. What does `total` refer to at the end:
# a number, a thousand numbers, or everything they were computed from? And an augmented sample that
# is cached: what changes from epoch to epoch?

# %%
kept = find("graph_kept_alive").broken(1.0, [[1.0], [2.0], [3.0]])
node, nodes = [kept.grad_fn], 0
while node:
    nodes, current = nodes + 1, node.pop()
    node += [before for before, _ in current.next_functions if before is not None]
print("the sum refers to", nodes, "operations of three batches")
print("its gradient is still there:", kept.requires_grad)

# %%
frozen = hunt("cached_augmentation", progress=scratch)
frozen.see()

# %% [markdown]
# **Investigate.** A tensor that needs a gradient refers to the operation that made it, that one to
# its inputs, and so on: the sum holds the graphs of all batches, with all activations where
# `backward` has not freed them, as in an evaluation without `no_grad`. A cache behind the random
# part freezes it: training goes on with less variety than you paid for.
#
# **Modify.** Use `loss.detach()` instead of `loss.item()`. Is the graph gone? What is it better for
# on a GPU?
#
# **Make.** Repair `million_strings` and `handle_over_fork`, then whichever of `names("hunts")` you
# have not met. `Progress().solved("bug-hunt")` says which are done.

# %% [markdown]
# ## Recap
#
# - Bugs that raise are the cheap ones. Silent ones are found by knowing what should come out.
# - The smallest input that fails says more than a large one that does.
# - Means over batches, ranks and epochs need weights.
# - Every process has its own rank, worker and epoch: pass them on, as a tuple where seeds are made.
# - Look at one batch: shapes, dtypes, range, and one pair of sample and label.

# %% [markdown]
# ## Check yourself
#
# 1. A training run reports 97 % in training, and 95 % or 96 % in testing, depending on the number
#    of GPUs. Where do you look?
# 2. Loss falls, accuracy stays at that of guessing. Which three lines do you print first?
# 3. A colleague's worker seeds are `seed * (worker + 1)`. Which seed makes all workers alike?
#
# <details><summary>Answers</summary>
#
# (1) At padding in the evaluation's sampler, and at means over ranks. (2) One sample with its
# label, before collating, after collating, and as the model gets it. (3) Seed 0, the one that
# everybody uses.
#
# </details>

# %% [markdown]
# ## Read on
#
# - PyTorch documentation: `torch.utils.data`, `torch.utils.data.distributed`, and the notes on
#   reproducibility.
# - Zeller: *Why Programs Fail* (2009), on making failing inputs small.
# - Next: [16 Deep learning questions](16_deep_learning_questions.ipynb); or
#   [14 Troubleshooting](14_troubleshooting.ipynb), where the same causes are met from their
#   symptoms.
