"""A check survives whatever an answer does, and says what that was."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from dlkit.lab.exercises import Progress, exercise, find, grading
from dlkit.lab.exercises.runner import ZYGOTE, run
from dlkit.lab.exercises.values import plain, read_plain, same, show


@pytest.fixture
def task(tmp_path):
    return exercise("index_batches", progress=Progress(tmp_path))


def endless(n, batch_size, drop_last):
    while True:
        pass


def recursion(n, batch_size, drop_last):
    return recursion(n, batch_size, drop_last)


def exits(n, batch_size, drop_last):
    sys.exit(3)


def dies(n, batch_size, drop_last):
    os._exit(3)


def waits(n, batch_size, drop_last):
    threading.Event().wait()


def hoards(n, batch_size, drop_last):
    return bytearray(4 << 30)


def generates(n, batch_size, drop_last):
    yield [0]


def interrupts(n, batch_size, drop_last):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("answer", "broken", "said"),
    [
        (endless, "timeout", "a loop whose condition never turns false"),
        (recursion, "raised", "RecursionError"),
        (exits, "exit", "sys.exit(3)"),
        (dies, "died", "its process ended"),
        (waits, "stuck", "waits for something that never happens"),
        (hoards, "memory", "more than 1 GiB"),
        (generates, "iterator", "not for a generator"),
        (interrupts, "raised", "KeyboardInterrupt"),
        (lambda: 3, "raised", "takes 0 positional arguments"),
    ],
)
def test_a_bad_answer_ends_in_a_verdict_that_names_what_it_did(task, answer, broken, said):
    verdict = task.check(answer)
    assert (verdict.passed, verdict.broken) == (False, broken)
    assert said in verdict.message
    assert task.check(find("index_batches").reference).passed


def test_a_changed_argument_is_a_verdict_of_its_own():
    def changes(rows, padding):
        longest = max(map(len, rows))
        for row in rows:
            row += [padding] * (longest - len(row))
        return rows, [[True] * longest for _ in rows]

    verdict = grading.check(find("pad_and_mask"), changes)
    assert verdict.broken == "mutated"
    assert "work on a copy" in verdict.message


def test_megabytes_of_printing_are_counted_and_cut(task):
    right = find("index_batches").reference

    def talks(n, batch_size, drop_last):
        print("x" * 3_000_000)
        os.write(1, b"y" * 100_000)
        return right(n, batch_size, drop_last)

    verdict = task.check(talks)
    assert verdict.passed
    assert "1000 of 3,000,001 characters" in verdict.message
    assert len(verdict.message) < 2000


def test_nothing_that_an_answer_patches_makes_it_right(task):
    def cheats(n, batch_size, drop_last):
        import torch.utils.data

        import dlkit.lab.exercises.child as child
        import dlkit.lab.exercises.grading as grading
        import dlkit.lab.exercises.values as values

        grading.check = grading.grade = child.same = values.same = lambda *a, **k: True
        torch.utils.data.BatchSampler = lambda *a: []
        find("index_batches").properties.clear()
        return []

    assert not task.check(cheats).passed
    assert find("index_batches").properties


def test_an_object_that_claims_to_equal_everything_does_not(task):
    class Liar:
        def __eq__(self, other):
            return True

        def __iter__(self):
            return iter([])

    assert not task.check(lambda n, b, d: Liar()).passed
    assert not same([[0]], Liar())
    assert show(plain(Liar())) == "<Liar>"


def test_only_plain_data_is_read_back():
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.system, ("true",)

    with pytest.raises(pickle.UnpicklingError, match="no plain data"):
        read_plain(pickle.dumps(Bomb()))


def test_lists_tuples_arrays_and_tensors_are_equal_by_value():
    import numpy as np
    import torch

    for form in ([1, 2], (1, 2), np.array([1, 2]), torch.tensor([1.0, 2.0]), range(1, 3)):
        assert same([1, 2], form), form
    assert not same([1, 2], [1, 2, 3])
    assert not same([1, 2], "12")
    assert not same({"a": 1}, {"b": 1})
    assert same(float("nan"), float("nan"))
    assert not same(True, "True")


def test_the_smallest_failing_case_is_shown_and_can_be_replayed(task):
    def breaks_at_two(n, batch_size, drop_last):
        print("n is", n)
        return find("index_batches").reference(n, batch_size, drop_last) if n < 2 else []

    verdict = task.check(breaks_at_two)
    assert verdict.counterexample.arguments == {"n": 2, "batch_size": 1, "drop_last": False}
    assert verdict.counterexample.expected == [[0], [1]]
    assert verdict.counterexample.got == []
    for text in ("n=2, batch_size=1", "expected  [[0], [1]]", "got       []", "broken", "n is 2"):
        assert text in verdict.message
    again = task.replay()
    assert again.counterexample.number == verdict.counterexample.number
    assert task.replay(find("index_batches").reference).passed
    assert verdict.picture.caption == (
        "expected 2 batches with 2 indices; yours 0 batches with 0 indices"
    )


def test_hints_grow_concrete_and_a_solution_must_be_asked_for_twice(task, tmp_path):
    hints = [task.hint().text for _ in range(4)]
    assert [hint[:11] for hint in hints[:3]] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3"]
    assert "last hint" in hints[3]
    assert "def " not in task.solution().text
    assert find("index_batches").solution in task.solution().text
    events = [event.event for event in Progress(tmp_path).events()]
    assert events == ["hint", "hint", "hint", "solution"]
    assert "Nothing to replay" in task.replay().text


def test_a_task_is_shown_escaped(task):
    shown = task._repr_html_()
    assert "<code>drop_last=True</code>" in shown
    assert "-&gt;" in shown
    assert "<script" not in shown
    assert "raise NotImplementedError" in repr(task)


def test_what_cannot_be_checked_is_an_error(task):
    with pytest.raises(TypeError, match="answer must be a function or class, but got 3"):
        task.check(3)
    with pytest.raises(ValueError, match=r"name must be that of an exercise, such as .*index_b"):
        exercise("index_batch")


def test_an_answer_that_cannot_be_sent_is_told_so(task):
    lock = threading.Lock()
    verdict = task.check(lambda n, b, d: lock)
    assert verdict.broken == "unpicklable"
    assert "stands on its own" in verdict.message


def test_no_process_is_left_after_checks_and_none_after_the_end(task):
    task.check(endless)
    zygote = psutil.Process(ZYGOTE._process.pid)
    assert wait_until(lambda: not zygote.children())
    ZYGOTE.stop()
    assert not psutil.pid_exists(zygote.pid) or zygote.status() == psutil.STATUS_ZOMBIE
    assert task.check(find("index_batches").reference).passed  # and it starts again


def test_a_kernel_that_is_killed_leaves_no_process():
    code = (
        "from dlkit.lab.exercises.runner import ZYGOTE\n"
        "connection, pid = ZYGOTE.child()\n"
        "print(ZYGOTE._process.pid, pid, flush=True)\n"
        "input()\n"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with kernel:
        pids = [int(pid) for pid in kernel.stdout.readline().split()]
        kernel.kill()
    assert wait_until(lambda: not any(map(alive, pids)))


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_one_answer_that_dies_costs_the_others_nothing():
    item = find("count_batches")
    outcomes = run(item, [dies, item.reference, exits, item.reference], range(4))
    assert [len(seen) for seen in outcomes] == [1, 4, 1, 4]
    assert [seen[0].kind for seen in outcomes] == ["died", "value", "exit", "value"]
