"""Save a training run so that it goes on as if it had never stopped."""

from __future__ import annotations

import copy
from typing import Any

import torch

from dlkit.lab.exercises.contract import Exercise


class Checkpoint:
    """Keeps everything that the next step depends on."""

    @staticmethod
    def save(
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        step: int,
    ) -> Any:
        """Return a state that later steps do not change."""
        return {
            "model": copy.deepcopy(model.state_dict()),
            "optimizer": copy.deepcopy(optimizer.state_dict()),
            "generator": generator.get_state(),
            "step": step,
        }

    @staticmethod
    def load(
        state: Any,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> int:
        """Put a state into new objects and return how many steps were done."""
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        return int(state["step"])


class _WithTorchSave:
    def save(self, model: Any, optimizer: Any, generator: Any, step: int) -> Any:
        import io

        buffer = io.BytesIO()
        parts = (model.state_dict(), optimizer.state_dict(), generator.get_state(), step)
        torch.save(parts, buffer)
        return buffer.getvalue()

    def load(self, state: Any, model: Any, optimizer: Any, generator: Any) -> Any:
        import io

        weights, moments, position, step = torch.load(io.BytesIO(state), weights_only=True)
        model.load_state_dict(weights)
        optimizer.load_state_dict(moments)
        generator.set_state(position)
        return step


class _WithPickle:
    @staticmethod
    def save(model: Any, optimizer: Any, generator: Any, step: int) -> Any:
        import pickle

        return pickle.dumps(
            [model.state_dict(), optimizer.state_dict(), generator.get_state().tolist(), step]
        )

    @staticmethod
    def load(state: Any, model: Any, optimizer: Any, generator: Any) -> Any:
        import pickle

        weights, moments, position, step = pickle.loads(state)
        model.load_state_dict(weights)
        optimizer.load_state_dict(moments)
        generator.set_state(torch.tensor(position, dtype=torch.uint8))
        return step


class _ForgetsTheOptimizer(Checkpoint):
    @staticmethod
    def load(state: Any, model: Any, optimizer: Any, generator: Any) -> Any:
        model.load_state_dict(state["model"])
        generator.set_state(state["generator"])
        return state["step"]


class _ForgetsTheGenerator(Checkpoint):
    @staticmethod
    def load(state: Any, model: Any, optimizer: Any, generator: Any) -> Any:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return state["step"]


class _KeepsReferences(Checkpoint):
    @staticmethod
    def save(model: Any, optimizer: Any, generator: Any, step: int) -> Any:
        return {
            "model": model.state_dict(),
            "optimizer": copy.deepcopy(optimizer.state_dict()),
            "generator": generator.get_state(),
            "step": step,
        }


class _OneStepTooFar(Checkpoint):
    @staticmethod
    def load(state: Any, model: Any, optimizer: Any, generator: Any) -> Any:
        return Checkpoint.load(state, model, optimizer, generator) + 1


class _SeedsAgain(Checkpoint):
    @staticmethod
    def load(state: Any, model: Any, optimizer: Any, generator: Any) -> Any:
        step = Checkpoint.load(state, model, optimizer, generator)
        generator.manual_seed(0)
        return step


def _new_run(seed: int) -> tuple[Any, Any, Any]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return model, optimizer, torch.Generator().manual_seed(seed)


def _train(model: Any, optimizer: Any, generator: Any, start: int, end: int) -> list[float]:
    for step in range(start, end):
        x = torch.randn(4, 2, generator=generator)
        loss = (model(x).flatten() - x.sum(1) - step).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [round(value, 4) for value in [*model.weight.flatten().tolist(), model.bias.item()]]


def _drive(answer: Any, saved_at: int, end: int) -> Any:
    checkpoint = answer()
    first = _new_run(0)
    _train(*first, 0, saved_at)
    state = checkpoint.save(*first, saved_at)
    _train(*first, saved_at, end)  # the run goes on for a while before it dies
    second = _new_run(1)
    step = checkpoint.load(state, *second)
    return {"step": step, "weights at the end": _train(*second, step, end)}


def _oracle(saved_at: int, end: int) -> Any:
    return {"step": saved_at, "weights at the end": _train(*_new_run(0), 0, end)}


EXERCISE = Exercise(
    level=2,
    reference=Checkpoint,
    alternatives=(_WithTorchSave, _WithPickle),
    mistakes=(
        _ForgetsTheOptimizer,
        _ForgetsTheGenerator,
        _KeepsReferences,
        _OneStepTooFar,
        _SeedsAgain,
    ),
    cases=lambda rng: iter([(0, 0), (1, 1), (1, 2), (2, 5), (3, 10)]),
    drive=_drive,
    oracle=_oracle,
    properties={"step": lambda case, got: got["step"] == case[0]},
)
