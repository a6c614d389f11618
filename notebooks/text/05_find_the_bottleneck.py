# %% [markdown]
# # 05 Find the bottleneck
#
# **After this notebook you will be able to**
#
# - read a timeline of workers and training, and say who waits for whom;
# - tell six kinds of bottleneck apart by what they leave in a profile;
# - predict what a change gains before you make it, and measure whether it did;
# - profile a loader of your own, dlkit's or PyTorch's, in a line.
#
# **Time:** 60 minutes. **Needs:** [04 Workers](04_workers.ipynb); no network, no GPU.

# %%
import time

import torch
from torch.utils.data import DataLoader as TorchLoader

import dlkit
from dlkit import Dataset, TensorDataset, TransformDataset, profile

# %% [markdown]
# ## A profile
#
# Training and loading are two parties that hand batches over. Whoever is slower sets the pace, and
# the other one waits. So the first question is never "how fast is my loader?", but "does training
# wait for it?". `profile` runs some steps of a loader, with a training step of yours, and notes
# when each stage of each batch ran: **sample, fetch, collate, transfer, wait, compute**. It works
# on a private copy: your loader, its workers and all random generators are as they were afterwards.
#
# The sick loaders below are ill by *sleeping*: a sleep takes the same time on every machine, and
# stands for a disk, a network or a slow function.
#
# **Predict.** A sample takes 4 ms to read, a batch has eight of them, a step takes 10 ms, and there
# is no worker. Which share of its time does training wait?


# %%
class Reads(Dataset):
    """Samples that take so long to read."""

    def __init__(self, seconds, slow_every=0):
        self.seconds, self.slow_every = seconds, slow_every

    def __len__(self):
        return 4_000

    def __getitem__(self, index):
        slow = self.slow_every and index % self.slow_every == 0
        time.sleep(self.seconds * (60 if slow else 1))
        return torch.zeros(64), index


# %%
def step(seconds):
    return lambda batch: time.sleep(seconds)


fork = {"multiprocessing_context": "fork", "persistent_workers": True}

# %%
# NBVAL_IGNORE_OUTPUT
seen = profile(TorchLoader(Reads(0.004), batch_size=8), steps=12, step=step(0.01))
print(seen.summary())
seen.timeline()

# %%
print("training waits more than half of its time:", seen.wait_share > 0.5)
print("most of the work is", max(seen.stages, key=seen.stages.get))

# %% [markdown]
# **Investigate.** Without workers there is one row: waiting is hatched, and what fills it is the
# fetching that training does itself. Both take turns. `wait` contains `fetch` here; with workers
# the two stand in different rows.
#
# **Modify.** Set `steps=40`. Which figures of the summary change, and which do not?
#
# **Make.** Write down, from the summary alone, how many samples per second a loader with one worker
# could deliver at most.

# %% [markdown]
# ## First patient: nobody works ahead
#
# `diagnose` turns a profile into findings: the evidence, the change, what it would gain, and the
# code. The greatest gain comes first.
#
# **Predict.** What does it propose for the loader above, and how much does that gain?

# %%
# NBVAL_IGNORE_OUTPUT
print(seen.diagnose())

# %%
found = seen.diagnose()
print("first finding:", found[0].name)
print("predicted to gain more than half:", found[0].gain > 0.5)

# %%
# NBVAL_IGNORE_OUTPUT
cured = profile(dlkit.DataLoader(Reads(0.004), 8, num_workers=4, **fork), steps=24, step=step(0.01))
print(f"{seen.samples_per_second:.0f} -> {cured.samples_per_second:.0f} samples/s")

# %%
print("faster:", cured.samples_per_second > 1.3 * seen.samples_per_second)
cured_waits = cured.wait_share < seen.wait_share
print("training waits less:", cured_waits)

# %% [markdown]
# **Investigate.** Waiting for a disk needs no core, so four workers wait for four samples at once.
# Work that *computes* gains from no more workers than there are free cores: `cpu_share` tells which
# kind it is.
#
# **Modify.** Ask `seen.predict(num_workers=2, step_time=0.01)` before you measure it.
#
# **Make.** Find the number of workers from which on more of them gain nothing, by prediction alone.

# %% [markdown]
# ## Second patient: too few hands
#
# **Predict.** One worker, 10 ms for a sample, 5 ms for a step. Is the worker ever idle?

# %%
# NBVAL_IGNORE_OUTPUT
few = profile(TorchLoader(Reads(0.01), 8, num_workers=1, **fork), steps=12, step=step(0.005))
few.timeline()

# %%
print("first finding:", few.diagnose()[0].name)
print("more than twice as fast is possible:", few.diagnose()[0].gain > 1)

# %% [markdown]
# **Investigate.** The worker's row has no gap, and training's row is nearly all hatched: the worker
# cannot keep up. Where *both* rows have gaps, something else is wrong: batches that cost more to
# hand over than to make, or a store that is too small.
#
# **Modify.** Let the step take 100 ms. Which finding is left?
#
# **Make.** Build a loader in which neither party ever waits long.

# %% [markdown]
# ## Third patient: one transform
#
# **Predict.** Two transforms, one of which takes 5 ms. How does a profile know which?


# %%
class Compose:
    def __init__(self, *transforms):
        self.transforms = list(transforms)

    def __call__(self, sample):
        for transform in self.transforms:
            sample = transform(sample)
        return sample


# %%
def scale(sample):
    return sample * 2.0


def denoise(sample):
    time.sleep(0.005)
    return sample


# %%
rows = list(torch.zeros(512, 16))
slow = TransformDataset(rows, Compose(scale, denoise))
third = profile(dlkit.DataLoader(slow, 8, num_workers=8, **fork), steps=16)
print("dearest:", third.parts[0].name, "- of", sorted(part.name for part in third.parts))
print("finding:", "serial_transform" in third.diagnose().names)

# %% [markdown]
# **Investigate.** `profile` looks for a `Compose` in the dataset, torchvision's or any object with
# a list `transforms`, and times each part in a copy. The cure is to do the work once and store it,
# to do it for a whole batch, or to do it on the device.
#
# **Modify.** Apply `denoise` to the rows before training. Is the finding gone?
#
# **Make.** Time a torchvision `Compose` with `RandomResizedCrop` and `ColorJitter`. Which costs
# more?

# %% [markdown]
# ## Fourth patient: read one by one
#
# **Predict.** Nothing sleeps here: rows lie in memory, 256 to a batch. What can be slow?


# %%
class OneByOne(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index], index


# %%
table = torch.zeros(4_096, 16)
single = profile(TorchLoader(OneByOne(table), 256), steps=16)
whole = profile(dlkit.DataLoader(TensorDataset(table, torch.arange(4_096)), 256), steps=16)
print("first finding:", single.diagnose()[0].name)
print("the work on a batch, more than twice as much:", single.batch_work > 2 * whole.batch_work)

# %% [markdown]
# **Investigate.** A cheap sample costs an indexing call, a tensor object and its share of the
# stacking. One gather for all of them costs once. No number of workers saves that work; it only
# spreads it.
#
# **Modify.** Give `OneByOne` a `__getitems__`. What becomes of `collate`?
#
# **Make.** From which row size on does reading one by one no longer matter?

# %% [markdown]
# ## Fifth patient: a few slow samples
#
# **Predict.** One sample in sixteen takes sixty times as long. What does the *mean* say, and what
# do the batches behind the slow one do?

# %%
skewed = profile(dlkit.DataLoader(Reads(0.002, slow_every=16), 8, num_workers=8, **fork), steps=32,
                 step=step(0.001))  # fmt: skip
slowest = [index % 16 for index, _ in skewed.slowest(3)]
print("among the findings:", "skewed_samples" in skewed.diagnose().names)
print("the slowest samples, modulo 16:", slowest)

# %% [markdown]
# **Investigate.** In order, all later batches wait for the slow one. The profile names the samples:
# look at *them* before you change the loader. Often one file is broken or huge.
#
# **Modify.** Pass `in_order=False`. Does the wait share fall?
#
# **Make.** Draw `dlkit.plots.profiling.latencies` of fetching. Where is the step in the curve?

# %% [markdown]
# ## Sixth patient: starting over and over
#
# **Predict.** A small dataset, two workers, `persistent_workers=False`. What happens between two
# epochs?

# %%
short = torch.utils.data.Subset(Reads(0.0005), range(32))
starts = {"num_workers": 2, "multiprocessing_context": "fork"}
anew = profile(TorchLoader(short, 8, **starts), steps=16, step=step(0.002))
print("finding:", "no_persistent_workers" in anew.diagnose().names)
kept = profile(TorchLoader(short, 8, **starts, persistent_workers=True),
               steps=16, step=step(0.002))  # fmt: skip
print("found where workers live on:", "no_persistent_workers" in kept.diagnose().names)

# %% [markdown]
# **Investigate.** Starting a process, and importing what it needs, happens anew in every epoch.
# `turn_over` is the time from the last batch of one to the first of the next.
#
# **Modify.** Take `spawn` instead of `fork`. How long is the turn-over now?
#
# **Make.** From which length of an epoch on is it less than one percent?

# %% [markdown]
# ## Your own loader
#
# Put your loader here, dlkit's or PyTorch's, with its workers and its `collate_fn`, and the step
# that you train with. `dlkit profile train.py` does the same from a terminal, `--html report.html`
# writes a page, and `--trace trace.json` a file for ui.perfetto.dev.
#
# **Predict.** Write down the verdict and the first finding before you run the cell.

# %%
mine = dlkit.DataLoader(Reads(0.001), batch_size=16, num_workers=2, multiprocessing_context="fork")
own = profile(mine, steps=10, step=step(0.02))
print(
    "steps:", own.steps, "- findings are a list of names:", isinstance(own.diagnose().names, list)
)

# %% [markdown]
# **Investigate.** Compare the verdict with what you wrote down. A `compute_bound` finding means
# that nothing in the loader would help.
#
# **Modify.** Follow the first finding, and profile again.
#
# **Make.** Write the function that `dlkit profile` needs for your project.

# %% [markdown]
# ## Recap
#
# - Ask first whether training waits. If it does not, the loader is no bottleneck.
# - A worker without gaps is too slow; one with gaps is one too many, or waits for something else.
# - Waiting gains from more workers, computing from cores, cheap samples from reading them at once.
# - Means hide skew: look at the slowest samples, by index.
# - Change one thing, and measure again.

# %% [markdown]
# ## Check yourself
#
# 1. Training waits 2 % of its time, and you double the workers. What changes?
# 2. Why does `wait` contain `fetch` when there is no worker?
# 3. A batch takes 40 ms to make and a step 10 ms. How many workers hide the making, if it only
#    waits for a disk? And if it computes, on two cores?
#
# <details><summary>Answers</summary>
#
# (1) Next to nothing: 2 % is all there is to gain, and the new workers take memory and time to
# start. (2) Training fetches by itself, and that is what it does while it waits. (3) Four, which
# deliver a batch every 10 ms. If it computes, no number of workers hides it: two cores make a batch
# every 20 ms.
#
# </details>

# %% [markdown]
# ## Read on
#
# - Mohan et al. (2021), *Analyzing and Mitigating Data Stalls in DNN Training*, VLDB.
# - Gregg (2020), *Systems Performance*, chapter 2: the USE method.
# - PyTorch's documentation of `torch.utils.data` and of `torch.profiler`.
# - Next: [06 Preprocessing and augmentation](06_preprocessing_and_augmentation.ipynb).
