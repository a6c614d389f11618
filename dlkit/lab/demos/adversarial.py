"""Generative adversarial networks: a forger and a detective, on points in the plane.

    noise [2] -> generator -> point [2] -> discriminator -> is it real?

Real points form five heaps on a circle. The generator never sees them: all it learns comes through
the discriminator's gradient. Where that has grown blind, at one half everywhere, neither can win.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlkit.lab.demos.fitting import repeatable
from dlkit.lab.demos.result import Result
from dlkit.plots.demos import forged_points
from dlkit.plots.style import Picture

HEAPS = 5
RADIUS, SPREAD = 2.0, 0.15
NEAR = 4 * SPREAD  # a generated point this near to a heap's centre belongs to it
SIDE, CELLS = 3.0, 50
SNAPSHOTS = (0, 200, 1200)
BATCH = 128
SHOWN = 300


@dataclass(frozen=True, eq=False, repr=False)
class Snapshot:
    """The game after some steps.

    Attributes:
        step: How many.
        generated: ``[SHOWN, 2]`` points.
        surface: ``[CELLS, CELLS]``, the discriminator's probability of "real", x and y from
            -SIDE to SIDE.
        near: Share of the generated points that are near some heap.
        heaps: How many heaps hold at least a fifth of their fair share of the points.
        verdicts: Mean probability of "real" for real and for generated points.
    """

    step: int
    generated: Tensor
    surface: Tensor
    near: float
    heaps: int
    verdicts: tuple[float, float]


@dataclass(frozen=True, eq=False, repr=False)
class Forged(Result):
    """A game's course.

    Attributes:
        real: ``[SHOWN, 2]`` points.
        snapshots: At the start, in between, and at the end.
    """

    real: Tensor
    snapshots: tuple[Snapshot, ...]

    @property
    def summary(self) -> str:
        """Where generated points lie at the start and at the end."""
        first, last = self.snapshots[0], self.snapshots[-1]
        return (
            f"generated points near real heaps: {first.near:.0%} -> {last.near:.0%} after "
            f"{last.step} steps, in {last.heaps} of {HEAPS} heaps; real points are believed by "
            f"{last.verdicts[0]:.0%}, generated ones by {last.verdicts[1]:.0%}"
        )

    def picture(self) -> Picture:
        """Draw each snapshot: points over the discriminator's surface."""
        panels = [
            (shot.step, shot.generated.numpy(), shot.surface.numpy(), shot.near, shot.heaps)
            for shot in self.snapshots
        ]
        return forged_points(self.real.numpy(), panels, SIDE, HEAPS)


def forge_points(seed: int = 0) -> Forged:
    """Let a generator learn points in the plane from nothing but a discriminator's judgement.

    Source: Goodfellow and others (2014), "Generative adversarial nets", with the loss that does not
    saturate from its section 3.

    Args:
        seed: Of weights, real points and noise.

    Returns:
        The game at three moments.
    """
    with repeatable(seed):
        generator, discriminator = _net(2), _net(1)
        optimizers = [
            torch.optim.Adam(net.parameters(), lr=rate, betas=(0.5, 0.9))
            for net, rate in ((discriminator, 2e-3), (generator, 1e-3))
        ]
        snapshots = []
        for step in range(SNAPSHOTS[-1] + 1):
            if step in SNAPSHOTS:
                snapshots.append(_snapshot(step, generator, discriminator))
            _play(generator, discriminator, optimizers)
        return Forged(real_points(SHOWN), tuple(snapshots))


def _play(
    generator: nn.Module, discriminator: nn.Module, optimizers: list[torch.optim.Adam]
) -> None:
    """One step of the detective, one of the forger."""
    real, noise = real_points(BATCH), torch.randn(BATCH, 2)
    of_discriminator, of_generator = optimizers
    of_discriminator.zero_grad()
    forged = generator(noise)
    caught = F.softplus(discriminator(forged.detach())) + F.softplus(-discriminator(real))
    caught.mean().backward()
    of_discriminator.step()
    of_generator.zero_grad()
    F.softplus(-discriminator(forged)).mean().backward()  # -log D, which never saturates
    of_generator.step()


def centres() -> Tensor:
    """The centres of the heaps, ``[HEAPS, 2]``."""
    angle = torch.arange(HEAPS) * (2 * math.pi / HEAPS) + math.pi / 2
    return RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)


def real_points(n: int) -> Tensor:
    """Draw ``[n, 2]`` real points."""
    return centres()[torch.randint(HEAPS, (n,))] + SPREAD * torch.randn(n, 2)


def _net(outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, 48),
        nn.LeakyReLU(0.2),
        nn.Linear(48, 48),
        nn.LeakyReLU(0.2),
        nn.Linear(48, outputs),
    )


@torch.no_grad()
def _snapshot(step: int, generator: nn.Module, discriminator: nn.Module) -> Snapshot:
    axis = torch.linspace(-SIDE, SIDE, CELLS)
    grid = torch.cartesian_prod(axis, axis).flip(dims=[1])
    generated = generator(torch.randn(1000, 2))
    distance, heap = torch.cdist(generated, centres()).min(dim=1)
    near = distance < NEAR
    share = torch.bincount(heap[near], minlength=HEAPS) / len(generated)
    verdicts = [
        torch.sigmoid(discriminator(p)).mean().item() for p in (real_points(1000), generated)
    ]
    return Snapshot(
        step=step,
        generated=generated[:SHOWN],
        surface=torch.sigmoid(discriminator(grid)).reshape(CELLS, CELLS),
        near=near.double().mean().item(),
        heaps=int((share > 0.2 / HEAPS).sum()),
        verdicts=(verdicts[0], verdicts[1]),
    )
