"""Each fault is provoked by a loader that has it, found first, and not found in a healthy one.

Costs are sleeps wherever they can be, so that a busy machine makes everything slower alike; margins
are wide. What cannot be provoked without special hardware is a profile whose facts are exchanged.
"""

import dataclasses
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

import dlkit
from dlkit.diagnose import faults_data, faults_limits, faults_speed
from dlkit.diagnose.facts import machine_facts
from dlkit.diagnose.findings import Finding, diagnose
from dlkit.diagnose.gains import gain


class Sleepy(Dataset):
    """Samples that wait so long, each."""

    def __init__(self, seconds, length=2_000, shape=(8,)):
        self.seconds, self.length, self.sample = seconds, length, torch.zeros(shape)

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        time.sleep(self.seconds(index) if callable(self.seconds) else self.seconds)
        return self.sample, index


class Busy(Sleepy):
    """Samples that compute so long, each."""

    def __getitem__(self, index):
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return self.sample, index


class InMemory(Dataset):
    """Rows of a tensor, read one by one."""

    def __init__(self):
        self.rows = torch.zeros(4_096, 16)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index], index


class Transformed(Dataset):
    def __init__(self, seconds):
        self.transform = Compose([Fast(), Slow(seconds)])

    def __len__(self):
        return 2_000

    def __getitem__(self, index):
        return self.transform(torch.zeros(4))


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, sample):
        for transform in self.transforms:
            sample = transform(sample)
        return sample


class Fast:
    def __call__(self, sample):
        return sample + 1


class Slow:
    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, sample):
        time.sleep(self.seconds)
        return sample


class ManyObjects(Dataset):
    """A list of strings, of which each sample reads many."""

    def __init__(self, count=400_000):
        self.names = [f"sample number {number}" for number in range(count)]

    def __len__(self):
        return 4_000

    def __getitem__(self, index):
        for name in self.names[index % 200 * 2_000 : index % 200 * 2_000 + 2_000]:
            held = name  # noqa: F841  # a reference is counted, in the object's page
        time.sleep(0.001)
        return index


class OneSided(IterableDataset):
    """A stream that one worker reads nearly alone."""

    def __iter__(self):
        info = get_worker_info()
        for number in range(400 if info is None or info.id == 0 else 4):
            time.sleep(0.002)
            yield number


class Files(Dataset):
    """Small files that take a while to open, as from a network."""

    def __init__(self, folder):
        self.paths = []
        for number in range(16):
            (folder / f"{number}.bin").write_bytes(bytes(2_000))
            self.paths.append(str(folder / f"{number}.bin"))

    def __len__(self):
        return 2_000

    def __getitem__(self, index):
        time.sleep(0.004)
        with open(self.paths[index % 16], "rb") as file:
            return len(file.read())


class Shards(Sleepy):
    """Samples in files of nine batches; the first batch of a file waits until it is open.

    Nine is odd, so that each of two workers opens every other file.
    """

    def __init__(self):
        super().__init__(0.2)

    def __getitems__(self, indices):
        if indices[0] % 9 == 0:
            time.sleep(self.seconds)
        return [self.sample for _ in indices]


class Decoded(Dataset):
    """Pictures, decoded by a library that releases the GIL."""

    def __init__(self, side=448):
        from torchvision.io import encode_jpeg

        shades = (torch.arange(side) * 255 // side).to(torch.uint8)
        self.file = encode_jpeg(shades.expand(3, side, side).contiguous())

    def __len__(self):
        return 2_000

    def __getitem__(self, index):
        from torchvision.io import decode_jpeg

        return decode_jpeg(self.file)


def slow_joining(samples):
    time.sleep(0.1)
    return torch.utils.data.default_collate(samples)


def rest(seconds):
    return lambda _: time.sleep(seconds)


def seen(dataset, *, steps=16, step=None, batch_size=8, kind=DataLoader, **settings):
    loader = kind(dataset, batch_size=batch_size, **settings)
    return dlkit.profile(loader, steps=steps, step=step)


def first(profile):
    return diagnose(profile)[0]


FORK = {"multiprocessing_context": "fork"}


@pytest.fixture(scope="module")
def healthy():
    """Two workers, which live on, keep ahead of training, and one would not; calmest of three."""
    settings = {"num_workers": 2, "persistent_workers": True, **FORK}
    runs = [seen(Sleepy(0.007), step=rest(0.04), **settings) for _ in range(3)]
    return min(runs, key=lambda profile: profile.seconds)


def test_a_healthy_loader_is_told_that_training_sets_the_pace_and_nothing_else(healthy):
    diagnosis = diagnose(healthy)
    assert diagnosis.names in (["compute_bound"], [])
    assert "waits" in diagnosis.verdict


def test_no_workers():
    found = first(seen(Sleepy(0.004), step=rest(0.03)))
    assert found.name == "no_workers"
    assert found.gain > 0.3
    assert "num_workers=" in found.code


def test_too_few_workers():
    found = first(seen(Sleepy(0.01), step=rest(0.005), num_workers=1, **FORK))
    assert found.name == "too_few_workers"
    assert found.gain > 1


def test_too_many_workers():
    profile = seen(Sleepy(0.0005), step=rest(0.15), num_workers=6, persistent_workers=True, **FORK)
    found = first(profile)
    assert found.name == "too_many_workers"
    assert found.memory > 0


def test_compute_bound():
    profile = seen(Sleepy(0.0005), step=rest(0.12), num_workers=1, persistent_workers=True, **FORK)
    assert first(profile).name == "compute_bound"


def test_compute_bound_is_silent_where_training_waits():
    assert faults_speed.compute_bound(seen(Sleepy(0.004), step=rest(0.01))) is None


def test_input_bound():
    cores = machine_facts().cores
    workers = max(2, int(cores))
    profile = seen(Busy(0.004), step=rest(0.002), num_workers=workers, persistent_workers=True,
                   steps=40, **FORK)  # fmt: skip
    found = first(profile)
    assert found.name == "input_bound"
    assert found.gain > 0.3


def test_a_serial_transform_is_named():
    found = first(seen(Transformed(0.005), num_workers=8, **FORK))
    assert found.name == "serial_transform"
    assert "Slow" in found.what
    assert "Fast" in found.evidence


def test_per_sample_reads():
    profile = seen(InMemory(), batch_size=256, steps=12)
    assert first(profile).name == "per_sample_reads"


def test_rows_that_are_read_at_once_are_no_per_sample_reads():
    rows = dlkit.TensorDataset(torch.zeros(4_096, 16))
    profile = seen(rows, batch_size=256, steps=12, kind=dlkit.DataLoader)
    assert faults_data.per_sample_reads(profile) is None


def test_small_files(tmp_path):
    cores = int(machine_facts().cores)
    profile = seen(Files(tmp_path), step=rest(0.0005), num_workers=4 * cores,
                   persistent_workers=True, steps=40, **FORK)  # fmt: skip
    assert first(profile).name == "small_files"


def test_skewed_samples_with_their_indices():
    uneven = Sleepy(lambda index: 0.15 if index % 16 == 5 else 0.0005)
    profile = seen(uneven, step=rest(0.001), num_workers=8, persistent_workers=True,
                   steps=24, **FORK)  # fmt: skip
    found = first(profile)
    assert found.name == "skewed_samples"
    assert all(index % 16 == 5 for index, _ in profile.slowest(3))


def test_slow_collate():
    profile = seen(Sleepy(0.004), collate_fn=slow_joining, num_workers=8, **FORK)
    found = first(profile)
    assert found.name == "slow_collate"
    assert "slow_joining" in found.what


class HeldUp(Sleepy):
    """Samples of which each worker's twelfth is held up for long, as by a busy machine."""

    read = 0

    def __getitem__(self, index):
        self.read += 1
        time.sleep(0.3 if self.read == 12 else 0.0)
        return super().__getitem__(index)


def test_samples_that_were_held_up_once_do_not_hide_slow_collate():
    profile = seen(HeldUp(0.004), collate_fn=slow_joining, num_workers=8, **FORK)
    assert first(profile).name == "slow_collate"


def test_unbalanced_workers():
    profile = seen(OneSided(), num_workers=4, steps=45, batch_size=8, **FORK)
    found = first(profile)
    assert found.name == "unbalanced_workers"
    assert found.gain > 1


def test_no_persistent_workers():
    workers = 4 * int(machine_facts().cores)
    profile = seen(
        Sleepy(0.004, length=64), step=rest(0.002), num_workers=workers, steps=16, **FORK
    )
    found = first(profile)
    assert found.name == "no_persistent_workers"
    assert profile.saw_epoch_end


def test_tiny_batches():
    profile = seen(InMemory(), step=rest(0.0), batch_size=1, num_workers=2, steps=400,
                   persistent_workers=True, **FORK)  # fmt: skip
    assert first(profile).name == "tiny_batches"


def test_prefetch_too_small():
    profile = seen(Shards(), step=rest(0.03), batch_size=1, num_workers=2, prefetch_factor=1,
                   persistent_workers=True, steps=54, **FORK)  # fmt: skip
    found = first(profile)
    assert found.name == "prefetch_too_small"
    assert "prefetch_factor=4" in found.code


def test_copy_on_write():
    profile = seen(ManyObjects(), step=rest(0.06), num_workers=1, batch_size=4, steps=24,
                   persistent_workers=True, **FORK)  # fmt: skip
    found = first(profile)
    assert found.name == "copy_on_write"
    assert "400,000" in found.evidence
    held_in_array = seen(Sleepy(0.001), step=rest(0.03), num_workers=2, **FORK)
    assert faults_limits.copy_on_write(held_in_array) is None


@pytest.fixture(scope="module")
def large_batches():
    dataset = Sleepy(0.001, shape=(512, 512))
    return seen(dataset, step=rest(0.05), num_workers=2, persistent_workers=True, **FORK)


def on(profile, **facts):
    return dataclasses.replace(
        profile, machine=dataclasses.replace(profile.machine, **facts), trace=profile.trace
    )


def test_shared_memory_near_limit(large_batches):
    assert first(on(large_batches, shared_memory=64 << 20)).name == "shared_memory_near_limit"
    roomy = on(large_batches, shared_memory=8 << 30)
    assert faults_limits.shared_memory_near_limit(roomy) is None


def test_descriptors_near_limit(large_batches):
    assert first(on(large_batches, open_files=48, shared_memory=8 << 30)).name == (
        "descriptors_near_limit"
    )
    assert faults_limits.descriptors_near_limit(on(large_batches, open_files=65_536)) is None


def test_memory_near_limit(large_batches):
    assert first(on(large_batches, memory=1 << 20, shared_memory=8 << 30)).name == (
        "memory_near_limit"
    )
    assert faults_limits.memory_near_limit(on(large_batches, memory=64 << 30)) is None


def test_unpinned_copies_where_there_is_an_accelerator(large_batches):
    quick = dataclasses.replace(large_batches, seconds=large_batches.seconds / 20)
    found = first(on(quick, accelerator=True))
    assert found.name == "unpinned_copies"
    assert "pin_memory=True" in found.code
    assert faults_speed.unpinned_copies(on(quick, accelerator=False)) is None


def test_threads_for_decoding():
    # Joined as a list, as detection models take pictures of several sizes: each picture then is a
    # file of its own for the training loop to open, which takes longer than decoding it.
    profile = seen(Decoded(), batch_size=16, collate_fn=list, num_workers=2,
                   persistent_workers=True, **FORK)  # fmt: skip
    found = first(profile)
    assert found.name == "threads_for_decoding"
    assert found.gain == pytest.approx(gain(profile, method="thread"))
    assert 'worker_method="thread"' in found.code
    held = dataclasses.replace(profile, lock_share=0.9)
    assert faults_data.threads_for_decoding(held) is None


def test_every_fault_is_silent_on_the_healthy_loader(healthy):
    faults = [*faults_limits.FAULTS, *faults_speed.FAULTS, *faults_data.FAULTS]
    assert len(faults) >= 14
    assert {fault.__name__ for fault in faults if fault(healthy)} <= {"compute_bound"}


def test_findings_come_with_everything_a_reader_needs(large_batches):
    for found in diagnose(on(large_batches, shared_memory=1 << 20, open_files=40)):
        for field in dataclasses.fields(Finding)[:5]:
            assert getattr(found, field.name)
        assert found.promise


def test_a_risk_to_the_run_comes_before_any_gain():
    profile = on(seen(Sleepy(0.01), step=rest(0.005), num_workers=1, **FORK), open_files=1)
    names = diagnose(profile).names
    assert names[0] == "descriptors_near_limit"
    assert "too_few_workers" in names


def test_gains_fall_from_one_finding_to_the_next():
    findings = diagnose(seen(Sleepy(0.01, length=64), step=rest(0.005), num_workers=1, **FORK))
    gains = [finding.gain for finding in findings]
    assert gains == sorted(gains, reverse=True)
    assert np.isfinite(gains).all()
