"""The widgets of the real-time notebook: live digits and a drive, with their loads on sliders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dlkit.lab.choice import choice
from dlkit.lab.explorer import slider
from dlkit.lab.live_system import LiveWidget
from dlkit.live import Drive, LiveDigits, LiveDriving, train_recogniser
from dlkit.live.digits import Moment
from dlkit.live.ride import RideMoment
from dlkit.plots.dashboard import Dashboard
from dlkit.plots.driving import ride_dashboard
from dlkit.plots.streaming import digits_dashboard
from dlkit.streaming import POLICIES


class LiveDigitsWidget(LiveWidget[LiveDigits]):
    """Live digit recognition, with the load on a slider.

    Args:
        model: From images to logits; the system trains one if there is none.
        rate: Frames/s at the start.
        objective: Seconds that 99 % of the answers should take at most; None for fixed batches.
        longest: Seconds after which it stops by itself.
        **options: Those of ``LiveDigits``.

    >>> LiveDigitsWidget(lambda images: torch.zeros(len(images), 10))
    <LiveDigitsWidget: not started, 100 frames/s, objective 50 ms>
    """

    def __init__(
        self,
        model: Callable[[torch.Tensor], torch.Tensor] | None = None,
        rate: int = 100,
        objective: float | None = 0.05,
        longest: float = 120.0,
        **options: Any,
    ) -> None:
        self._model, self._objective, self._options = model, objective, options
        self.rate = slider("frames/s", rate, 30, 2000, 10)
        super().__init__([self.rate], longest)

    def settings(self) -> str:
        """Say in words how the system would start."""
        objective = self._objective
        goal = "no objective" if objective is None else f"objective {objective * 1e3:.0f} ms"
        return f"{self.rate.value} frames/s, {goal}"

    def make(self) -> LiveDigits:
        """Make the system; the model is trained once, if none was given."""
        if self._model is None:
            self._model = train_recogniser()
        return LiveDigits(self._model, self.rate.value, self._objective, **self._options)

    def change(self, system: LiveDigits) -> None:
        """Set the camera's rate."""
        system.rate = self.rate.value

    def dashboard(self, system: LiveDigits) -> Dashboard[Moment]:
        """Show load, batches, latency, queue and drops."""
        return digits_dashboard(self._objective)


class LiveDrivingWidget(LiveWidget[LiveDriving]):
    """A drive in real time, with tolerance and planning time on sliders.

    Args:
        drive: What the sensors recorded; 16 seconds by default, and the widget stops at its end.
        longest: Seconds after which it stops by itself.
        **options: Those of ``LiveDriving``.

    >>> LiveDrivingWidget()
    <LiveDrivingWidget: not started, tolerance 60 ms, planning 10 ms, policy drop_oldest>
    """

    every, shown = 0.5, 120

    def __init__(self, drive: Drive | None = None, longest: float = 60.0, **options: Any) -> None:
        self._drive, self._options = drive, options
        self.tolerance = slider("tolerance, ms", 60, 10, 120, 5)
        self.planning = slider("planning, ms", 10, 0, 100, 5)
        self.policy = choice(POLICIES, value="drop_oldest", description="policy")
        super().__init__([self.tolerance, self.planning, self.policy], longest)

    def settings(self) -> str:
        """Say in words how the system would start."""
        return (
            f"tolerance {self.tolerance.value} ms, planning {self.planning.value} ms, policy "
            f"{self.policy.value}"
        )

    def make(self) -> LiveDriving:
        """Make the system; the policy is that of its whole life."""
        tolerance, planning = self.tolerance.value / 1e3, self.planning.value / 1e3
        return LiveDriving(self._drive, tolerance, planning, self.policy.value, **self._options)

    def change(self, system: LiveDriving) -> None:
        """Set tolerance and planning time."""
        system.tolerance = self.tolerance.value / 1e3
        system.planning = self.planning.value / 1e3

    def dashboard(self, system: LiveDriving) -> Dashboard[RideMoment]:
        """Show what the planner knows, how late, and what was lost on the way."""
        return ride_dashboard(system.drive)
