"""What travels to a process when it starts: the dataset and the user's functions.

A forked process inherits them as they are. Where they have to be pickled, classes and functions of
a notebook travel as code (by their name nobody would find them), and large tensors as shared
memory: one copy for all workers.
"""

import contextlib
import io
import os
import pickle
from collections import ChainMap
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any, ClassVar

import cloudpickle
import torch
from torch import Tensor

from dlkit.workers.parcel import dense, reduce_tensor
from dlkit.workers.shared_memory import attach, create

_SHARED_FROM = 1 << 16  # bytes; each shared tensor costs a descriptor, of which there are few


class Sent:
    """An object that reaches a process with everything it is made of, under every start method.

    Args:
        value: the object.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        # What lies in memory of our own, by its place and layout: the tensor, so that nothing else
        # comes to lie there, and its handle.
        self._shared: dict[Any, tuple[Tensor, Any]] = {}

    def __reduce__(self) -> Any:
        stream = io.BytesIO()
        _Pickler(stream, self._shared).dump(self.value)
        return _from_bytes, (stream.getvalue(),)

    def __del__(self) -> None:
        for _, handle in self._shared.values():
            if isinstance(handle, int):
                with contextlib.suppress(OSError):
                    os.close(handle)


def _from_bytes(pickled: bytes) -> Sent:
    return Sent(pickle.loads(pickled))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table: ClassVar[Any] = ChainMap(
        ForkingPickler._extra_reducers,  # type: ignore[attr-defined]
        cloudpickle.Pickler.dispatch_table,
    )

    def __init__(self, stream: io.BytesIO, shared: dict[Any, tuple[Tensor, Any]]) -> None:
        super().__init__(stream, protocol=5)
        self._shared = shared

    def reducer_override(self, part: Any) -> Any:
        if type(part) is Tensor and part.device.type == "cpu" and part.layout == torch.strided:
            nbytes = part.numel() * part.element_size()
            # One that is shared already stays so: the user means to see what workers write there.
            shared = part.untyped_storage().is_shared()
            if not shared and nbytes < _SHARED_FROM:
                return reduce_tensor(part)
            if not shared and nbytes > _room_for_sharing():
                return self._in_slot(part, nbytes)
        return super().reducer_override(part)

    def _in_slot(self, tensor: Tensor, nbytes: int) -> Any:
        """Share a copy in memory of our own, where PyTorch's way would end in a bus error."""
        data, strides = dense(tensor)
        layout = (tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg())
        key = (tensor.data_ptr(), *layout)
        if key not in self._shared:
            memory, handle = create(nbytes, "a tensor of the dataset")
            memory[:] = data.reshape(-1).view(torch.uint8).numpy()
            self._shared[key] = (tensor, handle)
        handle = self._shared[key][1]
        travelling = DupFd(handle) if isinstance(handle, int) else handle
        name = str(tensor.dtype).removeprefix("torch.")
        return _from_slot, (travelling, nbytes, name, tuple(tensor.shape), strides)


def _from_slot(handle: Any, nbytes: int, dtype: str, shape: Any, strides: Any) -> Tensor:
    if isinstance(handle, str):
        memory = attach(handle, nbytes)
    else:
        descriptor = handle.detach()
        memory = attach(descriptor, nbytes)
        os.close(descriptor)
    tensor = torch.from_numpy(memory).view(getattr(torch, dtype))
    return tensor.view(shape) if strides is None else tensor.as_strided(shape, strides)


def _room_for_sharing() -> float:
    """Bytes that fit into /dev/shm, where PyTorch and multiprocessing put what they share."""
    try:
        system = os.statvfs("/dev/shm")
    except (AttributeError, OSError):
        return float("inf")
    return system.f_bavail * system.f_frsize


def preload(context: Any) -> None:
    """Let a fork server that is not running yet import PyTorch once, for all its workers."""
    if context.get_start_method() != "forkserver":
        return
    server: Any = forkserver._forkserver
    if server._forkserver_pid is None and "dlkit.workers.child" not in server._preload_modules:
        context.set_forkserver_preload([*server._preload_modules, "dlkit.workers.child"])
