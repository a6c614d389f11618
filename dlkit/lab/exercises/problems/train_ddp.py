"""Train on several processes as one would on several GPUs, and get the same weights."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, DistributedSampler

from dlkit.lab.exercises.contract import Case, Exercise

Tensor = torch.Tensor


def train_ddp(
    dataset: torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]],
    model: torch.nn.Module,
    epochs: int,
    batch_size: int,
    seed: int,
) -> torch.nn.Module:
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, shuffle=True, seed=seed)
    loader = DataLoader(dataset, batch_size, sampler=sampler)
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(parallel(x), y).backward()
            optimizer.step()
    return model


def _by_hand(
    dataset: Any,
    model: Any,
    epochs: int,
    batch_size: int,
    seed: int,
    rank_of: Any = None,
    average: bool = True,
    reshuffle: bool = True,
    broadcast: bool = True,
    reduce: bool = True,
) -> Any:
    """All collectives written out; its flags leave out one of them for each mistake below."""
    rank, world_size = dist.get_rank() if rank_of is None else rank_of, dist.get_world_size()
    for parameter in model.parameters():
        if broadcast:
            dist.broadcast(parameter.data, src=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(epochs):
        order = list(range(len(dataset)))
        random.Random(1000 * seed + (epoch if reshuffle else 0)).shuffle(order)
        mine = order[rank::world_size]
        for start in range(0, len(mine), batch_size):
            samples = [dataset[index] for index in mine[start : start + batch_size]]
            x, y = (torch.stack(part) for part in zip(*samples, strict=True))
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            for parameter in model.parameters():
                if reduce:
                    dist.all_reduce(parameter.grad)
                if reduce and average:
                    parameter.grad /= world_size
            optimizer.step()
    return model


def _in_one_flat_message(dataset: Any, model: Any, epochs: int, batch_size: int, seed: int) -> Any:
    from torch.nn.utils import parameters_to_vector, vector_to_parameters

    weights = parameters_to_vector(model.parameters()).detach()
    dist.broadcast(weights, src=0)
    vector_to_parameters(weights, model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rank, size = dist.get_rank(), dist.get_world_size()
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(seed * 77 + epoch)
        order = torch.randperm(len(dataset), generator=generator)
        for indices in order.chunk(size)[rank].split(batch_size):
            x, y = (torch.stack(p) for p in zip(*(dataset[int(i)] for i in indices), strict=True))
            loss = F.mse_loss(model(x), y) / size
            flat = torch.cat(
                [g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]
            )
            dist.all_reduce(flat)
            place = 0
            for parameter in model.parameters():
                parameter.grad = flat[place : place + parameter.numel()].view_as(parameter)
                place += parameter.numel()
            optimizer.step()
    return model


def _everybody_is_rank_0(dataset: Any, model: Any, epochs: int, batch_size: int, seed: int) -> Any:
    return _by_hand(dataset, model, epochs, batch_size, seed, rank_of=0)


def _never_calls_set_epoch(
    dataset: Any, model: Any, epochs: int, batch_size: int, seed: int
) -> Any:
    return _by_hand(dataset, model, epochs, batch_size, seed, reshuffle=False)


def _each_rank_for_itself(dataset: Any, model: Any, epochs: int, batch_size: int, seed: int) -> Any:
    return _by_hand(dataset, model, epochs, batch_size, seed, reduce=False)


def _sums_the_gradients(dataset: Any, model: Any, epochs: int, batch_size: int, seed: int) -> Any:
    return _by_hand(dataset, model, epochs, batch_size, seed, average=False)


def _starts_apart(dataset: Any, model: Any, epochs: int, batch_size: int, seed: int) -> Any:
    return _by_hand(dataset, model, epochs, batch_size, seed, broadcast=False)


class _Recording(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Sample i is known from i alone; every read is written down."""

    def __init__(self, n: int) -> None:
        self.n, self.read = n, list[int]()

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.read.append(int(index))
        return _sample(index)


def _sample(index: int) -> tuple[Tensor, Tensor]:
    x = torch.tensor([(index * 7 % 5) / 5 - 0.4, (index * 3 % 7) / 7 - 0.5])
    return x, (x[:1] - 2 * x[1:]) + 0.1


def _model(rank: int) -> torch.nn.Linear:
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.fill_(0.5 - rank)  # only rank 0's weights are meant to be used
        model.bias.fill_(float(rank))
    return model


def _one_rank(answer: Any, rank: int, case: Case, store: Path, pipe: Any) -> None:
    n, world_size, epochs, batch_size = case
    gradients: list[list[float]] = []

    def note(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients.append(
            [v for p in parameters if p.grad is not None for v in p.grad.flatten().tolist()]
        )

    try:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world_size)
        register_optimizer_step_pre_hook(note)
        data, model = _Recording(n), _model(rank)
        trained = answer(data, model, epochs, batch_size, 5)
        weights = [v for p in trained.parameters() for v in p.detach().flatten().tolist()]
        pipe.send({"read": data.read, "gradients": gradients, "weights": weights})
        pipe.recv()  # a rank that ends early would break the connections of the others
    except BaseException as error:
        pipe.send(error)
    os._exit(0)  # without gloo's threads, which may abort at a normal exit


def _drive(answer: Any, n: int, world_size: int, epochs: int, batch_size: int) -> Any:
    import multiprocessing
    import tempfile
    from multiprocessing.connection import wait

    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        pipes: list[Any] = []
        case = (n, world_size, epochs, batch_size)
        for rank in range(world_size):
            ours, theirs = context.Pipe()
            pipes.append(ours)
            arguments = (answer, rank, case, Path(folder, "store"), theirs)
            context.Process(target=_one_rank, args=arguments, daemon=True).start()
        answers: dict[int, Any] = {}
        while len(answers) < world_size:
            waiting: Any = wait([p for r, p in enumerate(pipes) if r not in answers])
            for ready in waiting:
                message = ready.recv()
                if isinstance(message, BaseException):
                    raise message
                answers[pipes.index(ready)] = message
        for pipe in pipes:
            pipe.send("go")
    ranks = [answers[rank] for rank in range(world_size)]
    return {key: [answer[key] for answer in ranks] for key in ("read", "gradients", "weights")}


def _epochs(case: Case, got: Any) -> list[list[list[int]]]:
    """By epoch and rank: the indices that were read, in order."""
    each = case[0] // case[1]
    return [[r[e * each : (e + 1) * each] for r in got["read"]] for e in range(case[2])]


def _close(first: Any, second: Any) -> bool:
    return torch.allclose(torch.tensor(first), torch.tensor(second), atol=1e-5)


def _is_single_process_run(case: Case, got: Any) -> bool:
    """Train one process with the union of the ranks' batches, step by step."""
    model, (_, _, _, batch_size) = _model(0), case
    for epoch in _epochs(case, got):
        for start in range(0, len(epoch[0]), batch_size):
            indices = [i for shard in epoch for i in shard[start : start + batch_size]]
            x, y = (torch.stack(part) for part in zip(*map(_sample, indices), strict=True))
            gradients = torch.autograd.grad(F.mse_loss(model(x), y), list(model.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter.sub_(0.1 * gradient)
    alone = [v for p in model.parameters() for v in p.detach().flatten().tolist()]
    return all(_close(alone, weights) for weights in got["weights"])


EXERCISE = Exercise(
    level=3,
    reference=train_ddp,
    alternatives=(_by_hand, _in_one_flat_message),
    mistakes=(
        _everybody_is_rank_0,
        _never_calls_set_epoch,
        _each_rank_for_itself,
        _sums_the_gradients,
        _starts_apart,
    ),
    cases=lambda rng: iter([(4, 2, 1, 2), (16, 2, 2, 4)]),
    drive=_drive,
    properties={
        "each_reads_its_share": lambda case, got: all(
            len(read) == case[0] // case[1] * case[2] for read in got["read"]
        ),
        "disjoint": lambda case, got: all(
            sorted(i for shard in epoch for i in shard) == list(range(case[0]))
            for epoch in _epochs(case, got)
        ),
        "new_order": lambda case, got: len({str(e) for e in _epochs(case, got)}) == case[2],
        "gradients": lambda case, got: all(
            _close(got["gradients"][0], g) for g in got["gradients"]
        ),
        "weights": lambda case, got: all(_close(got["weights"][0], w) for w in got["weights"]),
        "single": _is_single_process_run,
    },
    seconds=30.0,
)
