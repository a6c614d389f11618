"""Ranks on a GPU: NCCL with a single rank, and 16 bits."""

import sys
from pathlib import Path

import pytest
import torch
from torch import distributed

from dlkit import DataLoader, ddp
from dlkit.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parents[1]))
import ddp_cases as cases

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def answers() -> dict:
    place = ddp.current()
    on_gpu = torch.arange(3.0, device=place.device)
    distributed.all_reduce(on_gpu)
    return {
        "device": str(place.device),
        "backend": place.backend,
        "sum": on_gpu,
        "gathered": ddp.gather_uneven(torch.arange(2, device=place.device)),
        "on the host": ddp.sum_over_ranks(torch.ones(2, dtype=torch.float64)),
        "objects": ddp.gather({"rank": place.rank}),
    }


def test_a_single_rank_talks_through_nccl_and_about_the_host_through_gloo():
    (found,) = ddp.launch(answers, world_size=1, timeout=300, device="cuda")
    assert found["device"] == "cuda:0"
    assert "nccl" in found["backend"]
    assert found["sum"].tolist() == [0.0, 1.0, 2.0]
    assert found["gathered"][0].tolist() == [0, 1]
    assert found["on the host"].tolist() == [1.0, 1.0]
    assert found["objects"] == [{"rank": 0}]


def trained(autocast: str | None) -> tuple[dict, torch.Tensor]:
    data = cases.blobs(48)
    trainer = Trainer(cases.network(), progress=False, seed=0, autocast=autocast)
    trainer.fit(cases.sharded(data, 12), 3)
    weights = torch.cat([p.detach().flatten().cpu() for p in trainer.model.parameters()])
    return trainer.evaluate(DataLoader(data, 12)), weights


@pytest.mark.parametrize("autocast", [None, "bf16", "fp16"])
def test_a_rank_trains_on_its_gpu_as_a_process_without_ranks_does(autocast):
    ((found, weights),) = ddp.launch(trained, autocast, world_size=1, timeout=300, device="cuda")
    alone, expected = trained(autocast)
    assert found == pytest.approx(alone, abs=2e-2)
    assert torch.allclose(weights, expected, atol=2e-2 if autocast else 1e-5)


def test_more_ranks_than_gpus_are_refused_where_a_gpu_is_asked_for():
    ranks = torch.cuda.device_count() + 1
    with pytest.raises(ValueError, match="needs a GPU for each"):
        ddp.launch(answers, world_size=ranks, timeout=300, device="cuda")
