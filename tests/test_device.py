"""Pinning and moving batches: what can be checked without an accelerator."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import pytest
import torch
from torch.utils import data as torch_data
from torch.utils.data._utils.pin_memory import pin_memory as torch_pin_memory

import dlkit
from dlkit.device import DeviceAhead, pin_memory, to_device
from dlkit.structure import map_structure
from tests.structures import assert_same

Point = namedtuple("Point", ["x", "y"])


class Pinnable:
    """Stands for a tensor: PyTorch's way to pin a batch of a type of one's own."""

    def __init__(self, name: str, pinned: bool = False) -> None:
        self.name, self.pinned = name, pinned

    def pin_memory(self) -> "Pinnable":
        return Pinnable(self.name, True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pinnable) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class PinnableDict(dict[str, Any]):
    """A container that pins itself."""

    def pin_memory(self) -> "PinnableDict":
        return PinnableDict(self, pinned=True)


@pytest.mark.parametrize(
    "batch",
    [
        Pinnable("alone"),
        {"a": [PinnableDict(x=Pinnable("x"))]},
        [Pinnable("a"), 1, "text", b"bytes", None],
        (Pinnable("a"), (Pinnable("b"),)),
        {"a": Pinnable("a"), "b": [Pinnable("b")]},
        OrderedDict(z=Pinnable("z"), a=2),
        Point(Pinnable("x"), [Pinnable("y")]),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_everything_that_pytorch_pins_is_pinned(batch: Any) -> None:
    assert_same(pin_memory(batch), torch_pin_memory(batch))


@dataclass
class Scene:
    image: Any
    name: str


def test_dataclasses_are_walked_through() -> None:
    assert pin_memory(Scene(Pinnable("a"), "b")) == Scene(Pinnable("a", True), "b")


def test_moving_keeps_the_structure_and_leaves_the_rest() -> None:
    moved = to_device({"x": [torch.ones(2), "name"], "y": Scene(torch.zeros(1), "s")}, "meta")
    assert moved["x"][0].device.type == "meta"
    assert moved["y"].image.device.type == "meta"
    assert [moved["x"][1], moved["y"].name] == ["name", "s"]


def test_a_container_that_moves_itself_is_asked_to() -> None:
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(2), torch.ones(1)])
    moved = to_device({"packed": packed, "scene": Moving("pageable")}, "meta")
    assert moved["packed"].data.device.type == "meta"
    assert moved["packed"].batch_sizes.tolist() == [2, 1], "what has to stay on the host does"
    assert moved["scene"] == Moving("meta")


@dataclass
class Moving:
    place: str

    def to(self, device: str) -> "Moving":
        return Moving(device)


@pytest.mark.parametrize("data", [[1, [2, (3,)]], {"a": {"b": 1}}, Point(1, 2), "text"])
def test_mapping_the_identity_changes_nothing(data: Any) -> None:
    assert map_structure(lambda part: part, data) == data
    assert type(map_structure(lambda part: part, data)) is type(data)


class PinnedDataset:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Pinnable:
        return Pinnable(str(index))


def test_a_loader_pins_its_batches_where_there_is_an_accelerator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    loader = dlkit.DataLoader(PinnedDataset(), 2, pin_memory=True, collate_fn=list)
    assert [[p.pinned for p in batch] for batch in loader] == [[True, True], [True]]


def test_a_loader_does_not_pin_on_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    loader = dlkit.DataLoader(PinnedDataset(), 2, pin_memory=True, collate_fn=list)
    with pytest.warns(UserWarning, match="MPS"):
        assert [[p.pinned for p in batch] for batch in loader] == [[False, False], [False]]


class Stream:
    """Stands for an accelerator's stream: notes what it is asked."""

    def __init__(self, *_: Any) -> None:
        self.recorded = 0
        self.waited_for: list[Any] = []

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None: ...

    def record_event(self) -> str:
        self.recorded += 1
        return f"copy {self.recorded} is done"

    def wait_event(self, event: str) -> None:
        self.waited_for.append(event)


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """An accelerator whose copies are notes ("copy of", batch); returns its computing stream."""
    stream = Stream()
    monkeypatch.setattr(torch, "Stream", Stream)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: stream)
    monkeypatch.setattr(dlkit.device, "_pinned", lambda batch: batch)
    monkeypatch.setattr(dlkit.device, "to_device", lambda batch, device: ["copy of", batch])
    return stream


def test_one_batch_is_copied_ahead_and_waited_for_when_it_is_handed_out(computing: Stream) -> None:
    read: list[str] = []
    source = iter([lambda name=name: (read.append(name), name)[1] for name in "abc"])
    ahead = DeviceAhead(source, torch.device("cuda"))
    first = next(ahead)
    assert read == ["a", "b"]
    assert computing.waited_for == []
    assert first() == ["copy of", "a"]
    assert computing.waited_for == ["copy 1 is done"], "and not for the copy of b"
    assert [get() for get in ahead] == [["copy of", "b"], ["copy of", "c"]]


def test_an_error_is_raised_in_its_turn_and_later_batches_follow(computing: Stream) -> None:
    def fail() -> None:
        raise ValueError("the second")

    ahead = DeviceAhead(iter([lambda: "a", fail, lambda: "c"]), torch.device("cuda"))
    assert next(ahead)() == ["copy of", "a"]
    with pytest.raises(ValueError, match="the second"):
        next(ahead)()
    assert next(ahead)() == ["copy of", "c"]
    assert list(ahead) == []


def test_a_source_that_fails_itself_loses_no_batch(computing: Stream) -> None:
    class Late:
        """Has its second batch only when it is asked again, as workers that miss a time-out."""

        def __init__(self) -> None:
            self.answers = iter(["a", TimeoutError("not yet"), "b"])

        def __iter__(self) -> "Late":
            return self

        def __next__(self) -> Any:
            answer = next(self.answers)
            if isinstance(answer, Exception):
                raise answer
            return lambda: answer

    ahead = DeviceAhead(Late(), torch.device("cuda"))
    with pytest.raises(TimeoutError):
        next(ahead)
    assert [get()[1] for get in ahead] == ["a", "b"]


def test_a_source_may_end_by_stop_iteration(computing: Stream) -> None:
    batches = iter("ab")
    ahead = DeviceAhead(repeat(lambda: next(batches)), torch.device("cuda"))
    assert [get()[1] for get in ahead] == ["a", "b"]


def test_where_nothing_is_copied_nothing_is_read_ahead() -> None:
    read: list[int] = []
    source = (lambda k=k: read.append(k) for k in range(3))
    next(DeviceAhead(source, torch.device("cpu")))()
    assert read == [0]


@pytest.mark.parametrize("options", [{}, {"num_workers": 2, "worker_method": "thread"}], ids=str)
def test_the_state_counts_delivered_batches_though_one_is_copied_ahead(
    computing: Stream, options: dict[str, Any]
) -> None:
    loader = dlkit.DataLoader(range(10), 2, shuffle=True, device="cuda:0", **options)
    batches = iter(loader)
    for _ in range(2):
        next(batches)
    assert loader.last_indices is not None
    state = loader.state_dict()
    rest = [batch[1].tolist() for batch in batches]
    loader.load_state_dict(state)
    assert [batch[1].tolist() for batch in loader] == rest
    assert len(rest) == 3


class Stated(torch_data.IterableDataset[Any]):
    """A stream whose state holds something that could be pinned and moved."""

    def __iter__(self) -> Any:
        return iter([Pinnable(str(number)) for number in range(4)])

    def state_dict(self) -> dict[str, Any]:
        return {"noise": Pinnable("state"), "tensor": torch.zeros(2)}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@pytest.mark.parametrize("workers", [0, 2])
def test_the_state_of_a_stream_is_not_pinned_with_its_batches(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    loader = dlkit.DataLoader(
        Stated(), 2, num_workers=workers, worker_method="thread", pin_memory=True, collate_fn=list
    )
    assert all(part.pinned for part in next(iter(loader)))
    state = loader.state_dict()["epoch"]
    saved = state["shares"][0]["state"] if workers else state["stream"]
    assert saved["noise"] == Pinnable("state")


def test_what_came_with_a_batch_stays_where_it_is_when_the_batch_is_copied(
    monkeypatch: pytest.MonkeyPatch, computing: Stream
) -> None:
    monkeypatch.setattr(dlkit.device, "to_device", lambda batch, device: to_device(batch, "meta"))
    loader = dlkit.DataLoader(Stated(), 2, device="cuda:0", collate_fn=lambda s: torch.ones(2))
    assert next(iter(loader)).device.type == "meta"
    assert loader.state_dict()["epoch"]["stream"]["tensor"].device.type == "cpu"
