# %% [markdown]
# # 07 Train a CNN
#
# **After this notebook you will be able to**
#
# - compute a normalisation from your data instead of copying one;
# - read the shapes of a network layer by layer, and find a wrong one;
# - train with live curves, and say how far to trust the accuracy at the end;
# - look at what a model gets wrong before you try to make it better;
# - stop a run in the middle of an epoch and go on with the same bits.
#
# **Time:** 60 minutes. **Needs:** [01 Batching](01_batching.ipynb) and
# [02 Shuffling](02_shuffling.ipynb); no network, no GPU, but a GPU is used if there is one.

# %%
import tempfile
from pathlib import Path

import torch
from IPython.display import display
from torch import nn

from dlkit import DataLoader
from dlkit.datasets import digits
from dlkit.lab.live_plot import LivePlot
from dlkit.models import Normalize, SimpleCNN, format_layer_shapes, layer_shapes
from dlkit.plots.classification import confusion_matrix, image_grid, mistakes_grid
from dlkit.trainer import Callback, CheckpointError, Trainer
from dlkit.trainer.results import confusion_counts, worst_mistakes

# %% [markdown]
# ## Look at the data
#
# An hour with the data saves a day with the model. These are real digits, written by people on
# paper forms and scanned.
#
# **Predict.** Ten classes, 1,442 training images. How many of each class, if nobody took care? And
# what will be hard to tell apart even for you?

# %%
torch.set_num_threads(1)  # several would wait for each other wherever others use the machine too
train, test = digits(), digits(train=False)
images, labels = train.tensors
print("training", tuple(images.shape), "test", tuple(test.tensors[0].shape))
image_grid(images[:12], [f"a {label}" for label in labels[:12].tolist()])

# %%
counts = torch.bincount(labels)
print("images of each digit:", counts.tolist())
print("values from", images.min().item(), "to", images.max().item())

# %% [markdown]
# **Investigate.** The classes are balanced within a few images, so accuracy is a fair measure here.
# With 99 % of one class, a model that always says so would look excellent.
#
# **Modify.** Show the first twelve images whose label is 8. Which could be a 1, which a 3?
#
# **Make.** Draw the mean image of each class with `image_grid`. Which two means look most alike?

# %% [markdown]
# ## Normalise with numbers of your own
#
# Weights start small, around zero, and learn fastest from inputs around zero with a spread of about
# one. Many scripts contain the line `Normalize((0.1307,), (0.3081,))`: mean and standard deviation
# of *MNIST*.
#
# **Predict.** These digits are brighter and thicker than MNIST's. After those two numbers, what
# mean will they have: below zero, zero, or above?

# %%
copied = Normalize(mean=[0.1307], std=[0.3081])
computed = Normalize.from_images(images)
print("computed from the training images:", computed)
for name, layer in (("copied", copied), ("computed", computed)):
    scaled = layer(images)
    print(f"{name:9} gives mean {abs(scaled.mean()):.2f}, standard deviation {scaled.std():.2f}")
of_test = Normalize.from_images(test.tensors[0])
print(f"the test images alone: mean {of_test.mean.item():.4f}, std {of_test.std.item():.4f}")

# %% [markdown]
# **Investigate.** The copied numbers miss by a third of a standard deviation, and nothing fails:
# that is what makes the mistake last. The numbers come from the training images only. Those of the
# test images are a little different, and a model may not know them: they are information about
# the exam.
#
# **Modify.** Pass the images as `digits(dtype=torch.uint8)`, with values up to 255. What does
# `Normalize.from_images` compute now, and what comes out of the layer?
#
# **Make.** Compute mean and standard deviation in one pass over a `DataLoader`, for data that does
# not fit into memory. Sum in `float64`: why?

# %% [markdown]
# ## The model, layer by layer
#
# Two convolutions find strokes and then parts of digits; pooling after each halves height and
# width; two linear layers decide. Normalisation is the first layer of the model, so that it is
# saved with the weights and nobody can forget it.
#
# **Predict.** 28 x 28 pixels, two poolings, 64 channels: how many numbers enter the first linear
# layer? Which layer holds most of the parameters?

# %%
torch.manual_seed(0)
model = nn.Sequential(computed, SimpleCNN(num_classes=10, input_shape=(1, 28, 28), dropout=0.5))
print(format_layer_shapes(layer_shapes(model, (1, 28, 28))))

try:
    model(torch.rand(1, 1, 32, 32))
except ValueError as error:
    print(error)

# %% [markdown]
# **Investigate.** 64 x 7 x 7 = 3,136 numbers enter, and that one layer holds 95 % of the
# parameters. It is the only layer whose size depends on the image size, so this is where a network
# breaks when images change. A constant 3136 in the code would be right for one size only.
#
# **Modify.** Print the table for colour photographs of 64 x 64. What happens to the total?
#
# **Make.** Write a model with a third convolution and `nn.AdaptiveAvgPool2d(1)` before the linear
# layers. Which image sizes does it take?

# %% [markdown]
# ## Train, and watch
#
# Cross entropy, SGD with momentum, batches of 32: nothing that you have not seen. The trainer keeps
# exact sums over samples, and measures how long it *waits* for data.
#
# **Predict.** What is the loss before the first step, when ten classes are equally likely? After
# five epochs, which will be higher: accuracy on the training or on the test images?

# %%
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
live = LivePlot()
trainer = Trainer(model, optimizer=optimizer, callbacks=[live], seed=0, progress=False)
train_loader = DataLoader(train, batch_size=32, shuffle=True)
test_loader = DataLoader(test, batch_size=500)
before = trainer.evaluate(test_loader)
print("loss near log(10) = 2.303 before training:", abs(before["loss"] - 2.303) < 0.15)

# %%
# NBVAL_IGNORE_OUTPUT
display(live)
history = trainer.fit(train_loader, epochs=5, val_loader=test_loader)

# %%
last = history[-1]
print("epochs:", len(history), "of", len(train_loader), "steps each")
print("test accuracy is at least 95 %:", last["val_accuracy"] >= 0.95)
print("the curves show every epoch:", len(live.picture.axes[0].lines[0].get_xdata()) == 5)

# %%
# NBVAL_IGNORE_OUTPUT
history.to_pandas().drop(columns=["lr", "batch_size"]).round(4)

# %%
print("less than half of the time was waiting:", all(row["wait_share"] < 0.5 for row in history))
n = len(test)
error = (last["val_accuracy"] * (1 - last["val_accuracy"]) / n) ** 0.5
print("one standard error of the test accuracy is below 1.2 %:", error < 0.012)

# %% [markdown]
# **Investigate.** Training accuracy is often *lower* in the first epochs: it is a mean over an
# epoch in which the model was still learning, and dropout silences half of the hidden units. With
# 355 test images, one more mistake changes accuracy by 0.28 %: between two runs, a difference of
# half a percent says nothing.
#
# **Modify.** Set `dropout=0`, then train again with `seed=1` and `seed=2`. Is the difference
# between settings larger than the one between seeds?
#
# **Make.** Write a callback whose `on_step_end` collects `step.loss`, and plot the loss of each
# step.

# %% [markdown]
# ## What it gets wrong
#
# One number hides everything. A confusion matrix shows which classes are taken for which; the worst
# mistakes are those the model was most certain of.
#
# **Predict.** Which pair of digits will be confused most? Will the certain mistakes look like
# mistakes to you?

# %%
# NBVAL_IGNORE_OUTPUT
logits = trainer.predict(test_loader)
confusion = confusion_counts(logits, test.tensors[1])
confusion_matrix(confusion)

# %%
print("every test image is counted once:", int(confusion.sum()) == len(test))
share = confusion.diagonal().sum().item() / len(test)
print("the diagonal is the accuracy:", abs(share - last["val_accuracy"]) < 1e-6)

# %%
# NBVAL_IGNORE_OUTPUT
mistakes = worst_mistakes(logits, test.tensors[1])
mistakes_grid(test.tensors[0], mistakes)

# %%
print("only mistakes are shown:", all(m.label != m.predicted for m in mistakes))
certainty = [m.probability for m in mistakes]
print("the most certain come first:", certainty == sorted(certainty, reverse=True))

# %% [markdown]
# **Investigate.** Some of these digits are hard for people too, scanned at 8 x 8 pixels. Others the
# model has no excuse for: a kind of 8 or 9 that was rare among the training images. The first kind
# sets the limit of what you can reach; the second tells you which data to collect.
#
# **Modify.** Show the *right* predictions with the lowest probability. Do they look alike?
#
# **Make.** Pass `augment=RandomAffine()` from `dlkit.trainer.augment` to a new trainer. Which of
# the mistakes disappear?

# %% [markdown]
# ## Stop in the middle, go on
#
# Machines are switched off. A checkpoint after each epoch loses an epoch; here one is written every
# ten steps. It holds weights, momentum, the loader's place in the epoch, and the state of every
# random generator.
#
# **Predict.** A run is cut after step 35, in its second epoch. It goes on from step 30. Are the
# final weights the same as without the cut: roughly, to six digits, or bit for bit?


# %%
class PowerCut(Callback):
    def on_step_end(self, trainer, step):
        if step.global_step == 35:
            raise SystemExit("the lights go out")


def make_trainer(name, callbacks=()):
    torch.manual_seed(1)
    network = nn.Sequential(computed, SimpleCNN(dropout=0.5))
    options = {"checkpoint": folder / name, "checkpoint_every": 10, "seed": 1}
    return Trainer(network, device="cpu", callbacks=callbacks, progress=False, **options)


folder = Path(tempfile.mkdtemp())

# %%
undisturbed = make_trainer("undisturbed.pt")
undisturbed.fit(DataLoader(train, batch_size=64, shuffle=True), epochs=2)
try:
    cut = make_trainer("cut.pt", [PowerCut()])
    cut.fit(DataLoader(train, batch_size=64, shuffle=True), epochs=2)
except SystemExit as reason:
    print(reason, "after step", cut.global_step)

# %%
torch.manual_seed(999)  # whatever the new process did before
resumed = make_trainer("cut.pt").resume(folder / "cut.pt")
print("goes on after step", resumed.global_step, "in mid-epoch:", resumed.in_mid_epoch)
resumed.fit(DataLoader(train, batch_size=64, shuffle=True), epochs=2)
pairs = zip(undisturbed.model.parameters(), resumed.model.parameters(), strict=True)
print("all weights equal, bit for bit:", all(torch.equal(a, b) for a, b in pairs))
same = undisturbed.history.without_timings() == resumed.history.without_timings()
print("the same history:", same)

# %%
half = (folder / "cut.pt").read_bytes()[:100_000]
(folder / "half.pt").write_bytes(half)
try:
    make_trainer("cut.pt").resume(folder / "half.pt")
except CheckpointError as error:
    print("refused:", str(error).replace(str(folder), "...").split(":")[0])

# %% [markdown]
# **Investigate.** Bit for bit, on a CPU. Leave out any part and the run still goes on, a little
# wrong: without momentum it stumbles, without the loader's place some images come twice, without
# the generators dropout draws other numbers. The file is written beside the old one and renamed,
# so half a checkpoint never takes its place.
#
# **Modify.** Use `torch.utils.data.DataLoader` in the resumed run. What does the error advise?
#
# **Make.** Press the stop button during a long `fit`. Run the cell again: where does it go on?

# %% [markdown]
# ## Change the batch size on the way
#
# Small batches take many noisy steps, which help to find a good region; large ones take few exact
# steps, which settle. The noise goes with learning rate divided by batch size: so instead of
# dividing the one by four you can multiply the other.
#
# **Predict.** Eight epochs with batches of 32: 368 updates. Growing to 128 and then 512 saves how
# many? And batches of 128 from the start: fewer still, but at which accuracy?


# %%
from dlkit.batch_size import EpochSchedule
from dlkit.plots.augmentation import accuracy_bars
from dlkit.samplers import RandomSampler, ResizableBatchSampler
from dlkit.trainer import BatchSizeScheduler


def small_model(seed):
    torch.manual_seed(seed)
    first, second = nn.Conv2d(1, 8, 3, 2, padding=1), nn.Conv2d(8, 16, 3, 2, padding=1)
    layers = first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(16 * 49, 10)
    return nn.Sequential(Normalize.from_images(images), *layers)


# %%
def train_with(sizes, seed, gamma=1.0):
    network = small_model(seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    decay = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 6], gamma=gamma)
    batches = ResizableBatchSampler(RandomSampler(train), sizes[1])
    grow = BatchSizeScheduler(batches, EpochSchedule(sizes), learning_rate="constant")
    options = {"optimizer": optimizer, "scheduler": decay, "callbacks": [grow]}
    run = Trainer(network, seed=seed, progress=False, **options)
    run.fit(DataLoader(train, batch_sampler=batches), epochs=8)
    return run, run.evaluate(test_loader)["accuracy"]


# %%
# NBVAL_IGNORE_OUTPUT
decayed = [train_with({1: 32}, seed, gamma=0.25) for seed in range(3)]
grown = [train_with({1: 32, 4: 128, 7: 512}, seed) for seed in range(3)]
large = [train_with({1: 128}, seed, gamma=0.25) for seed in range(3)]
ways = {"rate / 4": decayed, "batch x 4": grown, "always 128": large}
accuracies = {name: [accuracy for _, accuracy in runs] for name, runs in ways.items()}
accuracy_bars(accuracies)

# %%
for name, runs in ways.items():
    print(f"{name:10}", runs[0][0].global_step, "updates, batches of", end=" ")
    print(*runs[0][0].history.column("batch_size"))
mean = {name: sum(values) / 3 for name, values in accuracies.items()}
decayed_mean, grown_mean, _ = mean.values()
print("grown equals decayed within 1.5 points:", abs(grown_mean - decayed_mean) < 0.015)
pair = [runs[0][0].history.column("train_loss")[:3] for runs in (decayed, grown)]
print("the first three epochs are the same:", pair[0] == pair[1])

# %% [markdown]
# **Investigate.** Half of the updates, the same accuracy within the spread of three seeds, as Smith
# and others found for ImageNet. The order matters: large batches from the start save more updates
# and tend to lose accuracy. On a GPU, where a large batch takes hardly longer than a small one,
# fewer updates take less time; on two cores they save little. `BatchSizeScheduler` changes the
# sampler of a running loader, and checkpoints know about it.
#
# **Modify.** Set `learning_rate="linear"`: the rate grows with the batch. What happens at 512?
#
# **Make.** Replace the written sizes by `PlateauSchedule("train_loss", factor=4, largest=512)`.
# When does it grow?

# %% [markdown]
# ## Recap
#
# - Look at the images first, and at the mistakes last.
# - Normalisation comes from the training images, and lives in the model.
# - Shapes follow from the input; the first linear layer is where they break.
# - An accuracy has a standard error: 355 images cannot show a difference of half a percent.
# - A checkpoint is whole only with momentum, the loader's place and every generator.
# - Growing the batch does what lowering the learning rate does, in fewer updates.

# %% [markdown]
# ## Check yourself
#
# 1. A colleague normalises the test images with their own mean and standard deviation. What is
#    wrong, and in which direction does it push the accuracy?
# 2. Mean of the batch losses or mean over samples: when do the two differ?
# 3. A run resumes in mid-epoch with the weights and the optimizer, but with a fresh loader. Which
#    images does the model see too often?
#
# <details><summary>Answers</summary>
#
# (1) The model sees the test data before the exam; usually upwards, and single images in use have
# no such statistics at all. (2) When the last batch is smaller. (3) Those from before the cut: the
# epoch starts over.
#
# </details>

# %% [markdown]
# ## Read on
#
# - LeCun, Bottou, Orr and Müller: *Efficient BackProp* (1998), on why inputs are normalised.
# - LeCun, Bottou, Bengio and Haffner: *Gradient-Based Learning Applied to Document Recognition*
#   (1998), the ancestor of this network.
# - Smith, Kindermans, Ying and Le: *Don't Decay the Learning Rate, Increase the Batch Size* (2018).
# - PyTorch documentation: "Reproducibility", and "Saving and Loading Models".
# - On the command line: `dlkit train --help` does all of this, on MNIST too.
# - Next: [08 Multi-GPU sharding](08_multi_gpu_sharding.ipynb).
