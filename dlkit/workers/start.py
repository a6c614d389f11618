"""Which workers a loader gets."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlkit.device import can_pin_memory
from dlkit.trace.spans import PIN
from dlkit.workers.interface import Pool
from dlkit.workers.pinned import Pinned
from dlkit.workers.processes import Processes
from dlkit.workers.threads import Threads
from dlkit.workers.traced import ProcessTrace, ThreadTrace
from dlkit.workers.worker import WorkerSetup

if TYPE_CHECKING:
    from dlkit.loader import DataLoader


def start_pool(loader: "DataLoader[Any]", seed_state: Tensor, size: int) -> Pool:
    """Start the workers that a loader asks for.

    Args:
        loader: whose dataset they read, with its settings for workers.
        seed_state: state of the generator from which the workers' base seed is drawn.
        size: how many.
    """
    generator = torch.Generator()
    generator.set_state(seed_state)
    setup = WorkerSetup(
        dataset=loader.dataset,
        collate_fn=loader.collate_fn,
        init_fn=loader.worker_init_fn,
        iterable=loader.is_iterable,
        batched=loader.batch_sampler is not None,
        drop_last=loader.drop_last,
        error_limit=loader.error_limit if loader.on_error == "skip" else None,
        base_seed=int(torch.empty((), dtype=torch.int64).random_(generator=generator)),
        size=size,
    )
    trace = loader.trace
    rings = None
    if trace is not None and loader.worker_method == "thread":
        setup = replace(setup, trace=ThreadTrace(trace))
    elif trace is not None:
        rings = trace.worker_rings(size)
        setup = replace(setup, trace=ProcessTrace(rings.rings, trace.samples, trace.cpu))
    pool: Pool
    if loader.worker_method == "thread":
        pool = Threads(setup, loader.timeout)
    else:
        pool = Processes(
            setup,
            loader.multiprocessing_context,
            loader.timeout,
            loader.restart_workers,
            loader.prefetch_factor or 2,
        )
    if loader.pin_memory and can_pin_memory():
        pool = Pinned(pool, trace.recorder(PIN) if trace is not None else None)
    if rings is not None:
        rings.belong_to(pool)
    return pool
