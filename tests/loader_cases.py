"""Hypothesis strategies that describe a loader, and build it twice: PyTorch's and dlkit's.

A case is plain data (a seed, sizes, names); `build(case, "torch")` and `build(case, "dlkit")` make
equal datasets, samplers and generators of their own from it, so that neither loader can disturb
what the other draws.
"""

import random
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import strategies as st
from torch.utils import data as torch_data

import dlkit.collate
import dlkit.datasets as dlkit_datasets
import dlkit.loader
import dlkit.samplers as dlkit_samplers

Point = namedtuple("Point", ["x", "y"])


# ---- samples ------------------------------------------------------------------------------------


def leaf(kind, i):
    """A value of one of the kinds that `default_collate` knows, for sample i."""
    match kind:
        case "int":
            return i - 3
        case "bool":
            return i % 3 == 0
        case "float":
            return i / 7
        case "str":
            return f"name {i}"
        case "bytes":
            return bytes([i % 256])
        case "np.float32":
            return np.float32(i / 3)
        case "np.int16":
            return np.int16(i)
        case "np.bool":
            return np.bool_(i % 2)
        case "scalar array":
            return np.array(i, dtype=np.float64)
        case "array":
            return np.arange(6, dtype=np.float32).reshape(2, 3) * i
        case "uint8 array":
            return np.full((2,), i % 256, dtype=np.uint8)
        case "scalar tensor":
            return torch.tensor(i)
        case "tensor":
            return torch.arange(4, dtype=torch.float64).reshape(2, 2) + i
        case "bfloat16":
            return torch.full((3,), i / 9, dtype=torch.bfloat16)
        case "complex":
            return torch.full((1, 2), complex(i, -i))
        case "strided tensor":
            return (torch.arange(6).reshape(2, 3) * i).T
        case "empty tensor":
            return torch.zeros(0, 2)
    raise AssertionError(kind)


LEAVES = [
    *("int", "bool", "float", "str", "bytes"),
    *("np.float32", "np.int16", "np.bool", "scalar array", "array", "uint8 array"),
    *("scalar tensor", "tensor", "bfloat16", "complex", "strided tensor", "empty tensor"),
]


def nested(kind, i):
    """Sample i of a structure: a leaf's name, or (container's name, parts)."""
    if isinstance(kind, str):
        return leaf(kind, i)
    container, parts = kind
    values = [nested(part, i) for part in parts]
    match container:
        case "tuple":
            return tuple(values)
        case "list":
            return values
        case "dict":
            return {f"key {k}": value for k, value in enumerate(values)}
        case "OrderedDict":
            return OrderedDict(enumerate(values))
        case "Point":
            return Point(values[0], values[-1])
    raise AssertionError(container)


CONTAINERS = st.sampled_from(["tuple", "list", "dict", "OrderedDict", "Point"])
STRUCTURES = st.recursive(
    st.sampled_from(LEAVES),
    lambda part: st.tuples(CONTAINERS, st.lists(part, min_size=1, max_size=3)),
    max_leaves=5,
)


# ---- datasets -----------------------------------------------------------------------------------


class Samples:
    """A map-style dataset of any structure, which may draw random numbers when it is read."""

    def __init__(self, n, structure, noise, generator):
        self.n, self.structure, self.noise, self.generator = n, structure, noise, generator

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not -self.n <= index < self.n:
            raise IndexError(f"no sample {index}")
        sample = nested(self.structure, int(index))
        match self.noise:
            case "torch":
                return sample, torch.rand(2)
            case "python":
                return sample, random.random()
            case "numpy":
                return sample, np.random.normal()  # noqa: NPY002
            case "generator":
                # Augmentation that shares the generator which shuffles.
                return sample, torch.rand(1, generator=self.generator)
        return sample


class VectorisedSamples(Samples):
    def __getitems__(self, indices):
        assert type(indices) is list
        assert all(type(index) is int for index in indices)
        return [self[index] for index in indices]


class Stream(torch_data.IterableDataset):
    """An iterable dataset of any structure."""

    def __init__(self, n, structure, noise, generator):
        self.samples = Samples(n, structure, noise, generator)

    def __iter__(self):
        for index in range(len(self.samples)):
            yield self.samples[index]


class SizedStream(Stream):
    def __len__(self):
        return len(self.samples)


def tensors(n):
    return (
        torch.arange(n * 6, dtype=torch.float32).reshape(n, 2, 3),
        torch.arange(n, dtype=torch.uint8),
        torch.arange(n * 2, dtype=torch.int64).reshape(n, 2).flip(0).T.contiguous().T,
        torch.arange(n).bool(),
        torch.arange(n, dtype=torch.bfloat16),
    )


def dataset(case, classes, generator):
    """Make the dataset of a case with the given module's classes."""
    n, kind = case.n, case.dataset
    parts = lambda size: classes.TensorDataset(*tensors(size))  # noqa: E731
    match kind:
        case "samples":
            return Samples(n, case.structure, case.noise, generator)
        case "vectorised":
            return VectorisedSamples(n, case.structure, case.noise, generator)
        case "stream":
            return Stream(n, case.structure, case.noise, generator)
        case "sized stream":
            return SizedStream(n, case.structure, case.noise, generator)
        case "tensors":
            return parts(n)
        case "subset":
            return classes.Subset(parts(n + 5), list(range(n + 4, 4, -1)))
        case "subset of samples":
            whole = Samples(2 * n, case.structure, case.noise, generator)
            return classes.Subset(whole, range(1, 2 * n, 2))
        case "concat":
            return classes.ConcatDataset(
                [parts(n - n // 3), parts(n // 3)] if n >= 3 else [parts(n)]
            )
        case "concat of mixed":
            whole = Samples(n, case.structure, case.noise, generator)
            return classes.ConcatDataset(
                [classes.Subset(whole, range(n // 2, n)), parts(2)][: 1 + n % 2]
                + ([classes.Subset(whole, range(n // 2))] if n > 1 else [])
            )
        case "list":
            return [nested(case.structure, i) for i in range(n)]
        case "range":
            return range(n)
    raise AssertionError(kind)


MAP_DATASETS = [
    *("samples", "vectorised", "tensors", "subset", "subset of samples", "concat"),
    *("list", "range"),
]
STREAMS = ["stream", "sized stream"]


# ---- samplers -----------------------------------------------------------------------------------


class ShuffledAtIter:
    """Draws its order when iter() is called, from Python's global generator."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        order = list(range(self.n))
        random.shuffle(order)
        return iter(order)

    def __len__(self):
        return self.n


class DrawnOneByOne(torch_data.Sampler):
    """Draws each index when it is asked for, from PyTorch's global generator; has no length."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        for _ in range(self.n + 2):
            yield int(torch.randint(self.n, ()))


class OwnGenerator:
    """Draws its order at the first index, from a generator that it keeps."""

    def __init__(self, n, generator):
        self.n, self.generator = n, generator

    def __iter__(self):
        yield from torch.randperm(self.n, generator=self.generator).tolist()

    def __len__(self):
        return self.n


class RandomBatches:
    """Batches of random sizes, from NumPy's global generator."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        order = np.random.permutation(self.n).tolist()  # noqa: NPY002
        while order:
            size = np.random.randint(1, 4)  # noqa: NPY002
            yield order[:size]
            order = order[size:]


def sampler(case, classes, data, generator):
    """Make the sampler of a case, which yields single indices."""
    n = case.n
    match case.sampler:
        case "sequential":
            return classes.SequentialSampler(data)
        case "random":
            return classes.RandomSampler(data, generator=generator)
        case "replacement":
            return classes.RandomSampler(data, True, case.draws, generator)
        case "repeated permutations":
            return classes.RandomSampler(data, False, case.draws, generator)
        case "subset":
            return classes.SubsetRandomSampler(list(range(0, n, 2)), generator)
        case "weighted":
            return classes.WeightedRandomSampler(
                [i % 5 + 1 for i in range(n)], case.draws, True, generator
            )
        case "weighted once":
            weights = torch.arange(1, n + 1)
            return classes.WeightedRandomSampler(weights, -(-n // 2), False, generator)
        case "list":
            return [i % n for i in range(3, n + 6)]
        case "negative":
            return [-1 - i for i in range(n)]
        case "numpy":
            return list(np.arange(n)[::-1])
        case "tensors":
            return list(torch.arange(n).unbind())
        case "at iter":
            return ShuffledAtIter(n)
        case "one by one":
            return DrawnOneByOne(n)
        case "own generator":
            return OwnGenerator(n, generator or torch.Generator().manual_seed(5))
        case "out of range":
            return [0, n + 7, 0]
    raise AssertionError(case.sampler)


SAMPLERS = [
    *("sequential", "random", "replacement", "repeated permutations", "subset"),
    *("weighted", "weighted once", "list", "at iter", "one by one", "own generator"),
]
BATCH_SAMPLERS = ["batches of sampler", "lists", "random batches", "batches at iter"]


class BatchesAtIter(ShuffledAtIter):
    """Draws its batches when iter() is called, from Python's global generator."""

    def __iter__(self):
        order = list(super().__iter__())
        return iter([order[k : k + 3] for k in range(0, self.n, 3)])

    def __len__(self):
        return -(-self.n // 3)


# ---- the case -----------------------------------------------------------------------------------


@dataclass
class Case:
    """A loader, as plain data."""

    dataset: str = "samples"
    n: int = 5
    structure: object = "int"
    noise: str | None = None
    order: str = "shuffle"  # "in order", "shuffle", "sampler", or one of BATCH_SAMPLERS
    sampler: str = "random"
    draws: int = 5
    batch_size: int | None = 2
    drop_last: bool = False
    loader_generator: bool = False
    sampler_generator: bool = False
    shared_generator: bool = False
    torch_classes: bool = False  # whether dlkit's loader is given PyTorch's datasets and samplers
    collate: str | None = None
    seed: int = 0
    options: dict = field(default_factory=dict)


@st.composite
def cases(draw, datasets=tuple(MAP_DATASETS + STREAMS), samplers=tuple(SAMPLERS), noises=None):
    case = Case(
        dataset=draw(st.sampled_from(datasets)),
        n=draw(st.integers(1, 40)),
        structure=draw(STRUCTURES),
        noise=draw(
            st.sampled_from(noises or [None, None, "torch", "python", "numpy", "generator"])
        ),
        batch_size=draw(st.sampled_from([None, 1, 2, 3, 5, 8, 32, 33, 64])),
        draws=draw(st.integers(1, 100)),
        loader_generator=draw(st.booleans()),
        sampler_generator=draw(st.booleans()),
        shared_generator=draw(st.booleans()),
        torch_classes=draw(st.booleans()),
        collate=draw(st.sampled_from([None, None, None, "torch's", "list", "sorting"])),
        seed=draw(st.integers(0, 2**40)),
    )
    if case.dataset in STREAMS:
        case.order = "in order"
    else:
        case.order = draw(st.sampled_from(["in order", "shuffle", "sampler", *BATCH_SAMPLERS]))
        case.sampler = draw(st.sampled_from(samplers))
    case.drop_last = case.batch_size is not None and draw(st.booleans())
    if case.batch_size is None:
        case.collate = None  # these take a list of samples
    return case


def collate_function(name):
    match name:
        case "torch's":
            return torch_data.default_collate
        case "list":
            return list
        case "sorting":
            return _sort_in_place
    return None


def _sort_in_place(samples):
    if isinstance(samples, list):
        samples.sort(key=repr)
    return samples


def build(case, library, **options):
    """Make the loader of a case, with everything in it made anew."""
    own = library == "dlkit" and not case.torch_classes
    datasets = dlkit_datasets if own else torch_data
    samplers = dlkit_samplers if own else torch_data
    loader_class = torch_data.DataLoader if library == "torch" else dlkit.loader.DataLoader
    loader_generator = torch.Generator().manual_seed(case.seed) if case.loader_generator else None
    sampler_generator = (
        torch.Generator().manual_seed(case.seed + 1) if case.sampler_generator else None
    )
    if case.shared_generator:
        sampler_generator = loader_generator
    data = dataset(case, datasets, loader_generator)
    arguments = {
        "generator": loader_generator,
        "collate_fn": collate_function(case.collate),
        **case.options,
        **options,
    }
    if case.order in ("in order", "shuffle", "sampler"):
        arguments |= {"batch_size": case.batch_size, "drop_last": case.drop_last}
    if case.order == "shuffle":
        arguments["shuffle"] = True
    elif case.order == "sampler":
        arguments["sampler"] = sampler(case, samplers, data, sampler_generator)
    elif case.order == "batches of sampler":
        single = sampler(case, samplers, data, sampler_generator)
        arguments["batch_sampler"] = samplers.BatchSampler(
            single, case.batch_size or 4, case.drop_last
        )
    elif case.order == "lists":
        arguments["batch_sampler"] = [[i, (i * 7) % case.n] for i in range(case.n)]
    elif case.order == "random batches":
        arguments["batch_sampler"] = RandomBatches(case.n)
    elif case.order == "batches at iter":
        arguments["batch_sampler"] = BatchesAtIter(case.n)
    return loader_class(data, **arguments)


def seed_everything(seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


def random_state(loader):
    """A fingerprint of all that a loader may have moved: three global generators and its own."""
    _, key, *rest = np.random.get_state()  # noqa: NPY002
    generators = [loader.generator, getattr(loader.sampler, "generator", None)]
    return (
        hash(torch.get_rng_state().numpy().tobytes()),
        hash(random.getstate()),
        hash((key.tobytes(), *rest)),
        [None if g is None else hash(g.get_state().numpy().tobytes()) for g in generators],
    )


def difference(a, b, path="batch"):
    """Say where two batches differ in type, layout or bits; None if nowhere."""
    if type(a) is not type(b):
        return f"{path}: {type(a).__name__} {a!r} against {type(b).__name__} {b!r}"
    if isinstance(a, torch.Tensor):
        if (a.dtype, a.shape, a.device) != (b.dtype, b.shape, b.device):
            return f"{path}: {a.dtype} {list(a.shape)} against {b.dtype} {list(b.shape)}"
        return None if torch.equal(a, b) else f"{path}: {a} against {b}"
    if isinstance(a, np.ndarray | np.generic):
        same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return None if same else f"{path}: {a!r} against {b!r}"
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{path}: keys {list(a)} against {list(b)}"
        parts = ((a[k], b[k], f"{path}[{k!r}]") for k in a)
    elif isinstance(a, tuple | list):
        if len(a) != len(b):
            return f"{path}: length {len(a)} against {len(b)}"
        parts = ((x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True)))
    else:
        return None if a == b else f"{path}: {a!r} against {b!r}"
    return next((found for part in parts if (found := difference(*part))), None)
