"""All that dlkit starts, by turns, for an hour: does anything stay behind or grow?

    python -m benchmarks.mixed [--minutes 60] [--json FILE]

Four acts take turns, and each begins and ends with nothing started:

loaders   one epoch each with processes that are forked, processes that are spawned and threads;
          another one each that is left early, so that batches are thrown away under way
faults    a worker that is killed, one that exits, one that raises and one that hangs: each must end
          in its documented error, and the same loader must then deliver every sample
streams   a live pipeline that is flooded: every item is delivered or counted as dropped
kernels   a Jupyter kernel is interrupted amid a loader with workers, uses it again, and ends with
          its workers alive: they must end with it

After each act the command reads what the process holds. The verdict is that of `benchmarks.soak`,
whose rules and tolerances apply to each act; besides, no act may leave a process behind. The exit
status is 1 if anything is not flat. /dev/shm is the whole machine's: let nothing else use it.
"""

import argparse
import gc
import os
import signal
import time
from collections.abc import Callable
from itertools import islice
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from queue import Empty
from typing import Any

import psutil
import torch
from torch.utils import data as torch_data

import dlkit
from benchmarks.measure import machine
from benchmarks.processes import can_measure_memory, holdings
from benchmarks.soak import MEGABYTE, Moment, finish
from dlkit.streaming import Camera, Pipeline, Stamped

WAYS: dict[str, dict[str, Any]] = {
    "forked": {"num_workers": 2, "multiprocessing_context": "fork"},
    "spawned": {"num_workers": 2, "multiprocessing_context": "spawn"},
    "threads": {"num_workers": 2, "worker_method": "thread"},
}
LENGTH, BATCH_SIZE = 640, 16
LEAST = 4  # rounds, for a verdict
PATIENCE = 60.0  # seconds for what takes one


class Numbers(torch_data.Dataset[torch.Tensor]):
    """Rows of numbers."""

    def __init__(self) -> None:
        self.rows = torch.arange(LENGTH).repeat(64, 1).T.contiguous()

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.rows[index]


class Harmful(Numbers):
    """The same rows, but the first one that reads the row in the middle comes to harm."""

    def __init__(self, harm: Callable[[], object]) -> None:
        super().__init__()
        self.harm, self.done = harm, get_context("fork").Event()

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == LENGTH // 2 and not self.done.is_set():
            self.done.set()
            self.harm()
        return super().__getitem__(index)


def loaders() -> None:
    """Read an epoch each way, and leave another one early."""
    for way, arguments in WAYS.items():
        loader = dlkit.DataLoader(Numbers(), BATCH_SIZE, persistent_workers=True, **arguments)
        _expect(_samples(loader) == list(range(LENGTH)), f"{way}: an epoch with every sample")
        left = sum(1 for _ in islice(loader, 5))
        _expect(left == 5, f"{way}: five batches of another epoch")


def _samples(loader: dlkit.DataLoader) -> list[int]:
    return [int(number) for batch in loader for number in batch[:, 0]]


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exits() -> None:
    os._exit(3)


def _raises() -> None:
    raise LookupError("row 320 cannot be read")


def _hangs() -> None:
    time.sleep(PATIENCE)


FAULTS: tuple[tuple[Callable[[], object], type[Exception], str], ...] = (
    (_killed, dlkit.WorkerDiedError, "SIGKILL"),
    (_exits, dlkit.WorkerDiedError, "exit code 3"),
    (_raises, LookupError, "row 320 cannot be read"),
    (_hangs, dlkit.WorkerTimeoutError, "1 s"),
)


def faults() -> None:
    """Have workers fail in four ways; then use the same loader again."""
    for harm, expected, words in FAULTS:
        loader = dlkit.DataLoader(Harmful(harm), BATCH_SIZE, timeout=1.0, **WAYS["forked"])
        try:
            _samples(loader)
        except expected as error:
            _expect(words in str(error), f"{harm.__name__}: {words!r} in {error}")
        else:
            raise RuntimeError(f"{harm.__name__}: there was no {expected.__name__}")
        _expect(_samples(loader) == list(range(LENGTH)), f"{harm.__name__}: a whole epoch after it")


def streams() -> None:
    """Flood a live pipeline for a second, and count."""
    camera = Camera(2_000, _frame, jitter=0.001, seed=1)
    pipeline = Pipeline(camera, _average, max_batch=64, objective=0.05, capacity=256,
                        policy="drop_oldest")  # fmt: skip
    with pipeline:
        end = camera.clock.now() + 1.0
        while camera.clock.now() < end:
            pipeline.get()
            camera.clock.sleep(0.02)
    counts = pipeline.counts()
    _expect(counts.exact and counts.in_flight == 0, f"exact counters: {counts}")
    _expect(counts.lost > 0, f"a flood: {counts}")


def _frame(number: int) -> torch.Tensor:
    return torch.full((4_096,), float(number))


def _average(frame: Stamped) -> float:
    return float(frame.data.mean())


IN_A_KERNEL = """
import time, dlkit
class Slow:
    def __len__(self):
        return 640
    def __getitem__(self, index):
        time.sleep(seconds)
        return index
seconds = 0.01
loader = dlkit.DataLoader(Slow(), 16, num_workers=2, persistent_workers=True)
for batch in loader:
    print("a batch", flush=True)
"""
AND_AGAIN = """
seconds = 0.0
loader = dlkit.DataLoader(Slow(), 16, num_workers=2, persistent_workers=True)
batches = iter(loader)
print(sum(len(batch) for batch in batches))
"""


def kernels() -> None:
    """Interrupt a Jupyter kernel amid a loader, use a loader again, and end the kernel."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3", transport="ipc")
    before = descendants()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        # A kernel throws away what it is asked while it stops on an error, unless told otherwise.
        client.execute(IN_A_KERNEL, stop_on_error=False)
        _wait_for(client, "stream", "a batch")
        manager.interrupt_kernel()
        _wait_for(client, "error", "KeyboardInterrupt")
        client.execute(AND_AGAIN)
        _wait_for(client, "stream", "640")
        family = descendants() - before
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    _expect(len(family) == 3, f"a kernel and its two workers, but there were {family}")
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    _expect(not alive, f"workers that end with their kernel, but there are {alive}")


def _wait_for(client: Any, kind: str, words: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        try:
            message = client.get_iopub_msg(timeout=left)
        except Empty:
            break
        content = message["content"]
        if message["msg_type"] == "error" != kind:
            raise RuntimeError(f"the kernel raised {content['ename']}: {content['evalue']}")
        if message["msg_type"] == kind and words in (content.get("text") or content["ename"]):
            return
    raise RuntimeError(f"the kernel did not say {words!r} within {PATIENCE:g} s")


def _expect(true: bool, what: str) -> None:
    if not true:
        raise RuntimeError(f"expected {what}")


ACTS = {act.__name__: act for act in (loaders, faults, streams, kernels)}


def descendants() -> set[psutil.Process]:
    """Return the processes that this one, and those below it, have started."""
    return set(psutil.Process().children(recursive=True))


def settle(before: set[psutil.Process]) -> None:
    """Collect what an act has let go, and wait for the end of what it has started.

    Raises:
        RuntimeError: if a process that was not there before does not end.
    """
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while (left := descendants() - before) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=0.05)
    _expect(not left, f"no process left behind, but there are {left}")


def main() -> None:
    """Run, watch, and end with a verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="to go on for (60)")
    parser.add_argument("--json", type=Path, help="also write all that was read to this file")
    options = parser.parse_args()
    if not can_measure_memory():
        parser.error("this command reads Linux's /proc/self/smaps_rollup, which is not here")
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    moments: list[Moment] = []
    resource_tracker.ensure_running()  # which the first spawned process would start, to stay
    before = descendants()
    end = time.monotonic() + 60 * options.minutes
    number = 0
    while number < LEAST or time.monotonic() < end:
        number += 1
        for name, act in ACTS.items():
            act()
            settle(before)
            moments.append(Moment(name, number, holdings()))
        if number & (number - 1) == 0 or number % 50 == 0:
            held = moments[-1].held
            print(
                f"round {number}: {held.main_memory / MEGABYTE:.1f} MB, "
                f"{held.main_descriptors} descriptors, {held.main_mappings} mappings, "
                f"{held.threads} threads",
                flush=True,
            )
    print(f"{number} rounds of {', '.join(ACTS)}")
    finish(about, moments, options.json)


if __name__ == "__main__":
    main()
