"""Ranks started by `launch`: what they exchange, and what happens when one fails."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

import ddp_cases as cases
import psutil
import pytest
import torch
from torch import distributed

from dlkit import ddp
from dlkit.ddp.context import from_environment
from dlkit.ddp.meeting import meet
from dlkit.ddp.same_data import digest

RANKS = 3
launching = sys.modules[ddp.launch.__module__]  # the function hides the module of its name


@pytest.fixture(scope="module")
def answers():
    return ddp.launch(cases.every_answer, world_size=RANKS, timeout=300, device="cpu")


def of_all(answers, name):
    return [answer[name] for answer in answers]


def test_each_rank_knows_its_place(answers):
    assert of_all(answers, "place") == [(rank, RANKS, rank, "gloo", RANKS) for rank in range(RANKS)]


def test_sums_are_over_all_ranks(answers):
    assert all(torch.equal(value, torch.tensor([3, 3])) for value in of_all(answers, "sum"))
    assert of_all(answers, "total") == [{"samples": 6.0, "loss": 1.5}] * RANKS


def test_a_mean_is_weighted_by_samples_and_one_of_no_samples_is_refused(answers):
    assert of_all(answers, "mean") == [(1 * 10 + 2 * 20) / 30] * RANKS
    assert {kind for kind, _ in of_all(answers, "no samples")} == {"ValueError"}


def test_values_of_all_ranks_and_of_the_first_reach_all(answers):
    assert of_all(answers, "gather") == [[{"rank": rank} for rank in range(RANKS)]] * RANKS
    assert of_all(answers, "first") == ["of rank 0"] * RANKS


def test_tensors_of_different_length_are_gathered_whole(answers):
    for value in of_all(answers, "uneven"):
        expected = [torch.arange(2 * rank).reshape(rank, 2) for rank in range(RANKS)]
        assert [v.tolist() for v in value] == [e.tolist() for e in expected]
    assert [v.dtype for v in answers[0]["bf16"]] == [torch.bfloat16] * RANKS
    assert [v.tolist() for v in answers[1]["bf16"]] == [[], [1.0], [2.0, 2.0]]


def test_tensors_that_do_not_fit_are_refused_on_every_rank(answers):
    for kind, text in of_all(answers, "mixed"):
        assert kind == "ValueError"
        assert "rank 0 has [2, 1] of torch.float32; rank 1 has [2, 2]" in text


def test_ranks_draw_different_numbers_and_rank_0_those_of_a_run_without_ranks(answers):
    seeds, numbers = zip(*of_all(answers, "seed"), strict=True)
    assert seeds[0] == 7
    assert len(set(numbers)) == RANKS
    torch.manual_seed(7)
    assert numbers[0] == float(torch.rand(()))


def test_an_inner_process_group_is_the_outer_one(answers):
    assert of_all(answers, "nested") == [True] * RANKS


def test_join_keeps_ranks_in_step_and_weighs_by_samples(answers):
    none, two, three = of_all(answers, "join")
    assert none == [(1, 0.0)] * 3
    assert two == [(4, 3 * 4 / 8), (4, 3 * 4 / 8), (1, 0.0)]
    assert three == [(4, 3 * 4 / 8), (4, 3 * 4 / 8), (2, 3 * 2 / 2)]


def test_weighted_gradients_of_ddp_are_the_mean_over_samples(answers):
    for found, expected in of_all(answers, "gradients"):
        assert torch.allclose(found, expected, atol=1e-7)


def test_equal_datasets_have_one_digest_and_different_ones_are_told_by_rank(answers):
    assert len(set(of_all(answers, "same"))) == 1
    for kind, text in of_all(answers, "another"):
        assert kind == "MismatchedDataError"
        assert "data must be the same on all ranks" in text
        assert "ranks 0, 1: TensorDataset of 9 samples" in text
        assert "; rank 2: TensorDataset of 9 samples" in text
    for kind, text in of_all(answers, "longer"):
        assert kind == "MismatchedDataError"
        assert "ranks 0, 2: list of 9 samples" in text
        assert "rank 1: list of 10 samples" in text


def test_samples_that_differ_by_chance_are_not_taken_for_another_dataset(answers):
    assert of_all(answers, "noisy") == [True] * RANKS


def test_training_data_that_is_not_dealt_out_is_refused(answers):
    for kind, text in of_all(answers, "not dealt"):
        assert kind == "ValueError"
        assert "all samples to each of 3 ranks" in text


def test_evaluating_on_padded_shards_is_warned_of(answers):
    for (message,) in of_all(answers, "padded"):
        assert message.startswith("1 samples are evaluated twice")


def test_a_batch_is_no_larger_than_fits_on_the_device_with_least_room(answers):
    assert of_all(answers, "fits") == [(20, 20)] * RANKS


def test_rank_0_alone_draws_a_progress_bar(answers):
    first, *others = of_all(answers, "bar")
    assert "tqdm" in first
    assert others == ["range"] * (RANKS - 1)


def test_all_ranks_change_the_batch_size_together_though_they_wish_differently(answers):
    assert of_all(answers, "wishes") == [[8] * 5 + [24, 24, 8]] * RANKS


def test_a_batch_that_does_not_fit_on_one_rank_is_an_error_on_all_of_them(answers):
    said = ("MemoryError", "a batch of 4 samples does not fit into memory")
    assert of_all(answers, "full") == [said] * RANKS


# ---- a digest ---------------------------------------------------------------------------------


class Rows(torch.utils.data.Dataset):
    def __init__(self, *values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return {"x": torch.tensor(self.values[index]), "name": "a"}


def test_a_digest_sees_content_order_and_subset():
    base = cases.blobs(20)
    subset = torch.utils.data.Subset
    both = torch.utils.data.ConcatDataset([base, base])
    found = [
        digest(base), digest(cases.blobs(20, seed=1)), digest(subset(base, [0, 1])),
        digest(subset(base, [1, 0])), digest(both), digest(Rows(1, 2)), digest(Rows(2, 1)),
        digest(Rows()), digest(base.tensors[0]), digest(torch.tensor(1.0)),
    ]  # fmt: skip
    assert len({code for code, _ in found}) == len(found)
    assert all(steady for _, steady in found)
    assert digest(cases.blobs(20)) == digest(base)


def test_a_digest_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    expected = float(torch.rand(()))
    torch.manual_seed(1)
    assert digest(cases.Noisy())[1] is False
    torch.manual_seed(1)
    digest(Rows(1, 2))
    assert float(torch.rand(())) == expected


# ---- launch -----------------------------------------------------------------------------------


@pytest.fixture
def nothing_left(answers):  # by the launch of which the fork server is there, to stay
    before = (psutil.Process().num_fds(), len(psutil.Process().children(recursive=True)))
    yield
    after = (psutil.Process().num_fds(), len(psutil.Process().children(recursive=True)))
    assert after == before


def test_a_function_of_a_cell_runs_and_sees_what_is_defined_there(nothing_left, capfd):
    class Pair:
        def __init__(self, value):
            self.value = value

    factor = 10

    def square(pair):
        print("from a rank")
        print("a complaint", file=sys.stderr)
        os.write(1, b"native\n")
        return Pair(factor * pair.value ** (ddp.current().rank + 1))

    results = ddp.launch(square, Pair(3), world_size=2, timeout=120, device="cpu")
    assert [result.value for result in results] == [30, 90]
    printed, complaints = capfd.readouterr()
    assert sorted(printed.split("\n")) == sorted(
        ["", *(f"[rank {r}] {text}" for r in (0, 1) for text in ("from a rank", "native"))]
    )
    assert Counter(complaints.splitlines())["[rank 1] a complaint"] == 1


def test_of_a_line_that_is_written_over_only_the_latest_text_is_kept(capfd):
    def draw():
        for percent in range(101):
            sys.stderr.write(f"\r{percent:3}%" + 10_000 * "#")
        sys.stderr.write("\rdone\n")

    ddp.launch(draw, world_size=1, timeout=120, device="cpu")
    assert capfd.readouterr().err == "[rank 0] done\n"


def test_each_rank_has_a_copy_of_its_own_of_the_arguments():
    def change(tensor):
        tensor.add_(ddp.current().rank + 1)
        ddp.barrier(60.0)
        return tensor

    given = torch.zeros(100_000)  # large enough for shared memory, if anybody used it
    results = ddp.launch(change, given, world_size=2, timeout=120, device="cpu")
    assert [float(result[0]) for result in results] == [1.0, 2.0]
    assert float(given.sum()) == 0.0


def test_an_abort_at_the_end_of_the_interpreter_does_not_spoil_a_good_run():
    def good():
        atexit.register(os.abort)
        return "done"

    assert ddp.launch(good, world_size=2, timeout=120, device="cpu") == ["done", "done"]


def test_ranks_are_forked_from_a_server_of_their_own_that_has_what_they_need():
    forkserver.ensure_running()  # as a loader does; this one does not know of ranks

    def prepared():
        return os.getppid(), "torchmetrics.classification" in sys.modules

    (server, ready), other = ddp.launch(prepared, world_size=2, timeout=120, device="cpu")
    assert ready
    assert other == (server, True)
    assert server in {child.pid for child in psutil.Process().children()}


class NoLabelError(Exception):
    def __init__(self, index, *, file):
        super().__init__(f"sample {index} of {file}")
        self.index = index


def fails_on_rank_1(how):
    if ddp.current().rank == 1:
        how()
    distributed.all_reduce(torch.ones(1))  # rank 0 waits here for one that never comes


def raise_it():
    raise NoLabelError(3, file="a.png")


def test_an_exception_comes_back_with_its_type_its_rank_and_its_traceback(nothing_left):
    with pytest.raises(NoLabelError, match=r"sample 3 of a\.png") as caught:
        ddp.launch(fails_on_rank_1, raise_it, world_size=2, timeout=120, device="cpu")
    assert caught.value.index == 3
    (note,) = caught.value.__notes__
    assert note.startswith("raised in rank 1; its traceback:")
    assert "raise NoLabelError(3" in note


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL; most often"),
        (lambda: os._exit(3), "exit code 3: it called sys.exit or os._exit"),
        (os.abort, "killed by SIGABRT; native code aborted"),
    ],
    ids=["killed", "exits", "aborts"],
)
def test_the_death_of_a_rank_is_said_at_once_with_its_likely_cause(how, words, nothing_left):
    with pytest.raises(ddp.RankDiedError, match="rank 1 .*" + words):
        ddp.launch(fails_on_rank_1, how, world_size=2, timeout=120, device="cpu")


def test_what_a_rank_exits_with_is_its_failure():
    with pytest.raises(SystemExit, match="enough"):
        ddp.launch(fails_on_rank_1, lambda: sys.exit("enough"), world_size=2, timeout=120)


def hang_here(say=lambda: None):
    say()
    threading.Event().wait()


def returns_but_for_rank_1(file):
    if ddp.current().rank == 1:
        hang_here(file.touch)


def test_a_rank_that_hangs_is_named_with_the_place_where_it_is(nothing_left, monkeypatch, tmp_path):
    listen, file, hours = launching._listen, tmp_path / "rank 1 hangs", 0.0

    def listen_and_let_time_pass(ranks, until):
        nonlocal hours
        listen(ranks, until)
        if any(rank.has_returned for rank in ranks) and file.exists():
            hours = 7200.0

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + hours)
    monkeypatch.setattr(launching, "_listen", listen_and_let_time_pass)
    monkeypatch.setattr(launching, "time", clock)
    with pytest.raises(ddp.RankTimeoutError) as caught:
        ddp.launch(returns_but_for_rank_1, file, world_size=2, timeout=3600, device="cpu")
    assert "rank 1 had not returned after 3600 s, while rank 0 had" in str(caught.value)
    assert "in hang_here" in caught.value.__notes__[0]


def test_a_collective_that_times_out_names_the_rank_that_is_missing(nothing_left):
    with pytest.raises(ddp.MissingRankError, match="rank 1 does not answer any more") as caught:
        ddp.launch(
            fails_on_rank_1, hang_here, world_size=2, timeout=120, operation_timeout=8,
            device="cpu",
        )  # fmt: skip
    assert caught.value.missing == [1]
    assert "in hang_here" in caught.value.__notes__[-1]


def barrier_without_rank_2():
    if ddp.current().rank == 2:
        hang_here()
    ddp.barrier(2.0)


def test_a_barrier_names_the_rank_that_does_not_come():
    with pytest.raises(ddp.MissingRankError, match="rank 2 did not reach barrier 1 within 2 s"):
        ddp.launch(barrier_without_rank_2, world_size=3, timeout=120, device="cpu")


PARENT = """
    import os, sys, threading
    from pathlib import Path
    from dlkit import ddp

    def wait_for_ever(folder):
        (Path(folder) / str(os.getpid())).touch()
        threading.Event().wait()

    if __name__ == "__main__":
        for folder in sys.argv[1:]:
            try:
                ddp.launch(wait_for_ever, folder, world_size=2, device="cpu")
            except KeyboardInterrupt:
                print("interrupted", flush=True)
"""


def test_ranks_end_with_the_launch_that_is_interrupted_and_with_the_process_that_is_killed(
    tmp_path,
):
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    numbers = (signal.SIGINT, signal.SIGKILL)
    folders = [tmp_path / number.name for number in numbers]
    for folder in folders:
        folder.mkdir()
    parent = subprocess.Popen(
        [sys.executable, script, *folders], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for number, folder in zip(numbers, folders, strict=True):
        while len(os.listdir(folder)) < 2:
            assert parent.poll() is None, parent.stderr.read()
            time.sleep(0.01)
        ranks = [psutil.Process(int(name)) for name in os.listdir(folder)]
        (server,) = {rank.parent() for rank in ranks}
        parent.send_signal(number)
        _, alive = psutil.wait_procs(ranks, timeout=60)
        assert not alive
    assert parent.communicate(timeout=60)[0] == "interrupted\n"
    assert not psutil.wait_procs([server], timeout=60)[1]  # it ends with its process


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"function": 3}, TypeError, "function must be callable, but got 3"),
        ({"world_size": 0}, ValueError, "world_size must be a positive integer, but got 0"),
        ({"world_size": True}, ValueError, "world_size"),
        ({"timeout": 0}, ValueError, "timeout must be above 0 seconds, but got 0"),
        ({"timeout": "1"}, ValueError, "timeout must be above 0 seconds, but got '1'"),
        ({"operation_timeout": -1}, ValueError, "operation_timeout must be above 0"),
        ({"operation_timeout": None}, ValueError, "operation_timeout must be above 0"),
        ({"device": "tpu"}, ValueError, "device must be 'auto', 'cpu' or 'cuda', but got 'tpu'"),
    ],
    ids=str,
)
def test_a_bad_argument_of_launch_is_named(arguments, error, words):
    given = {"function": int, "world_size": 1, **arguments}
    function = given.pop("function")
    with pytest.raises(error, match=words):
        ddp.launch(function, **given)


# ---- without ranks, and with a wrong environment ----------------------------------------------


def test_one_process_without_ranks_needs_nothing(monkeypatch):
    monkeypatch.setenv("RANK", "")  # is as good as not set
    with ddp.process_group("cpu") as place:
        assert (place.rank, place.world_size, place.is_distributed) == (0, 1, False)
    batches = [torch.zeros(4, 1), torch.zeros(3, 1)]
    assert [(len(batch), weight) for batch, weight in ddp.join(batches)] == [(4, 1.0), (3, 1.0)]
    ddp.barrier()


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def environment(rank, world_size, port):
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip


@pytest.fixture
def as_rank(monkeypatch):
    def be(rank, world_size, port):
        for name, value in environment(rank, world_size, port).items():
            monkeypatch.setenv(name, value)

    return be


def test_a_port_that_is_taken_is_said_to_be(as_rank):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        as_rank(0, 1, taken.getsockname()[1])
        words = f"port {taken.getsockname()[1]} of 127.0.0.1 is taken"
        with pytest.raises(ddp.RendezvousError, match=words), ddp.process_group("cpu", timeout=30):
            pass
    assert not distributed.is_initialized()


def test_a_world_size_that_is_too_large_names_the_ranks_that_did_not_come(as_rank):
    as_rank(0, 3, free_port())
    words = "ranks 1 and 2 of 3 did not come .* within 1 s.*WORLD_SIZE=3"
    with pytest.raises(ddp.MissingRankError, match=words), ddp.process_group("cpu", timeout=1):
        pass


def test_nobody_at_the_address_is_said_to_be_so(as_rank):
    as_rank(1, 2, free_port())
    words = "rank 1 could not reach 127.0.0.1:"
    with pytest.raises(ddp.RendezvousError, match=words), ddp.process_group("cpu", timeout=1):
        pass


def met_by_threads(*ranks, timeout=4.0, port=None):
    """Let several ranks meet in one process; return what each got.

    With a port, a store is served there already, as by torchrun's agent.
    """
    found = {}
    served = {} if port is None else {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    port = port or free_port()

    def one(place, rank, world_size):
        environ = environment(rank, world_size, port) | served
        try:
            found[place] = meet(rank, world_size, environ, timeout)
        except (ddp.RendezvousError, ddp.MissingRankError) as error:
            found[place] = error

    threads = [
        threading.Thread(target=one, args=(place, *rank)) for place, rank in enumerate(ranks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[place] for place in range(len(ranks))]


def test_ranks_that_were_told_different_world_sizes_say_so():
    first, second = met_by_threads((0, 2), (1, 3))
    assert "rank 1 was refused: it was started with WORLD_SIZE=3, rank 0 with WORLD_SIZE=2" in str(
        second
    )
    assert "rank 1 of 2 did not come" in str(first)
    assert "(rank 1 came with WORLD_SIZE=3)" in str(first)


def test_two_processes_with_one_rank_are_found_out():
    found = met_by_threads((0, 2), (1, 2), (1, 2), timeout=20.0)
    refused = [str(one) for one in found if isinstance(one, ddp.RendezvousError)]
    assert refused == ["rank 1 is here already: two processes were started with RANK=1"]


def test_a_store_that_remembers_an_earlier_session_does_not_confuse_the_next():
    server = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for world_size in (3, 2, 1):  # as after restarts by torchrun, whose agent serves the store
        found = met_by_threads(
            *((rank, world_size) for rank in range(world_size)), timeout=60.0, port=server.port
        )
        assert len({meeting.session for meeting in found}) == 1
        assert [meeting.rank for meeting in found] == list(range(world_size))


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"RANK": "0"}, "WORLD_SIZE must be set where RANK is"),
        ({"WORLD_SIZE": "2"}, "RANK must be set"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK must be a whole number from 0, but is 'x'"),
        ({"RANK": "²", "WORLD_SIZE": "2"}, "RANK must be a whole number from 0, but is '²'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK must be from 0 to WORLD_SIZE - 1 = 1, but is 2"),
        (
            {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"},
            "LOCAL_RANK=1 must be below LOCAL_WORLD_SIZE=1",
        ),
    ],
    ids=str,
)
def test_an_environment_that_contradicts_itself_is_refused(environ, words):
    with pytest.raises(ValueError, match=words):
        from_environment(environ, "cpu")


def test_an_address_that_is_missing_or_no_port_is_refused(as_rank, monkeypatch):
    as_rank(0, 1, 99)
    for port, words in (("x", "MASTER_PORT must be a number"), ("", "MASTER_PORT must be set")):
        monkeypatch.setenv("MASTER_PORT", port)
        with pytest.raises(ddp.RendezvousError, match=words), ddp.process_group("cpu", timeout=1):
            pass


def test_ranks_without_a_gpu_each_are_told_how_many_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    environ = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}
    on = [
        str(from_environment({**environ, "RANK": r, "LOCAL_RANK": r}, "auto").device) for r in "03"
    ]
    assert on == ["cpu", "cpu"]
    two = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "LOCAL_RANK": "1"}
    assert str(from_environment(two, "auto").device) == "cuda:1"
    with pytest.raises(ValueError, match="a GPU for each of the 4 ranks of this host, which has 2"):
        from_environment({**environ, "RANK": "2", "LOCAL_RANK": "2"}, "cuda")


def test_a_process_group_leaves_no_thread_of_gloo_behind(as_rank):
    as_rank(0, 1, free_port())
    with ddp.process_group("cpu", timeout=60):
        assert float(ddp.sum_over_ranks(torch.ones(()))) == 1.0
    assert not distributed.is_initialized()
    threads = Path("/proc/self/task").glob("*/comm")
    assert not [thread for thread in threads if "gloo" in thread.read_text()]
