"""Training on several ranks is the training of one process, and can change their number."""

from collections import Counter
from pathlib import Path

import ddp_cases as cases
import pytest
import torch

from dlkit import ddp
from dlkit.trainer import Trainer

WORLDS = (2, 3)
SIZED = ("size by epoch", "size by noise")
KINDS = ("even", "uneven", "accumulated", "fewer samples than ranks", "bf16", *SIZED)


@pytest.fixture(scope="module")
def alone():
    """What one process comes to, with batches as large as those of all ranks together."""
    return {
        "even": cases.trained(48, 12),
        "uneven": cases.trained(cases.SAMPLES, 12),
        "accumulated": cases.trained(cases.SAMPLES, 24),
        "fewer samples than ranks": cases.trained(2, 4),
        "bf16": cases.trained(48, 12, autocast="bf16"),
        "size by epoch": cases.trained(cases.SAMPLES, 12, schedule=cases.by_epoch(1)),
        "size by noise": cases.trained(cases.SAMPLES, 12, schedule=cases.by_noise(1)),
    }


@pytest.fixture(scope="module")
def by_world():
    return {
        world: ddp.launch(cases.every_training, world_size=world, timeout=300, device="cpu")
        for world in WORLDS
    }


def close(some, others, tolerance=1e-5):
    return all(torch.allclose(a, b, atol=tolerance) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", WORLDS)
def test_ranks_come_to_the_weights_of_one_process_with_the_whole_batch(
    world, kind, by_world, alone
):
    expected = alone[kind]
    tolerance = 2e-2 if kind == "bf16" else 1e-5  # bf16 has three digits, and sums in another order
    for rank in by_world[world]:
        assert close(rank[kind]["weights"], expected["weights"], tolerance)
        assert rank[kind]["samples"] == expected["samples"]
        assert close([rank[kind]["outputs"]], [expected["outputs"]], 10 * tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", WORLDS)
def test_all_ranks_have_the_same_weights_momentum_and_history_bit_for_bit(world, kind, by_world):
    first, *others = (rank[kind] for rank in by_world[world])
    for other in others:
        for what in ("weights", "momentum"):
            assert all(map(torch.equal, first[what], other[what]))
        assert other["history"] == first["history"]


def test_the_history_is_that_of_one_process(by_world, alone):
    for world in WORLDS:
        rows = by_world[world][0]["uneven"]["history"]
        for row, expected in zip(rows, alone["uneven"]["history"], strict=True):
            assert row == pytest.approx(expected, abs=1e-5)
            assert row["batch_size"] == 12


def test_accuracy_is_the_same_number_to_the_last_digit_with_1_2_and_3_ranks(by_world, alone):
    for place in range(cases.EPOCHS):
        expected = alone["uneven"]["history"][place]["val_accuracy"]
        found = [by_world[world][0]["uneven"]["history"][place]["val_accuracy"] for world in WORLDS]
        assert found == [expected, expected]


def sizes_of(ranks, epoch):
    """Samples of all ranks together in each step of an epoch."""
    sizes = Counter()
    for rank in ranks:
        for of_epoch, step, indices in rank["seen"]:
            if of_epoch == epoch:
                sizes[step] += len(indices)
    return [sizes[step] for step in sorted(sizes)]


@pytest.mark.parametrize("kind", SIZED)
def test_a_batch_size_that_changes_is_the_same_for_all_ranks_together(kind, by_world, alone):
    expected = [sizes_of([alone[kind]], epoch) for epoch in range(1, cases.EPOCHS + 1)]
    assert expected[0][0] == 12
    assert {size for sizes in expected for size in sizes[:-1]} > {12}
    if kind == "size by epoch":
        assert expected[1:] == [[24, 24, 2], [6] * 8 + [2]]
    for world in WORLDS:
        ranks = [rank[kind] for rank in by_world[world]]
        found = [sizes_of(ranks, epoch) for epoch in range(1, cases.EPOCHS + 1)]
        assert found == expected


@pytest.mark.parametrize("kind", ["even", "uneven", "accumulated", *SIZED])
@pytest.mark.parametrize("world", WORLDS)
def test_in_every_epoch_each_sample_is_learned_from_once(world, kind, by_world):
    n = 48 if kind == "even" else cases.SAMPLES
    for epoch in range(1, cases.EPOCHS + 1):
        seen = [
            index
            for rank in by_world[world]
            for of_epoch, _, indices in rank[kind]["seen"]
            if of_epoch == epoch
            for index in indices
        ]
        assert sorted(seen) == list(range(n))


def test_a_run_goes_from_3_ranks_to_2_to_1_in_mid_epoch_and_loses_nothing(tmp_path):
    checkpoint = str(tmp_path / "run.pt")
    legs = ddp.launch(cases.leg, checkpoint, 4, 7, world_size=3, timeout=300, device="cpu")
    seen = [step for steps, _, _ in legs for step in steps]
    saved = torch.load(checkpoint, weights_only=True)
    assert (saved["epoch"], saved["global_step"]) == (1, 6)  # in the middle of the second
    legs = ddp.launch(cases.leg, checkpoint, 5, 9, world_size=2, timeout=300, device="cpu")
    seen += [step for steps, _, _ in legs for step in steps]
    assert torch.load(checkpoint, weights_only=True)["epoch"] == 1
    steps, samples, _ = cases.leg(checkpoint, 3, None)
    seen += steps
    assert samples == cases.EPOCHS * cases.SAMPLES
    for epoch in range(1, cases.EPOCHS + 1):
        counts = Counter(i for of_epoch, _, indices in seen if of_epoch == epoch for i in indices)
        assert counts == Counter(range(cases.SAMPLES)), epoch
    history = torch.load(checkpoint, weights_only=True)["history"]
    assert [row["epoch"] for row in history] == [1, 2, 3]


def test_as_many_ranks_go_on_to_the_same_bits_dropout_too(tmp_path):
    def both(folder):
        whole = cases.leg(str(Path(folder) / "whole.pt"), 4, None, dropout=0.5)[2]
        return whole, cases.resumed_twice(str(Path(folder) / "cut.pt"), cut_at=8)

    for whole, resumed in ddp.launch(both, str(tmp_path), world_size=2, timeout=300, device="cpu"):
        assert all(map(torch.equal, whole, resumed))


def test_a_checkpoint_of_ranks_is_one_of_a_single_process(tmp_path):
    checkpoint = tmp_path / "run.pt"
    ddp.launch(cases.leg, str(checkpoint), 4, None, world_size=2, timeout=300, device="cpu")
    trainer = Trainer(cases.network(), device="cpu", progress=False).resume(checkpoint)
    assert trainer.epoch == cases.EPOCHS
    assert trainer.samples_trained == cases.EPOCHS * cases.SAMPLES


class StopsOnRankOne(cases.Callback):
    def on_epoch_end(self, trainer, row):
        if ddp.current().rank == 1:
            trainer.stop("rank 1 has seen enough")


def stopped_by_one():
    trainer = Trainer(cases.network(), device="cpu", progress=False, callbacks=[StopsOnRankOne()])
    trainer.fit(cases.sharded(cases.blobs(9), 2), 5)
    return trainer.epoch, trainer.stop_reason


def test_a_stop_on_one_rank_is_one_on_all():
    stopped = ddp.launch(stopped_by_one, world_size=2, timeout=300, device="cpu")
    assert stopped == [(1, "rank 1 has seen enough")] * 2


# ---- accumulation in one process ----------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [2, 3])
@pytest.mark.parametrize("n", [48, 50])
def test_accumulated_batches_are_one_large_batch(accumulate, n):
    large = cases.trained(n, 4 * accumulate)
    small = cases.trained(n, 4, accumulate=accumulate)
    assert close(large["weights"], small["weights"])
    steps = [len(indices) for _, _, indices in small["seen"]]
    assert sum(steps) == cases.EPOCHS * n
    assert max(steps) == 4 * accumulate


@pytest.mark.parametrize("accumulate", [0, -1, 1.5, True])
def test_a_wrong_number_of_batches_to_accumulate_is_named(accumulate):
    with pytest.raises(ValueError, match="accumulate must be a positive integer"):
        Trainer(cases.network(), accumulate=accumulate)
