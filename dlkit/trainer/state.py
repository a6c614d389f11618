"""What a checkpoint holds, packed from a trainer and taken up by one.

`unpack_state` compares before it changes anything, so a checkpoint that does not fit leaves the
trainer as it was.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim import Optimizer

from dlkit.trainer.checkpoint import CheckpointError
from dlkit.trainer.history import History
from dlkit.trainer.metrics import EpochTotals
from dlkit.trainer.position import Position

if TYPE_CHECKING:
    from dlkit.trainer.run import Run


def pack_state(trainer: "Run", position: Position) -> dict[str, Any]:
    """Return all that training depends on, at a point between two batches.

    Args:
        trainer: Whose state.
        position: Where it stands in the data and the random numbers.
    """
    return {
        "model": trainer.model.state_dict(),
        "optimizer": _part(trainer.optimizer),
        "scheduler": _part(trainer.scheduler),
        "scaler": _part(trainer.compute.scaler),
        "epoch": trainer.epoch,
        "global_step": trainer.global_step,
        "samples_trained": trainer.samples_trained,
        "totals": trainer.ranks.sum_up(trainer.totals).state_dict(),
        "trained": trainer._trained,
        "metrics": trainer.metrics.state_dict(),
        "history": trainer.history.rows,
        "callbacks": [_part(callback) for callback in trainer.callbacks],
        "stop_reason": trainer.stop_reason,
        "position": {"loader": position.loader, "rng": position.rng},
        "generators_of_ranks": trainer.ranks.generators(position.rng)[1:],
    }


def unpack_state(trainer: "Run", state: dict[str, Any], path: Path) -> Position:
    """Put a trainer where `pack_state` found one like it.

    Args:
        trainer: What takes the state up.
        state: From `pack_state`.
        path: Where it was read, for the errors.

    Returns:
        The position in the data and the random numbers, to go on from when there is a loader.

    Raises:
        CheckpointError: If it belongs to another model, optimizer, schedule or metrics.
    """
    _check_model(trainer.model, state["model"], path)
    _check_optimizer(trainer.optimizer, state["optimizer"], path)
    optional = {"scheduler": trainer.scheduler, "scaler": trainer.compute.scaler}
    for name, part in optional.items():
        there, here = _kind(state[name]), _kind(_part(part))
        if there != here:
            raise CheckpointError(
                f"checkpoint {path} was saved with {name} {there}, this trainer has {here}"
            )
    try:
        trainer.metrics.load_state_dict(state["metrics"])
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path} does not fit: {error}") from error
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"]["state"])
    for name, part in optional.items():
        if part is not None:
            part.load_state_dict(state[name]["state"])
    waiting = list(trainer.callbacks)
    for saved in state["callbacks"]:
        # A callback that was added or left out since does not matter to the weights.
        match = next((c for c in waiting if type(c).__name__ == saved["class"]), None)
        if match is not None:
            waiting.remove(match)
            match.load_state_dict(saved["state"])
    trainer.epoch = state["epoch"]
    trainer.global_step = state["global_step"]
    trainer.samples_trained = state.get("samples_trained", 0)
    trainer.totals = trainer.ranks.share_of(EpochTotals(**state["totals"]))
    if not trainer.ranks.place.is_first:
        trainer.metrics.reset()  # rank 0 takes up what all ranks had counted
    trainer.history = History(state["history"])
    trainer.stop_reason = state["stop_reason"]
    trainer._trained = state["trained"]
    position = Position(**state["position"])
    generators = [position.rng, *state.get("generators_of_ranks", [])]
    trainer.resumed_ranks = len(generators)
    own = trainer.ranks.own_generator(generators, trainer.global_step)
    return Position(position.loader, own)


def _part(part: Any) -> dict[str, Any] | None:
    return None if part is None else {"class": type(part).__name__, "state": part.state_dict()}


def _kind(saved: dict[str, Any] | None) -> str:
    return "None" if saved is None else str(saved["class"])


def _check_model(model: nn.Module, saved: Mapping[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    wrong = [f"{name} is missing in the checkpoint" for name in own if name not in saved]
    wrong += [f"{name} is not in the model" for name in saved if name not in own]
    wrong += [
        f"{name} is {list(saved[name].shape)} in the checkpoint and {list(own[name].shape)} here"
        for name in own
        if name in saved and saved[name].shape != own[name].shape
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"checkpoint {path} belongs to another model: {'; '.join(wrong[:3])}{more}"
        )


def _check_optimizer(optimizer: Optimizer, saved: dict[str, Any], path: Path) -> None:
    def shape(kind: str, groups: list[dict[str, Any]]) -> str:
        return f"{kind} over {' + '.join(str(len(group['params'])) for group in groups)} parameters"

    there = shape(saved["class"], saved["state"]["param_groups"])
    here = shape(type(optimizer).__name__, optimizer.param_groups)
    if there != here:
        raise CheckpointError(
            f"checkpoint {path} belongs to another optimizer: {there}, this trainer has {here}"
        )
