# %% [markdown]
# # 13 Coding exercises
#
# **After this notebook you will be able to**
#
# - write batching, shuffling, an ordered parallel map and a whole loader without looking them up;
# - read the smallest counterexample of an answer and find the bug from it;
# - say which property of a loader a plausible bug breaks;
# - find the topics that need another hour.
#
# **Time:** 120 minutes, in pieces. **Needs:** [02 Shuffling](02_shuffling.ipynb) and
# [04 Workers](04_workers.ipynb); no network, no GPU.

# %%
import tempfile

from dlkit.lab import ParsonsProblem, Progress, ProgressView, exercise
from dlkit.lab.exercises import names

scratch = Progress(tempfile.mkdtemp())  # for answers that are wrong on purpose
print(len(names()), "exercises, the first three:", names()[:3])

# %% [markdown]
# ## The smallest counterexample
#
# An exercise is a task, a check that runs your answer, three hints, and a solution that has to be
# asked for twice. The check begins with the smallest inputs there are and stops at the first that
# your answer gets wrong. It shows what went in, what should have come out, what did, and which
# property that breaks. If your answer does what a well-known mistake does, it names the mistake.
#
# **Predict.** Below stands `hasty`, an answer as people write it in a hurry. Which is the smallest
# input that it gets wrong: how many samples, which batch size, `drop_last` or not?

# %%
batching = exercise("index_batches")
batching


# %%
def index_batches(n: int, batch_size: int, drop_last: bool) -> list[list[int]]:
    raise NotImplementedError


# %%
batching.check(index_batches)


# %%
def hasty(n, batch_size, drop_last):
    batches, batch = [], []
    for index in range(n):
        batch.append(index)
        if len(batch) == batch_size:
            batches.append(batch)
            batch = []
    return batches


practice = exercise("index_batches", progress=scratch)
practice.check(hasty)

# %%
wrong = practice.verdict.counterexample
print("arguments:", wrong.arguments)
print("expected: ", wrong.expected, "got:", wrong.got)
print("the property that broke:", practice.verdict.broken)

# %% [markdown]
# **Investigate.** The loop stores a batch when it is full; what is left afterwards is lost. With
# one sample and a batch size of two nothing else can hide the bug. A random test with 1,000 samples
# and a batch size of 32 shows the same bug, eight samples short, and leaves you to count.
#
# **Modify.** Repair `hasty` with one more line, check again, and look at the next counterexample.
# `practice.replay()` runs only the last one, with everything that your code prints.
#
# **Make.** Write `index_batches` above in your own way and check it. Stuck? `batching.hint()`.

# %% [markdown]
# ## Fair, exactly
#
# How does one test randomness? Not by drawing often and hoping. The exercises on shuffling hand you
# a function `draw(k)`. The check plays every sequence of numbers that it could return and adds up
# the probability of every result. A bias of one part in a thousand is as visible as a missing item.
#
# **Predict.** `swap_with_any` walks through the list and swaps each place with a random one. It
# looks fair. Three items have six orders; the walk draws three numbers from three. Can 27 equally
# likely paths be shared fairly among six orders?


# %%
def swap_with_any(items, draw):
    items = list(items)
    for place in range(len(items)):
        other = draw(len(items))
        items[place], items[other] = items[other], items[place]
    return items


exercise("fisher_yates", progress=scratch).check(swap_with_any)


# %%
def fisher_yates(items: list, draw) -> list:
    raise NotImplementedError


# %%
exercise("fisher_yates").check(fisher_yates)

# %% [markdown]
# **Investigate.** 27 is no multiple of 6, so some order must come more often than another: four
# paths lead to one order and five to the next. No amount of looking at shuffled lists shows that.
#
# **Modify.** Let `swap_with_any` draw only from the places after the present one, itself left out.
# Which orders can no longer come out, and what does the check call that?
#
# **Make.** Write `fisher_yates`. Then try `exercise("shuffle_buffer")`, where the exact
# probabilities say what a buffer that is too small cannot do.

# %% [markdown]
# ## Limits
#
# Your code does not run in this kernel. It runs in a process of its own, with a limit on computing
# time and on memory, and without a way to reach the expected results. Whatever it does there ends
# in a verdict, and the kernel goes on.
#
# **Predict.** One answer below never ends, one ends the process, one waits for a lock that nobody
# opens. How does a check tell the first from the third?

# %%
import os
import threading


def endless(*arguments):
    while True:
        pass


def leaves(*arguments):
    os._exit(1)


def waits(*arguments):
    threading.Event().wait()


# %%
for answer in (endless, leaves, waits):
    verdict = exercise("count_batches", progress=scratch).check(answer)
    print(f"{answer.__name__:8} {verdict.broken:8} passed: {verdict.passed}")

# %%
print("the kernel still knows the last verdict:")
print(verdict)

# %% [markdown]
# **Investigate.** A check does not look at the clock, because a classroom's machine may be busy. It
# looks at what the process did: seconds of computing without an end, or no computing at all while
# every thread sleeps. The first is a loop, the third a wait.
#
# **Modify.** Let `endless` print in its loop. What becomes of the megabytes?
#
# **Make.** Write an answer that changes its arguments instead of returning something new, and one
# that returns a generator where a list is asked for. Read both verdicts.

# %% [markdown]
# ## In order, and ahead
#
# A loader with workers fetches several batches at once and hands them out in order, never too many
# ahead. That is a small function with four ways to be wrong: out of order, one after another,
# without a bound, and with the last ones lost.
#
# **Predict.** `pool.map` of Python's own executor keeps the order and runs in parallel. Which of
# the four does it get wrong on an endless stream?


# %%
def parallel_map(function, items, workers: int, in_flight: int):
    raise NotImplementedError


# %%
mapping = exercise("parallel_map")
mapping.check(parallel_map)

# %%
mapping.hint()

# %% [markdown]
# **Investigate.** `Executor.map` reads all its items before the first result. The check counts how
# many items were read and not yet given, and lets the first call wait for the second: only an
# answer that really runs two at once gets past that, whatever the speed of the machine.
#
# **Modify.** Ask for the second and the third hint. At which one do you know enough?
#
# **Make.** Write `parallel_map`. Its relatives are `reorder`, `background` and `wait_for_batch`;
# together they are most of what stands behind `num_workers`.

# %% [markdown]
# ## A whole loader
#
# Interviews end with a task that puts the parts together. This one asks for a loader with batches,
# shuffling, and the user's own preprocessing. The check reads two epochs, because a loader whose
# second epoch is empty passes a test that reads one; and it looks at features and labels together,
# because shuffling them apart leaves every count right.
#
# **Predict.** Write down five things that can be wrong with a loader although its first epoch has
# the right number of batches. Then compare with the names of the properties in the verdicts.


# %%
class DataLoader:
    def __init__(
        self, dataset, batch_size=1, shuffle=False, drop_last=False, preprocess=None, seed=0
    ):
        raise NotImplementedError

    def __len__(self):
        raise NotImplementedError

    def __iter__(self):
        raise NotImplementedError


# %%
exercise("data_loader").check(DataLoader)

# %% [markdown]
# **Investigate.** Three things have different lives: the dataset lives for ever, the random
# generator as long as the loader, the order of the indices for one epoch. Most bugs of loaders put
# one of them into the wrong place.
#
# **Modify.** Once your loader passes, move the generator into `__iter__`. Which property breaks?
#
# **Make.** Then the second of the two problems, `exercise("train_ddp")`: a training script that is
# really run on two ranks and compared with one process.

# %% [markdown]
# ## Lines in order, and where you stand
#
# A Parsons problem gives you the lines of a program in a wrong order, and one line too many. Choose
# a line with the mouse or with *Next line*, then press a button. Every order that works is right:
# the program is run, not compared.
#
# **Predict.** Which of the lines below is the one too many, and what would it break?

# %%
ParsonsProblem("reorder_buffer", progress=scratch)

# %%
ProgressView(scratch)

# %% [markdown]
# **Investigate.** The bars show the scratch progress of this notebook, in which nothing is solved.
# Yours is kept in a file of your own, which no server sees.
#
# **Modify.** `ProgressView()` without an argument shows yours. Which topic has most left?
#
# **Make.** Take that topic, `names("storage")` for instance, and do its first exercise now.

# %% [markdown]
# ## Recap
#
# - The smallest input that breaks an answer says more than the largest that does not.
# - A test accepts what it does not look at: second epochs, labels beside features, the last batch.
# - Randomness can be tested exactly if it comes from one place.
# - An answer that hangs is wrong in a way that can be named: a loop, or a wait.

# %% [markdown]
# ## Check yourself
#
# 1. Why does a check begin with small inputs and not with typical ones?
# 2. Which bug survives every test that reads a single epoch?
# 3. Why can n to the power n paths not be fair for n! orders?
#
# <details><summary>Answers</summary>
#
# (1) Where the input is small, nothing else hides the bug, and you can work out the right result by
# hand. (2) One that only a second epoch shows: an iterator that is used up, or the same order
# again. (3) Equally likely paths can only be shared evenly if n! divides their number, and for n
# above 2 it does not: n - 1 divides n!, but has no factor in common with n.
#
# </details>

# %% [markdown]
# ## Read on
#
# - Fisher and Yates (1938), and Durstenfeld (1964), Algorithm 235: the shuffle.
# - Vitter (1985), "Random sampling with a reservoir".
# - Claessen and Hughes (2000), "QuickCheck": properties, and why counterexamples are made small.
# - PyTorch's documentation of `torch.utils.data`, the section on multi-process loading.
# - Next: [14 Troubleshooting](14_troubleshooting.ipynb).
