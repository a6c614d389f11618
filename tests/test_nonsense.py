"""Nonsense given to every public constructor: an error that its documentation names, and soon.

One argument after another, then any two, is replaced by something that does not belong there. A
value that happens to fit is fine; what is never fine is an exception that the docstring does not
announce, which a reader would meet somewhere deep inside. `TypeError` needs no announcement.
"""

import inspect
import signal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import dlkit
from dlkit import batch_size, cache, datasets, live, samplers, streaming, trainer, transforms

DATA = list(range(12))
PIXELS = dlkit.TensorDataset(torch.zeros(12, 1, 4, 4), torch.zeros(12))
SECONDS = 10  # far more than any constructor takes, however busy the machine is

# What is made, with arguments that fit.
CONSTRUCTORS = {
    dlkit.DataLoader: {
        "dataset": DATA, "batch_size": 2, "shuffle": None, "sampler": None, "batch_sampler": None,
        "num_workers": 0, "collate_fn": None, "pin_memory": False, "drop_last": False,
        "timeout": 0, "worker_init_fn": None, "multiprocessing_context": None, "generator": None,
        "prefetch_factor": None, "persistent_workers": False, "in_order": True,
    },
    dlkit.Trace: {"capacity": 16, "samples": False, "cpu": False},
    dlkit.Subset: {"dataset": DATA, "indices": [0, 1]},
    dlkit.ConcatDataset: {"datasets": [DATA, DATA]},
    dlkit.TransformDataset: {"dataset": PIXELS, "transform": None, "target_transform": None},
    datasets.SyntheticImages: {"n": 4, "shape": (1, 2, 2), "seed": 0},
    datasets.Cost: {"cpu_seconds": 0.0, "wait_seconds": 0.0, "read_bytes": 0, "gil": True},
    datasets.PackedStrings: {"strings": ["a", "b"]},
    samplers.SequentialSampler: {"data_source": DATA},
    samplers.RandomSampler: {
        "data_source": DATA, "replacement": False, "num_samples": None, "generator": None,
    },
    samplers.SubsetRandomSampler: {"indices": [1, 2], "generator": None},
    samplers.WeightedRandomSampler: {
        "weights": [1.0, 2.0], "num_samples": 2, "replacement": True, "generator": None,
    },
    samplers.BatchSampler: {"sampler": DATA, "batch_size": 2, "drop_last": False},
    samplers.ResizableBatchSampler: {"sampler": DATA, "batch_size": 2, "drop_last": False},
    samplers.BlockShuffleSampler: {"data_source": DATA, "block_size": 2},
    samplers.StratifiedBatchSampler: {
        "labels": [0, 1] * 4, "batch_size": 2, "shuffle": True, "drop_last": False,
    },
    samplers.LengthBucketSampler: {
        "lengths": [3, 4, 5, 6], "batch_size": 2, "bucket_batches": 2, "shuffle": True,
        "drop_last": False,
    },
    samplers.ShuffleBuffer: {"dataset": iter(DATA), "buffer_size": 2},
    samplers.DistributedSampler: {
        "dataset": DATA, "num_replicas": 2, "rank": 0, "shuffle": True, "seed": 0,
        "drop_last": False, "pad": True,
    },
    samplers.NodeDistributedSampler: {
        "node_of_sample": [0, 1] * 3, "num_replicas": 2, "rank": 0, "node_of_rank": [0, 1],
    },
    samplers.ShardedSampler: {
        "sampler": DATA, "num_replicas": 2, "rank": 0, "seed": 0, "drop_last": False, "pad": True,
    },
    samplers.ShardedBatchSampler: {
        "batch_sampler": [[0, 1], [2, 3]], "num_replicas": 2, "rank": 0, "seed": 0,
        "drop_last": False, "pad": True,
    },
    samplers.ShardedIterable: {
        "dataset": DATA, "num_replicas": 2, "rank": 0, "drop_last": False,
    },
    cache.MemoryCache: {
        "dataset": PIXELS, "max_bytes": 1 << 16, "policy": "lru", "key": "k", "check_random": True,
    },
    cache.DiskCache: {
        "dataset": PIXELS, "folder": "cache", "max_bytes": 1 << 16, "key": "k",
        "check_random": True,
    },
    transforms.BatchTransformDataset: {"dataset": PIXELS, "transform": abs},
    transforms.SeededTransform: {"dataset": PIXELS, "transform": abs, "seed": 0},
    batch_size.EpochSchedule: {"sizes": {1: 2}},
    batch_size.PlateauSchedule: {
        "monitor": "val_loss", "factor": 2, "patience": 2, "min_delta": 0.0, "largest": 64,
        "mode": "min",
    },
    batch_size.GradientNoiseScale: {"decay": 0.9},
    batch_size.NoiseScaleSchedule: {"smallest": 1, "largest": 8, "every": 5, "scale": None},
    batch_size.MemorySchedule: {
        "step": print, "share": 0.5, "smallest": 1, "largest": 8, "host_bytes": None,
    },
    streaming.Adaptive: {
        "objective": 0.1, "max_batch": 4, "percentile": 0.9, "max_delay": None,
    },
    streaming.Fixed: {"size": 2, "delay": 0.1},
    streaming.Aligner: {
        "streams": ["a", "b"], "tolerance": 0.1, "reference": "a", "match": "nearest",
    },
    streaming.Backoff: {
        "first": 0.1, "factor": 2.0, "most": 1.0, "attempts": 3, "jitter": 0.0, "seed": 0,
    },
    streaming.Buffer: {"capacity": 2, "policy": "block", "max_age": None, "seed": 0},
    streaming.BufferPool: {"count": 2, "shape": (2,), "dtype": np.float32},
    streaming.CallableSource: {"function": abs},
    streaming.Camera: {
        "rate": 10.0, "make": None, "jitter": 0.0, "dropout": 0.0, "offset": 0.0,
    },
    streaming.ClockOffset: {"window": 10, "delay": 0.0},
    streaming.FolderSource: {"folder": ".", "rate": 1.0, "mode": "RGB", "loop": False},
    streaming.IterableSource: {"data": DATA, "live": None},
    streaming.MemoryGuard: {"max_batch": 4, "host_limit": None, "headroom": 0.1},
    streaming.Merger: {"streams": ["a", "b"], "policy": "arrival", "capacity": 4},
    streaming.MicroBatcher: {"source": DATA, "max_batch": 2, "max_delay": None},
    streaming.Pipeline: {
        "source": DATA, "preprocess": None, "max_batch": 2, "max_delay": None,
    },
    streaming.Replay: {"data": DATA, "stamps": None, "speed": 1.0},
    streaming.Restarting: {"make": list, "backoff": None},
    streaming.SimulatedClock: {"now": 0.0},
    streaming.StreamDataset: {"source": DATA, "samples": None},
    streaming.Watchdog: {"patience": 1.0},
    streaming.Windower: {"size": 2, "step": None, "by": "count", "lateness": 0.0},
    live.LiveDriving: {
        "tolerance": 0.1, "planning": 0.01, "policy": "block", "capacity": 4,
    },
    trainer.EarlyStopping: {
        "monitor": "val_loss", "patience": 2, "min_delta": 0.0, "mode": "min",
        "restore_best": False,
    },
    trainer.Trainer: {"model": nn.Linear(1, 1), "device": "cpu", "progress": False},
}  # fmt: skip
NONSENSE = [
    None, True, -1, 0, 3, 10**30, 1.5, float("nan"), float("inf"), -0.5, "", "nonsense", b"x", [],
    [None], ["a", "a"], {}, {"a": 1}, (), (0,), (-1,), object(), print, int, range(0),
    torch.empty(0), torch.zeros(2, 2), np.array(0), np.array(["x"]), iter([]),
]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory, monkeypatch):
    """A folder with an image, also for what is made by accident, and an end for what never ends."""
    folder = tmp_path_factory.mktemp("nonsense")
    Image.new("RGB", (2, 2)).save(folder / "one.png")
    monkeypatch.chdir(folder)

    def too_long(*_):
        raise AssertionError(f"still not made after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    yield
    signal.signal(signal.SIGALRM, before)


def documented(constructor):
    """The names of the errors that a class announces, in its own docstring or its bases'."""
    texts = (inspect.getdoc(kind) or "" for kind in constructor.__mro__)
    return "\n".join(texts)


def make(constructor, arguments):
    signal.alarm(SECONDS)
    refusal = made = None
    try:
        made = constructor(**arguments)
    except TypeError:
        return
    except Exception as error:
        # PyTorch's own words where a tensor is asked whether it is true.
        if "Boolean value of Tensor" in str(error):
            return
        refusal = error
    finally:
        signal.alarm(0)
    if refusal is not None:
        name = type(refusal).__name__
        assert name in documented(constructor), f"{name} is not announced: {refusal}"
        assert str(refusal)
    if isinstance(made, streaming.Source | streaming.Pipeline | live.LiveSystem):
        getattr(made, "stop", getattr(made, "close", print))()


def names(constructor):
    return constructor.__name__


@pytest.mark.parametrize("constructor", CONSTRUCTORS, ids=names)
def test_arguments_that_fit_are_taken(constructor):
    assert isinstance(constructor(**CONSTRUCTORS[constructor]), constructor)


@pytest.mark.parametrize("constructor", CONSTRUCTORS, ids=names)
def test_nonsense_for_one_argument_is_taken_or_refused_as_announced(constructor):
    fitting = CONSTRUCTORS[constructor]
    for name in fitting:
        for value in NONSENSE:
            make(constructor, {**fitting, name: value})


@pytest.mark.parametrize("constructor", CONSTRUCTORS, ids=names)
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_nonsense_for_several_arguments_is_taken_or_refused_as_announced(constructor, data):
    fitting = CONSTRUCTORS[constructor]
    replaced = data.draw(st.lists(st.sampled_from(sorted(fitting)), min_size=2, max_size=4))
    nonsense = {name: data.draw(st.sampled_from(NONSENSE), name) for name in replaced}
    make(constructor, {**fitting, **nonsense})
