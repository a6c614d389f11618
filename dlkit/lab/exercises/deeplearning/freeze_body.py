"""Keep a trained body as it is, and train a new head."""

from __future__ import annotations

import types
from typing import Any

import torch

from dlkit.lab.exercises.contract import Exercise

Module = torch.nn.Module


def freeze_body(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    body = model.get_submodule("body")
    for parameter in body.parameters():
        parameter.requires_grad = False
    body.eval()
    body.train = lambda mode=True: body  # type: ignore[method-assign]
    return [p for p in model.parameters() if p.requires_grad]


def _layer_by_layer(model: Module) -> Any:
    body = model.get_submodule("body").requires_grad_(False).eval()
    for layer in body.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.train = types.MethodType(lambda self, mode=True: self, layer)  # type: ignore[method-assign]
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    return list(model.get_submodule("head").parameters())


def _with_hooks(model: Module) -> Any:
    body = model.get_submodule("body").requires_grad_(False)
    body.register_forward_pre_hook(lambda module, _: module.eval() and None)
    return [p for name, p in model.named_parameters() if name.startswith("head.")]


def _freezes_everything(model: Module) -> Any:
    model.requires_grad_(False)
    model.get_submodule("body").register_forward_pre_hook(lambda m, _: m.eval() and None)
    return list(model.get_submodule("head").parameters())


def _freezes_the_head(model: Module) -> Any:
    model.get_submodule("head").requires_grad_(False)
    model.get_submodule("body").register_forward_pre_hook(lambda m, _: m.eval() and None)
    return list(model.get_submodule("body").parameters())


def _only_puts_it_into_evaluation(model: Module) -> Any:
    model.get_submodule("body").register_forward_pre_hook(lambda m, _: m.eval() and None)
    return list(model.parameters())


def _forgets_batch_norm(model: Module) -> Any:
    model.get_submodule("body").requires_grad_(False)
    return list(model.get_submodule("head").parameters())


def _train_undoes_it(model: Module) -> Any:
    model.get_submodule("body").requires_grad_(False).eval()
    return [p for p in model.parameters() if p.requires_grad and p.ndim > 1]


def _drive(answer: Any, features: int, steps: int) -> Any:
    torch.manual_seed(0)
    model = torch.nn.Sequential()
    body = [torch.nn.Linear(3, features), torch.nn.BatchNorm1d(features), torch.nn.ReLU()]
    model.add_module("body", torch.nn.Sequential(*body))
    model.add_module("head", torch.nn.Linear(features, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = {id(p): name for name, p in model.named_parameters()}
    trained = list(answer(model))
    listed = sorted(names[id(p)] for p in trained)
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        loss = model(torch.randn(8, 3)).square().mean()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
    after = model.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    return {"to train": listed, "changed after training": sorted(changed)}


def _oracle(features: int, steps: int) -> Any:
    head = ["head.bias", "head.weight"]
    return {"to train": head, "changed after training": head if steps else []}


EXERCISE = Exercise(
    level=2,
    reference=freeze_body,
    alternatives=(_layer_by_layer, _with_hooks),
    mistakes=(
        _freezes_everything,
        _freezes_the_head,
        _only_puts_it_into_evaluation,
        _forgets_batch_norm,
        _train_undoes_it,
    ),
    cases=lambda rng: iter([(2, 0), (2, 1), (4, 3)]),
    drive=_drive,
    oracle=_oracle,
    properties={
        "head_learns": lambda case, got: (
            case[1] == 0 or any(name.startswith("head") for name in got["changed after training"])
        ),
        "body_stays": lambda case, got: (
            not any(name.startswith("body") for name in got["changed after training"])
        ),
        "listed": lambda case, got: got["to train"] == ["head.bias", "head.weight"],
    },
)
