"""Faults of the settings: how many workers, how they live, what a batch is."""

import statistics

from dlkit.diagnose.findings import ENOUGH, Fault, Finding
from dlkit.diagnose.gains import enough_workers, gain, rate
from dlkit.diagnose.profiled import Profile
from dlkit.diagnose.seen_costs import lighter

_PAGEABLE, _PINNED = 3e9, 12e9  # bytes/s from host to device, typical of PCIe 4.0


def _waits(profile: Profile, share: float = 0.15) -> bool:
    """Whether training waits; without a step there is nothing but waiting."""
    return not profile.has_step or profile.wait_share > share


def idle_share(profile: Profile) -> float:
    """Return the share of their time that workers had nothing to do."""
    workers = profile.loader.num_workers
    if not workers:
        return 0.0
    busy = sum(worker.busy for worker in profile.workers)
    return max(0.0, 1 - busy / (workers * profile.seconds))


def no_workers(profile: Profile) -> Finding | None:
    """Fetching and training take turns in one process."""
    if profile.loader.num_workers or not profile.has_step:
        return None
    workers = enough_workers(profile)
    gained = gain(profile, num_workers=workers)
    if gained < ENOUGH:
        return None
    return Finding(
        "no_workers",
        "Training stands still while batches are fetched: num_workers is 0.",
        f"a batch takes {1e3 * profile.batch_work:.1f} ms to fetch and collate, then "
        f"{1e3 * profile.step_seconds:.1f} ms to train on",
        f"fetch in {workers} worker{'s' * (workers > 1)} while training computes",
        f"DataLoader(..., num_workers={workers}, persistent_workers=True)",
        gained,
    )


def too_few_workers(profile: Profile) -> Finding | None:
    """More workers would bring more: they wait for storage, or cores are free."""
    now, enough = profile.loader.num_workers, enough_workers(profile)
    if not now or enough <= now or not _waits(profile):
        return None
    gained = gain(profile, num_workers=enough)
    if gained < ENOUGH or idle_share(profile) > 0.5:
        return None
    share = f"training waits {profile.wait_share:.0%} of its time, while "
    waits = share if profile.has_step else ""
    return Finding(
        "too_few_workers",
        f"{now} worker{'s' * (now > 1)} cannot keep up.",
        f"{waits}workers are idle only {idle_share(profile):.0%}; {1 - profile.cpu_share:.0%} of "
        f"fetching is waiting, and there are {profile.machine.cores:g} cores",
        f"num_workers={enough}",
        f"DataLoader(..., num_workers={enough})",
        gained,
    )


def too_many_workers(profile: Profile) -> Finding | None:
    """Fewer workers would bring as much, and take less memory."""
    now = profile.loader.num_workers
    if now < 2 or (profile.has_step and profile.wait_share > 0.15):
        return None
    as_fast = 0.97 * rate(profile.costs)
    counts = range(1, now + 1)
    needed = next(n for n in counts if n == now or rate(profile.costs, num_workers=n) >= as_fast)
    enough = needed if needed == 1 and idle_share(profile) > 0.8 else needed + 1
    if 2 * enough > now:
        return None
    saved = (now - enough) * profile.worker_memory
    return Finding(
        "too_many_workers",
        f"{now} workers do what {enough} could.",
        f"workers are idle {idle_share(profile):.0%} of the time, each with "
        f"{profile.worker_memory / 1e6:.0f} MB of its own, on {profile.machine.cores:g} cores",
        f"num_workers={enough}",
        f"DataLoader(..., num_workers={enough})",
        0.0,
        saved,
    )


def compute_bound(profile: Profile) -> Finding | None:
    """Training hardly waits: nothing in the loader makes it faster."""
    if not profile.has_step or profile.wait_share >= 0.1 or not profile.waits:
        return None
    return Finding(
        "compute_bound",
        "The training step sets the pace.",
        f"a step takes {1e3 * profile.step_seconds:.1f} ms, and training waits "
        f"{profile.wait_share:.0%} of its time",
        "leave the loader as it is; make the step faster, if anything",
        "torch.profiler.profile()  # where the step's time goes",
    )


def input_bound(profile: Profile) -> Finding | None:
    """All cores prepare samples, and training waits all the same."""
    enough = enough_workers(profile)
    limited = profile.cpu_share > 0.6 and gain(profile, num_workers=enough) < ENOUGH
    if not profile.has_step or profile.wait_share < 0.3 or not limited or idle_share(profile) > 0.5:
        return None
    if not profile.loader.num_workers:
        return None
    return Finding(
        "input_bound",
        "All cores prepare samples, and training waits for them.",
        f"training waits {profile.wait_share:.0%}; fetching computes {profile.cpu_share:.0%} of "
        f"its time, on {profile.machine.cores:g} cores for {profile.loader.num_workers} workers",
        "do less for each sample: prepare once and store the result, or move work to the device",
        "dlkit.cache.MemoryCache(dataset, max_bytes=10**9)  # keep what was decoded",
        gain(profile, lighter(profile.costs, 0.5)),
    )


def no_persistent_workers(profile: Profile) -> Finding | None:
    """Workers are started anew for every epoch, and epochs are short."""
    loader = profile.loader
    if not loader.num_workers or loader.persistent_workers or not profile.turn_over:
        return None
    epoch = (loader.batches or 0) * profile.seconds / max(1, profile.steps)
    if loader.batches is None or not epoch:
        return None
    saved = 0.9 * profile.turn_over / (profile.turn_over + epoch)
    if saved < 0.05:
        return None
    return Finding(
        "no_persistent_workers",
        "Workers end with each epoch and are started again for the next.",
        f"from one epoch to the next it takes {profile.turn_over:.2f} s, and an epoch only "
        f"{epoch:.2f} s",
        "keep the workers",
        "DataLoader(..., persistent_workers=True)",
        saved / (1 - saved),
    )


def tiny_batches(profile: Profile) -> Finding | None:
    """A batch costs more for being one than its samples do."""
    size, workers = profile.loader.batch_size, profile.loader.num_workers
    if size > 8 or not _waits(profile, 0.3):
        return None
    period = profile.seconds / max(1, profile.steps)
    made = profile.batch_work / max(1, workers)
    overhead = period - made - (profile.step_seconds if profile.has_step else 0.0)
    if overhead < 0.5 * period or profile.batch_work > 0.002:
        return None
    gained = gain(profile, batch_size=8 * size, step_time=8 * profile.costs.step_mean)
    if gained < ENOUGH:
        return None
    return Finding(
        "tiny_batches",
        f"Batches of {size} cost more for being batches than for their samples.",
        f"a batch comes every {1e6 * period:.0f} us, of which fetching and collating take "
        f"{1e6 * made:.0f} us",
        f"larger batches: {8 * size} samples pay those costs once",
        f"DataLoader(..., batch_size={8 * size})",
        gained,
    )


def unpinned_copies(profile: Profile) -> Finding | None:
    """Batches go to the device from memory that it cannot copy from by itself."""
    loader = profile.loader
    if not profile.machine.accelerator or loader.pin_memory or loader.moves_to_device:
        return None
    nbytes = profile.nbytes / max(1, profile.steps)
    period = profile.seconds / max(1, profile.steps)
    saved = nbytes / _PAGEABLE - nbytes / _PINNED
    if nbytes < 1e6 or saved < 0.02 * period:
        return None
    return Finding(
        "unpinned_copies",
        "Batches are copied to the device from ordinary memory, twice and while training waits.",
        f"{nbytes / 1e6:.0f} MB a batch, pin_memory=False, and an accelerator is there",
        "pin batches, and copy them one batch ahead",
        'DataLoader(..., pin_memory=True)  # dlkit: device="cuda"\n'
        'batch = batch.to("cuda", non_blocking=True)',
        saved / max(period - saved, saved),
    )


def prefetch_too_small(profile: Profile) -> Finding | None:
    """Workers are fast enough on average, but one slow batch finds nothing in store."""
    loader = profile.loader
    fetch = profile.times("fetch")
    if not loader.num_workers or not profile.has_step or len(fetch) < 10:
        return None
    step, work = profile.step_seconds, statistics.fmean(fetch)
    uneven = statistics.pstdev(fetch) > 0.5 * work
    keeps_up = (
        work + statistics.fmean(profile.times("collate") or [0])
    ) / loader.num_workers < step
    if not (uneven and keeps_up and profile.wait_share > 0.15 and loader.prefetch_factor <= 2):
        return None
    gained = gain(profile, prefetch_factor=4 * loader.prefetch_factor)
    if gained < ENOUGH:
        return None
    return Finding(
        "prefetch_too_small",
        "Workers keep up on average, but nothing lies ready when a batch takes long.",
        f"batches take {1e3 * work:.1f} ms to fetch, give or take "
        f"{1e3 * statistics.pstdev(fetch):.1f}; {loader.prefetch_factor} are in flight for each "
        f"worker, and training waits {profile.wait_share:.0%}",
        "more batches in flight",
        f"DataLoader(..., prefetch_factor={4 * loader.prefetch_factor})",
        gained,
    )


FAULTS: tuple[Fault, ...] = (
    no_workers,
    too_few_workers,
    too_many_workers,
    compute_bound,
    input_bound,
    no_persistent_workers,
    tiny_batches,
    unpinned_copies,
    prefetch_too_small,
)
