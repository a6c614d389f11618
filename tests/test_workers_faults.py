"""Whatever happens to workers ends in words or is survived, and never leaves anything behind.

The first part draws faults at random; the second names the ways in which workers have been seen to
fail, and the third looks at what happens when nothing fails for long.
"""

import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch.utils import data as torch_data
from worker_cases import Gate, children, descriptors, eventually, nothing_left, runs

import dlkit
from dlkit.streaming import SimulatedClock
from dlkit.workers import processes, sending, threads
from dlkit.workers.remote import HELD

# ---- random faults ------------------------------------------------------------------------------

DEADLY = {"kill": "killed by SIGKILL", "exit": "exit code 3", "sys.exit": "exit code 4"}
KINDS = [*DEADLY, "stop", "raise", "unpicklable", "memory", "interrupt"]


@dataclass
class Plan:
    """A loader, and what happens to it where, as plain data."""

    kind: str
    at: int  # the sample whose reading it happens in
    times: int
    n: int
    numbers: int  # in each sample; more than 128 of them travel in slots
    batch_size: int
    stream: bool
    arguments: dict

    @property
    def restarts(self):
        return self.arguments.get("restart_workers", 0)

    @property
    def skips(self):
        return self.arguments.get("on_error") == "skip"

    @property
    def in_threads(self):
        return self.arguments["worker_method"] == "thread"


def draw_plan(rng):
    kind = rng.choice(KINDS)
    n = rng.randint(1, 60)
    threads = kind in ("raise", "interrupt", "sys.exit") and rng.random() < 0.4
    arguments = {
        "num_workers": rng.randint(1, 3),
        "prefetch_factor": rng.randint(1, 3),
        "worker_method": "thread" if threads else "process",
        "persistent_workers": rng.random() < 0.5,
        "in_order": rng.random() < 0.8,
    }
    times = 1
    if kind in DEADLY and not threads and rng.random() < 0.6:
        arguments["restart_workers"] = rng.randint(1, 3)
        times = rng.randint(1, arguments["restart_workers"] + 1)
    if kind == "raise" and rng.random() < 0.5:
        arguments["on_error"] = "skip"
        times = rng.randint(1, 2)  # a sample that failed is read once more, alone
    if kind == "stop":
        arguments["timeout"] = 0.3
    return Plan(
        kind=kind,
        at=rng.randrange(n),
        times=times,
        n=n,
        numbers=rng.choice([1, 100, 5_000]),
        batch_size=rng.randint(1, 6),
        stream=rng.random() < 0.35,
        arguments=arguments,
    )


class Unpicklable:
    pass


class Faulty:
    """Reads sample k as k, k, k, ...; at one of them the fault strikes, so many times."""

    def __init__(self, plan, folder):
        self.plan, self.folder, self.main = plan, folder, os.getpid()

    def __len__(self):
        return self.plan.n

    def __getitem__(self, index):
        if index == self.plan.at and any(self._first_to_make(k) for k in range(self.plan.times)):
            return self._strike()
        return torch.full((self.plan.numbers,), index)

    def _first_to_make(self, name):
        # A file is made by one process only, and outlives a worker that dies.
        try:
            os.close(os.open(f"{self.folder}/{name}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def _strike(self):
        match self.plan.kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "sys.exit":
                sys.exit(4)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "raise":
                raise ValueError("a fault")
            case "unpicklable":
                return Unpicklable()
            case "memory":
                _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
            case "interrupt":
                eventually(lambda: sleeps(self.main), "waiting in the main process")
                os.kill(self.main, signal.SIGINT)
        return torch.full((self.plan.numbers,), self.plan.at)


def sleeps(pid):
    """Whether the main thread of a process waits for something."""
    stat = Path(f"/proc/{pid}/task/{pid}/stat").read_text()
    return stat.rpartition(") ")[2].startswith("S")


class FaultyStream(torch_data.IterableDataset):
    """The same as a stream that goes on after an error; each worker reads its share."""

    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        info = torch_data.get_worker_info()
        return Share(self.samples, info.id, info.num_workers)


class Share:
    def __init__(self, samples, at, step):
        self.samples, self.at, self.step = samples, at, step

    def __iter__(self):
        return self

    def __next__(self):
        if self.at >= len(self.samples):
            raise StopIteration
        self.at += self.step
        return self.samples[self.at - self.step]


def collate(samples):
    if any(isinstance(sample, Unpicklable) for sample in samples):
        return threading.Lock()
    return dlkit.default_collate(samples)


def consume(loader):
    """All batches of a pass as lists of sample numbers, and the errors that came between them."""
    batches, errors = [], []
    iterator = iter(loader)
    try:
        while True:
            try:
                batch = next(iterator)
            except (dlkit.WorkerDiedError, dlkit.WorkerTimeoutError):
                raise
            except StopIteration:
                return batches, errors
            except Exception as error:
                errors.append(error.with_traceback(None))
            else:
                assert (batch == batch[:, :1]).all(), "a batch was written over"
                batches.append(batch[:, 0].tolist())
    except AssertionError:
        raise
    except BaseException as error:  # an interrupt may also come between two batches
        errors.append(error.with_traceback(None))
        return batches, errors


def check_outcome(plan, batches, errors, loader):
    """Compare what came out with what is promised."""
    found = Counter(itertools.chain(*batches))
    whole = Counter(range(plan.n))
    assert found <= whole, "a sample came twice"
    chunks = [
        list(range(k, min(k + plan.batch_size, plan.n))) for k in range(0, plan.n, plan.batch_size)
    ]
    struck = next(chunk for chunk in chunks if plan.at in chunk)
    in_order = plan.arguments["in_order"] and not plan.stream
    if in_order and not plan.skips:
        expected = iter(chunks)  # what came is a part of them, in their order
        assert all(batch in expected for batch in batches)
    lost = whole - found
    kinds = [type(error) for error in errors]
    if plan.kind in DEADLY and plan.in_threads:
        assert kinds == [SystemExit]
    elif plan.kind in DEADLY and plan.restarts >= plan.times:
        assert kinds == []
        assert not lost
    elif plan.kind in DEADLY:
        assert kinds == [dlkit.WorkerDiedError]
        assert DEADLY[plan.kind] in str(errors[0])
        assert plan.at in lost
    elif plan.kind == "stop":
        assert kinds == [dlkit.WorkerTimeoutError]
    elif plan.kind == "interrupt":
        assert kinds == [KeyboardInterrupt]
    elif plan.kind == "raise" and plan.skips:
        assert kinds == []
        if plan.times == 1 and not plan.stream:
            assert not lost
            assert loader.errors == []
        else:
            assert lost == Counter([plan.at])
            (left_out,) = loader.errors
            assert left_out.index == (None if plan.stream else plan.at)
            assert str(left_out.exception) == "a fault"
    elif plan.kind == "memory":
        assert all(kind is MemoryError for kind in kinds)
        assert all("no shared memory for a batch" in str(error) for error in errors)
        assert not lost or errors
    else:  # one batch fails, and all others come
        assert kinds == [ValueError if plan.kind == "raise" else TypeError]
        if plan.stream:
            assert plan.at in lost
            assert lost.total() <= plan.batch_size
        else:
            assert sorted(lost) == struck


@pytest.fixture
def fast_closing(monkeypatch):
    """Workers that hang are killed soon, and Ctrl-C is what it is in a terminal."""
    monkeypatch.setattr(processes, "_PATIENCE", 0.3)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("chunk", range(20))
def test_every_random_fault_ends_in_words_or_is_survived(chunk, tmp_path, fast_closing):
    rng = random.Random(chunk)
    for number in range(10):
        plan = draw_plan(rng)
        folder = tmp_path / str(number)
        folder.mkdir()
        with nothing_left():
            dataset = Faulty(plan, folder)
            if plan.stream:
                dataset = FaultyStream(dataset)
            loader = dlkit.DataLoader(
                dataset, plan.batch_size, collate_fn=collate, **plan.arguments
            )
            try:
                batches, errors = consume(loader)
                check_outcome(plan, batches, errors, loader)
                struck = sum(1 for _ in folder.iterdir())
                if plan.kind not in ("memory", "stop") and struck == plan.times:
                    batches, errors = consume(loader)  # and now the same loader without a fault
                    assert not errors
                    assert Counter(itertools.chain(*batches)) == Counter(range(plan.n))
            except BaseException as error:
                error.add_note(f"fault {number} of chunk {chunk}: {plan}")
                raise
            del dataset, loader, batches, errors


# ---- ways to fail that have names ---------------------------------------------------------------


class Held:
    """A range in which reading index `held` waits at a gate."""

    def __init__(self, n, gate, held=0):
        self.n, self.gate, self.held = n, gate, held

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.held:
            self.gate.wait()
        return index


def lists(loader):
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("arguments", [{}, {"pin_memory": True}])
def test_a_death_is_noticed_within_a_second_while_no_batch_is_there(arguments, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: bool(arguments))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    delays = []
    for _ in range(3):  # the best of three: others use the machine too
        with nothing_left(), Gate() as gate:
            loader = dlkit.DataLoader(Held(9, gate), num_workers=1, **arguments)
            batches = iter(loader)
            gate.await_arrivals()
            (pid,), times = children(), []
            killer = threading.Thread(target=kill_while_waiting, args=(pid, times))
            killer.start()
            with pytest.raises(RuntimeError, match=r"worker 0 \(pid \d+\) .* killed by SIGKILL"):
                next(batches)
            delays.append(time.monotonic() - times[0])
            killer.join()
            del batches, loader, killer
    assert min(delays) < 1


def kill_while_waiting(pid, times):
    """Kill a worker as soon as the main process waits, and note when."""
    eventually(lambda: sleeps(os.getpid()), "waiting in the main process")
    times.append(time.monotonic())
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("stream", [False, True])
def test_idle_persistent_workers_that_died_are_reported_and_then_replaced(stream):
    with nothing_left():
        dataset = PlainStream(9) if stream else range(9)
        loader = dlkit.DataLoader(dataset, 2, num_workers=2, persistent_workers=True)
        whole = lists(loader)
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(dlkit.WorkerDiedError, match="SIGKILL"):
            lists(loader)
        assert lists(loader) == whole
        del loader


class PlainStream(torch_data.IterableDataset):
    """A range, of which each worker reads its share."""

    def __init__(self, n, at=None, strike=None):
        self.n, self.at, self.strike = n, at, strike

    def __iter__(self):
        info = torch_data.get_worker_info()
        for index in range(info.id, self.n, info.num_workers):
            if index == self.at:
                self.strike()
            yield index


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("at", [0, 7, 19])
def test_a_stream_goes_on_after_a_death_without_losing_or_repeating_a_sample(workers, at, tmp_path):
    def strike():
        with suppress(FileExistsError):
            (tmp_path / "struck").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)

    whole = lists(dlkit.DataLoader(PlainStream(20), 3, num_workers=workers))
    with nothing_left():
        loader = dlkit.DataLoader(
            PlainStream(20, at, strike), 3, num_workers=workers, restart_workers=1
        )
        assert lists(loader) == whole
        assert lists(loader) == whole
        assert (tmp_path / "struck").exists()
        del loader


class Poison:
    def __init__(self, n, at):
        self.n, self.at = n, at

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.at:
            os._exit(9)
        return index


def test_a_sample_that_kills_every_worker_ends_the_pass_after_the_promised_restarts():
    with nothing_left():
        loader = dlkit.DataLoader(Poison(20, 9), 2, num_workers=2, restart_workers=3)
        batches = iter(loader)
        assert [next(batches).tolist() for _ in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
        with pytest.raises(dlkit.WorkerDiedError, match=r"exit code 9.*restart_workers=3"):
            next(batches)
        del loader, batches


@pytest.mark.parametrize("way", ["process", "thread"])
def test_persistent_workers_go_on_after_a_time_out(way):
    with Gate() as gate, nothing_left():
        loader = dlkit.DataLoader(
            Held(6, gate), 2, num_workers=2, persistent_workers=True, timeout=0.1,
            worker_method=way,
        )  # fmt: skip
        for _ in range(2):
            with pytest.raises(dlkit.WorkerTimeoutError, match="timed out after"):
                lists(loader)
            gate.open()
        assert eventually(partial(comes_whole, loader, [[0, 1], [2, 3], [4, 5]], gate))
        del loader


def comes_whole(loader, expected, gate):
    """Whether a whole pass comes; late batches of earlier passes may still use up the time."""
    gate.open()
    try:
        return lists(loader) == expected
    except dlkit.WorkerTimeoutError:
        return False


@pytest.mark.parametrize("way", ["process", "thread"])
@pytest.mark.parametrize("persistent", [False, True])
def test_after_an_interrupt_in_a_loop_the_same_loader_is_used_again(way, persistent, fast_closing):
    with nothing_left():
        loader = dlkit.DataLoader(
            Interrupting(12, os.getpid()), 2, num_workers=2, persistent_workers=persistent,
            worker_method=way,
        )  # fmt: skip
        for _ in range(2):
            loader.dataset.armed[0] = 1
            with pytest.raises(KeyboardInterrupt):
                lists(loader)
            state = loader.state_dict()
            head = state["epoch"]["batches"]
            assert head <= 3
            loader.load_state_dict(state)
            assert lists(loader) == [[k, k + 1] for k in range(2 * head, 12, 2)]
            assert lists(loader) == [[k, k + 1] for k in range(0, 12, 2)]
        del loader


class Interrupting:
    """Sends Ctrl-C to the main process when it reads index 5, if it is armed."""

    def __init__(self, n, main):
        self.n, self.main, self.armed = n, main, torch.zeros(1).share_memory_()

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == 5 and self.armed[0]:
            self.armed[0] = 0
            eventually(lambda: sleeps(self.main), "waiting in the main process")
            os.kill(self.main, signal.SIGINT)
        return index


class Forks:
    """A worker's first sample forks a child, which holds all that it has inherited, and waits."""

    def __init__(self, n, gate, ends):
        self.n, self.gate, self.ends = n, gate, ends

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == 0:
            child = os.fork()
            if child == 0:
                self.gate.wait()
                os._exit(0)
        elif index == 2 and self.ends:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


@pytest.mark.parametrize("ends", [True, False])
def test_a_child_that_outlives_its_worker_hides_neither_its_death_nor_its_end(ends):
    with nothing_left(), Gate() as gate:
        loader = dlkit.DataLoader(Forks(6, gate, ends), num_workers=1)
        if ends:
            with pytest.raises(dlkit.WorkerDiedError, match="SIGKILL"):
                lists(loader)
        else:
            assert lists(loader) == [[k] for k in range(6)]
        gate.open()
        del loader


def test_closing_while_a_worker_is_in_a_long_sample_kills_it_after_its_patience(fast_closing):
    with nothing_left(), Gate() as gate:
        batches = iter(dlkit.DataLoader(Held(9, gate, held=4), 2, num_workers=2))
        next(batches)
        gate.await_arrivals()
        pids = list(children())
        del batches
        assert not any(runs(pid) for pid in pids)


def test_a_stopped_worker_is_killed_when_the_loader_is_closed(fast_closing):
    with nothing_left():
        batches = iter(dlkit.DataLoader(range(100), 2, num_workers=2))
        next(batches)
        pids = list(children())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        del batches
        assert not any(runs(pid) for pid in pids)


def test_a_worker_that_dies_while_batches_are_pinned_is_reported(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    pinning = Gate()

    def pin(tensor):
        pinning.wait()
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    with nothing_left():
        batches = iter(dlkit.DataLoader(range(100), 2, num_workers=2, pin_memory=True))
        pinning.await_arrivals()
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        pinning.open(1000)
        with pytest.raises(dlkit.WorkerDiedError, match="SIGKILL"):
            list(batches)
        with pytest.raises(dlkit.WorkerDiedError, match="SIGKILL"):
            next(batches)
        del batches
    pinning.close()


def test_too_many_open_files_are_an_error_in_words_and_not_the_end_of_the_loader():
    code = """
        import os, resource, torch, dlkit
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        loader = dlkit.DataLoader(torch.zeros(40, 9_000), 2, num_workers=2)
        assert len(list(loader)) == 20
        batches = iter(loader)
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        try:
            list(batches)
        except Exception as error:
            print(type(error).__name__, error)
        del batches
        for descriptor in taken:
            os.close(descriptor)
        print(len(list(loader)))
    """
    done = python(code)
    first, second = done.stdout.splitlines()
    assert "open files" in first
    assert second == "20"
    assert done.stderr == ""


def python(code, **arguments):
    """Run some lines in an interpreter of their own."""
    lines = "\n".join(line.removeprefix("        ") for line in code.splitlines())
    return subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, timeout=120, **arguments
    )


class Sums(torch_data.Dataset):
    """The sum of each of some tensors, as the worker sees them."""

    def __init__(self, tensors):
        self.tensors = tensors

    def __len__(self):
        return len(self.tensors)

    def __getitem__(self, index):
        return self.tensors[index].sum(), self.tensors[index].numel()


def test_without_room_in_dev_shm_every_tensor_arrives_as_itself(monkeypatch):
    monkeypatch.setattr(sending, "_room_for_sharing", lambda: 0)
    whole = torch.arange(60_000)
    strided = [torch.full((60_000,), value)[::2] for value in range(6)]
    data = Sums([*strided, whole[:30_000], whole, whole[::2], whole.view(200, 300).T])
    loader = dlkit.DataLoader(data, None, num_workers=1, multiprocessing_context="forkserver")
    expected = [(int(tensor.sum()), tensor.numel()) for tensor in data.tensors]
    assert [(int(total), size) for total, size in loader] == expected


def test_a_full_dev_shm_stops_nothing():
    code = """
        import torch, dlkit
        loader = dlkit.DataLoader(torch.zeros(12, 1_000_000), 4, num_workers=2)
        print(sum(batch.nbytes for batch in loader))
    """
    tiny = [
        "unshare",
        "-m",
        "sh",
        "-c",
        'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$0" "$@"',
    ]
    if subprocess.run([*tiny, "true"], capture_output=True).returncode:
        pytest.skip("only root may mount a small /dev/shm")
    lines = "\n".join(line.removeprefix("        ") for line in code.splitlines())
    done = subprocess.run(
        [*tiny, sys.executable, "-c", lines], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "48000000", done.stderr


# ---- the end of the main process ----------------------------------------------------------------

MAIN = """
import os, sys, time
import multiprocessing.process
import torch, dlkit

def say(*pids):
    os.write(1, f"{' '.join(map(str, pids))}\\n".encode())  # whole, whoever else writes

class Slow:
    def __len__(self):
        return 100
    def __getitem__(self, index):
        if index >= 4:
            time.sleep(1000)
        return torch.zeros(10_000)

class Quick(Slow):
    def __getitem__(self, index):
        return torch.zeros(10_000)

class Nested(Slow):
    def __getitem__(self, index):
        inner = iter(dlkit.DataLoader(Quick(), 2, num_workers=2, prefetch_factor=1))
        next(inner)
        say(os.getpid(), *(p.pid for p in multiprocessing.process.active_children()))
        time.sleep(1000)

if __name__ == "__main__":
    how, method = sys.argv[1:]
    dataset = {"asleep": Slow, "idle": Quick, "two": Slow, "nested": Nested}[how]()
    arguments = dict(num_workers=2, multiprocessing_context=method)
    loaders = [iter(dlkit.DataLoader(dataset, 2, **arguments))]
    if how == "two":
        loaders.append(iter(dlkit.DataLoader(Quick(), 2, **arguments)))
    if how != "nested":
        kept = [next(loader) for loader in loaders]
    say(*(p.pid for p in multiprocessing.process.active_children()))
    time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("how", "method", "sent"),
    [
        *[("asleep", method, signal.SIGKILL) for method in ("fork", "spawn", "forkserver")],
        *[(how, "fork", signal.SIGKILL) for how in ("idle", "two", "nested")],
        *[(how, "fork", signal.SIGTERM) for how in ("asleep", "nested")],
    ],
)
def test_no_worker_and_no_segment_outlives_a_main_process_that_is_killed(
    how, method, sent, tmp_path
):
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    before = set(os.listdir("/dev/shm"))
    command = [sys.executable, str(script), how, method]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as main:
        try:
            lines = [main.stdout.readline() for _ in range(3 if how == "nested" else 1)]
            pids = {int(word) for line in lines for word in line.split()}
            assert len(pids) == {"two": 4, "nested": 6}.get(how, 2)
            assert all(runs(pid) for pid in pids)
            main.send_signal(sent)
            assert main.wait() == -sent
        finally:
            main.kill()  # it would sleep on after a failure, and be waited for
    eventually(lambda: not any(runs(pid) for pid in pids), "the end of the workers")
    more = set(os.listdir("/dev/shm")) - before
    assert not [name for name in more if "dlkit" in name]


# ---- when nothing fails for long ----------------------------------------------------------------


def test_a_loader_that_waits_leaves_the_processor_alone():
    this_thread = time.pthread_getcpuclockid(threading.get_ident())
    with nothing_left(), Gate() as gate:
        batches = iter(dlkit.DataLoader(Held(9, gate), num_workers=2))
        gate.await_arrivals()
        workers = [psutil.Process(pid) for pid in children()]

        def used():
            return sum(sum(w.cpu_times()[:2]) for w in workers) + time.clock_gettime(this_thread)

        def end_of_waiting():  # before there is work to do
            spent.append(used() - started)
            gate.open()

        spent, started = [], used()
        opens = threading.Timer(2, end_of_waiting)
        opens.start()
        next(batches)
        opens.join()
        assert spent[0] < 0.02 * 2
        del batches


@pytest.mark.parametrize("persistent", [False, True])
def test_descriptors_and_slots_stay_as_many_over_thousands_of_batches(persistent):
    with nothing_left():
        data = torch.arange(100_000).reshape(1000, 100).repeat(1, 2)
        loader = dlkit.DataLoader(data, 1, num_workers=2, persistent_workers=persistent)
        seen = []
        for _ in range(2):
            for number, batch in enumerate(loader):
                assert batch.shape == (1, 200)
                if number in (50, 500, 950):
                    pids = list(children())
                    seen.append(
                        (
                            descriptors().total(),
                            *(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
                            loader_slots(pids),
                        )
                    )
        del batch
        # Slots are made when the user and the worker need one more at once, which settles soon.
        assert {entry[:-1] for entry in seen} == {seen[0][:-1]}
        assert all(slots <= 2 * (2 + HELD + 1) for *_, slots in seen)
        del loader


def loader_slots(pids):
    """How many slots the workers have mapped."""
    return sum(Path(f"/proc/{pid}/maps").read_text().count("memfd:dlkit") for pid in pids)


@pytest.mark.parametrize("factor", [2, 40])
def test_passes_that_are_begun_and_dropped_a_thousand_times_block_nobody(factor):
    with nothing_left():
        loader = dlkit.DataLoader(
            torch.zeros(4000, 300),
            2,
            num_workers=1,
            persistent_workers=True,
            prefetch_factor=factor,
        )
        for _ in range(1000):
            iter(loader)
        assert sum(1 for _ in loader) == 2000
        assert loader._pool.shared_bytes <= loader.memory_bound()
        del loader


def test_large_tasks_and_many_buffers_never_make_both_ends_wait_for_each_other():
    loader = dlkit.DataLoader(
        Sparse(), 5000, num_workers=1, prefetch_factor=60, collate_fn=list,
        sampler=range(1_000_000, 1_200_000),
    )  # fmt: skip
    with nothing_left():
        assert sum(len(batch) for batch in loader) == 200_000


class Sparse:
    """A dataset with large indices, each of whose samples travels as a buffer of its own."""

    def __len__(self):
        return 10_000_000

    def __getitem__(self, index):
        return torch.full((150,), index)


def test_a_replacement_that_cannot_be_started_ends_the_pass_in_words(monkeypatch):
    def fail(self, worker):
        raise OSError("no more processes")

    loader = dlkit.DataLoader(Dies(), 1, num_workers=1, restart_workers=3)
    with nothing_left():
        batches = iter(loader)
        monkeypatch.setattr(processes.Processes, "_start", fail)
        with pytest.raises(dlkit.WorkerDiedError, match=r"code 7.*another one failed.*no more"):
            list(batches)
        del batches


def test_threads_that_hang_are_waited_for_together_and_not_one_after_another(monkeypatch):
    class Hangs:
        def join(self, timeout):
            clock.advance(timeout)

    clock = SimulatedClock()
    monkeypatch.setattr(threads, "time", SimpleNamespace(monotonic=clock.now))
    threads._close([], [Hangs() for _ in range(8)], threading.Event())
    assert clock.now() == threads._PATIENCE


def test_threads_that_cannot_all_be_started_are_all_ended(monkeypatch):
    start = threading.Thread.start

    def fail(thread):
        if thread.name == "dlkit worker 2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    width = torch.get_num_threads()
    loader = dlkit.DataLoader(range(6), num_workers=3, worker_method="thread")
    with nothing_left(), pytest.raises(RuntimeError, match="new thread"):
        iter(loader)
    assert torch.get_num_threads() == width


class Dies:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os._exit(7)


def test_prefetching_nothing_is_refused_when_workers_are_to_fetch():
    loader = dlkit.DataLoader(range(4), num_workers=1, prefetch_factor=0)
    with nothing_left(), pytest.raises(ValueError, match="prefetch_factor must be 1 or more"):
        iter(loader)
