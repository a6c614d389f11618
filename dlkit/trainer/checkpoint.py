"""Checkpoints: whole or not there at all, readable without running any code, checked when read.

    state -> temporary file in the same folder -> fsync -> os.replace -> the checkpoint

A process killed at any moment leaves either the old checkpoint or the new one, because the rename
is one step for the file system. `torch.load(weights_only=True)` reads the file, so a checkpoint
from elsewhere cannot run code; `check_plain` refuses at once to write what it could not read.
"""

import warnings
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlkit.files import replacing
from dlkit.randomness import get_rng_state, set_rng_state

FORMAT = "dlkit-checkpoint"
VERSION = 1

# What torch.load(weights_only=True) rebuilds, beside containers of these.
_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device)


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read, or taken up by this trainer."""


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a state so that `path` holds the old file or the whole new one, never a part.

    Args:
        state: Tensors, numbers, strings, and containers of them.
        path: Where to; its folder is made when missing.

    Raises:
        CheckpointError: If the state holds something else than plain data.
        OSError: If the folder cannot be written; an older checkpoint there stays as it was.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "run.pt"
        >>> write_checkpoint({"epoch": 3}, path)
        >>> read_checkpoint(path)["epoch"]
        3
    """
    check_plain(state)
    state = {"format": FORMAT, "version": VERSION, **state}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=True) as file:
        torch.save(state, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU after checking that every byte of it is what was written.

    Args:
        path: A file from `write_checkpoint`.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is truncated, damaged, or something else than a checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not compare the checksums itself
        if damaged is not None:
            raise CheckpointError(f"checkpoint {path} is damaged: {damaged} fails its checksum")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:
        # zipfile, zlib and the unpickler raise a dozen types for a file cut short or overwritten.
        raise CheckpointError(
            f"checkpoint {path} ({path.stat().st_size} bytes) is truncated or damaged: {error}"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of a Trainer")
    if state.get("version") != VERSION:
        raise CheckpointError(
            f"checkpoint {path} has version {state.get('version')}, this dlkit reads {VERSION}"
        )
    return state


def check_plain(value: Any, where: str = "state") -> None:
    """Refuse data that `torch.load(weights_only=True)` would refuse to read back.

    Args:
        value: What is to be written.
        where: How the error names it.

    Raises:
        CheckpointError: With the place and the type of the first thing that is not plain.

    Example:
        >>> check_plain({"loader": {"place": Path("a")}})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        dlkit.trainer.checkpoint.CheckpointError: state['loader']['place'] is a pathlib...: a \
checkpoint holds tensors, numbers, strings and containers of them only
    """
    kind = type(value)
    if kind in _PLAIN or isinstance(value, Tensor | torch.dtype):
        return
    if kind in (dict, OrderedDict, Counter):
        for key, item in value.items():
            check_plain(key, f"a key of {where}")
            check_plain(item, f"{where}[{key!r}]")
    elif kind in (list, tuple, set, torch.Size):
        if len(value) > 64 and all(type(item) in (int, float) for item in value):
            return
        for index, item in enumerate(value):
            check_plain(item, f"{where}[{index}]")
    else:
        raise CheckpointError(
            f"{where} is a {kind.__module__}.{kind.__qualname__}: a checkpoint holds tensors, "
            "numbers, strings and containers of them only"
        )


def rng_state() -> dict[str, Any]:
    """Return the state of every global random generator: Python, NumPy, torch, accelerators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {**get_rng_state(), "cuda": cuda}


def restore_rng(state: dict[str, Any]) -> None:
    """Put every global random generator where `rng_state` found it.

    A machine with another number of GPUs than the one before keeps its own GPU generators, with a
    warning, because there is no right state for them.
    """
    set_rng_state(state)
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if devices != len(state["cuda"]):
        warnings.warn(
            f"the checkpoint holds the random state of {len(state['cuda'])} GPUs, this machine "
            f"has {devices}: dropout on a GPU goes on with other random numbers",
            stacklevel=2,
        )
    elif devices:
        torch.cuda.set_rng_state_all(state["cuda"])
