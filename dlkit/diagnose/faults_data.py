"""Faults of the dataset: what a sample costs, and what of that need not be."""

import statistics

from dlkit.diagnose.costs import Crossing
from dlkit.diagnose.faults_speed import idle_share
from dlkit.diagnose.findings import ENOUGH, Fault, Finding
from dlkit.diagnose.gains import gain
from dlkit.diagnose.profiled import Profile
from dlkit.diagnose.seen_costs import lighter
from dlkit.diagnose.skew import skew_of

_SMALL_FILE = 256 * 1024  # bytes; opening costs as much as reading so much from a fast disk


def _fetching(profile: Profile) -> float:
    """Return the share of fetching in the work on a batch, without what a busy machine added."""
    fetch = profile.costs.batch_size * profile.costs.fetch_mean
    collate = statistics.fmean(profile.times("collate") or [0.0]) * (1 - profile.queued)
    return fetch / (fetch + collate) if fetch + collate else 0.0


def _hurts(profile: Profile) -> bool:
    return not profile.has_step or profile.wait_share > 0.15


def serial_transform(profile: Profile) -> Finding | None:
    """One transform takes most of the time of a sample."""
    fetch = sum(profile.times("fetch"))
    if not profile.parts or not fetch or not _hurts(profile):
        return None
    dearest = profile.parts[0]
    share = dearest.seconds / fetch
    if share < 0.5 or dearest.mean < 1e-4:
        return None
    gained = gain(profile, lighter(profile.costs, 1 - 0.9 * share * _fetching(profile)))
    if gained < ENOUGH:
        return None
    others = ", ".join(f"{p.name} {1e3 * p.mean:.2f} ms" for p in profile.parts[1:4])
    return Finding(
        "serial_transform",
        f"The transform {dearest.name} takes most of the time of a sample.",
        f"{dearest.name} takes {1e3 * dearest.mean:.2f} ms a sample, {share:.0%} of fetching"
        + (f"; the others: {others}" if others else ""),
        "do it once and store the result, do it for a whole batch, or do it on the device",
        f"# once, before training: store {dearest.name}(sample) instead of the sample\n"
        f"# or on the device, for a whole batch: batch = {dearest.name}(batch)",
        gained,
    )


def per_sample_reads(profile: Profile) -> Finding | None:
    """Cheap samples are read one by one, where one call could read them all."""
    loader = profile.loader
    times = [seconds for _, seconds in profile.sample_times]
    if loader.reads_batches or loader.iterable or profile.parts or loader.batch_size < 8:
        return None
    if len(times) < 16 or loader.file_bytes is not None or not _hurts(profile):
        return None
    cheap = statistics.median(times)
    if cheap > 1e-4 or profile.cpu_share < 0.5:
        return None
    gained = gain(profile, lighter(profile.costs, 0.2))
    if gained < ENOUGH:
        return None
    return Finding(
        "per_sample_reads",
        "Samples that lie in memory are read one by one.",
        f"a sample takes {1e6 * cheap:.0f} us to read; {loader.batch_size} of them and collating "
        f"them take {1e3 * profile.batch_work:.2f} ms a batch",
        "read a batch by one call: give the dataset `__getitems__`, or use dlkit's TensorDataset",
        "def __getitems__(self, indices):\n"
        "    return Columns(self.images[indices], self.labels[indices])  # dlkit.datasets.base",
        gained,
    )


def threads_for_decoding(profile: Profile) -> Finding | None:
    """The work releases the GIL, so threads could do it, and copy nothing."""
    loader, lock = profile.loader, profile.lock_share
    if loader.worker_method != "process" or lock is None or lock > 0.4 or loader.iterable:
        return None
    nbytes = profile.nbytes / max(1, profile.samples) * loader.batch_size
    gained = gain(profile, method="thread")
    memory = loader.num_workers * profile.worker_memory
    if gained < ENOUGH or not _hurts(profile):
        return None
    process, here = profile.costs.crossings.get("process", Crossing()), 1e3 / loader.batch_size
    handing_over = here * (process.worker(nbytes) + process.main(nbytes))
    return Finding(
        "threads_for_decoding",
        "Fetching releases the GIL: threads can do it in parallel, without copies.",
        f"only {lock:.0%} of fetching holds the lock, {1e3 * profile.costs.fetch_mean:.2f} ms a "
        f"sample; a batch has {nbytes / 1e6:.1f} MB, and getting it out of a process takes "
        f"{handing_over:.2f} ms a sample",
        "workers that are threads, if the dataset may be read by several at once",
        'dlkit.DataLoader(..., worker_method="thread")',
        gained,
        memory,
    )


def small_files(profile: Profile) -> Finding | None:
    """Each sample is a small file, and opening it is what takes the time."""
    size = profile.loader.file_bytes
    if size is None or size > _SMALL_FILE or profile.cpu_share > 0.6 or not _hurts(profile):
        return None
    gained = gain(profile, lighter(profile.costs, waiting=0.1))
    if gained < ENOUGH:
        return None
    return Finding(
        "small_files",
        "Each sample is a small file of its own, and waiting for it takes the time.",
        f"files of {size / 1e3:.0f} kB; {1 - profile.cpu_share:.0%} of fetching is waiting",
        "pack the samples into a few large files that are read in order, or into one array",
        'dlkit.storage.convert(dataset, "samples.tar")  # or .tfrecord, .arrow, .memmap',
        gained,
    )


def skewed_samples(profile: Profile) -> Finding | None:
    """A few samples take many times as long as the rest, and hold up whole batches."""
    skew = skew_of(profile.sample_times)
    if skew is None or not profile.skewed or not _hurts(profile):
        return None
    usual, rare, excess, *_ = skew
    slow = ", ".join(map(str, skew.slow[:3]))
    prepared = gain(profile, lighter(profile.costs, 1 - 0.9 * excess))
    gained = max(prepared, gain(profile, in_order=False))
    return Finding(
        "skewed_samples",
        "A few samples take many times as long as the rest, and their batches hold up all others.",
        f"half of the samples take {1e3 * usual:.2f} ms or less, 2% take {1e3 * rare:.1f} ms or "
        f"more, which is {excess:.0%} of all time; the slowest have indices {slow}, and read again "
        f"take {profile.slow_again:.0f} times as long as usual ones",
        "prepare those samples beforehand; or let batches come as they are ready, or put samples "
        "of like length into a batch",
        f"DataLoader(..., in_order=False)\n[dataset[i] for i in ({slow})]  # look at them",
        gained,
    )


def slow_collate(profile: Profile) -> Finding | None:
    """Joining samples takes longer than it should, against reading them."""
    collate = profile.times("collate")
    if not collate or not _hurts(profile):
        return None
    share, mean = 1 - _fetching(profile), statistics.fmean(collate)
    if share < 0.4 or mean < 0.001:
        return None
    gained = gain(profile, lighter(profile.costs, 1 - 0.8 * share))
    if gained < ENOUGH:
        return None
    return Finding(
        "slow_collate",
        f"Joining samples by {profile.loader.collate} takes much of the time.",
        f"it takes {1e3 * mean:.1f} ms a batch, {share:.0%} of the work on it",
        "write samples straight into the batch's memory: dlkit's collate functions do",
        "dlkit.DataLoader(..., collate_fn=dlkit.pad_collate)  # or default_collate",
        gained,
    )


def unbalanced_workers(profile: Profile) -> Finding | None:
    """One worker has most of the work, and the others have none left."""
    busy = [worker.busy for worker in profile.workers if worker.worker >= 0]
    workers = profile.loader.num_workers
    batches = sum(worker.batches for worker in profile.workers)
    if workers < 2 or not busy or batches < 8 or not _hurts(profile):
        return None
    at_once = sum(busy) / max(busy)
    if at_once > 0.67 * workers or idle_share(profile) < 0.25:
        return None
    shares = ", ".join(f"worker {w.worker}: {w.busy:.2f} s" for w in profile.workers[:6])
    return Finding(
        "unbalanced_workers",
        "The workers' shares of the work are unequal.",
        f"busy {shares}; {workers} workers did the work of {at_once:.1f}",
        "deal samples out one by one, so that all workers end together",
        "info = get_worker_info()\nitertools.islice(samples, info.id, None, info.num_workers)",
        workers / at_once - 1,
    )


FAULTS: tuple[Fault, ...] = (
    serial_transform,
    per_sample_reads,
    threads_for_decoding,
    small_files,
    skewed_samples,
    slow_collate,
    unbalanced_workers,
)
