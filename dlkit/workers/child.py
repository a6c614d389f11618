"""The inside of a worker process: tasks come in by a socket, parcels go out by it.

main process --tasks, returned slots--> work() --parcels, descriptors of new slots--> main process
"""

import contextlib
import gc
import os
import pickle
import signal
import socket
import struct
from collections.abc import Iterator
from typing import Any

import torch

from dlkit.collate import default as collate_registry
from dlkit.failures import Failure
from dlkit.memory import keep_freed_memory
from dlkit.workers.info import set_process_info, worker_info
from dlkit.workers.interface import Position
from dlkit.workers.lifeline import die_with, end_watcher
from dlkit.workers.parcel import Packer, Parcel
from dlkit.workers.shared_memory import Handle, Slot
from dlkit.workers.traced import process_tools
from dlkit.workers.worker import Fetcher, WorkerSetup, seed_globally

HEADER = struct.Struct("<I")  # length of the message that follows
BATCH, ERROR, END = range(3)  # END: of the worker's share of an iterable dataset


def work(number: int, connection: socket.socket, lifeline: socket.socket, inherited: Any) -> None:
    """Be worker `number`: prepare, then answer tasks until the connection is closed.

    Args:
        number: from 0.
        connection: to the main process.
        lifeline: closed when the main process is gone.
        inherited: its `value` is a `WorkerSetup`.
    """
    setup: WorkerSetup = inherited.value
    # First of all: a forked process in which OpenMP had run before hangs at more than one thread.
    torch.set_num_threads(1)
    # Ctrl-C reaches all processes of a terminal; the main one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(lifeline)
    keep_freed_memory()
    # A worker may itself iterate over a loader with workers, which multiprocessing forbids daemons.
    import multiprocessing.process

    multiprocessing.process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    gc.freeze()  # what was inherited is not looked through, and so its pages stay shared
    collate_registry._registry.update(setup.registry)

    seed = seed_globally(setup, number)
    set_process_info(worker_info(number, setup.size, seed, setup.dataset))
    packer, fetcher = process_tools(setup, number)
    started = None
    try:
        if setup.init_fn is not None:
            setup.init_fn(number)
    except Exception as error:
        started = error
    try:
        with contextlib.suppress(ConnectionError):  # the main process has closed or ended
            _serve(connection, packer, fetcher, number, started)
    finally:
        gc.unfreeze()  # else libraries count what is frozen as leaked when the process ends


def _serve(
    connection: socket.socket,
    packer: Packer,
    fetcher: Fetcher,
    worker: int,
    started: Exception | None,
) -> None:
    """Answer one task after another."""
    current, ended = 0, False
    for message in _messages(connection):
        if isinstance(message[1], Position):
            current, position = message
            fetcher.begin(position, current)
            ended = False
            continue
        task_number, task, returned = message
        packer.ring.take_back(returned)
        if ended:  # every task is answered, so that the loader knows how many are on their way
            _answer(connection, packer, (current, task_number, END, None), None)
            continue

        def make(task: Any = task, number: int = task_number) -> Any:
            if started is not None:
                raise started
            return fetcher.fetch(task, number)

        slot, parcel = None, None
        try:
            kind, (parcel, slot) = BATCH, packer.pack(make)
        except StopIteration:
            kind, ended = END, True
        except Exception as error:
            failure = Failure.of(error, f"DataLoader worker process {worker}")
            kind, (parcel, slot) = ERROR, _packed(failure, packer)
        _answer(connection, packer, (current, task_number, kind, parcel), slot)


def _packed(failure: Failure, packer: Packer) -> tuple[Parcel, Slot | None]:
    """Pack a failure, without a slot where what has failed is making one."""
    try:
        return packer.pack(lambda: failure)
    except MemoryError:
        return Parcel(pickle.dumps(failure, protocol=5), [], None, 0), None


def _messages(connection: socket.socket) -> Iterator[Any]:
    """Yield what the main process sends, until it closes the connection."""
    stream = connection.makefile("rb")
    hung_up = end_watcher(connection)
    while True:
        try:
            message = pickle.load(stream)
        except (EOFError, ConnectionError):
            return
        if hung_up():
            return  # nobody waits for this batch any more
        yield message


def _answer(
    connection: socket.socket,
    packer: Packer,
    answer: tuple[int, int, int, Parcel | None],
    slot: Slot | None,
) -> None:
    """Send an answer, with the descriptor of its slot if the main process has not got it yet."""
    announced: tuple[Handle | None, int] | None = None
    descriptor: int | None = None
    if slot is not None:
        packer.ring.lend(slot)
        if slot.handle is not None:
            descriptor = slot.handle if isinstance(slot.handle, int) else None
            announced = (slot.handle, len(slot.memory))
            slot.handle = None
    retired, packer.ring.retired = packer.ring.retired, []
    data = pickle.dumps((*answer, announced, retired), protocol=5)
    data = HEADER.pack(len(data)) + data
    if descriptor is None:
        connection.sendall(data)
        return
    sent = socket.send_fds(connection, [data], [descriptor])
    connection.sendall(data[sent:])
    os.close(descriptor)
