# %% [markdown]
# # 06 Preprocessing and augmentation
#
# **After this notebook you will be able to**
#
# - compute the mean and spread of a dataset in one pass, and say which shortcut is wrong;
# - look at an augmentation before a model has to;
# - give every sample the same random numbers, however many workers read it;
# - find the transform that costs most, and move it to whole batches or to the device;
# - measure what an augmentation is worth, with error bars;
# - put a cache where it saves work and freezes nothing.
#
# **Time:** 50 minutes. **Needs:** [04 Workers](04_workers.ipynb) and
# [07 Train a CNN](07_train_a_cnn.ipynb) up to its first training; no network, no GPU, but a GPU is
# used if there is one.

# %%
import torch
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from dlkit import DataLoader, Subset, TensorDataset
from dlkit.cache import MemoryCache
from dlkit.datasets import TransformDataset, digits
from dlkit.models import Normalize
from dlkit.plots.augmentation import accuracy_bars, cost_bars
from dlkit.trainer import Trainer
from dlkit.trainer.augment import RandomAffine
from dlkit.transforms import SeededTransform, channel_statistics, measure_costs, show

torch.set_num_threads(1)  # as in a worker; so small a model trains faster on one thread, too

# %% [markdown]
# ## Statistics in one pass
#
# *Preprocessing* treats every image alike: decode, resize, normalise. To normalise you need mean
# and standard deviation of the training images, of which there may be more than memory holds. So
# they come in batches, and the statistics of the batches are put together.
#
# **Predict.** You compute the standard deviation of each batch and take their mean. Is it too
# small, right, or too large?

# %%
train, test = digits(), digits(train=False)
images, labels = train.tensors
found = channel_statistics(DataLoader(train, batch_size=64))
print(f"one pass:  mean {found.mean.item():.6f}, std {found.std.item():.6f}")
print(f"at once:   mean {images.mean().item():.6f}, std {images.std(correction=0).item():.6f}")
in_order = torch.argsort(images.mean((1, 2, 3)))  # dark images first, as in many folders
batches = list(DataLoader(train, batch_size=64, sampler=in_order.tolist()))
averaged = torch.stack([batch.std() for batch, _ in batches]).mean()
print(f"mean of the batches' std, sorted images: {averaged.item():.6f}")
same = channel_statistics(batches)
print("one pass over sorted images:", torch.allclose(same.std, found.std, rtol=1e-12))

# %%
far = torch.tensor([10_000.0, 10_001.0]).repeat(1000)
short_cut = (far.square().mean() - far.mean().square()).item()
exact = channel_statistics([far[:, None]]).std.item() ** 2
print(f"variance of 10000 and 10001: short cut {short_cut:g}, one pass {exact}")

# %% [markdown]
# **Investigate.** A batch knows nothing of the distance between its mean and the others', so the
# mean of the deviations is too small. The other shortcut, mean of the squares less square of the
# mean, subtracts two large numbers and keeps the rounding. `channel_statistics` adds what lies
# *between* two parts to what lies within, in `float64`.
#
# **Modify.** Pass the images as `digits(dtype=torch.uint8)`. What are mean and `high` now?
#
# **Make.** Add the statistics of two halves with `+`. Try halves of one and 1,441 images.

# %% [markdown]
# ## See what it does
#
# *Augmentation* makes new training images from old ones, at random, and keeps the label. Whether
# the label still fits, only you can tell, by looking.
#
# **Predict.** Digits may be moved, turned a little, and mirrored. Which of the three may change
# the label?

# %%
bilinear = InterpolationMode.BILINEAR
move = v2.RandomAffine(15, translate=(0.1, 0.1), scale=(0.85, 1.15), interpolation=bilinear)
show(train, move, images=4, versions=6)

# %%
show(train, v2.RandomHorizontalFlip(), images=4, versions=6)

# %% [markdown]
# **Investigate.** Moved digits are digits. A mirrored 2 or 3 is nothing that anybody writes: the
# model is asked to learn shapes that the test does not hold. For photographs of cats, mirroring is
# right. The caption counts the versions that equal their original; if that is all of them, your
# transform does nothing, a common and silent mistake.
#
# **Modify.** Set `degrees` to 90. From which angle on do you mistake one digit for another?
#
# **Make.** Show `v2.RandomErasing(p=1)`. Which size of hole leaves the digits readable?

# %% [markdown]
# ## The same for any number of workers
#
# A random transform draws from generators of the process. What sample 17 gets then depends on the
# worker that reads it, and on what that worker has read before.
#
# **Predict.** The same loader, with the same seed, with no, one and two workers. Which of the runs
# give the same images, without and with `SeededTransform`?

# %%
few = Subset(train, range(48))


def epoch_of(dataset, workers, kind="process", seed=0):
    torch.manual_seed(seed)
    loader = DataLoader(dataset, batch_size=8, num_workers=workers, worker_method=kind)
    return torch.cat([batch for batch, _ in loader])


plain, seeded = TransformDataset(few, move), SeededTransform(few, move, seed=7)
for name, dataset in (("plain", plain), ("seeded", seeded)):
    alone = epoch_of(dataset, 0)
    with_one, with_two = epoch_of(dataset, 1), epoch_of(dataset, 2)
    print(f"{name}: one worker as none: {torch.equal(alone, with_one)},", end=" ")
    print("two as none:", torch.equal(alone, with_two))

# %%
first = epoch_of(seeded, 0)
print("two threads as none:", torch.equal(first, epoch_of(seeded, 2, "thread")))
seeded.set_epoch(1)
print("another epoch, other images:", not torch.equal(first, epoch_of(seeded, 0)))
seeded.set_epoch(0)
print("sample 17 alone is sample 17 of the epoch:", torch.equal(seeded[17][0], first[17]))

# %% [markdown]
# **Investigate.** The seed of each sample is mixed from the run's seed, the epoch and the index,
# and nothing else. So you can go to a machine with more cores, resume in mid-epoch, or look at the
# very image that made the loss jump. The price: seeding the generators for each sample.
#
# **Modify.** Never call `set_epoch`. How many different versions does the model see in 60 epochs?
# (`Trainer` calls it for you.)
#
# **Make.** Write a transform with an argument `generator`. It gets one of its own. Which lock do
# worker threads then not wait for?

# %% [markdown]
# ## What each transform costs
#
# A pipeline is as slow as the sum of its steps, and one step often takes most of it.
#
# **Predict.** Order these four by their cost: move, blur, convert to float, normalise.

# %%
# NBVAL_IGNORE_OUTPUT
mean, std = found.mean.tolist(), found.std.tolist()
to_float = v2.ToDtype(torch.float32, scale=True)
pipeline = v2.Compose([to_float, move, v2.GaussianBlur(5), v2.Normalize(mean, std)])
raw = [image for image, _ in Subset(digits(dtype=torch.uint8), range(64))]
costs = measure_costs(pipeline, raw)
cost_bars(costs)

# %%
print("steps:", [cost.name for cost in costs])
print("the shares add up to one:", abs(sum(cost.share for cost in costs) - 1) < 1e-9)
cheap = costs[0].seconds + costs[3].seconds
print("the random steps cost more than the rest:", costs[1].seconds + costs[2].seconds > cheap)

# %% [markdown]
# **Investigate.** On images this small you pay for the *call*, not for the pixels: some
# microseconds of Python for each transform and sample. Fewer calls help more than faster ones.
#
# **Modify.** Measure on `torch.rand(3, 224, 224)`. Which steps grow with the number of pixels?
#
# **Make.** Put your own pipeline in, with `v2.Resize` first and last. What does the order cost?

# %% [markdown]
# ## Whole batches, and the device
#
# What treats all images alike can treat a batch in one call: `BatchTransformDataset`. What is
# random must still draw for *each* image: torchvision's `RandomAffine`, given a batch, turns all of
# it by one angle. dlkit's `RandomAffine` has an angle for each image and one call for all.
#
# **Predict.** How much faster is normalising 64 images in one call than in 64: twice, ten times,
# thirty times? And moving them?

# %%
from dlkit.transforms import BatchTransformDataset

normalise = v2.Compose([to_float, v2.Normalize(mean, std)])
bytes_ = digits(dtype=torch.uint8)
one_by_one = TransformDataset(bytes_, normalise)
together = BatchTransformDataset(bytes_, normalise)
pairs = zip(DataLoader(one_by_one, 64), DataLoader(together, 64), strict=True)
print("the same batches:", all(torch.allclose(a[0], b[0]) for a, b in pairs))
print(
    "one angle for a whole batch:",
    bool((v2.RandomRotation(20)(images[:1].repeat(8, 1, 1, 1)).diff(dim=0) == 0).all()),
)


# %%
import time


def seconds(work):
    work()
    started = time.perf_counter()
    for _ in range(5):
        work()
    return (time.perf_counter() - started) / 5


# %%
# NBVAL_IGNORE_OUTPUT
device = "cuda" if torch.cuda.is_available() else "cpu"
on_device, affine = images[:64].to(device), RandomAffine(degrees=15, translate=0.1, scale=0.15)
singly = seconds(lambda: one_by_one.__getitems__(range(64)))
at_once = seconds(lambda: together.__getitems__(range(64)))
moved_singly = seconds(lambda: [move(image) for image in images[:64]])
moved_at_once = seconds(lambda: affine(on_device))
print(f"normalise {singly / at_once:.0f} times as fast, move {moved_singly / moved_at_once:.0f}")

# %%
eight = affine(images[:1].repeat(8, 1, 1, 1).to(device))
print("an angle for each image:", len(eight.flatten(1).unique(dim=0)) == 8)
print("a batch at once is faster:", at_once < singly and moved_at_once < moved_singly)

# %% [markdown]
# **Investigate.** Send *bytes* to the device and convert there: a quarter of the copying. `Trainer`
# takes `augment=` and applies it to batches that have arrived. But then the accelerator works on
# your images, and not on the model: worth it while the loader is the bottleneck.
#
# **Modify.** Use batches of 8 and of 512. When does one call stop helping?
#
# **Make.** Write a mirror for batches that flips each image with a probability of one half.

# %% [markdown]
# ## What is it worth?
#
# Augmentation should help most where data is scarce. So: ten images of each digit, drawn anew for
# each seed, a small model, and the 355 test images.
#
# **Predict.** Without augmentation it reaches nearly 90 %. What will moving add? And mirroring?


# %%
def accuracy(augment, seed, epochs=60):
    generator = torch.manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    rows = torch.cat([shuffled[labels[shuffled] == digit][:10] for digit in range(10)])
    first, second = nn.Conv2d(1, 8, 3, 2, padding=1), nn.Conv2d(8, 16, 3, 2, padding=1)
    layers = first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(16 * 49, 10)
    model = nn.Sequential(Normalize.from_images(images[rows]), *layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    options = {"optimizer": optimizer, "scheduler": decay, "augment": augment}
    trainer = Trainer(model, seed=seed, progress=False, **options)
    small = TensorDataset(images[rows], labels[rows])
    trainer.fit(DataLoader(small, batch_size=50, shuffle=True), epochs=epochs)
    return trainer.evaluate(DataLoader(test, batch_size=355))["accuracy"]


# %%
# NBVAL_IGNORE_OUTPUT
def mirror(batch):
    chosen = torch.rand(len(batch), 1, 1, 1).to(batch.device) < 0.5
    return torch.where(chosen, batch.flip(-1), batch)


settings = {"none": None, "moved": affine, "mirrored": mirror}
runs = {name: [accuracy(way, seed) for seed in range(3)] for name, way in settings.items()}
accuracy_bars(runs)

# %%
averages = {name: sum(values) / 3 for name, values in runs.items()}
gains = {name: mean - averages["none"] for name, mean in averages.items()}
print("moving adds more than two points:", gains["moved"] > 0.02)
print("mirroring does not:", gains["mirrored"] < 0.02)

# %% [markdown]
# **Investigate.** The same hundred images, moved, are worth several points; mirrored, they are
# worth nothing, or do harm. Three runs give a mean and a spread, and the bars must be apart before
# you believe in a difference. Each seed draws other images, so the spread holds the luck of the
# draw as well.
#
# **Modify.** Use `epochs=15`. Why does augmentation help less, or harm? What of all 1,442 images?
#
# **Make.** Compare for each seed: subtract "none" from "moved", run by run. Is the spread of the
# differences smaller than that of the runs?

# %% [markdown]
# ## First the cache, then the dice
#
# A cache keeps what was expensive to make. What it keeps does not change any more.
#
# **Predict.** A cache is put around a random transform. In 60 epochs, how many versions of an image
# does the model see, and which error comes up?

# %%
import warnings

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    wrong = MemoryCache(TransformDataset(few, move), max_bytes=1 << 24)
print(caught[0].category.__name__, "-", str(caught[0].message).split(". ")[0])
print("two epochs, the same images:", torch.equal(epoch_of(wrong, 0), epoch_of(wrong, 0, seed=1)))

# %%
cache = MemoryCache(TransformDataset(few, normalise), max_bytes=1 << 24)
right = cache.then(move)
print("two epochs, other images:", not torch.equal(epoch_of(right, 0), epoch_of(right, 0, seed=1)))
print("read", cache.info().misses, "times, found", cache.info().hits, "times")
both = SeededTransform(cache, move, seed=7)
print("and with seeds, two workers as none:", torch.equal(epoch_of(both, 0), epoch_of(both, 2)))

# %% [markdown]
# **Investigate.** No error at all: only a warning, and without it a model that overfits as if there
# were no augmentation. `cache.then(transform)` is the right order. The key of a cache holds code
# and parameters of the transforms below it, so a changed normalisation never gives old images.
#
# **Modify.** Pass `check_random=False` to the wrong cache. Who would tell you now?
#
# **Make.** Cache what comes before an expensive `v2.Resize`, and what comes after. Compare bytes
# (`info().nbytes`) and the time of the second epoch.

# %% [markdown]
# ## Recap
#
# - Statistics come from the training images, in one pass, in `float64`.
# - Look at what a transform does; a label must survive it.
# - Random numbers from seed, epoch and index make a run repeatable with any number of workers.
# - Small images cost calls: treat batches, on the device if the loader is the bottleneck.
# - An augmentation is a claim about your data: measure it, with several seeds.
# - Order: read, decode, resize, *cache*, augment, normalise.

# %% [markdown]
# ## Check yourself
#
# 1. Training is repeatable on your laptop with two workers, but not on the server with eight. Why,
#    and what do you change?
# 2. A colleague mirrors street signs. Which labels suffer?
# 3. A cache was put around an augmentation, and the warning ignored. Training accuracy is perfect
#    and test accuracy poor. What happened?
#
# <details><summary>Answers</summary>
#
# (1) Random numbers depend on the worker; `SeededTransform`. (2) Those with a direction, "turn
# left", and those with text. (3) The cache kept one version of each image, so nothing was
# augmented after the first epoch.
#
# </details>

# %% [markdown]
# ## Read on
#
# - Chan, Golub and LeVeque: *Updating Formulae and a Pairwise Algorithm for Computing Sample
#   Variances* (1979).
# - Simard, Steinkraus and Platt: *Best Practices for Convolutional Neural Networks Applied to
#   Visual Document Analysis* (2003), on moved and bent digits.
# - torchvision documentation: "Getting started with transforms v2".
# - Next: [07 Train a CNN](07_train_a_cnn.ipynb). In the package: `dlkit/transforms/seeds.py`, the
#   mixing of seeds in twenty lines.
