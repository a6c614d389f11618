"""Live digit recognition: frames at 30 to 2,000 a second, answered under an objective.

    camera -> [queue, a policy] -> preprocess -> [micro-batch] -> CNN -> answer, right or wrong

The frames are digits that the model has not seen in training. The rate may be changed while it
runs; with an objective, the batches follow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dlkit.datasets import digits
from dlkit.live.system import LiveSystem
from dlkit.loader import DataLoader
from dlkit.models import Normalize, SimpleCNN
from dlkit.streaming import Batch, Camera, Pipeline, Stamped, Stats
from dlkit.trainer import Trainer


class Frame(NamedTuple):
    """A picture on its way.

    Attributes:
        image: `[1, 28, 28]`, uint8 as a camera sends it, later float32 from 0 to 1.
        label: the digit that it shows, for the score only.
    """

    image: npt.NDArray[Any]
    label: int


@dataclass(frozen=True)
class Moment:
    """One reading of the system.

    Attributes:
        seconds: since the start.
        rate: frames/s that the camera is set to.
        batch: frames in a batch since the last reading; NaN without any.
        dropped: frames dropped since the last reading.
        accuracy: share of right answers since the last reading; NaN without any.
        stats: all that the pipeline tells.
    """

    seconds: float
    rate: float
    batch: float
    dropped: int
    accuracy: float
    stats: Stats


def train_recogniser(epochs: int = 2, seed: int = 0) -> nn.Module:
    """Train the small CNN on the training digits; a few seconds on a laptop.

    Args:
        epochs: passes over the 1,442 digits.
        seed: of the weights and the order.
    """
    # One thread: the model is so small that several would mostly wait for each other, for ever on
    # a machine that has other work.
    width = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(epochs, seed)
    finally:
        torch.set_num_threads(width)


def _train(epochs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    train = digits(train=True)
    model = nn.Sequential(Normalize.from_images(train.tensors[0]), SimpleCNN(num_classes=10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    trainer = Trainer(model, optimizer=optimizer, seed=seed, device="cpu", progress=False)
    trainer.fit(DataLoader(train, batch_size=32, shuffle=True), epochs)
    return model.eval()


class LiveDigits(LiveSystem[Moment]):
    """The system, in threads of its own.

    Args:
        model: from `[N, 1, 28, 28]` to logits `[N, 10]`; trained here if none is given.
        rate: frames/s; may be set while it runs.
        objective: seconds that 99 % of the answers should take at most; None for fixed batches.
        max_batch: frames in a batch, at most.
        max_delay: seconds that a fixed batch may wait to fill.
        capacity: frames that may wait.
        policy: what happens to a frame that finds no room.
        seed: of the camera.

    Example:
        >>> system = LiveDigits(lambda images: torch.zeros(len(images), 10), rate=500)
        >>> with system:
        ...     while not system.answered:
        ...         _ = system.wait(0.05)
        >>> system.read().stats.counts.exact
        True
    """

    def __init__(
        self,
        model: Callable[[torch.Tensor], torch.Tensor] | None = None,
        rate: float = 200.0,
        objective: float | None = 0.05,
        max_batch: int = 64,
        max_delay: float | None = None,
        capacity: int = 256,
        policy: str = "drop_oldest",
        seed: int = 0,
    ) -> None:
        self._model = train_recogniser() if model is None else model
        images, labels = digits(train=False, dtype=torch.uint8).tensors
        self._images, self._labels = images.numpy(), labels.numpy()
        self._order = np.random.default_rng(seed).integers(len(self._labels), size=4096)
        self.camera = Camera(rate, self._take_picture, jitter=0.0005, seed=seed)
        pipeline = Pipeline(
            self.camera,
            _prepare,
            max_batch=max_batch,
            max_delay=max_delay,
            objective=objective,
            capacity=capacity,
            policy=policy,
        )
        super().__init__(pipeline, "dlkit live digits")
        self.objective = objective
        self.answered = self.right = 0
        self._before = (0, 0, 0, 0)  # batches, dropped, answered and right at the last reading

    def _take_picture(self, number: int) -> Frame:
        place = self._order[number % len(self._order)]
        return Frame(self._images[place], int(self._labels[place]))

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.camera.rate

    @rate.setter
    def rate(self, value: float) -> None:
        self.camera.rate = value

    def prepare_thread(self) -> None:
        """Let the model use one thread: it is small, and camera and preprocessing want the rest."""
        torch.get_num_threads()  # what a thread sets before PyTorch has prepared it is forgotten
        torch.set_num_threads(1)

    def answer(self, batch: Batch) -> None:
        """Recognise the digits of a batch, and count those that are right."""
        images = torch.from_numpy(np.stack([frame.image for frame in batch.items]))
        with torch.inference_mode():
            guesses = self._model(images).argmax(dim=1).tolist()
        self.right += sum(
            guess == frame.label for guess, frame in zip(guesses, batch.items, strict=True)
        )
        self.answered += len(batch)

    def read(self) -> Moment:
        """Return what has happened since the last reading, and keep it in `history`."""
        stats = self.pipeline.stats()
        now = (stats.batches, stats.counts.lost, self.answered, self.right)
        batches, dropped, answered, right = (
            new - old for new, old in zip(now, self._before, strict=True)
        )
        self._before = now
        moment = Moment(
            seconds=self.seconds,
            rate=self.rate,
            batch=answered / batches if batches else float("nan"),
            dropped=dropped,
            accuracy=right / answered if answered else float("nan"),
            stats=stats,
        )
        self.history.append(moment)
        return moment


def _prepare(frame: Stamped) -> Frame:
    """From the camera's bytes to what the model takes."""
    image, label = frame.data
    return Frame(image.astype(np.float32) / 255.0, label)
