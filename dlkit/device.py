"""From pageable host memory to an accelerator: pinning a batch, copying it to a device.

An accelerator copies from page-locked ("pinned") memory at full speed and while other work goes on;
from ordinary memory the driver first copies the data into a pinned buffer of its own.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from dlkit.failures import raiser
from dlkit.fetch import on_batch
from dlkit.structure import map_structure
from dlkit.trace.recorder import UNTRACED, Untraced


def pin_memory(batch: Any) -> Any:
    """Copy every tensor of a batch into pinned memory.

    An object with a `pin_memory()` method of its own is asked to do it, wherever in the batch it
    is, which is how PyTorch pins a user's types; strings and numbers pass through.

    Args:
        batch: any nesting of tensors.

    Returns:
        The same structure with pinned tensors.

    Example:
        >>> pin_memory({"name": "a", "index": 3})
        {'name': 'a', 'index': 3}
    """
    return map_structure(_pin_part, batch, whole=_can_be_pinned)


def _can_be_pinned(part: Any) -> bool:
    return hasattr(part, "pin_memory")


def _pin_part(part: Any) -> Any:
    return part.pin_memory() if _can_be_pinned(part) else part


def can_pin_memory() -> bool:
    """Say whether there is an accelerator to pin memory for, and warn where there is none."""
    if not torch.accelerator.is_available():
        warnings.warn(
            "pin_memory=True has no effect here: no accelerator is available to copy to",
            stacklevel=3,
        )
        return False
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is not None and accelerator.type == "mps":
        warnings.warn("pin_memory=True has no effect on MPS, which shares memory", stacklevel=3)
        return False
    return True


def to_device(batch: Any, device: torch.device | str) -> Any:
    """Copy every tensor of a batch to a device; from pinned memory without waiting for it.

    Args:
        batch: any nesting of tensors; an object with a `to(device)` method is asked to do it, such
            as a `PackedSequence`, a part of which has to stay on the host.
        device: where to, for instance `"cuda:0"`.

    Example:
        >>> to_device([torch.zeros(2), "name"], "cpu")
        [tensor([0., 0.]), 'name']
    """
    return map_structure(lambda part: _move_part(part, device), batch, whole=_can_be_moved)


def _can_be_moved(part: Any) -> bool:
    return callable(getattr(part, "to", None))


def _move_part(part: Any, device: torch.device | str) -> Any:
    if isinstance(part, Tensor):
        return part.to(device, non_blocking=True)
    if isinstance(part, PackedSequence):
        return part.to(device, non_blocking=True)  # type: ignore[arg-type]  # its stub lacks this
    return part.to(device) if _can_be_moved(part) else part


class DeviceAhead:
    """Copies batches to a device while the batch before is being used.

        next(batches) --pin--> copy on a stream of its own --> wait for it --> user

    The copy of batch k + 1 is started before batch k is handed out, so that it runs beside the
    computing on batch k. On the CPU, and wherever there is nothing to copy to, batches pass as
    they are and nothing is read ahead.

    Args:
        batches: functions that return a batch, or raise what went wrong with it. The iterator may
            also end by one of them raising `StopIteration`.
        device: where to.
        recorder: wraps the copying where it is traced. A span is then the time that this thread
            spends on it; the copy itself may still be under way.
    """

    def __init__(
        self,
        batches: Iterator[Callable[[], Any]],
        device: torch.device,
        recorder: Untraced = UNTRACED,
    ) -> None:
        self._batches = batches
        self._device = device
        self._copies = device.type not in ("cpu", "meta")
        self._stream: Any = torch.Stream(device) if self._copies else None
        self._next: Callable[[], Any] | None = None
        self._begun = False
        self._copy = recorder.timed("transfer", partial(_start_copy, self._stream, device))

    def __iter__(self) -> Iterator[Callable[[], Any]]:
        return self

    def __next__(self) -> Callable[[], Any]:
        if not self._copies:
            return next(self._batches)
        if not self._begun:
            self._next = self._start_next()
            self._begun = True
        if self._next is None:
            raise StopIteration
        # Kept until the one after it is on its way: if no worker delivers that in time, it is due
        # when asked again.
        following = self._start_next()
        current, self._next = self._next, following
        return current

    def _start_next(self) -> Callable[[], Any] | None:
        """Start copying one more batch; return what waits for the copy, or None at the end."""
        get = next(self._batches, None)
        if get is None:
            return None
        try:
            copy, done = self._copy(get())
        except StopIteration:
            return None
        except Exception as error:
            return raiser(error)
        return lambda: self._arrived(copy, done)

    def _arrived(self, batch: Any, done: Any) -> Any:
        """Let the computing wait for the copy, and keep its memory from being reused too soon."""
        stream = torch.accelerator.current_stream(self._device)
        stream.wait_event(done)  # not for the stream, on which the next copy is under way

        def record(part: Any) -> Any:
            if isinstance(part, Tensor) and part.device.type == self._device.type:
                part.record_stream(stream)
            return part

        return on_batch(partial(map_structure, record))(batch)


def _start_copy(stream: Any, device: torch.device, batch: Any) -> tuple[Any, Any]:
    """Return the copy of a batch, and the event on the stream when it will be done."""
    with stream:
        copy = on_batch(lambda batch: to_device(_pinned(batch), device))(batch)
    return copy, stream.record_event()


def _pinned(batch: Any) -> Any:
    # A copy from pageable memory would wait, and hold up the thread that starts the computing.
    return map_structure(
        lambda part: (
            part.pin_memory()
            if isinstance(part, Tensor) and part.device.type == "cpu" and not part.is_pinned()
            else part
        ),
        batch,
    )
