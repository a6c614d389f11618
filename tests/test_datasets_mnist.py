"""MNIST: found where it is, verified when downloaded, refused when damaged, never half there."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import importlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlkit.datasets import DatasetUnavailableError, mnist
from dlkit.datasets.errors import DatasetCorruptError
from dlkit.datasets.idx import read_idx

# `dlkit.datasets.mnist` is the function; the module of the same name lies behind it.
module = importlib.import_module("dlkit.datasets.mnist")
downloading = importlib.import_module("dlkit.datasets.download")

REAL_DATA = os.environ.get("DLKIT_DATA")


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def tiny_set(seed: int = 0) -> dict[str, bytes]:
    """Four files like MNIST's, with 12 training and 5 test digits."""
    rng = np.random.default_rng(seed)
    files = {}
    for part, n in (("train", 12), ("t10k", 5)):
        files[f"{part}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (n, 28, 28)))
        files[f"{part}-labels-idx1-ubyte"] = idx(rng.integers(0, 10, n))
    return files


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def all_files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors, b.tensors, strict=True))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A machine without data, without a cache and without a network."""
    monkeypatch.delenv("DLKIT_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr(module, "MIRRORS", [])
    return tmp_path / "home"


class Server:
    """A mirror on this machine; `faults` says for a file what to do instead of sending it."""

    def __init__(self, files: dict[str, bytes]):
        self.packed = {
            f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()
        }
        self.checksums = {
            name.removesuffix(".gz"): hashlib.md5(content).hexdigest()
            for name, content in self.packed.items()
        }
        self.faults, self.requests = {}, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[-1]
                server.requests.append(name)
                fault = server.faults.get(name)
                if fault is not None:
                    fault(self, server.packed[name])
                else:
                    server.send(self, server.packed[name])

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/mnist/"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @staticmethod
    def send(handler, content: bytes, announced: int | None = None) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(announced or len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@pytest.fixture
def server(monkeypatch):
    server = Server(tiny_set())
    monkeypatch.setattr(module, "MIRRORS", [server.url])
    monkeypatch.setattr(module, "CHECKSUMS", server.checksums)
    yield server
    server.http.shutdown()
    server.http.server_close()


# ---- reading what is there ----------------------------------------------------------------------


@pytest.mark.parametrize("train", [True, False])
def test_a_folder_reads_like_torchvisions_mnist(tmp_path, train):
    vision = pytest.importorskip("torchvision")
    write(tmp_path / "MNIST" / "raw", tiny_set())
    oracle = vision.datasets.MNIST(tmp_path, train, transform=vision.transforms.ToTensor())
    ours = mnist(tmp_path, train)
    assert len(ours) == len(oracle) == (12 if train else 5)
    for (image, label), (expected_image, expected_label) in zip(ours, oracle, strict=True):
        assert torch.equal(image, expected_image)
        assert label == expected_label
    raw = mnist(tmp_path, train, dtype=torch.uint8)
    assert torch.equal(raw.tensors[0][:, 0], oracle.data)
    assert torch.equal(raw.tensors[1], oracle.targets)


@pytest.mark.skipif(not REAL_DATA, reason="DLKIT_DATA names no folder with MNIST")
@pytest.mark.parametrize("train", [True, False])
def test_the_real_digits_read_like_torchvisions(monkeypatch, train):
    vision = pytest.importorskip("torchvision")
    monkeypatch.setenv("DLKIT_DATA", REAL_DATA)
    images, labels = mnist(train=train, dtype=torch.uint8).tensors
    oracle = vision.datasets.MNIST(REAL_DATA, train)
    assert torch.equal(images[:, 0], oracle.data)
    assert torch.equal(labels, oracle.targets)
    assert images.shape[1:] == (1, 28, 28)
    assert labels.unique().tolist() == list(range(10))


@pytest.mark.parametrize("place", [".", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [str, Path])
def test_files_may_be_packed_or_not_and_lie_in_the_folder_or_in_mnist_raw(
    tmp_path, place, packed, kind
):
    expected = mnist(write(tmp_path / "expected", tiny_set()))
    files = tiny_set()
    if packed:
        files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()}
    write(tmp_path / "data" / place, files)
    assert same(mnist(kind(tmp_path / "data")), expected)


def test_root_comes_before_dlkit_data_and_that_before_the_cache(tmp_path, monkeypatch, home):
    places = [tmp_path / "root", tmp_path / "named", home / "cache" / "dlkit"]
    if sys.platform != "linux":
        places[2] = module.cache_folder()
    expected = []
    for seed, place in enumerate(places):
        write(place / "MNIST" / "raw", tiny_set(seed))
        expected.append(mnist(place))
    assert not same(expected[0], expected[1])
    monkeypatch.setenv("DLKIT_DATA", str(places[1]))
    assert same(mnist(places[0]), expected[0])
    assert same(mnist(tmp_path / "nothing here"), expected[1])
    assert same(mnist(), expected[1])
    monkeypatch.setenv("DLKIT_DATA", "")
    assert same(mnist(), expected[2])


def test_the_cache_is_found_without_platformdirs_too(monkeypatch, home):
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert module.cache_folder() == home / "cache" / "dlkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert module.cache_folder() == home / ".cache" / "dlkit"


def test_every_call_gives_memory_of_its_own(tmp_path):
    write(tmp_path, tiny_set())
    mnist(tmp_path, dtype=torch.uint8).tensors[0].zero_()
    assert mnist(tmp_path, dtype=torch.uint8).tensors[0].any()


# ---- damaged files ------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(data=st.data(), packed=st.booleans())
def test_a_file_cut_off_anywhere_is_refused_with_its_name(data, packed):
    whole = idx(np.arange(60).reshape(5, 3, 4))
    whole = gzip.compress(whole) if packed else whole
    content = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "images")
        file.write_bytes(content)
        with pytest.raises(DatasetCorruptError) as caught:
            read_idx(file, dimensions=3)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_file_is_refused_with_the_sizes_expected_and_found(tmp_path, packed):
    files = tiny_set()
    name = "train-images-idx3-ubyte"
    content = files[name][:1000]
    files[name] = gzip.compress(content) if packed else content
    write(tmp_path, files)
    with pytest.raises(DatasetCorruptError) as caught:
        mnist(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name} is truncated")
    assert "12x28x28 bytes, which makes 9424 with the header, but it holds 1000" in message


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("images-idx3", lambda b: b"", "is truncated: its header alone takes 16 bytes, .* holds 0"),
        ("images-idx3", lambda b: b + b"x", "is too long: .* makes 9424 .* but it is longer"),
        ("images-idx3", lambda b: b"<html>" + b, "should begin with 00 00 08 03, .* 3c 68 74 6d"),
        (
            "images-idx3",
            lambda b: idx(np.zeros((12, 28, 27))),
            "should hold images of 28x28, .*x27",
        ),
        ("images-idx3", lambda b: idx(np.zeros((11, 28, 28))), "11 images, but .* 12 labels"),
        ("labels-idx1", lambda b: idx(np.zeros(13)), "12 images, but .* 13 labels"),
        ("labels-idx1", lambda b: idx(np.arange(12)), "labels 0..9, but sample 11 has 11"),
        ("labels-idx1", lambda b: idx(np.zeros((12, 28, 28))), "should begin with 00 00 08 01"),
        ("images-idx3", lambda b: flipped(gzip.compress(b), -6), "is a damaged gzip file"),
        ("images-idx3", lambda b: flipped(gzip.compress(b), 50), "is a damaged gzip file"),
    ],
)
def test_a_damaged_file_is_refused_and_named(tmp_path, name, damage, message):
    name = f"train-{name}-ubyte"
    files = tiny_set()
    files[name] = damage(files[name])
    write(tmp_path, files)
    with pytest.raises(DatasetCorruptError, match=message) as caught:
        mnist(tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert (tmp_path / name).read_bytes() == files[name], "what was there stays there"
    assert len(mnist(tmp_path, train=False)) == 5, "the other split is not touched by it"


def test_a_damaged_file_is_not_passed_over_for_another_folder(tmp_path, monkeypatch):
    write(tmp_path / "bad", tiny_set() | {"train-images-idx3-ubyte": b"bad"})
    write(tmp_path / "good", tiny_set())
    monkeypatch.setenv("DLKIT_DATA", str(tmp_path / "good"))
    with pytest.raises(DatasetCorruptError):
        mnist(tmp_path / "bad")


# ---- downloading --------------------------------------------------------------------------------


def test_checksums_are_the_published_ones():
    vision = pytest.importorskip("torchvision")
    published = {name.removesuffix(".gz"): md5 for name, md5 in vision.datasets.MNIST.resources}
    assert published == module.CHECKSUMS


def test_a_download_is_whole_kept_and_readable_by_torchvision(tmp_path, server):
    expected = mnist(write(tmp_path / "expected", tiny_set()))
    assert same(mnist(tmp_path / "data"), expected)
    assert all_files(tmp_path / "data") == {f"MNIST/raw/{name}" for name in tiny_set()}
    assert len(server.requests) == 4

    assert same(mnist(tmp_path / "data", download=False), expected)
    assert len(mnist(tmp_path / "data", train=False)) == 5
    assert len(server.requests) == 4, "a second call needs no network"

    vision = pytest.importorskip("torchvision")
    oracle = vision.datasets.MNIST(tmp_path / "data")
    assert torch.equal(oracle.data, mnist(tmp_path / "data", dtype=torch.uint8).tensors[0][:, 0])


def test_a_download_goes_to_dlkit_data_or_else_into_the_cache(tmp_path, monkeypatch, server):
    mnist()
    assert all_files(module.cache_folder()) == {f"MNIST/raw/{name}" for name in tiny_set()}
    shutil.rmtree(module.cache_folder())
    monkeypatch.setenv("DLKIT_DATA", str(tmp_path / "named"))
    mnist()
    assert all_files(tmp_path / "named") == {f"MNIST/raw/{name}" for name in tiny_set()}
    assert not module.cache_folder().exists()


def send_half(handler, content):
    Server.send(handler, content[: len(content) // 2], announced=len(content))


def send_other_bytes(handler, content):
    Server.send(handler, flipped(content, len(content) // 2))


def send_404(handler, content):
    handler.send_error(404)


def hang_up(handler, content):
    handler.connection.shutdown(socket.SHUT_RDWR)


def send_garbage(handler, content):
    handler.wfile.write(b"this is not HTTP\r\n\r\n")


FAULTS = {
    send_half: r"the connection ended after \d+ of \d+ bytes",
    send_other_bytes: r"checksum \(md5\) should be [0-9a-f]{32}, but is [0-9a-f]{32}",
    send_404: "the server answered 404 Not Found",
    hang_up: "the connection failed|not reachable",
    send_garbage: "the connection failed",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_failed_download_leaves_nothing_and_says_what_to_do(tmp_path, server, fault, name):
    server.faults[f"{name}.gz"] = fault
    with pytest.raises(DatasetUnavailableError, match=FAULTS[fault]) as caught:
        mnist(tmp_path / "data")
    message = str(caught.value)
    assert f"{server.url}{name}.gz" in message
    assert str(tmp_path / "data" / "MNIST" / "raw") in message
    assert "DLKIT_DATA" in message
    assert "digits()" in message
    assert all_files(tmp_path / "data") == set()
    assert list((tmp_path / "data" / "MNIST" / "raw").iterdir()) == []

    server.faults.clear()
    assert len(mnist(tmp_path / "data")) == 12, "the next attempt succeeds"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_when_one_mirror_fails_the_next_is_asked(tmp_path, monkeypatch, server, fault):
    second = Server(tiny_set())
    monkeypatch.setattr(module, "MIRRORS", [server.url, second.url])
    server.faults = dict.fromkeys(server.packed, fault)
    assert len(mnist(tmp_path / "data")) == 12
    assert len(second.requests) == 4
    second.http.shutdown()
    second.http.server_close()


def test_a_server_that_stops_sending_is_given_up(tmp_path, monkeypatch, server):
    over = threading.Event()

    def stop_sending(handler, content):
        send_half(handler, content)
        over.wait()

    monkeypatch.setattr(downloading, "TIMEOUT_SECONDS", 0.2)
    server.faults["train-images-idx3-ubyte.gz"] = stop_sending
    try:
        with pytest.raises(DatasetUnavailableError, match=r"the connection failed.*time"):
            mnist(tmp_path / "data")
    finally:
        over.set()
    assert all_files(tmp_path / "data") == set()


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        monkeypatch.setattr(module, "MIRRORS", [f"http://127.0.0.1:{free.getsockname()[1]}/"])
        with pytest.raises(DatasetUnavailableError, match=r"not reachable: .*refused") as caught:
            mnist(tmp_path)
    assert "digits()" in str(caught.value)
    assert "DLKIT_DATA" in str(caught.value)


def test_a_host_that_does_not_resolve_is_an_unavailable_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MIRRORS", ["http://no-such-host.invalid/"])
    with pytest.raises(DatasetUnavailableError, match="not reachable"):
        mnist(tmp_path)


def test_without_permission_to_download_nothing_is_asked_of_the_network(tmp_path, server):
    with pytest.raises(DatasetUnavailableError, match=r"download=False") as caught:
        mnist(tmp_path / "data", download=False)
    assert str(tmp_path / "data") in str(caught.value)
    assert server.requests == []
    assert not (tmp_path / "data").exists()


def test_only_missing_files_are_downloaded_and_none_is_overwritten(tmp_path, server):
    files = tiny_set()
    raw = write(tmp_path / "MNIST" / "raw", {"train-images-idx3-ubyte": b"mine"})
    with pytest.raises(DatasetCorruptError, match="train-images-idx3-ubyte"):
        mnist(tmp_path)
    assert (raw / "train-images-idx3-ubyte").read_bytes() == b"mine"
    assert "train-images-idx3-ubyte.gz" not in server.requests
    (raw / "train-images-idx3-ubyte").write_bytes(files["train-images-idx3-ubyte"])
    assert len(mnist(tmp_path)) == 12


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "disk full")])
def test_an_interrupt_or_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, server, error):
    files_before = []

    def fail(source, target):
        files_before.extend(all_files(tmp_path))
        raise error

    monkeypatch.setattr(module.shutil, "copyfileobj", fail)
    with pytest.raises(type(error)):
        mnist(tmp_path)
    assert files_before, "it was in the middle of the work"
    assert all_files(tmp_path) == set()


def test_an_interrupt_during_the_transfer_leaves_nothing_behind(tmp_path, monkeypatch, server):
    def interrupted(url):
        yield b"the first bytes"
        raise KeyboardInterrupt

    monkeypatch.setattr(downloading, "_chunks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mnist(tmp_path)
    assert all_files(tmp_path) == set()


def test_two_processes_may_download_into_one_folder_at_once(tmp_path, server):
    both_are_there = threading.Barrier(2, timeout=120)

    def wait_for_the_other(handler, content):
        both_are_there.wait()
        Server.send(handler, content)

    server.faults["train-images-idx3-ubyte.gz"] = wait_for_the_other
    code = (
        "import importlib, sys\n"
        "module = importlib.import_module('dlkit.datasets.mnist')\n"
        f"module.MIRRORS, module.CHECKSUMS = [{server.url!r}], {server.checksums!r}\n"
        f"print(int(module.mnist({str(tmp_path / 'data')!r}, dtype=module.torch.uint8)"
        ".tensors[0].sum()))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    sums = [process.communicate(timeout=240)[0] for process in processes]
    expected = mnist(write(tmp_path / "expected", tiny_set()), dtype=torch.uint8).tensors[0].sum()
    assert [int(text) for text in sums] == [int(expected)] * 2
    assert not both_are_there.broken
    assert all_files(tmp_path / "data") == {f"MNIST/raw/{name}" for name in tiny_set()}


@contextlib.contextmanager
def without_privileges():
    """The superuser may write anywhere: be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no read-only folders")
def test_into_a_read_only_folder_nothing_is_kept_but_the_digits_are_read(server):
    # Not below tmp_path: its parents are closed to other users.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    try:
        with (
            pytest.warns(UserWarning, match="not kept, because .* cannot be written") as caught,
            without_privileges(),
        ):
            dataset = mnist(folder)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    assert len(dataset) == 12
    assert caught[0].filename == __file__, "the warning points at the caller"
    assert len(server.requests) == 2, "only the split that was asked for"
    assert not list(Path(tempfile.gettempdir()).glob("dlkit-mnist-*"))


def test_reading_from_a_read_only_folder_needs_no_warning(tmp_path):
    write(tmp_path / "data", tiny_set()).chmod(0o555)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(mnist(tmp_path / "data")) == 12


def test_a_root_that_is_a_file_is_an_error_that_names_it(tmp_path, server):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        mnist(tmp_path / "file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"root": 5}, "root must be a path or None, got 5"),
        ({"train": "test"}, "train must be True .* or False .*, got 'test'"),
        ({"download": "no"}, "download must be True or False, got 'no'"),
        ({"dtype": torch.int64}, r"dtype must be torch.float32 .* or torch.uint8 .*, got"),
    ],
)
def test_a_bad_argument_is_refused_by_name(arguments, message):
    with pytest.raises(TypeError, match=message):
        mnist(**arguments)


def test_importing_the_module_does_not_import_torchvision():
    code = "import sys, dlkit.datasets.mnist; print('torchvision' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "False"
