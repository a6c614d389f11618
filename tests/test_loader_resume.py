"""A saved loader goes on as if nothing had happened: the uninterrupted run is the oracle."""

import io
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from loader_cases import (
    MAP_DATASETS,
    SAMPLERS,
    STREAMS,
    Case,
    build,
    cases,
    difference,
    random_state,
    seed_everything,
)

import dlkit
from dlkit import DataLoader
from dlkit.randomness import get_rng_state, set_rng_state

pytestmark = pytest.mark.filterwarnings("ignore:.*are read again and thrown away")

THE_END = "the end"


def through_a_file(state):
    """What a checkpoint does to a state; only tensors and plain values survive it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def take(iterator, count):
    """Up to `count` batches; the end of the epoch is recorded and is one of them."""
    batches = []
    for _ in range(count):
        batches.append(next(iterator, THE_END))
        if batches[-1] == THE_END:
            break
    return batches


def rest(loader, iterator, epochs):
    """The rest of a running epoch, if any, and some more epochs."""
    batches = [] if iterator is None else take(iterator, 1000)
    for _ in range(epochs):
        batches += take(iter(loader), 1000)
    return batches


def uninterrupted(case, before, position, epochs):
    """Run `before` whole epochs, stop after `position` batches, save, and then go on to the end."""
    seed_everything(case.seed)
    loader = build(case, "dlkit")
    rest(loader, None, before)
    iterator = None if position is None else iter(loader)
    if iterator is not None and THE_END in take(iterator, position):
        iterator = None  # an epoch whose end was seen is over: the state is that between epochs
    saved = through_a_file({"loader": loader.state_dict(), "random": get_rng_state()})
    saved["in epoch"] = iterator is not None
    expected = rest(loader, iterator, epochs)
    return saved, expected, random_state(loader), loader


def continued(loader, saved, epochs):
    """Load a state, and read the rest of its epoch, if it was made in one, and some more epochs."""
    loader.load_state_dict(saved["loader"])
    return rest(loader, iter(loader) if saved["in epoch"] else None, epochs)


positions = st.one_of(st.none(), st.integers(0, 60))
thorough = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Where a stream has no state it is read again, and so are the random numbers it draws.
still = cases(noises=[None])
noisy = cases(datasets=MAP_DATASETS)


def draws_as_it_goes(case):
    """Whether the order is drawn little by little from a global generator, which must be saved."""
    return case.order == "random batches" or (
        case.order in ("sampler", "batches of sampler") and case.sampler == "one by one"
    )


@thorough
@given(case=still | noisy, before=st.integers(0, 1), position=positions)
def test_a_new_loader_with_the_random_state_put_back_goes_on_exactly(case, before, position):
    saved, expected, random_after, _ = uninterrupted(case, before, position, epochs=2)
    seed_everything(case.seed + 12345)
    loader = build(case, "dlkit")
    set_rng_state(saved["random"])
    found = continued(loader, saved, epochs=2)
    assert difference(expected, found) is None
    assert difference(random_after, random_state(loader)) is None


@thorough
@given(case=still, before=st.integers(0, 1), position=st.integers(1, 60))
def test_the_rest_of_the_epoch_needs_no_random_state_but_the_loaders(case, before, position):
    assume(not draws_as_it_goes(case))
    saved, expected, *_ = uninterrupted(case, before, position, epochs=0)
    seed_everything(case.seed + 12345)
    assert difference(expected, continued(build(case, "dlkit"), saved, epochs=0)) is None


@thorough
@given(case=still, position=st.integers(0, 60))
def test_with_a_generator_of_its_own_the_next_epochs_need_no_other_random_state(case, position):
    case.loader_generator, case.shared_generator = True, True
    global_draws = ("random batches", "batches at iter")
    if case.sampler in ("at iter", "one by one") or case.order in global_draws:
        case.sampler, case.order = (
            "random",
            "sampler" if case.dataset not in STREAMS else "in order",
        )
    saved, expected, *_ = uninterrupted(case, 1, position, epochs=2)
    seed_everything(case.seed + 12345)
    assert difference(expected, continued(build(case, "dlkit"), saved, epochs=2)) is None


@thorough
@given(case=still | noisy, position=positions)
def test_the_same_loader_can_be_turned_back(case, position):
    saved, expected, random_after, loader = uninterrupted(case, 0, position, epochs=1)
    set_rng_state(saved["random"])
    found = continued(loader, saved, epochs=1)
    assert difference(expected, found) is None
    assert difference(random_after, random_state(loader)) is None


@thorough
@given(
    case=still,
    stops=st.lists(st.integers(0, 8), min_size=2, max_size=5),
)
def test_saving_and_loading_again_and_again_changes_nothing(case, stops):
    seed_everything(case.seed)
    whole = take(iter(build(case, "dlkit")), 1000)
    seed_everything(case.seed)
    loader, found = build(case, "dlkit"), []
    iterator = iter(loader)
    for stop in stops:
        found += take(iterator, stop)
        if found and found[-1] == THE_END:
            break
        saved = through_a_file({"loader": loader.state_dict(), "random": get_rng_state()})
        seed_everything(case.seed + stop + 1)
        loader = build(case, "dlkit")
        set_rng_state(saved["random"])
        loader.load_state_dict(saved["loader"])
        iterator = iter(loader)
    else:
        found += take(iterator, 1000)
    assert difference(whole, found) is None


@thorough
@given(case=still, position=positions)
def test_asking_for_the_state_changes_neither_batches_nor_random_numbers(case, position):
    seed_everything(case.seed)
    loader = build(case, "dlkit")
    plain = rest(loader, iter(loader), 1)
    random_plain = random_state(loader)

    seed_everything(case.seed)
    loader = build(case, "dlkit")
    loader.state_dict()
    iterator, asked = iter(loader), []
    while not asked or asked[-1] != THE_END:
        loader.state_dict()
        asked += take(iterator, 1)
    loader.state_dict()
    asked += rest(loader, None, 1)
    assert difference(plain, asked) is None
    assert random_plain == random_state(loader)


@thorough
@given(case=still, position=positions)
def test_a_loaded_state_is_given_back_as_it_was(case, position):
    saved, *_ = uninterrupted(case, 0, position, epochs=0)
    loader = build(case, "dlkit")
    loader.load_state_dict(saved["loader"])
    assert difference(through_a_file(loader.state_dict()), saved["loader"]) is None


@thorough
@given(
    # Samplers that draw their whole order at once: two passes that draw from one generator by turns
    # take each other's numbers, which no state of one of them could undo.
    case=cases(
        noises=[None], samplers=["sequential", "random", "subset", "weighted", "list", "at iter"]
    ),
    first=st.integers(0, 6),
    second=st.integers(1, 6),
    behind=st.booleans(),
)
def test_with_several_iterators_the_state_is_that_of_the_newest(case, first, second, behind):
    assume(not draws_as_it_goes(case))
    seed_everything(case.seed)
    loader = build(case, "dlkit")
    older, newer = iter(loader), iter(loader)
    if behind:  # the older one begins to draw only after the newer one
        seen = take(newer, second)
        take(older, first)
    else:
        take(older, first)
        seen = take(newer, second)
    assume(THE_END not in seen)
    saved = through_a_file({"loader": loader.state_dict(), "random": get_rng_state()})
    expected = take(newer, 1000)
    loader = build(case, "dlkit")
    set_rng_state(saved["random"])
    loader.load_state_dict(saved["loader"])
    assert difference(expected, take(iter(loader), 1000)) is None


def test_a_loaded_state_is_kept_for_another_try_where_workers_cannot_be_started(monkeypatch):
    loader = DataLoader(range(12), 2, shuffle=True, num_workers=1, worker_method="thread")
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    rest = [batch.tolist() for batch in batches]
    loader.load_state_dict(state)
    with monkeypatch.context() as patched:
        patched.setattr(dlkit.loader, "start_pool", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            iter(loader)
    assert [batch.tolist() for batch in loader] == rest


def test_an_iterator_that_begins_late_does_not_take_the_loaded_state_from_the_one_it_is_for():
    case = Case(dataset="tensors", n=12, batch_size=2, loader_generator=True)
    saved, expected, *_ = uninterrupted(case, 0, 2, epochs=0)
    loader = build(case, "dlkit")
    loader.load_state_dict(saved["loader"])
    resumed, fresh = iter(loader), iter(loader)
    next(fresh)
    assert difference(expected, take(resumed, 1000)) is None


@pytest.mark.parametrize("workers", [(0, 2), (2, 0), (2, 2), (2, 1)])
@pytest.mark.parametrize(
    "order", ["in order", "shuffle", "lists", "at iter", "own generator", "replacement"]
)
def test_a_state_moves_to_another_number_of_workers(workers, order):
    case = Case(dataset="tensors", n=40, batch_size=3, draws=70, loader_generator=True)
    if order in SAMPLERS:
        case.order, case.sampler = "sampler", order
    else:
        case.order = order
    seed_everything(0)
    loader = build(case, "dlkit", num_workers=workers[0])
    iterator = iter(loader)
    take(iterator, 4)
    saved = through_a_file(loader.state_dict())
    expected = take(iterator, 1000)
    seed_everything(1)
    loader = build(case, "dlkit", num_workers=workers[1])
    loader.load_state_dict(saved)
    assert difference(expected, take(iter(loader), 1000)) is None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_continues_at_every_position_of_two_epochs(sampler):
    case = Case(dataset="range", n=9, order="sampler", sampler=sampler, draws=36, batch_size=4)
    for before in (0, 1):
        for position in [None, *range(11)]:
            saved, expected, *_ = uninterrupted(case, before, position, epochs=1)
            set_rng_state(saved["random"])
            found = continued(build(case, "dlkit"), saved, epochs=1)
            assert difference(expected, found) is None, (before, position)


SCRIPT = """
import sys, torch
sys.path.insert(0, {folder!r})
from loader_cases import Case, build
loader = build(Case(dataset="tensors", n=50, batch_size=4, sampler_generator=True,
                    order="sampler", sampler={sampler!r}, draws=50, seed=99), "dlkit")
loader.load_state_dict(torch.load({path!r}, weights_only=True))
torch.save(list(loader) + list(loader), {out!r})
"""


@pytest.mark.parametrize("sampler", ["random", "weighted", "own generator"])
def test_another_process_goes_on_where_this_one_stopped(tmp_path, sampler):
    case = Case(
        dataset="tensors", n=50, batch_size=4, sampler_generator=True,
        order="sampler", sampler=sampler, draws=50,
    )  # fmt: skip
    loader = build(case, "dlkit")
    iterator = iter(loader)
    take(iterator, 5)
    path, out = str(tmp_path / "state.pt"), str(tmp_path / "batches.pt")
    torch.save(loader.state_dict(), path)
    expected = list(iterator) + list(loader)
    script = SCRIPT.format(folder=sys.path[0], sampler=sampler, path=path, out=out)
    script = script.replace(sys.path[0], __file__.rpartition("test_loader_resume")[0])
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
    assert difference(expected, torch.load(out, weights_only=True)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"n": 10}, {"batch_size": 3}, {"batch_size": None}, {"drop_last": True},
        {"dataset": "samples"}, {"order": "in order"},
        {"order": "sampler", "sampler": "weighted"},
    ],
    ids=str,
)  # fmt: skip
def test_a_state_of_another_loader_is_refused_and_changes_nothing(change):
    case = Case(dataset="tensors", n=12, batch_size=2, loader_generator=True)
    saved, *_ = uninterrupted(case, 0, 2, epochs=0)
    other = Case(**{**vars(case), **change})
    loader, untouched = build(other, "dlkit"), build(other, "dlkit")
    with pytest.raises(ValueError, match="state"):
        loader.load_state_dict(saved["loader"])
    seed_everything(0)
    found = rest(loader, None, 2)
    seed_everything(0)
    assert difference(rest(untouched, None, 2), found) is None


@pytest.mark.parametrize("state", [{}, {"epoch": None}, None, 5, [], {"loader": {}}])
def test_what_is_no_state_is_refused(state):
    loader = build(Case(dataset="tensors", n=12), "dlkit")
    with pytest.raises((ValueError, TypeError)):
        loader.load_state_dict(state)
    assert len(list(loader)) == 6


def test_reading_a_stream_again_is_said_and_one_with_a_state_is_not_read_again():
    case = Case(dataset="stream", n=12, order="in order", batch_size=2)
    saved, expected, *_ = uninterrupted(case, 0, 3, epochs=0)
    loader = build(case, "dlkit")
    loader.load_state_dict(saved["loader"])
    with warnings.catch_warnings():
        warnings.resetwarnings()
        with pytest.warns(UserWarning, match="3 batches are read again"):
            iterator = iter(loader)
    assert difference(expected, take(iterator, 100)) is None
