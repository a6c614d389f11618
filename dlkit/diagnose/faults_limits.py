"""Faults that end a run: memory that grows, and limits of the system that are near."""

from collections import defaultdict

from dlkit.diagnose.findings import Fault, Finding
from dlkit.diagnose.profiled import Profile

_GROWTH = 4e6  # bytes that a worker may gain for other reasons: caches, buffers


def copy_on_write(profile: Profile) -> Finding | None:
    """Forked workers copy the pages of Python objects when they only read them.

    Reading an object changes its reference count, and so its page, which until then was shared.
    """
    loader = profile.loader
    if loader.start_method != "fork" or loader.python_objects < 20_000:
        return None
    own: dict[int, list[int]] = defaultdict(list)
    for point in profile.memory:
        if point.worker >= 0:
            own[point.worker].append(point.uss)
    grown = [series[-1] - series[0] for series in own.values() if len(series) > 1]
    batch = profile.nbytes / max(1, profile.samples) * loader.batch_size
    growth = sum(grown) / len(grown) if grown else 0.0
    if growth < _GROWTH + 2 * batch * loader.prefetch_factor:
        return None
    memory = growth * loader.num_workers
    free = profile.machine.memory
    return Finding(
        "copy_on_write",
        "Each worker makes a copy of the dataset's Python objects by reading them.",
        f"the dataset holds {loader.python_objects:,} Python objects in a list or dict; while it "
        f"was watched each worker's own memory grew by {growth / 1e6:.0f} MB",
        "keep what samples are made of in a few arrays: numbers in NumPy, strings in one buffer",
        "self.paths = np.array(paths)           # instead of a list of str\n"
        "self.labels = torch.tensor(labels)",
        0.0,
        memory,
        free is not None and 4 * memory > free,
    )


def shared_memory_near_limit(profile: Profile) -> Finding | None:
    """Batches on their way fill /dev/shm, at whose end is a bus error."""
    loader, free = profile.loader, profile.machine.shared_memory
    if loader.kind != "torch" or not loader.num_workers or free is None:
        return None
    batch = profile.nbytes / max(1, profile.samples) * loader.batch_size
    needed = loader.num_workers * (loader.prefetch_factor + 1) * batch
    if needed < 0.5 * free:
        return None
    return Finding(
        "shared_memory_near_limit",
        "The batches in flight nearly fill /dev/shm; at its end the workers die of a bus error.",
        f"{loader.num_workers} workers with {loader.prefetch_factor} batches of "
        f"{batch / 1e6:.1f} MB need {needed / 1e6:.0f} MB; {free / 1e6:.0f} MB are free",
        "a larger /dev/shm, or a loader that does not use it",
        "docker run --shm-size=8g ...\ndlkit.DataLoader(...)  # its slots are no files there",
        risk=True,
    )


def descriptors_near_limit(profile: Profile) -> Finding | None:
    """PyTorch keeps a file open for each tensor that a worker handed over."""
    loader, machine = profile.loader, profile.machine
    if loader.kind != "torch" or not loader.num_workers:
        return None
    in_flight = loader.num_workers * (loader.prefetch_factor + 1) * profile.tensors
    needed = machine.descriptors + in_flight + 4 * loader.num_workers
    if needed < 0.7 * machine.open_files:
        return None
    return Finding(
        "descriptors_near_limit",
        "The process is close to its limit of open files; beyond it loading fails.",
        f"{in_flight} tensors in flight and {machine.descriptors} files that were open before; "
        f"the limit is {machine.open_files}",
        "raise the limit, share by file name, or use a loader that keeps none open",
        'ulimit -n 65536\ntorch.multiprocessing.set_sharing_strategy("file_system")',
        risk=True,
    )


def memory_near_limit(profile: Profile) -> Finding | None:
    """Workers and their batches take nearly all memory there is."""
    loader, free = profile.loader, profile.machine.memory
    if free is None or not loader.num_workers:
        return None
    batch = profile.nbytes / max(1, profile.samples) * loader.batch_size
    most: dict[int, int] = {}
    for point in profile.memory:
        most[point.worker] = max(point.uss, most.get(point.worker, 0))
    workers = sum(uss for worker, uss in most.items() if worker >= 0)
    taken = workers + loader.num_workers * loader.prefetch_factor * batch
    if taken < 0.8 * (free + taken):
        return None
    fewer = max(1, loader.num_workers // 2)
    return Finding(
        "memory_near_limit",
        "Workers and batches in flight take nearly all memory; beyond it the system kills one.",
        f"they take {taken / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are left",
        "fewer workers, fewer batches in flight, or threads, which share the dataset",
        f"DataLoader(..., num_workers={fewer}, prefetch_factor=1)",
        memory=workers / 2,
        risk=True,
    )


FAULTS: tuple[Fault, ...] = (
    copy_on_write,
    shared_memory_near_limit,
    descriptors_near_limit,
    memory_near_limit,
)
