"""A whole loader: batches, a new order in every epoch, and the user's own preprocessing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from dlkit.lab.exercises.contract import Case, Exercise

Pair = tuple[torch.Tensor, int]


class DataLoader:
    """Batches of a dataset of pairs (tensor, label)."""

    def __init__(
        self,
        dataset: Sequence[tuple[torch.Tensor, int]],
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.shuffle, self.drop_last, self.preprocess = shuffle, drop_last, preprocess
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = list(range(len(self.dataset)))
        if self.shuffle:
            order = torch.randperm(len(order), generator=self.generator).tolist()
        for number in range(len(self)):
            indices = order[number * self.batch_size : (number + 1) * self.batch_size]
            samples = [self.dataset[index] for index in indices]
            features = [x if self.preprocess is None else self.preprocess(x) for x, _ in samples]
            yield torch.stack(features), torch.tensor([label for _, label in samples])


class _OverTorch:
    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        preprocess: Any = None,
        seed: int = 0,
    ) -> None:
        def collate(samples: list[Pair]) -> Any:
            features = torch.stack([preprocess(x) if preprocess else x for x, _ in samples])
            return features, torch.tensor([label for _, label in samples])

        self.loader = torch.utils.data.DataLoader(
            dataset,
            batch_size,
            shuffle,
            drop_last=drop_last,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(seed),
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Any:
        return iter(self.loader)


class _WithAnEpoch(DataLoader):
    epoch = -1

    def __iter__(self) -> Any:
        self.epoch += 1
        order = list(range(len(self.dataset)))
        if self.shuffle:
            random.Random(f"{self.generator.initial_seed()} {self.epoch}").shuffle(order)
        batch: list[Pair] = []
        for count, index in enumerate(order, start=1):
            x, label = self.dataset[index]
            batch.append((self.preprocess(x) if self.preprocess else x, label))
            full = len(batch) == self.batch_size
            if full or (count == len(order) and not self.drop_last):
                features, labels = zip(*batch, strict=True)
                yield torch.stack(features), torch.tensor(labels)
                batch = []


class _SecondEpochIsEmpty(DataLoader):
    started: Any = None

    def __iter__(self) -> Any:
        self.started = self.started or super().__iter__()
        return self.started


class _LabelsGoTheirOwnWay(DataLoader):
    def __iter__(self) -> Any:
        batches = super().__iter__()
        labels = (y for _, y in super().__iter__()) if self.shuffle else None
        for x, y in batches:
            yield x, y if labels is None else next(labels)


class _TheSameOrderAgain(DataLoader):
    def __iter__(self) -> Any:
        self.generator.manual_seed(self.generator.initial_seed())
        return super().__iter__()


class _ForgetsToPreprocess(DataLoader):
    def __iter__(self) -> Any:
        self.preprocess = None
        return super().__iter__()


class _PreprocessesTheBatch(DataLoader):
    def __iter__(self) -> Any:
        function, self.preprocess = self.preprocess, None
        for x, y in super().__iter__():
            yield x if function is None else function(x), y
        self.preprocess = function


class _LosesTheRest(DataLoader):
    def __len__(self) -> int:
        return len(self.dataset) // self.batch_size


class _ReadsEverythingFirst(DataLoader):
    def __iter__(self) -> Any:
        return iter(list(super().__iter__()))


class _ShufflesBatches(DataLoader):
    def __iter__(self) -> Any:
        shuffle, self.shuffle = self.shuffle, False
        batches = list(super().__iter__())
        self.shuffle = shuffle
        order = torch.randperm(len(batches), generator=self.generator).tolist()
        return (batches[i] for i in (order if shuffle else range(len(batches))))


class _Recording:
    """Sample i is a row of i's with the label 100 + i; counts how often it is read."""

    def __init__(self, n: int) -> None:
        self.n, self.reads = n, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Pair:
        if not 0 <= index < self.n:
            raise IndexError(index)
        self.reads += 1
        return torch.full((2,), float(index)), 100 + index


def _drive(
    answer: Any, n: int, batch_size: int, shuffle: bool, drop_last: bool, preprocess: bool
) -> Any:
    shapes = []

    def scale(x: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(x.shape))
        return x * 10 + 1

    data = _Recording(n)
    loader = answer(data, batch_size, shuffle, drop_last, scale if preprocess else None, seed=3)
    epochs: list[Any] = []
    first_reads = None
    for _ in range(2):
        epochs.append([])
        for x, y in loader:
            first_reads = data.reads if first_reads is None else first_reads
            epochs[-1].append([x[:, 0], y] if x.ndim == 2 else [x, y])
            if len(epochs[-1]) > n:
                break
    return {
        "epochs": epochs,
        "len": len(loader),
        "reads before the first batch": first_reads or 0,
        "preprocess got one sample": all(shape == (2,) for shape in shapes),
    }


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, 1, False, False, False
    yield 2, 1, False, False, False
    yield 3, 2, False, False, False
    yield 3, 2, False, True, False
    yield 2, 2, False, False, True
    yield 16, 3, True, False, False
    yield 16, 4, True, True, True
    yield 25, 4, True, True, True


def _features(got: Any) -> list[list[float]]:
    return [[float(v) for x, _ in epoch for v in x] for epoch in got["epochs"]]


def _indices(got: Any) -> list[list[int]]:
    return [[int(v) - 100 for _, y in epoch for v in y] for epoch in got["epochs"]]


def _sizes(case: Case, got: Any) -> bool:
    n, batch_size, _, drop_last, _ = case
    sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]
    wanted = [size for size in sizes if size == batch_size or not drop_last]
    return [len(y) for _, y in got["epochs"][0]] == wanted


EXERCISE = Exercise(
    level=3,
    reference=DataLoader,
    alternatives=(_OverTorch, _WithAnEpoch),
    mistakes=(
        _SecondEpochIsEmpty,
        _LabelsGoTheirOwnWay,
        _TheSameOrderAgain,
        _ForgetsToPreprocess,
        _PreprocessesTheBatch,
        _LosesTheRest,
        _ReadsEverythingFirst,
        _ShufflesBatches,
    ),
    cases=_cases,
    drive=_drive,
    properties={
        "sizes": _sizes,
        "second_epoch": lambda case, got: len(got["epochs"][1]) == len(got["epochs"][0]),
        "len": lambda case, got: got["len"] == len(got["epochs"][0]),
        "once": lambda case, got: all(
            len(set(e)) == len(e) and set(e) <= set(range(case[0])) for e in _indices(got)
        ),
        "sample_wise": lambda case, got: got["preprocess got one sample"],
        "preprocessed": lambda case, got: (
            sorted(_features(got)[0])
            == sorted(float(i * 10 + 1 if case[4] else i) for i in _indices(got)[0])
        ),
        "together": lambda case, got: all(
            x == [float(i * 10 + 1 if case[4] else i) for i in indices]
            for x, indices in zip(_features(got), _indices(got), strict=True)
        ),
        "in_order": lambda case, got: case[2] or _indices(got)[0] == sorted(_indices(got)[0]),
        "shuffled": lambda case, got: not case[2] or _indices(got)[0] != sorted(_indices(got)[0]),
        "samples_mix": lambda case, got: (
            not case[2] or any(max(y) - min(y) >= case[1] for _, y in got["epochs"][0])
        ),
        "new_order": lambda case, got: not case[2] or _indices(got)[0] != _indices(got)[1],
        "lazy": lambda case, got: got["reads before the first batch"] <= case[1],
    },
)
