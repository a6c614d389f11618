"""A batch size that changes: same samples in the same order, resumable, alike on all ranks."""

import ast
import copy
import os
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from worker_cases import WAYS

import dlkit
from dlkit.batch_size import (
    EpochSchedule,
    GradientNoiseScale,
    MemorySchedule,
    NoiseScaleSchedule,
    PlateauSchedule,
    largest_batch_size,
)
from dlkit.batch_size.host import host_memory_limit
from dlkit.batch_size.noise import unbiased
from dlkit.batch_size.probe import is_out_of_memory
from dlkit.datasets import TensorDataset
from dlkit.samplers import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    ResizableBatchSampler,
)
from dlkit.trainer import BatchSizeScheduler, Callback, Trainer, trial_step
from tests.structures import assert_same

# ---- the sampler --------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(1, 9), st.booleans())
def test_without_a_change_it_makes_the_batches_of_a_batch_sampler(total, size, drop_last):
    ours = ResizableBatchSampler(range(total), size, drop_last)
    theirs = BatchSampler(range(total), size, drop_last)
    assert list(ours) == list(theirs)
    assert len(ours) == len(theirs)


CHANGES = st.dictionaries(st.integers(1, 12), st.integers(1, 9), max_size=4)


def run(sampler, changes):
    """All batches of a pass, with a change of size after so many of them."""
    batches = []
    for batch in sampler:
        batches.append(batch)
        if len(batches) in changes:
            sampler.change(changes[len(batches)])
    return batches


@given(st.integers(0, 60), st.integers(1, 9), st.booleans(), CHANGES)
def test_a_change_holds_from_the_next_batch_and_moves_no_sample(total, size, drop_last, changes):
    sampler = ResizableBatchSampler(range(total), size, drop_last)
    batches = run(sampler, changes)
    flat = [index for batch in batches for index in batch]
    assert flat == list(range(len(flat)))
    assert len(flat) == total or drop_last
    expected = size
    for number, batch in enumerate(batches):
        expected = changes.get(number, expected)
        assert len(batch) == expected or (batch is batches[-1] and not drop_last)


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 9), CHANGES, st.data())
def test_a_pass_that_is_saved_anywhere_goes_on_with_the_sizes_that_were_planned(
    total, size, changes, data
):
    def sampler():
        generator = torch.Generator().manual_seed(1)
        return ResizableBatchSampler(RandomSampler(range(total), generator=generator), size)

    whole = sampler()
    batches = run(whole, changes)
    position = data.draw(st.integers(0, len(batches) - 1))
    state = whole.state_dict(position)
    resumed = sampler()
    resumed.load_state_dict(state)
    assert list(resumed) == batches[position:]


def on_ranks(world, state):
    """A loader for each rank, with batches of 2 at first, that goes on from a state."""
    data = TensorDataset(torch.arange(101))
    for rank in range(world):
        sampler = DistributedSampler(data, world, rank, seed=1, pad=False)
        loader = dlkit.DataLoader(data, batch_sampler=ResizableBatchSampler(sampler, 2))
        if state is not None:
            loader.load_state_dict(state)
        yield loader


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("change_after", [1, 2, 4])
def test_ranks_go_on_with_the_sizes_of_those_before_them_and_lose_nothing(steps, change_after):
    seen, state = [], None
    for world in (3, 2, 1):
        states = []
        for loader in on_ranks(world, state):
            running = iter(loader)
            for step, (batch,) in enumerate(islice(running, steps if world > 1 else None), 1):
                seen += batch.tolist()
                if world == 3 and step == change_after:
                    loader.batch_sampler.change(3, from_batch=5)
                if world == 2 and step == change_after:
                    loader.batch_sampler.change(1, from_batch=steps + 5)
            states.append(loader.state_dict())
        state = states[0]
    assert sorted(seen) == list(range(101))


def test_a_change_may_be_planned_and_never_reaches_back():
    sampler = ResizableBatchSampler(range(20), 2)
    running = iter(sampler)
    next(running), next(running)
    sampler.change(5, from_batch=3)
    assert [len(batch) for batch in running] == [2, 5, 5, 4]
    with pytest.raises(ValueError, match=r"from_batch must be 6 or more"):
        sampler.change(3, from_batch=1)
    assert len(sampler) == 4


@pytest.mark.parametrize("way", ["inline", "thread", "fork"])
def test_a_loader_delivers_what_was_drawn_and_then_the_new_size(way):
    sampler = ResizableBatchSampler(range(100), 4)
    loader = dlkit.DataLoader(TensorDataset(torch.arange(100)), batch_sampler=sampler, **WAYS[way])
    sizes, seen, drawn = [], [], None
    for (batch,) in loader:
        sizes.append(len(batch))
        seen += batch.tolist()
        if len(sizes) == 3:
            drawn = sampler.drawn
            sampler.change(10)
    assert seen == list(range(100))
    assert sizes[:drawn] == [4] * drawn
    assert set(sizes[drawn:-1]) == {10}
    assert [len(batch) for (batch,) in loader] == [10] * 10


@pytest.mark.parametrize("size", [0, -1, 2.0, None, True])
def test_a_size_is_a_positive_integer(size):
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        ResizableBatchSampler(range(3), size)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        ResizableBatchSampler(range(3), 1).change(size)


def test_a_state_of_another_sampler_is_refused():
    with pytest.raises(ValueError, match="does not fit this ResizableBatchSampler"):
        ResizableBatchSampler(range(3), 1).load_state_dict({"sampler": "BatchSampler"})


# ---- schedules ----------------------------------------------------------------------------------


def test_epochs_that_are_written_down():
    schedule = EpochSchedule({1: 8, 3: 32})
    size, sizes = schedule.start(4), []
    for epoch in range(1, 5):
        sizes.append(size)
        size = schedule.after_epoch(size, {"epoch": epoch})
    assert sizes == [8, 8, 32, 32]


def test_a_plateau_is_waited_for_and_the_largest_size_kept():
    schedule = PlateauSchedule("val_accuracy", patience=2, largest=50, factor=4)
    size, sizes = 10, []
    for value in (0.5, 0.6, 0.6, 0.5, 0.7, 0.7, 0.7, 0.1, 0.1):
        size = schedule.after_epoch(size, {"epoch": 1, "val_accuracy": value})
        sizes.append(size)
    assert sizes == [10, 10, 10, 40, 40, 40, 50, 50, 50]
    with pytest.raises(KeyError, match="monitors 'val_accuracy', but the epoch has only"):
        schedule.after_epoch(10, {"epoch": 1})


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: EpochSchedule({}), "sizes must map epochs to batch sizes"),
        (lambda: EpochSchedule({0: 4}), "each epoch of sizes must be a positive integer"),
        (lambda: EpochSchedule({1: 0}), "each batch size of sizes must be a positive integer"),
        (lambda: PlateauSchedule(factor=1), "factor must be 2 or more"),
        (lambda: PlateauSchedule(patience=0), "patience must be a positive integer"),
        (lambda: PlateauSchedule(min_delta=-1), "min_delta must be 0 or more"),
        (lambda: NoiseScaleSchedule(smallest=8, largest=4), "largest must be 8 or more"),
        (lambda: NoiseScaleSchedule(smallest=0, largest=4), "smallest must be a positive integer"),
        (lambda: MemorySchedule(print, share=0), "share must be above 0 and at most 1"),
        (lambda: MemorySchedule(print, share=1.5), "share must be above 0 and at most 1"),
        (lambda: MemorySchedule(print, smallest=0), "smallest must be a positive integer"),
        (lambda: MemorySchedule(print, smallest=4, largest=2), "largest must be 4 or more"),
        (lambda: MemorySchedule(print, host_bytes=0), "host_bytes must be a positive integer"),
        (lambda: largest_batch_size(print, host_bytes=0), "host_bytes must be a positive integer"),
        (lambda: GradientNoiseScale(decay=1), "decay must be from 0 to below 1"),
        (lambda: unbiased(1.0, 1.0, 4, 4), "big must be larger than small"),
        (lambda: largest_batch_size(print, smallest=4, largest=2), "largest must be 4 or more"),
    ],
)
def test_nonsense_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


# ---- the noise scale ----------------------------------------------------------------------------


def test_the_noise_scale_is_that_of_single_samples_gradients():
    random = np.random.default_rng(0)
    samples = torch.from_numpy(random.normal(0, 2.0, (20_000, 5)) + 1.0)
    mean = samples.mean(0)
    truth = float((samples - mean).square().sum(1).mean() / mean.square().sum())
    scale = GradientNoiseScale(decay=0.999)
    for _ in range(4_000):
        scale.add([samples[random.integers(0, 20_000, 32)].mean(0)], 32)
    assert scale.pairs == 2_000
    assert scale.value == pytest.approx(truth, rel=0.1)


def test_a_pair_of_gradients_has_one_batch_size():
    scale = GradientNoiseScale()
    assert np.isnan(scale.value)
    scale.add([torch.ones(2), None], 8)
    scale.add([torch.ones(2)], 16)
    assert scale.pairs == 0
    scale.add([torch.ones(2)], 16)
    assert (scale.pairs, scale.value) == (1, 0.0)
    again = GradientNoiseScale()
    again.load_state_dict(scale.state_dict())
    assert (again.pairs, again.value) == (1, 0.0)


# ---- the probe ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "largest"), [(1, 1), (1, 9), (5, 3), (100, 3000), (64, 64), (65, 64), (777, 1000)]
)
def test_the_probe_finds_the_largest_batch_that_fits(limit, largest):
    tried = []

    def step(samples):
        tried.append(samples)
        if samples > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    assert largest_batch_size(step, largest=largest) == min(limit, largest)
    assert len(tried) <= 2 * 12 + 2


def test_other_errors_pass_through_and_nothing_fitting_is_said():
    def wrong(_):
        raise RuntimeError("shapes do not fit")

    def full(_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        largest_batch_size(wrong)
    with pytest.raises(MemoryError, match="a batch of 3 samples does not fit"):
        largest_batch_size(full, smallest=3)
    assert is_out_of_memory(MemoryError())


def answer_of_child(work):
    """What a function prints in a forked process, whose limits end with it."""
    said, saying = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            os.write(saying, repr(work()).encode())
        except BaseException as error:
            os.write(saying, repr(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(saying)
    with os.fdopen(said) as answer:
        return answer.read()


def address_space(field):
    """Bytes of this process's addresses: `VmSize` now, `VmPeak` at most since it was forked."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def test_a_host_that_may_take_so_many_bytes_has_room_for_so_many_samples():
    megabyte, tried = 1 << 20, []

    def step(samples):
        tried.append(samples)
        return torch.zeros(samples, megabyte, dtype=torch.uint8)

    def work():
        before = address_space("VmSize")
        found = largest_batch_size(step, largest=1000, host_bytes=100 * megabyte)
        return found, address_space("VmPeak") - before

    found, taken = ast.literal_eval(answer_of_child(work))
    assert 64 <= found < 1000
    assert taken <= 100 * megabyte  # more samples fit where freed memory is used again


def test_the_limit_of_the_host_ends_with_the_probe():
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    inside = []
    largest_batch_size(
        lambda _: inside.append(resource.getrlimit(resource.RLIMIT_AS)),
        largest=1,
        host_bytes=1 << 30,
    )
    assert resource.getrlimit(resource.RLIMIT_AS) == before != inside[0]
    with pytest.raises(ValueError, match="nbytes must be a positive integer"), host_memory_limit(0):
        pass


# ---- in training --------------------------------------------------------------------------------


def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(96, 4, generator=generator)
    return TensorDataset(inputs, (inputs.sum(1) > 2).long())


class Sizes(Callback):
    def __init__(self, cut=None):
        self.sizes, self.cut = [], cut

    def on_step_end(self, trainer, step):
        self.sizes.append(step.samples)
        if step.global_step == self.cut:
            raise SystemExit


def training(
    schedule, callbacks=(), checkpoint=None, model=nn.Linear, *, save_every=2, **arguments
):
    torch.manual_seed(0)
    sampler = ResizableBatchSampler(RandomSampler(data()), 8)
    scheduler = BatchSizeScheduler(sampler, schedule, **arguments)
    saving = {"checkpoint": checkpoint, "checkpoint_every": save_every} if checkpoint else {}
    trainer = Trainer(
        model(4, 2),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        device="cpu",
        progress=False,
        seed=0,
        callbacks=[*callbacks, scheduler],
        **saving,
    )
    return trainer, dlkit.DataLoader(data(), batch_sampler=sampler), scheduler


def test_the_trainer_changes_its_batches_between_epochs():
    sizes = Sizes()
    trainer, loader, _ = training(EpochSchedule({1: 16, 2: 32, 3: 48}), [sizes])
    trainer.fit(loader, 3)
    assert sizes.sizes == [16] * 6 + [32] * 3 + [48] * 2
    assert trainer.optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(("coupling", "expected"), [("linear", 0.4), ("sqrt", 0.2)])
def test_the_learning_rate_follows_if_it_is_told_to(coupling, expected):
    trainer, loader, _ = training(EpochSchedule({2: 32}), learning_rate=coupling)
    trainer.fit(loader, 2)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


class After(EpochSchedule):
    """Changes within an epoch, after so many steps."""

    def __init__(self, changes):
        super().__init__({1: 8})
        self.after, self.steps = changes, 0

    def after_step(self, size, gradients, samples):
        assert all(gradient is not None for gradient in gradients)
        self.steps += 1
        return self.after.get(self.steps, size)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def test_a_run_that_is_cut_goes_on_with_the_same_batches_and_weights(tmp_path):
    def schedule():
        return After({3: 16, 9: 4})

    whole, loader, _ = training(schedule())
    whole.fit(loader, 2)
    for cut in (5, 7, 11):
        path = tmp_path / f"{cut}.pt"
        trainer, loader, _ = training(schedule(), [Sizes(cut)], path)
        with pytest.raises(SystemExit):
            trainer.fit(loader, 2)
        resumed, loader, _ = training(schedule(), [Sizes()], path)
        resumed.resume(path).fit(loader, 2)
        assert_same(list(resumed.model.parameters()), list(whole.model.parameters()))


def test_a_run_by_the_noise_scale_is_cut_within_a_pair_and_measures_what_it_would_have(tmp_path):
    def schedule():
        return NoiseScaleSchedule(smallest=4, largest=32, every=3)

    whole, loader, scheduler = training(schedule())
    whole.fit(loader, 2)
    path = tmp_path / "cut.pt"
    for cut in (3, 4):
        trainer, loader, _ = training(schedule(), [Sizes(cut)], path, save_every=1)
        with pytest.raises(SystemExit):
            trainer.fit(loader, 2)
        resumed, loader, again = training(schedule(), [Sizes()], path, save_every=1)
        resumed.resume(path)
        assert resumed.global_step == cut - 1  # the last step is lost
        resumed.fit(loader, 2)
        assert_same(again.schedule.state_dict(), scheduler.schedule.state_dict())
        assert again.changes == scheduler.changes
        path.unlink()


def test_the_noise_scale_drives_a_training():
    schedule = NoiseScaleSchedule(smallest=4, largest=32, every=4)
    trainer, loader, scheduler = training(schedule)
    trainer.fit(loader, 4)
    assert schedule.scale.pairs > 5
    assert 4 <= scheduler.sampler.batch_size <= 32


class Full(nn.Linear):
    """A model that has room for so many samples, when it is trained."""

    room = 20

    def forward(self, inputs):
        if self.training and len(inputs) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(inputs)


def training_to_fill_memory(callbacks=(), checkpoint=None):
    step = None
    schedule = MemorySchedule(lambda samples: step(samples))
    trainer, loader, scheduler = training(schedule, callbacks, checkpoint, Full)
    step = trial_step(trainer, data())
    return trainer, loader, scheduler


def test_a_training_fills_the_memory_and_a_resumed_one_goes_on_with_what_was_found(tmp_path):
    sizes, path = Sizes(cut=3), tmp_path / "a.pt"
    trainer, loader, scheduler = training_to_fill_memory([sizes], path)
    with pytest.raises(SystemExit):
        trainer.fit(loader, 1)
    assert scheduler.schedule.found == 20
    assert sizes.sizes == [18] * 3
    again = Sizes()
    resumed, loader, scheduler = training_to_fill_memory([again], path)
    scheduler.schedule.step = None  # nothing is tried
    resumed.resume(path).fit(loader, 1)
    assert again.sizes == [18, 18, 18, 6]
    assert scheduler.schedule.found == 20


def test_to_try_a_size_changes_neither_weights_nor_optimizer_nor_random_numbers():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    trainer = Trainer(model, optimizer=torch.optim.AdamW, device="cpu", progress=False)
    trainer.fit(dlkit.DataLoader(data(), batch_size=32), 1)
    before = [{k: v.clone() for k, v in model.state_dict().items()}]
    before.append(copy.deepcopy(trainer.optimizer.state_dict()))
    torch.manual_seed(5)
    step = trial_step(trainer, data())
    step(7)
    drawn = torch.rand(1)
    assert_same([dict(model.state_dict()), trainer.optimizer.state_dict()], before)
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


def test_a_schedule_needs_a_step_to_try():
    with pytest.raises(TypeError, match="step must be a function of the batch size, but got 3"):
        MemorySchedule(3)


def test_what_is_no_sampler_or_schedule_is_refused():
    sampler, schedule = ResizableBatchSampler(range(3), 1), EpochSchedule({1: 1})
    with pytest.raises(TypeError, match="sampler must be a ResizableBatchSampler, but got 3"):
        BatchSizeScheduler(3, schedule)
    with pytest.raises(TypeError, match="schedule must be a BatchSizeSchedule, but got 3"):
        BatchSizeScheduler(sampler, 3)
    with pytest.raises(ValueError, match="learning_rate must be one of"):
        BatchSizeScheduler(sampler, schedule, learning_rate="double")
