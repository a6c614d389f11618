"""A loader that copies its batches to an accelerator: `device=`, and pinning beside workers."""

import pytest
import torch

from dlkit import DataLoader, TensorDataset

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
X = torch.arange(40 * 3 * 64 * 64, dtype=torch.float32).reshape(40, 3, 64, 64)
Y = torch.arange(40)
WORKERS = [
    {},
    {"num_workers": 2},
    {"num_workers": 2, "worker_method": "thread"},
    {"num_workers": 2, "persistent_workers": True},
]


@pytest.mark.parametrize("options", WORKERS, ids=str)
def test_batches_arrive_on_the_device_in_order_and_unchanged(options):
    loader = DataLoader(TensorDataset(X, Y), 8, device="cuda", **options)
    for _ in range(2):
        images, labels = zip(*loader, strict=True)
        assert all(image.device.type == "cuda" for image in images)
        assert torch.equal(torch.cat(images).cpu(), X)
        assert torch.equal(torch.cat(labels).cpu(), Y)


@pytest.mark.parametrize("options", WORKERS, ids=str)
def test_pinned_batches_equal_the_samples(options):
    loader = DataLoader(TensorDataset(X, Y), 8, pin_memory=True, **options)
    images, labels = zip(*loader, strict=True)
    assert all(image.is_pinned() for image in images)
    assert torch.equal(torch.cat(images), X)
    assert torch.equal(torch.cat(labels), Y)


def test_computing_on_a_batch_while_the_next_is_copied_does_not_disturb_either():
    loader = DataLoader(TensorDataset(X, Y), 4, device="cuda", num_workers=2)
    sums = []
    for images, _ in loader:
        for _ in range(20):  # keeps the stream busy while the next copy runs on its own
            images = images * 1.0
        sums.append(images.sum(dim=(1, 2, 3)))
    assert torch.equal(torch.cat(sums).cpu(), X.sum(dim=(1, 2, 3)))


def test_the_state_counts_delivered_batches_although_one_is_copied_ahead():
    loader = DataLoader(TensorDataset(X, Y), 4, shuffle=True, device="cuda", num_workers=2)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    state = loader.state_dict()
    rest = [labels.cpu() for _, labels in batches]
    loader.load_state_dict(state)
    again = [labels.cpu() for _, labels in loader]
    assert len(rest) == len(again) == 7
    assert all(map(torch.equal, rest, again))
