"""The loader, pinning and training on a real CUDA device."""

import pytest
import torch

import dlkit
from dlkit.device import to_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_pinned_and_arrive_whole(num_workers: int) -> None:
    images, labels = torch.rand(50, 3, 8, 8), torch.arange(50)
    loader = dlkit.DataLoader(
        dlkit.TensorDataset(images, labels), 16, pin_memory=True, num_workers=num_workers
    )
    received = []
    for batch in loader:
        assert all(tensor.is_pinned() for tensor in batch)
        on_device = to_device(batch, "cuda")
        assert all(tensor.device.type == "cuda" for tensor in on_device)
        received.append(on_device[0].cpu())
    assert torch.equal(torch.cat(received), images)


def test_tensors_on_the_device_are_gathered_there() -> None:
    data = torch.rand(20, 4, device="cuda")
    loader = dlkit.DataLoader(dlkit.TensorDataset(data), 8, shuffle=True)
    rows = []
    for (batch,) in loader:
        assert batch.device.type == "cuda"
        assert torch.equal(batch, data[loader.last_indices])
        rows += loader.last_indices
    assert sorted(rows) == list(range(20))
