"""Parcels: a batch as a small message, with its large parts in a slot of shared memory.

    batch --pickle protocol 5--> content (bytes) + buffers (tensors, arrays)
                                                    |
                                  already in the slot, or copied into it now

The content goes through the socket and says which part of the slot each tensor lies over. So a
batch of any structure travels: strings and objects in the content, everything large in the slot.
"""

import copyreg
import io
import pickle
import weakref
from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any, ClassVar

import cloudpickle
import numpy as np
import torch
from torch import Tensor

from dlkit.memory import Bytes, Target
from dlkit.workers.shared_memory import Arena, Ring, Slot, SlotViews

# What PyTorch and multiprocessing know about sending things between processes.
_SHARING: Any = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
_COPYREG: Any = copyreg.dispatch_table
_SMALL = 512  # bytes; smaller buffers travel in the content
_MESSAGE = 2048  # bytes; larger contents travel in the slot, so that no message fills the socket


@dataclass(slots=True)
class Parcel:
    """A packed batch.

    Attributes:
        content: the pickle, or (start, end) of it in the slot.
        spans: (start, end) of each of the pickle's buffers in the slot; if they are very many,
            (start, end) of a table of them in the slot.
        slot: the slot's number; None if the content is all there is.
        used: bytes of the slot that hold the batch.
    """

    content: bytes | tuple[int, int]
    spans: list[tuple[int, int]] | tuple[int, int]
    slot: int | None
    used: int


class Packer:
    """Packs the batches of one worker process into its slots."""

    def __init__(self) -> None:
        self.ring = Ring()
        self.target = Target()

    def pack(self, make: Callable[[], Any]) -> tuple[Parcel, Slot | None]:
        """Make a batch and pack it.

        Returns:
            The parcel, and the slot it is in, which now belongs to the loader.

        Raises:
            whatever `make` raises, and what pickling the batch raises.
        """
        slot, arena = self.ring.begin()
        kept = weakref.ref(arena.base)
        self.target.memory = arena
        try:
            parcel, slot, spare = self._packed(make, arena, slot)
        except BaseException:
            self.target.memory = arena = None  # type: ignore[assignment]
            self.ring.give_up(slot, kept)
            raise
        self.target.memory = None
        del arena
        if spare is not None:
            self.ring.give_up(spare, kept)
        elif slot is not None and kept() is not None:
            # The dataset or collate_fn has kept a part of the batch: it keeps this memory, and the
            # user, who may write into the batch, gets other.
            other = self.ring.grown(parcel.used)
            other.memory[: parcel.used] = slot.memory[: parcel.used]
            self.ring.give_up(slot, kept)
            slot, parcel.slot = other, other.number
        return parcel, slot

    def _packed(
        self, make: Callable[[], Any], arena: Arena, slot: Slot | None
    ) -> tuple[Parcel, Slot | None, Slot | None]:
        """Return the parcel, the slot it is in, and the slot that was begun if it is another."""
        buffers: list[Bytes] = []

        def out_of_band(buffer: pickle.PickleBuffer) -> bool:
            piece = np.frombuffer(buffer.raw(), dtype=np.uint8)
            if len(piece) < _SMALL and (not len(piece) or arena.offset_of(piece) is None):
                return True
            buffers.append(piece)
            return False

        batch = make()
        asked = arena.needed  # for what was written into the slot, or would have been
        content: bytes | None = _pickled(batch, out_of_band, buffers)
        del batch
        assert content is not None
        if len(content) + 16 * len(buffers) > _MESSAGE:
            buffers.append(np.frombuffer(content, dtype=np.uint8))
            content = None
        many = 16 * len(buffers) > _MESSAGE
        if many:
            buffers.append(np.empty(16 * len(buffers), dtype=np.uint8))  # the table of their spans
        if not buffers:
            assert content is not None
            return Parcel(content, [], None, 0), None, slot
        starts = [_placed(piece, arena) for piece in buffers]
        begun, target = slot, arena
        if arena.needed > len(arena.base):
            # What was asked for and is not there was made elsewhere, and so is counted twice.
            missing = asked > len(arena.base)
            slot = self.ring.grown(max(_room(buffers), asked) if missing else arena.needed)
            target = Arena(slot.memory)
            starts = [_placed(piece, target) for piece in buffers]
        assert slot is not None
        spans = [(s, s + len(piece)) for s, piece in zip(starts, buffers, strict=True)]
        table = spans.pop() if many else None
        parcel = Parcel(content or spans.pop(), spans, slot.number, target.needed)
        if table is not None:
            parcel.spans = table[0], table[0] + 16 * len(spans)
            slot.memory[slice(*parcel.spans)].view(np.int64)[:] = np.ravel(spans)
        return parcel, slot, begun if begun is not slot else None


def unpack(parcel: Parcel, slots: SlotViews) -> Callable[[], Any]:
    """Return the function that makes the batch of a parcel, over the memory of its slot.

    It is called once. If it is dropped instead, the slot goes back to its worker unused.
    """
    content = parcel.content
    if parcel.slot is None:
        return lambda: pickle.loads(content)  # type: ignore[arg-type]
    number, base = parcel.slot, slots.open(parcel.slot)

    def batch() -> Any:
        spans: Any = parcel.spans
        if isinstance(spans, tuple):
            spans = base[slice(*spans)].view(np.int64).reshape(-1, 2).tolist()
        buffers = slots.hand_over(number, base, spans)
        pickled = content if isinstance(content, bytes) else base[content[0] : content[1]]
        return pickle.loads(pickled, buffers=buffers)  # type: ignore[arg-type]

    return batch


def _placed(piece: Bytes, arena: Arena) -> int:
    """Return where in the arena a piece lies, after copying it there if it does not yet.

    If there is no room, what it returns means nothing, and `arena.needed` says so.
    """
    start = arena.offset_of(piece)
    if start is not None:
        return start
    place = arena.take(len(piece))
    if place is None:
        return -1
    place[:] = piece
    start = arena.offset_of(place)
    assert start is not None
    return start


def _room(buffers: list[Bytes]) -> int:
    """Bytes that a slot needs for all of the buffers."""
    arena = Arena(np.empty(0, dtype=np.uint8))
    for piece in buffers:
        arena.take(len(piece))
    return arena.needed


# ---- pickling -----------------------------------------------------------------------------------


def _pickled(
    batch: Any, out_of_band: Callable[[pickle.PickleBuffer], bool], buffers: list[Bytes]
) -> bytes:
    try:
        try:
            return _dumps(_Pickler, batch, out_of_band)
        except (pickle.PicklingError, AttributeError, TypeError):
            # A class that cannot be found by its name: of a notebook, or made inside a function.
            buffers.clear()
            return _dumps(_ByValuePickler, batch, out_of_band)
    except Exception as error:
        error.add_note(
            f"the batch, a {type(batch).__name__}, cannot be pickled, so it cannot leave its "
            'process; with worker_method="thread" it would not have to'
        )
        raise


def _dumps(kind: Any, batch: Any, out_of_band: Callable[[pickle.PickleBuffer], bool]) -> bytes:
    stream = io.BytesIO()
    kind(stream, protocol=5, buffer_callback=out_of_band).dump(batch)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    """Pickles tensors as buffers; devices' and sparse ones in PyTorch's own way."""

    dispatch_table = ChainMap(_SHARING, _COPYREG)  # noqa: RUF012

    def reducer_override(self, part: Any) -> Any:
        return reduce_tensor(part) if isinstance(part, Tensor) else NotImplemented


class _ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """The same, and classes and functions travel whole where their name would not be found."""

    dispatch_table: ClassVar[Any] = ChainMap(_SHARING, cloudpickle.Pickler.dispatch_table)

    def reducer_override(self, part: Any) -> Any:
        reduced = reduce_tensor(part) if isinstance(part, Tensor) else NotImplemented
        return super().reducer_override(part) if reduced is NotImplemented else reduced


def reduce_tensor(tensor: Tensor) -> Any:
    """Take a tensor apart for pickle, with its memory as a buffer; for ordinary tensors only."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
        return NotImplemented
    if tensor.requires_grad and not tensor.is_leaf:
        return NotImplemented  # PyTorch raises: a graph cannot travel
    kind = type(tensor)
    if kind is not Tensor:
        if kind.__reduce_ex__ is not Tensor.__reduce_ex__ or _dispatches(kind):
            return NotImplemented
        plain = tensor.detach().as_subclass(Tensor)
        return _as_subclass, (plain, kind, tensor.requires_grad, dict(vars(tensor)))
    data, strides = dense(tensor)
    raw = data.reshape(-1).view(torch.uint8).numpy()
    name = str(tensor.dtype).removeprefix("torch.")
    return _tensor, (
        pickle.PickleBuffer(raw.data),
        name,
        tuple(tensor.shape),
        strides,
        tensor.requires_grad,
    )


def dense(tensor: Tensor) -> tuple[Tensor, tuple[int, ...] | None]:
    """Return the numbers of a tensor as contiguous memory, and the strides if it is permuted.

    Permuted memory, such as channels-last, stays as it lies; anything else is made plain.
    """
    data = tensor.detach().resolve_conj().resolve_neg()
    if data.is_contiguous():
        return data, None
    order = sorted(range(data.dim()), key=data.stride, reverse=True)
    if data.permute(order).is_contiguous():
        return data.permute(order), data.stride()
    return data.contiguous(), None


def _dispatches(kind: type) -> bool:
    """Whether a subclass is a shell around other tensors, without memory of its own."""
    return kind.__torch_dispatch__ is not Tensor.__torch_dispatch__  # type: ignore[attr-defined]


def _tensor(
    memory: Any,
    dtype_name: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    requires_grad: bool,
) -> Tensor:
    dtype = getattr(torch, dtype_name)
    if not len(memory):
        tensor = torch.empty(shape, dtype=dtype)
    elif strides is None:
        tensor = torch.frombuffer(memory, dtype=dtype).view(shape)
    else:
        tensor = torch.frombuffer(memory, dtype=dtype).as_strided(shape, strides)
    return tensor.requires_grad_() if requires_grad else tensor


def _as_subclass(plain: Tensor, kind: Any, requires_grad: bool, attributes: dict[str, Any]) -> Any:
    tensor = plain.as_subclass(kind)
    tensor.__dict__.update(attributes)
    return tensor.requires_grad_(requires_grad)
