"""`dlkit doctor` sees what the system says, and each weakness of a machine gets its sentence."""

import dataclasses
import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys

import pytest
import torch

from dlkit.cli import main
from dlkit.cli.doctor import Report, examine, findings, render
from dlkit.cli.machine import Device, Package, can_write
from dlkit.control_groups import core_quota, memory_left, memory_limit
from dlkit.diagnose.facts import free_memory

GB = 2**30

# A machine with which nothing is wrong.
GOOD = Report(
    dlkit="0.1.0",
    python="3.12.1",
    executable="python",
    system="Linux-6.1-x86_64",
    torch="2.15.0",
    torch_threads=8,
    accelerator="CUDA 13.0",
    has_driver=True,
    devices=(Device("cuda", "GPU", 80 * GB),),
    cores=8,
    allowed_cores=8,
    core_quota=None,
    memory=32 * GB,
    memory_limit=None,
    shared_memory=16 * GB,
    shared_memory_free=16 * GB,
    open_files=4096,
    open_files_hard=65536,
    start_methods=("fork", "spawn", "forkserver"),
    omp_num_threads=None,
    writes_bytecode=True,
    data_folder=None,
    data_folder_exists=False,
    cache_folder="cache",
    cache_writable=True,
    packages=(Package("torch", "core", "2.15.0"), Package("jupyterlab", "lab", "4.6.6")),
    damaged=(),
)


def test_a_machine_without_weakness_has_no_findings():
    assert findings(GOOD) == []
    assert "Nothing here will hurt." in render(GOOD, [])


@pytest.mark.parametrize(
    ("weakness", "level", "what", "do"),
    [
        ({"shared_memory": 64 * 2**20}, "warning", "/dev/shm has 64 MB", "--shm-size=2g"),
        ({"shared_memory": None}, "warning", "there is no /dev/shm", "num_workers=0"),
        ({"open_files": 256}, "warning", "may open 256 files", "ulimit -n 4096"),
        ({"open_files": 256, "open_files_hard": 512}, "warning", "256 files", "ulimit -n 512"),
        ({"open_files": 256, "open_files_hard": None}, "warning", "256", "ulimit -n 4096"),
        ({"open_files": 256, "open_files_hard": 256}, "warning", "256", "file_system"),
        ({"cores": 1, "allowed_cores": 1, "torch_threads": 1}, "warning", "one core", "=0"),
        ({"allowed_cores": 4, "torch_threads": 4}, "note", "of 8 cores, 4 can", "for 4 cores"),
        ({"core_quota": 1.5}, "warning", "8 threads on 2 cores", "OMP_NUM_THREADS=2"),
        ({"torch_threads": 64}, "warning", "64 threads on 8 cores", "OMP_NUM_THREADS=8"),
        ({"memory_limit": 2 * GB}, "warning", "2.0 GB of memory", "few workers"),
        ({"devices": (), "has_driver": False}, "note", "there is no GPU", "TORCH=cpu"),
        ({"devices": ()}, "warning", "finds no device", "TORCH=auto"),
        ({"writes_bytecode": False}, "warning", "PYTHONDONTWRITEBYTECODE", "unset"),
        ({"start_methods": ("spawn",)}, "note", "start by spawn", "if __name__"),
        ({"cache_writable": False}, "warning", "cannot be written: cache", "digits()"),
        ({"data_folder": "gone"}, "warning", "does not exist: gone", "unset DLKIT_DATA"),
        ({"damaged": ("numpy",)}, "error", "lost files: numpy", "make env"),
        ({"packages": (Package("numpy", "core", None),)}, "error", "numpy", "make env"),
        ({"packages": (Package("jupyterlab", "lab", None),)}, "warning", "jupyterlab", ".[lab]"),
        ({"packages": (Package("h5py", "storage", None),)}, "note", "h5py", ".[storage]"),
    ],
)
def test_each_weakness_is_said_with_what_to_do(weakness, level, what, do):
    report = dataclasses.replace(GOOD, **weakness)
    matching = [found for found in findings(report) if what in found.what]
    assert [found.level for found in matching] == [level]
    assert do in matching[0].do
    assert matching[0].why.endswith((".", ")"))
    text = " ".join(render(report, findings(report)).split())
    assert what in text
    assert do in text


def test_what_makes_dlkit_unusable_comes_first():
    report = dataclasses.replace(
        GOOD, start_methods=("spawn",), shared_memory=1, damaged=("torch",)
    )
    assert [found.level for found in findings(report)] == ["error", "warning", "note"]


def test_a_build_without_accelerator_misses_no_device():
    assert findings(dataclasses.replace(GOOD, accelerator=None, devices=())) == []


def test_outside_linux_no_shared_memory_folder_is_missed():
    assert findings(dataclasses.replace(GOOD, system="macOS-15", shared_memory=None)) == []


@pytest.mark.parametrize(
    ("allowed", "quota", "usable"),
    [(8, None, 8), (8, 2.0, 2), (2, 7.5, 2), (8, 0.5, 1), (8, 1.1, 2)],
)
def test_usable_cores_are_those_allowed_and_granted(allowed, quota, usable):
    report = dataclasses.replace(GOOD, allowed_cores=allowed, core_quota=quota)
    assert report.usable_cores == usable


def test_the_report_says_what_the_system_says():
    report = examine()
    assert report.python.split(".") == [str(part) for part in sys.version_info[:3]]
    assert report.torch == torch.__version__
    assert report.torch_threads == torch.get_num_threads()
    assert len(report.devices) >= torch.cuda.device_count()
    assert report.start_methods[0] == multiprocessing.get_context().get_start_method()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert report.open_files == (None if soft == resource.RLIM_INFINITY else soft)
    if hasattr(os, "sched_getaffinity"):
        assert report.allowed_cores == len(os.sched_getaffinity(0))
    installed = {package.name for package in report.packages if package.version}
    assert {"torch", "numpy", "cloudpickle", "pytest"} <= installed


def test_limits_of_this_process_are_seen():
    """A process with one core and few files, as a container would have it."""
    limit = "import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300)); "
    if hasattr(os, "sched_setaffinity"):
        limit += "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code = limit + "from dlkit.cli import main; main(['doctor', '--json'])"
    command = [sys.executable, "-B", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)["report"]
    assert (report["open_files"], report["open_files_hard"]) == (200, 300)
    assert not report["writes_bytecode"]
    if hasattr(os, "sched_setaffinity"):
        assert report["allowed_cores"] == 1
        assert any("one core" in one["what"] for one in json.loads(done.stdout)["findings"])


def groups(root, membership, files):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "cores", "memory"),
    [
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ("0::/\n", {"cpu.max": "150000 100000", "memory.max": "1073741824"}, 1.5, GB),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0, None),
        ("0::/a/b\n", {"a/memory.max": "2147483648", "a/b/memory.max": "1073741824"}, None, GB),
        ("0::/../host/path\n", {"cpu.max": "50000 100000"}, 0.5, None),
        (
            "4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n",
            {
                "cpu/job/cpu.cfs_quota_us": "300000",
                "cpu/job/cpu.cfs_period_us": "100000",
                "memory/job/memory.limit_in_bytes": "1073741824",
            },
            3.0,
            GB,
        ),
        (
            "4:memory:/\n2:cpu:/\n",
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            None,
            None,
        ),
        ("0::/\n", {"cpu.max": "", "memory.max": "what?"}, None, None),
    ],
    ids=["none", "one", "parent", "smallest", "outside", "version 1", "version 1 none", "strange"],
)
def test_limits_of_control_groups_are_read(tmp_path, membership, files, cores, memory):
    root = groups(tmp_path, membership, files)
    assert core_quota(root) == cores
    assert memory_limit(root) == memory


@pytest.mark.parametrize(
    ("membership", "files", "left"),
    [
        ("0::/\n", {"memory.max": "max", "memory.current": "4096"}, None),
        ("0::/\n", {"memory.max": "1000", "memory.current": "700"}, 300),
        ("0::/\n", {"memory.max": "1000", "memory.current": "1001"}, 0),
        (
            "0::/a/b\n",
            {
                "a/memory.max": "2000",
                "a/memory.current": "1900",
                "a/memory.stat": "anon 1500\ninactive_file 50\n",
                "a/b/memory.max": "1000",
                "a/b/memory.current": "700",
            },
            150,
        ),
        (
            "4:memory:/job\n",
            {
                "memory/job/memory.limit_in_bytes": "1000",
                "memory/job/memory.usage_in_bytes": "700",
                "memory/job/memory.stat": "inactive_file 10\ntotal_inactive_file 20\n",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "900",
            },
            320,
        ),
    ],
    ids=["none", "one", "beyond", "parent", "version 1"],
)
def test_what_control_groups_still_grant_is_read(tmp_path, membership, files, left):
    root = groups(tmp_path, membership, files)
    assert memory_left(root) == left
    assert free_memory(root) is None  # not Linux
    (root / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 8 kB\n")
    assert free_memory(root) == min(8192, 8192 if left is None else left)


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert core_quota(tmp_path) is None
    assert memory_limit(tmp_path) is None
    assert memory_left(tmp_path) is None


def test_a_folder_that_does_not_exist_can_be_written_where_its_parent_can(tmp_path):
    assert can_write(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    assert not can_write(tmp_path / "file" / "below")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_seen(tmp_path):
    tmp_path.chmod(0o500)
    assert not can_write(tmp_path / "a")


def test_doctor_prints_its_findings_and_succeeds(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"torch          {torch.__version__}" in text


def test_doctor_fails_where_dlkit_cannot_work(monkeypatch, capsys):
    broken = dataclasses.replace(GOOD, damaged=("torch",))
    monkeypatch.setattr("dlkit.cli.doctor.examine", lambda: broken)
    assert main(["doctor"]) == 1
    assert "ERROR: installed packages lost files: torch" in capsys.readouterr().out


def test_json_holds_the_report_and_the_findings(monkeypatch, capsys):
    report = dataclasses.replace(GOOD, shared_memory=64 * 2**20)
    monkeypatch.setattr("dlkit.cli.doctor.examine", lambda: report)
    assert main(["doctor", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["report"]["shared_memory"] == 64 * 2**20
    assert [one["level"] for one in content["findings"]] == ["warning"]
    assert not any(
        isinstance(value, float) and math.isinf(value) for value in content["report"].values()
    )
