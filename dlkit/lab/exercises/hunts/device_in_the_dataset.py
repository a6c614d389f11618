"""A dataset that puts its samples onto the GPU, in a worker."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from dlkit.lab.exercises.contract import Case, Exercise

Load = Callable[[Callable[[int], Any], int], list[Any]]


def broken(images: list[Any], load: Load, device: str) -> list[Any]:
    def read(index: int) -> Any:
        return images[index].to(device)

    return load(read, len(images))


def device_in_the_dataset(images: list[Any], load: Load, device: str) -> list[Any]:
    def read(index: int) -> Any:
        return images[index]

    return [image.to(device) for image in load(read, len(images))]


def _with_getitem(images: list[Any], load: Load, device: str) -> Any:
    arrived = load(images.__getitem__, len(images))
    return [image.to(device) for image in arrived]


def _one_after_another(images: list[Any], load: Load, device: str) -> Any:
    placed = []
    for image in load(lambda index: images[index], len(images)):
        placed.append(image.to(device))  # noqa: PERF401
    return placed


def _never_moved(images: list[Any], load: Load, device: str) -> Any:
    return load(lambda index: images[index], len(images))


def _without_workers(images: list[Any], load: Load, device: str) -> Any:
    return [image.to(device) for image in images]


def _a_device_of_its_own(images: list[Any], load: Load, device: str) -> Any:
    return [image.to("cuda") for image in load(images.__getitem__, len(images))]


class _Image:
    """Stands for a tensor: moving it to a GPU fails in a forked worker, as CUDA does."""

    def __init__(self, number: int, world: dict[str, Any], device: str = "cpu") -> None:
        self.number, self.world, self.device = number, world, device

    def to(self, device: str) -> _Image:
        if self.world["in worker"] and device != "cpu":
            raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")
        return _Image(self.number, self.world, device)


def _drive(answer: Any, n: int, device: str) -> dict[str, Any]:
    world: dict[str, Any] = {"in worker": False, "read": 0}
    images = [_Image(number, world) for number in range(n)]

    def load(read: Callable[[int], Any], count: int) -> list[Any]:
        world["in worker"] = True
        try:
            return [read(index) for index in range(count)]
        finally:
            world["in worker"] = False
            world["read"] = count

    placed = answer(images, load, device)
    return {"images": [[p.number, p.device] for p in placed], "read by workers": world["read"]}


def _cases(rng: random.Random) -> Iterator[Case]:
    yield 1, "cuda:0"
    yield 3, "cuda:1"


def _oracle(n: int, device: str) -> dict[str, Any]:
    return {"images": [[number, device] for number in range(n)], "read by workers": n}


EXERCISE = Exercise(
    level=2,
    reference=device_in_the_dataset,
    broken=broken,
    alternatives=(_with_getitem, _one_after_another),
    mistakes=(broken, _never_moved, _without_workers, _a_device_of_its_own),
    cases=_cases,
    oracle=_oracle,
    drive=_drive,
)
