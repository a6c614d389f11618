"""What ranks run in the tests of `dlkit.ddp`: a rank imports it, so it stands in a module."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import distributed, nn
from torchmetrics.classification import MulticlassF1Score

from dlkit import DataLoader, TensorDataset, ddp
from dlkit.batch_size import (
    BatchSizeSchedule,
    EpochSchedule,
    MemorySchedule,
    NoiseScaleSchedule,
    largest_batch_size,
)
from dlkit.samplers import DistributedSampler, ResizableBatchSampler
from dlkit.trainer import BatchSizeScheduler, Callback, Trainer

SAMPLES, HELD_OUT, EPOCHS = 50, 35, 3


def blobs(n: int, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    return TensorDataset(torch.randn(n, 4, generator=generator) + labels[:, None], labels)


def share(dataset, *, shuffle: bool = True, pad: bool = False) -> DistributedSampler:
    place = ddp.current()
    return DistributedSampler(dataset, place.world_size, place.rank, shuffle, seed=5, pad=pad)


def sharded(dataset, batch_size: int, *, shuffle: bool = True, pad: bool = False) -> DataLoader:
    return DataLoader(dataset, batch_size, sampler=share(dataset, shuffle=shuffle, pad=pad))


def network(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))


class Seen(Callback):
    """Notes which samples were learned from in which step; may stop the run after one."""

    def __init__(self, cut_at: int | None = None) -> None:
        self.cut_at = cut_at
        self.steps: list[tuple[int, int, list[int]]] = []

    def on_step_end(self, trainer, step):
        self.steps.append((step.epoch, step.global_step, list(step.indices or [])))
        if step.global_step == self.cut_at:
            raise Cut


class Cut(Exception):  # noqa: N818  # it is no error
    """Ends a run in the middle of an epoch, on all ranks after the same step."""


def trained(
    n: int = SAMPLES,
    batch_size: int = 4,
    *,
    accumulate: int = 1,
    autocast: str | None = None,
    schedule: BatchSizeSchedule | None = None,
) -> dict:
    """Train three epochs; return all that must not depend on the number of ranks."""
    data, held_out = blobs(n), blobs(HELD_OUT, seed=1)
    seen, callbacks, loader = Seen(), [], sharded(data, batch_size)
    if schedule is not None:
        batches = ResizableBatchSampler(share(data), batch_size)
        callbacks = [BatchSizeScheduler(batches, schedule, learning_rate="sqrt")]
        loader = DataLoader(data, batch_sampler=batches)
    trainer = Trainer(
        network(), device="cpu", progress=False, seed=0, accumulate=accumulate,
        autocast=autocast, callbacks=[seen, *callbacks],
        metrics=None if accumulate == 1 else {"f1": MulticlassF1Score(3)},
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    )  # fmt: skip
    validation = sharded(held_out, 8, shuffle=False)
    history = trainer.fit(loader, EPOCHS, validation)
    return {
        "weights": [p.detach().clone() for p in trainer.model.parameters()],
        "momentum": [s["momentum_buffer"] for s in trainer.optimizer.state.values()],
        "history": history.without_timings(),
        "outputs": trainer.predict(validation),
        "samples": trainer.samples_trained,
        "seen": seen.steps,
    }


def by_epoch(world: int) -> EpochSchedule:
    return EpochSchedule({2: 24 // world, 3: 6 // world})


def by_noise(world: int) -> NoiseScaleSchedule:
    return NoiseScaleSchedule(smallest=12 // world, largest=48 // world, every=3)


def every_training() -> dict[str, dict]:
    """All runs that one world size is asked for, in one launch."""
    world = ddp.current().world_size
    return {
        "even": trained(48, 24 // (2 * world)),
        "size by epoch": trained(SAMPLES, 12 // world, schedule=by_epoch(world)),
        "size by noise": trained(SAMPLES, 12 // world, schedule=by_noise(world)),
        "uneven": trained(SAMPLES, 12 // world),
        "accumulated": trained(SAMPLES, 12 // world, accumulate=2),
        "fewer samples than ranks": trained(2, 4),
        "bf16": trained(48, 24 // (2 * world), autocast="bf16"),
    }


def leg(
    checkpoint: str, batch_size: int, cut_at: int | None, dropout: float = 0.0
) -> tuple[list[tuple[int, int, list[int]]], int, list[torch.Tensor]]:
    """Train from a checkpoint, if there is one, until a step or the end."""
    seen = Seen(cut_at)
    trainer = Trainer(
        network(dropout), device="cpu", progress=False, seed=0, callbacks=[seen],
        checkpoint=checkpoint, checkpoint_every=1,
    )  # fmt: skip
    if ddp.from_first(Path(checkpoint).exists()):
        trainer.resume(checkpoint)
    try:
        trainer.fit(sharded(blobs(SAMPLES), batch_size), EPOCHS, sharded(blobs(HELD_OUT), 8))
    except Cut:
        seen.steps.pop()  # learned, and lost again: the checkpoint is of the step before
    weights = [p.detach().clone() for p in trainer.model.parameters()]
    return seen.steps, trainer.samples_trained, weights


def resumed_twice(checkpoint: str, cut_at: int) -> list[torch.Tensor]:
    """Cut a run with dropout, go on in a new trainer; return the last weights."""
    leg(checkpoint, 4, cut_at, dropout=0.5)
    return leg(checkpoint, 4, None, dropout=0.5)[2]


# ---- everything else that one launch can answer -----------------------------------------------


def every_answer() -> dict:
    """Ask all functions of `dlkit.ddp` on three ranks."""
    place = ddp.current()
    rank = place.rank
    return {
        "place": (place.rank, place.world_size, place.local_rank, place.backend, len(place.hosts)),
        "sum": ddp.sum_over_ranks(torch.tensor([rank, 1])),
        "total": ddp.total({"samples": rank + 1, "loss": 0.5}),
        "mean": ddp.weighted_mean(float(rank), samples=10 * rank),
        "no samples": refusal(lambda: ddp.weighted_mean(1.0, samples=0)),
        "gather": ddp.gather({"rank": rank}),
        "first": ddp.from_first(f"of rank {rank}"),
        "uneven": ddp.gather_uneven(torch.arange(2 * rank).reshape(rank, 2)),
        "bf16": ddp.gather_uneven(torch.full((rank,), rank, dtype=torch.bfloat16)),
        "mixed": refusal(lambda: ddp.gather_uneven(torch.zeros(2, 1 + rank))),
        "seed": (ddp.seed_ranks(7), float(torch.rand(()))),
        "barrier": [ddp.barrier(30.0) for _ in range(3)],
        "nested": nested(),
        "join": joined(rank),
        "same": ddp.check_same_data(blobs(9)),
        "another": refusal(lambda: ddp.check_same_data(blobs(9, seed=rank // 2), "data")),
        "longer": refusal(lambda: ddp.check_same_data(list(range(9 + (rank == 1))))),
        "noisy": ddp.check_same_data(Noisy()) != "",
        "not dealt": refusal(
            lambda: Trainer(network(), device="cpu", progress=False).fit(DataLoader(blobs(9)), 1)
        ),
        "padded": padded_evaluation(),
        "wishes": wished(rank),
        "fits": fitting(rank),
        "full": refusal(lambda: largest_batch_size(full_on_one(rank), smallest=4)),
        "bar": type(ddp.progress(range(3), disable=True)).__name__,
        "gradients": by_pytorch_and_by_hand(rank),
    }


def refusal(attempt) -> tuple[str, str]:
    try:
        attempt()
    except (ValueError, TypeError, MemoryError) as error:
        return type(error).__name__, str(error)
    return "nothing", ""


def nested() -> bool:
    with ddp.process_group("cpu") as inner:
        same = inner is ddp.current()
    return same and distributed.is_initialized()


class Noisy(torch.utils.data.Dataset):
    """Samples that come out otherwise each time, as with a generator seeded by the clock."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return torch.tensor(float(torch.seed() % 1000))


def joined(rank: int) -> list[tuple[int, float]]:
    """Rank 0 has no batch, rank 1 two, rank 2 three, the last of which is short."""
    sizes = [[], [4, 4], [4, 4, 2]][rank]
    batches = [(torch.full((size, 2), float(rank)), ["x"] * size) for size in sizes]
    return [(len(batch[0]), weight) for batch, weight in ddp.join(batches)]


class Wish(BatchSizeSchedule):
    """Wants one size, after any step."""

    def __init__(self, size: int) -> None:
        self.size = size

    def after_step(self, size, gradients, samples):
        return self.size


def wished(rank: int) -> list[int]:
    """Sizes of batches where each rank has drawn another number of them and wants another size."""
    sampler = ResizableBatchSampler(range(96), 8)
    callback = BatchSizeScheduler(sampler, Wish(16 if rank else 24))
    running = iter(sampler)
    sizes = [len(next(running)) for _ in range(3 + rank)]
    trainer = Trainer(network(), device="cpu", progress=False)
    callback.on_step_end(trainer, SimpleNamespace(samples=8))
    return sizes + [len(batch) for batch in running]


def fitting(rank: int) -> tuple[int, int | None]:
    """The batch size of a rank whose device has room for 20 samples, and 10 more for each rank."""

    def step(samples: int) -> None:
        if samples > 20 + 10 * rank:
            raise MemoryError("out of memory")

    sampler, schedule = ResizableBatchSampler(range(96), 8), MemorySchedule(step, share=1.0)
    trainer = Trainer(network(), device="cpu", progress=False)
    BatchSizeScheduler(sampler, schedule).on_epoch_start(trainer)
    return sampler.batch_size, schedule.found


def full_on_one(rank: int):
    """A step for which the memory of one rank is too small."""

    def step(samples: int) -> None:
        if rank == 1 or samples > 8:
            raise MemoryError("out of memory")

    return step


def padded_evaluation() -> list[str]:
    trainer = Trainer(network(), device="cpu", progress=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.evaluate(sharded(blobs(35), 8, shuffle=False, pad=True))
    return [str(warning.message) for warning in caught if "twice" in str(warning.message)]


def by_pytorch_and_by_hand(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient that DDP leaves, and the weighted mean of everybody's own."""
    inputs, targets = blobs(9)[:]
    mine = slice(*[(0, 4), (4, 7), (7, 9)][rank])
    model = network()
    own = torch.autograd.grad(
        nn.functional.cross_entropy(model(inputs[mine]), targets[mine]), model[0].weight
    )[0]
    samples = mine.stop - mine.start
    by_hand = ddp.sum_over_ranks(own * samples) / 9
    parallel = nn.parallel.DistributedDataParallel(model)
    for (x, y), weight in ddp.join([(inputs[mine], targets[mine])]):
        (nn.functional.cross_entropy(parallel(x), y) * weight).backward()
    return model[0].weight.grad.clone(), by_hand
