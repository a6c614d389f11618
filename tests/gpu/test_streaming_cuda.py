"""Memory of a real GPU, as a stream watches it."""

import pytest
import torch

from dlkit.streaming import MemoryGuard, read_memory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_tensor_on_the_gpu_is_seen_and_takes_from_the_head_room():
    torch.cuda.empty_cache()
    before = read_memory()
    held = torch.zeros(64 << 20, dtype=torch.uint8, device="cuda")
    during = read_memory()
    assert during.allocated - before.allocated >= held.nbytes
    assert before.headroom - during.headroom >= held.nbytes // 2
    assert during.gpu_total == before.gpu_total > held.nbytes


def test_batches_shrink_before_the_gpu_is_full():
    share_free = read_memory().headroom / read_memory().gpu_total
    guard = MemoryGuard(64, headroom=min(share_free + 0.01, 0.999), every=1e-9)
    assert guard.update(0.0) == 32
