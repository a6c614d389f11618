"""The widgets driven as a browser drives them: a control's value changes, the rest follows."""

import base64
import threading

import pytest
import torch

from dlkit.lab import (
    BatchingExplorer,
    Explorer,
    ShardingExplorer,
    ShuffleExplorer,
    WorkersExplorer,
)
from dlkit.mixing import mixing
from dlkit.plots.style import new_figure
from dlkit.samplers import ShuffleBuffer, shard_plan

PNG = b"\x89PNG\r\n\x1a\n"


def cells(explorer):
    return explorer.picture.axes[0].images[0].get_array()


def test_batching_follows_the_dataset_size():
    explorer = BatchingExplorer(size=10, batch_size=4)
    before = explorer.image.value
    assert "10 samples in 3 batches of 4, the last of 2" in explorer.text.value
    explorer.controls["size"].value = 13
    assert "13 samples in 4 batches of 4, the last of 1" in explorer.text.value
    assert "last batch: [12]" in explorer.text.value
    assert cells(explorer).reshape(-1, 3).shape[0] >= 13
    assert explorer.image.value[:8] == PNG
    assert explorer.image.value != before


def test_batching_follows_the_batch_size():
    explorer = BatchingExplorer(size=10, batch_size=4)
    explorer.controls["batch_size"].value = 5
    assert "steps per epoch: 2; last batch: [5, 6, 7, 8, 9]" in explorer.text.value


def test_batching_follows_drop_last():
    explorer = BatchingExplorer(size=10, batch_size=4)
    explorer.controls["drop_last"].value = True
    assert "steps per epoch: 2; last batch: [4, 5, 6, 7]" in explorer.text.value
    assert "samples in no batch: 2 (8, 9)" in explorer.text.value


def test_batching_survives_the_ends_of_its_sliders():
    explorer = BatchingExplorer()
    for size in (1, 500):
        for batch_size in (1, 128):
            for drop_last in (False, True):
                explorer.controls["size"].value = size
                explorer.controls["batch_size"].value = batch_size
                explorer.controls["drop_last"].value = drop_last
                expected = size // batch_size if drop_last else -(-size // batch_size)
                assert f"steps per epoch: {expected};" in explorer.text.value


def test_shuffling_shows_the_order_of_the_real_buffer():
    explorer = ShuffleExplorer(buffer_size=50, seed=3)
    generator = torch.Generator().manual_seed(3)
    order = list(ShuffleBuffer(range(1000), 50, generator=generator))
    points = explorer.picture.axes[0].collections[0].get_offsets()
    assert points[:, 1].astype(int).tolist() == order
    assert f"mixing {mixing(order):.2f};" in explorer.text.value


def test_shuffling_follows_buffer_and_seed():
    explorer = ShuffleExplorer(buffer_size=1)
    assert "mixing 0.00;" in explorer.text.value
    explorer.controls["buffer_size"].value = 1000
    first = explorer.image.value
    assert "(100.0%), seed 0" in explorer.text.value
    explorer.controls["seed"].value = 1
    assert "seed 1" in explorer.text.value
    assert explorer.image.value != first


def test_workers_follow_every_control():
    explorer = WorkersExplorer(workers=2, prefetch_factor=2, slow=100, step=20)
    assert "the epoch takes 360 ms, of which training waits 40;" in explorer.text.value
    seen = [explorer.image.value]
    for name, value, text in (
        ("in_order", False, "10 13 14 15; the epoch takes 340 ms"),
        ("slow", 20, "13 14 15; the epoch takes 340 ms"),
        ("step", 0, "the epoch takes 160 ms"),
        ("workers", 0, "the epoch takes 320 ms"),
        ("workers", 4, "the epoch takes 80 ms"),
    ):
        explorer.controls[name].value = value
        assert text in explorer.text.value
        seen.append(explorer.image.value)
    assert len(set(seen)) == len(seen)


def test_more_prefetching_hides_a_slow_batch():
    explorer = WorkersExplorer(workers=2, prefetch_factor=1, slow=100, step=20)
    waits = []
    for explorer.controls["prefetch_factor"].value in range(1, 5):
        waits.append(explorer.text.value.partition("waits ")[2].partition(";")[0])
    assert waits == ["80", "40", "20", "20"]  # the first batch is always waited for


def test_workers_survive_the_ends_of_their_sliders():
    explorer = WorkersExplorer()
    for workers in (0, 1, 4):
        for factor in (1, 4):
            for slow in (20, 200):
                for step in (0, 40):
                    values = (workers, factor, slow, step)
                    names = ("workers", "prefetch_factor", "slow", "step")
                    for name, value in zip(names, values, strict=True):
                        explorer.controls[name].value = value
                    assert explorer.image.value[:8] == PNG


def test_sharding_follows_every_control():
    explorer = ShardingExplorer(samples=22, ranks=3, batch_size=4)
    seen = [explorer.image.value]
    for name, value, text in (
        ("samples", 23, "23 samples on 3 ranks in 2 steps of up to 12; repeated: 1 ("),
        ("ranks", 4, "23 samples on 4 ranks in 2 steps of up to 16; repeated: 1 ("),
        ("batch_size", 2, "23 samples on 4 ranks in 3 steps of up to 8; repeated: 1 ("),
        ("epoch", 3, "epoch 3 has the order of epoch 3"),
        ("set_epoch", False, "epoch 3 has the order of epoch 0"),
        ("pad", False, "repeated: 0; in no batch: 0;"),
        ("drop_last", True, "repeated: 0; in no batch: 3 ("),
        ("shuffle", False, "in no batch: 3 (20, 21, 22); epoch 3 has the order of the dataset"),
        ("colour", "sample", "in no batch: 3 (20, 21, 22);"),
    ):
        explorer.controls[name].value = value
        assert text in explorer.text.value
        seen.append(explorer.image.value)
    assert seen[5] == seen[3]  # without set_epoch the order is that of epoch 0
    assert len(set(seen)) == len(seen) - 1


def test_sharding_shows_the_plan_of_the_real_sampler():
    explorer = ShardingExplorer(samples=20, ranks=3, batch_size=2, epoch=5)
    shown = [text.get_text() for text in explorer.picture.axes[0].texts]
    plan = shard_plan(20, 3, 2, epoch=5)
    assert shown == [str(index) for share in plan.shares for index in share]


def test_sharding_survives_the_ends_of_its_sliders():
    for samples in (0, 64):
        for ranks in (1, 6):
            for batch_size in (1, 8):
                explorer = ShardingExplorer(samples, ranks, batch_size, drop_last=True)
                assert f"{samples} samples on {ranks} rank" in explorer.text.value
                assert explorer.image.value[:8] == PNG


def test_a_widget_says_what_it_shows_where_a_notebook_stores_text():
    explorer = BatchingExplorer(size=10, batch_size=5)
    assert repr(explorer).startswith("<BatchingExplorer: 10 samples in 2 batches of 5;")
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == repr(explorer)
    assert base64.b64decode(bundle["image/png"]) == explorer.image.value
    assert "model_id" in bundle["application/vnd.jupyter.widget-view+json"]


def test_text_is_escaped_before_it_becomes_html():
    class Tricky(Explorer):
        def draw(self):
            return new_figure(1, 1, caption="<b>1 & 2</b>")

    assert Tricky({}).text.value == "&lt;b&gt;1 &amp; 2&lt;/b&gt;"


def test_changes_on_another_thread_are_drawn():
    explorer = BatchingExplorer(size=10, batch_size=4)
    change = threading.Thread(target=explorer.controls["size"].set_trait, args=("value", 12))
    change.start()
    change.join()
    assert "12 samples in 3 batches of 4;" in explorer.text.value


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BatchingExplorer(size=501), "size must be an integer from 1 to 500, but got 501"),
        (lambda: BatchingExplorer(batch_size="8"), "batch size must be an integer from 1 to 128"),
        (lambda: WorkersExplorer(workers=-1), "workers must be an integer from 0 to 4, but got -1"),
        (lambda: ShuffleExplorer(buffer_size=3), "buffer_size must be one of"),
        (lambda: ShuffleExplorer(size=0), "size must be a positive integer, but got 0"),
    ],
)
def test_an_explorer_refuses_to_start_where_its_controls_do_not_reach(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_an_explorer_without_draw_says_so():
    with pytest.raises(NotImplementedError, match="Explorer must define draw"):
        Explorer({})
