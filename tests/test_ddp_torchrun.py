"""`dlkit train` under torchrun: on one host, on two, restarted after a death, and cut off."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from elastic_run import HELD_OUT, IMAGES
from two_hosts import ADDRESSES, TwoHosts, reason_against

SCRIPT = Path(__file__).with_name("elastic_run.py")
EPOCHS, BATCH = 3, 13  # 100 images on two ranks: 50 each, four steps an epoch, the last one short
TIMINGS = ("samples_per_second", "wait_share", "seconds")
needs_hosts = pytest.mark.skipif(bool(reason_against()), reason=reason_against() or "-")


def arguments(folder: Path, kind: str = "whole", epochs: int = EPOCHS) -> list[str]:
    return [
        str(SCRIPT), kind, str(folder), "--", "--out", str(folder / "run"),
        "--epochs", str(epochs), "--batch-size", str(BATCH), "--checkpoint-every", "1",
    ]  # fmt: skip


def environ() -> dict[str, str]:
    root = str(SCRIPT.parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def torchrun(*options: str, script: list[str]) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *options, *script]


def on_one_host(folder: Path, kind: str, *options: str) -> str:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        torchrun("--standalone", *options, script=arguments(folder, kind)),
        env=environ(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def result(folder: Path) -> dict:
    return json.loads((folder / "run" / "metrics.json").read_text())


def rows(folder: Path) -> list[dict]:
    return [{k: v for k, v in r.items() if k not in TIMINGS} for r in result(folder)["history"]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, on_one_host(folder, "whole", "--nproc-per-node=2")


def test_torchrun_trains_every_image_once_an_epoch_and_says_what_a_step_is(whole):
    folder, output = whole
    found = result(folder)
    assert found["ranks"] == 2
    assert found["samples_trained"] == EPOCHS * IMAGES
    assert output.count(f"2 ranks x {BATCH} samples = {2 * BATCH} samples a step") == 1
    assert "learning rate 0.02, not scaled (--scale-lr linear: 0.04)" in output
    assert re.search(rf"test accuracy .* of {HELD_OUT}\)", output)
    assert output.count("test accuracy") == 1


def test_a_rank_that_is_killed_is_restarted_and_the_run_ends_as_if_nothing_had_been(
    whole, tmp_path
):
    on_one_host(tmp_path, "kill", "--nproc-per-node=2", "--max-restarts=1")
    assert (tmp_path / "killed").exists()
    assert result(tmp_path)["samples_trained"] == EPOCHS * IMAGES
    assert rows(tmp_path) == rows(whole[0])


def start_on(hosts: TwoHosts, host: int, script: list[str], output: Path, **extra: str):
    options = (
        "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=two-hosts",
        f"--rdzv-endpoint={ADDRESSES[0]}:29400", f"--local-addr={ADDRESSES[host]}",
    )  # fmt: skip
    with output.open("w") as file:
        return hosts.start(
            host, torchrun(*options, script=script), environ={**environ(), **extra}, stdout=file
        )


@needs_hosts
def test_two_hosts_with_a_rank_each_come_to_what_one_host_with_two_comes_to(whole, tmp_path):
    outputs = [tmp_path / f"output {host}" for host in (0, 1)]
    with TwoHosts() as hosts:
        running = [start_on(hosts, h, arguments(tmp_path), outputs[h]) for h in (0, 1)]
        for process, output in zip(running, outputs, strict=True):
            assert process.wait(300) == 0, output.read_text()
    assert "2 ranks on 2 hosts" in "".join(output.read_text() for output in outputs)
    assert rows(tmp_path) == rows(whole[0])
    assert result(tmp_path)["test_loss"] == result(whole[0])["test_loss"]


@needs_hosts
def test_a_host_that_is_cut_off_is_missed_by_name_within_the_timeout(tmp_path):
    outputs = [tmp_path / f"output {host}" for host in (0, 1)]
    script = arguments(tmp_path, "slow", epochs=1000)
    with TwoHosts() as hosts:
        running = [start_on(hosts, h, script, outputs[h], DLKIT_RANK_TIMEOUT="6") for h in (0, 1)]
        while not all((tmp_path / f"training {rank}").exists() for rank in (0, 1)):
            assert all(p.poll() is None for p in running), outputs[0].read_text()
            time.sleep(0.05)
        hosts.cut()
        told = []
        end = time.monotonic() + 120
        while len(told) < 2 and time.monotonic() < end:
            told = [
                line for output in outputs for line in output.read_text().splitlines()
                if line.startswith("dlkit train, rank")
            ]  # fmt: skip
            time.sleep(0.1)
    by_rank = {line.split(":")[0][-1]: line for line in told}
    assert "rank 1 (on host-" in by_rank["0"], told
    assert "does not answer any more" in by_rank["0"]
    assert "rank 0 (on host-" in by_rank["1"], told
    assert "cannot reach the store" in by_rank["1"]
