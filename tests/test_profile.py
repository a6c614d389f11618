"""A profile says what was so, and leaves the user's loader as if nothing had been."""

import os
import random
import signal
import threading
import time

import numpy as np
import pytest
import torch
from torch.utils import data as torch_data
from torch.utils.data import Dataset, IterableDataset, RandomSampler
from worker_cases import nothing_left

import dlkit
from dlkit.diagnose import profiling, usage
from dlkit.diagnose.costs import Costs
from dlkit.trace.spans import clock

KINDS = {"torch": torch_data.DataLoader, "dlkit": dlkit.DataLoader}
every_kind = pytest.mark.parametrize("kind", KINDS)
FORK = {"num_workers": 2, "multiprocessing_context": "fork"}


class Noisy(Dataset):
    """Samples that draw from every global generator, and from one of the dataset."""

    def __init__(self):
        self.own = np.random.default_rng(1)

    def __len__(self):
        return 40

    def __getitem__(self, index):
        drawn = torch.rand(()) + random.random() + np.random.rand() + self.own.random()  # noqa: NPY002
        return index, drawn


def batches_of(loader):
    return [[part.tolist() for part in batch] for batch in loader]


@every_kind
@pytest.mark.parametrize("settings", [{}, FORK, {**FORK, "persistent_workers": True}])
def test_the_batches_after_a_profile_are_those_without_one(kind, settings):
    def run(profiled):
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        generator = torch.Generator().manual_seed(7)
        loader = KINDS[kind](Noisy(), batch_size=4, shuffle=True, generator=generator, **settings)
        first = batches_of(loader)
        if profiled:
            before = dict(loader.__dict__)
            dlkit.profile(loader, steps=15)
            assert loader.__dict__ == before
        return first, batches_of(loader)

    assert run(True) == run(False)


@every_kind
def test_a_loader_that_is_being_iterated_over_goes_on_as_before(kind):
    def run(profiled):
        torch.manual_seed(5)
        loader = KINDS[kind](range(40), batch_size=4, shuffle=True, **FORK)
        batches = iter(loader)
        seen = [next(batches).tolist() for _ in range(3)]
        if profiled:
            dlkit.profile(loader, steps=5)
        return seen + [batch.tolist() for batch in batches]

    assert run(True) == run(False)


@every_kind
def test_the_step_gets_what_the_loader_would_yield(kind):
    got = []
    loader = KINDS[kind](range(20), batch_size=4, **FORK)
    dlkit.profile(loader, steps=5, step=lambda batch: got.append(batch.tolist()))
    assert got == [batch.tolist() for batch in loader]


@every_kind
@pytest.mark.parametrize("settings", [{}, FORK])
def test_stages_workers_and_samples_are_all_seen(kind, settings):
    class Sleepy(Noisy):
        def __getitem__(self, index):
            time.sleep(0.05 if index == 9 else 0.001)
            return torch.zeros(10)

    loader = KINDS[kind](Sleepy(), batch_size=4, **settings)
    seen = dlkit.profile(loader, steps=10, step=lambda _: time.sleep(0.004))
    assert seen.steps == 10
    assert seen.samples == 36  # without the first batch
    assert seen.nbytes == 36 * 40
    assert 9 in [index for index, _ in seen.slowest(3)]
    assert seen.stages["fetch"] > seen.stages["collate"]
    assert 0 < seen.wait_share < 1
    assert seen.step_seconds > 0
    assert sum(worker.batches for worker in seen.workers) >= 10
    assert len(seen.workers) == (2 if settings else 1)
    assert isinstance(seen.costs, Costs)
    assert seen.costs.batch_size == 4
    assert seen.predict(num_workers=4).throughput > 0
    if settings:
        assert {point.worker for point in seen.memory} == {-1, 0, 1}
        assert seen.turn_over > 0


@every_kind
@pytest.mark.parametrize("settings", [{}, FORK])
def test_computing_is_the_step_and_nothing_of_the_profiles_own(kind, settings, monkeypatch):
    here, noted = threading.get_ident(), []

    def noting(function):
        def run(*arguments):
            if threading.get_ident() == here:
                noted.append(clock())
            return function(*arguments)

        return run

    monkeypatch.setattr(profiling, "own_copy", noting(profiling.own_copy))
    monkeypatch.setattr(profiling, "queued_seconds", noting(profiling.queued_seconds))
    monkeypatch.setattr(profiling, "count_bytes", noting(profiling.count_bytes))
    monkeypatch.setattr(usage, "memory_of", noting(usage.memory_of))
    steps = []
    loader = KINDS[kind](range(20), batch_size=4, **settings)
    seen = dlkit.profile(loader, steps=12, step=lambda _: steps.append(clock()))
    spans = [span for span in seen.trace.spans() if span.stage == "compute"]
    assert len(spans) == 12
    assert all(sum(s.start <= time <= s.end for s in spans) == 1 for time in steps)
    assert noted
    assert not any(s.start <= time <= s.end for s in spans for time in noted)


@every_kind
def test_every_transform_of_a_compose_is_named(kind):
    v2 = pytest.importorskip("torchvision.transforms.v2")

    class Pictures(Dataset):
        def __init__(self):
            self.transform = v2.Compose([v2.RandomHorizontalFlip(), v2.Normalize([0.5], [0.5])])

        def __len__(self):
            return 16

        def __getitem__(self, index):
            return self.transform(torch.zeros(1, 4, 4))

    dataset = torch_data.Subset(Pictures(), range(12))
    untouched = list(dataset.dataset.transform.transforms)
    seen = dlkit.profile(KINDS[kind](dataset, batch_size=4), steps=3)
    assert {part.name for part in seen.parts} == {"RandomHorizontalFlip", "Normalize"}
    assert {part.calls for part in seen.parts} == {12}
    assert dataset.dataset.transform.transforms == untouched


def test_the_transforms_of_torchvisions_datasets_are_named_once(tmp_path):
    """They keep them in two places, `transform` and `transforms`."""
    datasets = pytest.importorskip("torchvision.datasets")
    from torchvision import transforms

    (tmp_path / "label").mkdir()
    (tmp_path / "label" / "0.txt").write_text("data")
    steps = transforms.Compose([transforms.Lambda(lambda text: torch.zeros(1, 4, 4)),
                                transforms.RandomHorizontalFlip()])  # fmt: skip
    folder = datasets.DatasetFolder(str(tmp_path), len, extensions=("txt",), transform=steps)
    seen = dlkit.profile(torch_data.DataLoader(folder), steps=2)
    assert [part.name for part in seen.parts].count("RandomHorizontalFlip") == 1
    assert {part.calls for part in seen.parts} == {2}


class Shares(IterableDataset):
    def __iter__(self):
        info = torch_data.get_worker_info()
        return iter(range(info.id if info else 0, 24, info.num_workers if info else 1))


@every_kind
@pytest.mark.parametrize("settings", [{}, FORK])
def test_a_stream_is_profiled_and_shared_out_as_ever(kind, settings):
    got = []
    loader = KINDS[kind](Shares(), batch_size=4, **settings)
    dlkit.profile(loader, steps=6, step=lambda batch: got.extend(batch.tolist()))
    assert sorted(got) == list(range(24))


def test_workers_show_their_own_dataset_to_the_users_functions():
    class Told(Dataset):
        offset = 0

        def __len__(self):
            return 8

        def __getitem__(self, index):
            info = torch_data.get_worker_info()
            return index + info.dataset.offset, type(info.dataset).__name__

    def begin(worker):
        torch_data.get_worker_info().dataset.offset = 100

    got = []
    loader = torch_data.DataLoader(Told(), batch_size=4, worker_init_fn=begin, **FORK)
    dlkit.profile(loader, steps=2, step=got.append)
    assert got[0][0].tolist() == [100, 101, 102, 103]
    assert got[0][1] == ("Told",) * 4 or got[0][1] == ["Told"] * 4


@every_kind
def test_an_endless_loader_is_left_after_its_steps(kind):
    class Endless(IterableDataset):
        def __iter__(self):
            number = 0
            while True:
                yield number
                number += 1

    with nothing_left():
        assert dlkit.profile(KINDS[kind](Endless(), batch_size=2, **FORK), steps=7).steps == 7


@every_kind
@pytest.mark.parametrize("batch", [None, "text", {"a": [1, ("b",)]}, object(), 3.5])
def test_batches_of_any_type_are_counted(kind, batch):
    loader = KINDS[kind](range(6), batch_size=2, collate_fn=lambda _: batch)
    seen = dlkit.profile(loader, steps=3)
    assert seen.steps == 3
    assert seen.nbytes == 0
    seen.summary()
    seen.diagnose()
    seen._repr_html_()


@every_kind
def test_single_samples_without_batches(kind):
    seen = dlkit.profile(KINDS[kind](range(6), batch_size=None, **FORK), steps=4)
    assert seen.loader.batch_size == 1


@every_kind
@pytest.mark.parametrize("settings", [{}, FORK])
def test_an_error_in_the_middle_is_the_users_own_and_nothing_is_left(kind, settings):
    class Broken(Noisy):
        def __getitem__(self, index):
            if index == 17:
                raise KeyError("sample 17 is broken")
            return index

    with nothing_left():
        loader = KINDS[kind](Broken(), batch_size=4, **settings)
        with pytest.raises(KeyError, match="sample 17 is broken") as caught:
            dlkit.profile(loader, steps=10)
        assert "while profiling, after 4 of 10 steps" in caught.value.__notes__
        del caught


@every_kind
def test_a_step_that_raises_ends_the_profile(kind):
    def step(batch):
        if 9 in batch.tolist():
            raise ZeroDivisionError("the step failed")

    loader = KINDS[kind](range(40), batch_size=4, **FORK)
    before, drawn = dict(loader.__dict__), torch.get_rng_state().tolist()
    with nothing_left():
        with pytest.raises(ZeroDivisionError, match="the step failed") as caught:
            dlkit.profile(loader, steps=10, step=step)
        assert "while profiling, after 2 of 10 steps" in caught.value.__notes__
        del caught
    assert loader.__dict__ == before
    assert torch.get_rng_state().tolist() == drawn


@every_kind
def test_a_worker_that_dies_ends_the_profile(kind):
    class Deadly(Noisy):
        def __getitem__(self, index):
            if index == 21:
                os.kill(os.getpid(), signal.SIGKILL)
            return index

    # The batches of the torch loader hold no tensors. A tensor is fetched from the worker that made
    # it; where that is dead, PyTorch opens ten temporary files to see whether descriptors ran out,
    # and its own handler of SIGCHLD may raise in the middle, and leave one of them open.
    how = {"torch": {"collate_fn": list}, "dlkit": {}}[kind]
    with nothing_left():
        with pytest.raises(RuntimeError, match=r"exited unexpectedly|killed by signal") as caught:
            dlkit.profile(KINDS[kind](Deadly(), batch_size=4, **FORK, **how), steps=10)
        del caught  # its traceback holds the frames, and so the spans


@every_kind
def test_an_interrupt_leaves_nothing(kind):
    def step(batch):
        raise KeyboardInterrupt

    with nothing_left(), pytest.raises(KeyboardInterrupt):
        dlkit.profile(KINDS[kind](range(40), batch_size=4, **FORK), steps=10, step=step)


@every_kind
def test_a_loader_without_batches_is_refused(kind):
    with pytest.raises(ValueError, match="loader must have at least one batch"):
        dlkit.profile(KINDS[kind]([], batch_size=4))


@pytest.mark.parametrize("steps", [0, -1, 1.5, "ten", True])
def test_steps_must_be_positive(steps):
    with pytest.raises(ValueError, match="steps must be a positive integer"):
        dlkit.profile(dlkit.DataLoader(range(4)), steps=steps)


def test_other_arguments_are_checked_too():
    loader = dlkit.DataLoader(range(4))
    with pytest.raises(TypeError, match=r"loader must be a dlkit.DataLoader or a torch"):
        dlkit.profile([1, 2, 3])
    with pytest.raises(TypeError, match="step must be a function"):
        dlkit.profile(loader, step=3)
    with pytest.raises(ValueError, match="seconds must be a positive number"):
        dlkit.profile(loader, seconds=0)


def test_a_sampler_that_can_be_read_only_once_is_not_used_up():
    sampler = (index for index in range(8))
    with pytest.raises(ValueError, match="got a generator, which profiling would use up"):
        dlkit.profile(torch_data.DataLoader(range(8), sampler=sampler))
    assert next(sampler) == 0


@every_kind
def test_a_sampler_with_a_state_of_its_own_keeps_it(kind):
    class Counting(RandomSampler):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter(range(8))

    sampler = Counting(range(8))
    dlkit.profile(KINDS[kind](range(8), sampler=sampler), steps=20)
    assert sampler.passes == 0


def test_the_summary_and_the_page_hold_what_was_measured():
    seen = dlkit.profile(dlkit.DataLoader(range(40), batch_size=4), steps=10)
    text = seen.summary()
    assert "samples/s" in text
    assert "10 in" in text
    with pytest.raises(ValueError, match=r"stage must be one of sample, fetch, .* but got 'load'"):
        seen.times("load")
    assert seen.timeline().caption.startswith("1 row (training)")
    assert seen._repr_html_().count("<table>") == 1
