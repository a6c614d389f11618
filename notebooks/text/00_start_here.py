# %% [markdown]
# # 00 Start here
#
# A model learns from batches. Something has to pick samples, read them, stack them and put them
# where the model is, again and again, fast enough that the model never waits. That is data
# loading, and this course makes each stage of it visible.
#
# **After this notebook you will be able to**
#
# - name the six stages that a batch passes, and say which ones cost you time;
# - run a training loop with PyTorch's loader or with dlkit's, and get the same bits;
# - work with these notebooks, and know what this machine is good for;
# - choose your way through the course.
#
# **Time:** 30 minutes. **Needs:** Python, and a first idea of tensors; no network, no GPU.
#
# Press Shift+Enter to run a cell and go to the next one.

# %%
import time

import torch
from torch import nn

import dlkit
from dlkit.cli.doctor import examine, findings
from dlkit.datasets import Cost, digits, synthetic_images
from dlkit.lab import BatchingExplorer
from dlkit.plots.pipeline import PIPELINE, pipeline

train = digits()
print(len(train), "handwritten digits are here")

# %% [markdown]
# ## How a section goes
#
# Every section of every notebook has five steps.
#
# **Predict** says what to guess. Guess before you run the cells, and write the guess down: a
# prediction, right or wrong, makes the answer stick. Then *run* the cells. Here is one: it asks
# the same thing twice for its batches. Does it get the same answer twice?

# %%
answers = iter(dlkit.DataLoader(range(6), batch_size=2))
print("first time: ", [batch.tolist() for batch in answers])
print("second time:", [batch.tolist() for batch in answers])

# %% [markdown]
# **Investigate** explains, or asks why. Here: `iter(loader)` is one walk through one epoch, and a
# walk ends. The loader itself can start as many walks as you like.
#
# **Modify** asks for a small change. Leave out `iter(...)` in the cell above, and run it again.
#
# **Make** asks for code of your own. Write a loop that counts the samples of three epochs.

# %% [markdown]
# ## The pipeline in one picture
#
# **Predict.** Which of these stages could run for the *next* batch while the model computes on
# this one? Which stage is no work at all, only lost time?

# %%
pipeline()

# %%
for number, stage in enumerate(PIPELINE, start=1):
    print(f"{number}. {stage.name:9} {' '.join(stage.does.split())}")

# %% [markdown]
# **Investigate.** Sample, fetch, collate and transfer need nothing from the model, so they can run
# ahead. **Wait** is what remains when they do not run far enough ahead. These six words have the
# same meaning in every notebook, plot and error message here.
#
# **Modify.** In your own project, where does each stage happen? Name the line of code.
#
# **Make.** Draw the picture for your last training run on paper, with a guess of the milliseconds
# under each stage.

# %% [markdown]
# ## One batch by hand
#
# **Predict.** A digit is a 1x28x28 image of 32-bit floats. How many bytes does a batch of four
# have? And how many weights does a model have that maps it to ten classes with one linear layer?

# %%
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10)).to(device)

indices = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:4].tolist()
samples = [train[index] for index in indices]
images, labels = dlkit.default_collate(samples)
images_there, labels_there = images.to(device), labels.to(device)
loss = nn.functional.cross_entropy(model(images_there), labels_there)

# %%
print("sample:  ", indices)
print("fetch:   ", len(samples), "samples of", tuple(samples[0][0].shape))
print("collate: ", tuple(images.shape), "with the labels", labels.tolist())
print("transfer:", images_there.numel() * images_there.element_size(), "bytes")
print("compute: ", "the loss is one number:", loss.shape == ())
print("weights: ", sum(parameter.numel() for parameter in model.parameters()))

# %% [markdown]
# **Investigate.** One Python line for each stage, and no line for **wait**: it is not something
# you write, it is what happens between the lines.
#
# **Modify.** Take 64 indices. Which printed lines change, and by which factor?
#
# **Make.** Turn the five lines into a loop over one epoch, with a new set of indices in each step.

# %% [markdown]
# ## Where the time goes
#
# The dataset below pretends to read from a slow disk: 2 ms for each sample. The model is small.
#
# **Predict.** With batches of 16, which share of the time does the model sit idle?

# %%
slow = synthetic_images(128, (1, 28, 28), cost=Cost(wait_seconds=0.002))
waited = computed = steps = 0
batches = iter(dlkit.DataLoader(slow, batch_size=16))
before = time.perf_counter()
for images, _labels in batches:
    arrived = time.perf_counter()
    model(images.to(device)).sum().backward()
    finished = time.perf_counter()
    waited, computed = waited + arrived - before, computed + finished - arrived
    before, steps = finished, steps + 1

# %%
# NBVAL_IGNORE_OUTPUT
print(f"wait {waited * 1000:.0f} ms, compute {computed * 1000:.0f} ms in {steps} steps")

# %%
print("steps:", steps)
print("the model waits for at least 128 x 2 ms:", waited >= 0.256)

# %% [markdown]
# **Investigate.** A faster GPU would change little here: the loader is the bottleneck. Measuring
# the wait takes two clock readings for each step, and is the first thing to do with a slow
# training run.
#
# **Modify.** Set `wait_seconds=0`. How does the share change?
#
# **Make.** Print wait and compute for each single step. Is the first step like the others?

# %% [markdown]
# ## Ten lines, twice
#
# dlkit's `DataLoader` takes what PyTorch's takes. The function gets the class as its argument; the
# ten lines inside are the same for both.
#
# **Predict.** Same seed, shuffled data, one epoch: are the trained weights equal to within
# rounding, exactly equal, or different because each library shuffles in its own way?


# %%
def train_with(DataLoader):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for images, labels in DataLoader(train, batch_size=64, shuffle=True):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    return model[1].weight


# %%
theirs = train_with(torch.utils.data.DataLoader)
ours = train_with(dlkit.DataLoader)
print("trained weights are equal bit for bit:", torch.equal(theirs, ours))

# %%
options = {"batch_size": 64, "shuffle": True, "drop_last": True}
torch.manual_seed(0)
theirs = list(torch.utils.data.DataLoader(train, **options))
torch.manual_seed(0)
ours = list(dlkit.DataLoader(train, **options))
pairs = [pair for batches in zip(theirs, ours, strict=True) for pair in zip(*batches, strict=True)]
equal = [torch.equal(a, b) for a, b in pairs]
print(len(ours), "batches, all tensors equal:", all(equal))

# %% [markdown]
# **Investigate.** Exactly equal. dlkit draws the same random numbers in the same order, so you can
# swap the loader in a project without changing its results.
#
# **Modify.** Leave out the second `torch.manual_seed(0)`. How many tensors are equal now?
#
# **Make.** Swap the import in a script of your own and compare one epoch of batches.

# %% [markdown]
# ## A picture that answers
#
# Some pictures have controls. Drag them, or press Tab until a slider has the focus and use the
# arrow keys. The line of text says what the picture shows.
#
# **Predict.** 20 samples, batch size 6: how many batches, and how large is the last one?

# %%
BatchingExplorer(size=20, batch_size=6)

# %% [markdown]
# **Investigate.** Nothing moves? Then no kernel is running: use the menu *Run, Run All Cells*
# first.
#
# **Modify.** Switch `drop_last` on. Which two indices does no batch show any more?
#
# **Make.** Set up the sliders so that there are exactly ten batches of five.

# %% [markdown]
# ## Your machine
#
# **Predict.** How many cores may this notebook use, and is there a GPU?

# %%
# NBVAL_IGNORE_OUTPUT
report = examine()
found = findings(report)
print(f"Python {report.python}, torch {report.torch}, {report.usable_cores} cores,", device.type)
for finding in found:
    print(f"- {finding.level}: {finding.what}")

# %%
print("the notebooks can run here:", not any(finding.level == "error" for finding in found))

# %% [markdown]
# **Investigate.** A *note* is good to know, a *warning* will cost you time later, an *error* must
# be mended first. Print `finding.why` and `finding.do` for the reason and the cure.
#
# **Modify.** Type `dlkit doctor` in a terminal: the same check with all details.
#
# **Make.** Run it on the machine you train on. What will hurt there?

# %% [markdown]
# ## Recap
#
# - A batch passes six stages: **sample, fetch, collate, transfer, wait, compute**.
# - Wait is the only stage that is pure loss, and two clock readings show it.
# - dlkit's loader gives the same batches as PyTorch's, bit for bit, from the same seed.
# - A section is: predict, run, investigate, modify, make.

# %% [markdown]
# ## Check yourself
#
# 1. A step takes 10 ms to fetch and collate and 40 ms to compute, one after the other. What does
#    loading ahead gain at best?
# 2. Why is there no line of code for **wait**?
# 3. You swap one loader for another and the loss after an epoch differs slightly. What do you
#    compare first?
#
# <details><summary>Answers</summary>
#
# (1) 10 of 50 ms: a fifth. (2) It is the time in which the loop stands still. (3) The indices of
# the first batch: if they differ, so does the order of the random numbers.
#
# </details>

# %% [markdown]
# ## Read on
#
# Three ways through the course; minutes in brackets.
#
# - **Class.** Before: this notebook (30). Together: [01 Batching](01_batching.ipynb) (45) and
#   [02 Shuffling](02_shuffling.ipynb) (60); predict aloud, run, discuss. Afterwards, in pairs:
#   [03 Build a loader](03_build_a_loader.ipynb) (75), which takes one apart,
#   [04 Workers](04_workers.ipynb) (75), on what runs beside the model, or
#   [07 Train a CNN](07_train_a_cnn.ipynb), with a *Make* of your choice.
# - **Self-study.** The same notebooks in this order, one a day, with every *Modify* and at least
#   one *Make* in each. Redo the questions of the previous day first.
# - **Interview.** Start with the pre-test of [12](12_interview_questions.ipynb), then *Recap* and
#   *Check yourself* of each notebook, and answer aloud. Read the sections you stumbled over, and
#   practise with 13, 15 and 16 against the clock.
#
# The whole course, in order: 00 start here, [01 batching](01_batching.ipynb),
# [02 shuffling](02_shuffling.ipynb), [03 build a loader](03_build_a_loader.ipynb),
# [04 workers](04_workers.ipynb), [05 find the bottleneck](05_find_the_bottleneck.ipynb),
# [06 preprocessing and augmentation](06_preprocessing_and_augmentation.ipynb),
# [07 train a CNN](07_train_a_cnn.ipynb), [08 multi-GPU sharding](08_multi_gpu_sharding.ipynb),
# [09 DDP training](09_ddp_training.ipynb), [10 storage and caching](10_storage_and_caching.ipynb),
# [11 real time](11_real_time.ipynb), [12 interview questions](12_interview_questions.ipynb),
# [13 coding exercises](13_coding_exercises.ipynb), [14 troubleshooting](14_troubleshooting.ipynb),
# [15 bug hunt](15_bug_hunt.ipynb), [16 deep learning questions](16_deep_learning_questions.ipynb).
#
# To look things up: the PyTorch documentation, `torch.utils.data`; Mohan and others, *Analyzing
# and Mitigating Data Stalls in DNN Training* (2021), on how much time real training runs wait for
# data.
