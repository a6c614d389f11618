"""The live widget of the workers notebook: a prediction, and a real run that catches up with it.

    sliders --at once--> prediction
    run     --a thread, batch by batch--> the same picture

The run has a thread of its own, so that the kernel stays free; it ends by itself, by the button, or
when a slider moves.
"""

from __future__ import annotations

import html
import threading
import time
from typing import Any

import ipywidgets
import torch
from torch.utils import data as torch_data

from dlkit.diagnose.running import StoppedError, ended
from dlkit.lab.explorer import Explorer, slider
from dlkit.loader import DataLoader
from dlkit.plots.live_timeline import predicted_and_real
from dlkit.plots.style import Picture
from dlkit.workers.info import get_worker_info
from dlkit.workers.simulated import Journey, simulate

BATCHES = 16
REDRAW = 0.25  # seconds between pictures of a run: drawing needs the GIL, as the run does


class Sleepers(torch_data.Dataset[torch.Tensor]):
    """Samples that wait, and say who read them, from when to when.

    Args:
        length: Samples.
        seconds: What one waits.
    """

    def __init__(self, length: int, seconds: float) -> None:
        self.length, self.seconds = length, seconds

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        info = get_worker_info()
        start = time.perf_counter()
        time.sleep(self.seconds)
        worker = -1 if info is None else info.id
        return torch.tensor([worker, start, time.perf_counter()], dtype=torch.float64)


class Run:
    """One real run: the batches that came so far, and how it can be ended."""

    def __init__(self) -> None:
        self.journeys: list[Journey] = []
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None
        self.error: Exception | None = None


class LiveTimeline(Explorer):
    """Drag workers, prefetching, costs; see the prediction at once, and run it for real.

    Workers are threads, and samples wait instead of computing: so the run does not depend on how
    many cores there are.

    Args:
        workers: Workers at the start, 0 to 4.
        prefetch_factor: Batches in flight for each worker at the start, 1 to 4.
        sample: Milliseconds that a sample waits at the start, 0 to 20.
        batch_size: Samples in a batch at the start, 1 to 32.
        step: Milliseconds that training computes on a batch at the start, 0 to 100.

    >>> LiveTimeline(workers=0, sample=5, batch_size=4, step=0)
    <LiveTimeline: predicted: 16 batches in 320 ms, training waits 320 ms; not run yet>
    """

    def __init__(
        self,
        workers: int = 2,
        prefetch_factor: int = 2,
        sample: int = 5,
        batch_size: int = 8,
        step: int = 20,
    ) -> None:
        self.current: Run | None = None
        self.start_button = ipywidgets.Button(description="run", icon="play")
        self.stop_button = ipywidgets.Button(description="stop", icon="stop", disabled=True)
        self.progress = ipywidgets.IntProgress(max=BATCHES, description="batches")
        super().__init__(
            {
                "workers": slider("num_workers", workers, 0, 4),
                "prefetch_factor": slider("prefetch_factor", prefetch_factor, 1, 4),
                "sample": slider("a sample (ms)", sample, 0, 20),
                "batch_size": slider("batch_size", batch_size, 1, 32),
                "step": slider("compute (ms)", step, 0, 100, 5),
            }
        )
        self.start_button.on_click(self.start)
        self.stop_button.on_click(self.stop)
        buttons = ipywidgets.HBox([self.start_button, self.stop_button, self.progress])
        sliders = ipywidgets.VBox(list(self.controls.values()))
        self.children = (sliders, buttons, self.text, self.image)

    def draw(  # type: ignore[override]
        self, workers: int, prefetch_factor: int, sample: int, batch_size: int, step: int
    ) -> Picture:
        """Let the workers' clock run, and draw what it shows above what has really come so far.

        Args:
            workers: How many share the batches; 0 fetches in the training loop.
            prefetch_factor: Batches in flight for each worker.
            sample: Milliseconds that a sample waits.
            batch_size: Samples in a batch.
            step: Milliseconds that training computes on a batch.

        Returns:
            The timeline of both.
        """
        seconds = [batch_size * sample / 1e3] * BATCHES
        predicted = simulate(seconds, workers, prefetch_factor, step=step / 1e3)
        real = [] if self.current is None else list(self.current.journeys)
        return predicted_and_real(predicted, real, workers)

    def redraw(self, change: object = None) -> None:
        """Show the picture; a control that has changed ends the run, which was of other values."""
        if change is not None:
            self.stop()
            self.current = None
            self.progress.value = 0
        super().redraw(change)

    # ---- the run --------------------------------------------------------------------------------

    def start(self, _button: object = None) -> None:
        """Begin a real run of the present values; one that is under way ends first."""
        self.stop()
        self.wait()
        run = self.current = Run()
        values = {name: control.value for name, control in self.controls.items()}
        self.progress.value = 0
        self.start_button.disabled, self.stop_button.disabled = True, False
        run.thread = threading.Thread(
            target=self._work, args=(run, values), name="dlkit live timeline", daemon=True
        )
        run.thread.start()

    def stop(self, _button: object = None) -> None:
        """End the run after the batch that it is at."""
        if self.current is not None:
            self.current.stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the run, for at most `timeout` seconds; whether it has ended."""
        thread = self.current.thread if self.current else None
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def close(self) -> None:
        """End the run, and the widget."""
        self.stop()
        super().close()

    def _work(self, run: Run, values: dict[str, Any]) -> None:
        """Show what has come, now and then, while the loader runs in another thread."""
        runner = threading.Thread(target=run_for_real, args=(run, values), name="dlkit live run")
        runner.start()
        # Not in the runner: drawing would be part of its times.
        while runner.is_alive():
            runner.join(REDRAW)
            self._show(run)
        self._show(run)  # what came while the last picture was drawn
        if run.error is not None:
            said = f"; the run failed: {type(run.error).__name__}: {run.error}"
            self.text.value += html.escape(said)
        if self.current is run or self.current is None:
            self.start_button.disabled, self.stop_button.disabled = False, True

    def _show(self, run: Run) -> None:
        if self.current is run:
            self.progress.value = len(run.journeys)
            super().redraw()


def run_for_real(run: Run, values: dict[str, Any]) -> None:
    """Run a loader batch by batch, note when each came, and leave no worker behind.

    Args:
        run: Where the batches are noted; an error is kept there too.
        values: Of the controls, by their names.
    """
    workers, size = values["workers"], values["batch_size"]
    settings: dict[str, Any] = {"num_workers": workers}
    if workers:
        settings["prefetch_factor"] = values["prefetch_factor"]
        settings["worker_method"] = "thread"
    data = Sleepers(BATCHES * size, values["sample"] / 1e3)
    loader: DataLoader[torch.Tensor] = DataLoader(data, size, **settings)
    try:
        with ended(loader) as own:
            began, asked = time.perf_counter(), 0.0
            for number in range(BATCHES):
                batch = own.next(loader, run.stop)
                delivered = time.perf_counter() - began
                run.stop.wait(values["step"] / 1e3)
                used = time.perf_counter() - began
                worker = int(batch[0, 0]) if workers else None
                started, ready = float(batch[:, 1].min()) - began, float(batch[:, 2].max()) - began
                run.journeys.append(Journey(number, worker, asked, started, ready, delivered, used))
                asked = used
    except StoppedError:
        pass
    except Exception as error:
        run.error = error
