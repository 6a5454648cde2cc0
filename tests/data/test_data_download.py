import functools
import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading

import numpy as np
import pytest

from gpunn.data import cifar, download, load
from gpunn.errors import DataError

pytest.importorskip("pooch")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a server on this machine and the folder whose files it serves."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    root = tmp_path / "served"
    root.mkdir()
    handler = functools.partial(QuietHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/", root
        running.shutdown()
        thread.join()


def serve(root, name, content):
    (root / name).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def mnist(server, monkeypatch):
    address, root = server
    sums = {}
    for name in download.MNIST_SHA256:
        shape = (2, 28, 28) if "images" in name else (2,)
        content = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        sums[name] = serve(root, name, gzip.compress(content + bytes(int(np.prod(shape)))))
    monkeypatch.setattr(download, "MNIST_ADDRESS", address)
    monkeypatch.setattr(download, "MNIST_SHA256", sums)
    return root


def test_mnist(tmp_path, mnist):
    data = tmp_path / "data"
    assert len(load("mnist", data, download=True)) == 2
    assert left_in(data) == sorted(download.MNIST_SHA256)
    for path in mnist.iterdir():
        path.unlink()
    # Now everything lies in place: no connection is needed.
    assert len(load("mnist", data, train=False, download=True)) == 2


def test_wrong_checksum_leaves_nothing(tmp_path, mnist):
    (mnist / "train-labels-idx1-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz: download failed .*hash") as caught:
        load("mnist", tmp_path / "data", download=True)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path / "data") == ["train-images-idx3-ubyte.gz"]


def test_missing_on_the_server(tmp_path, mnist):
    (mnist / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"download failed \(404"):
        load("mnist", tmp_path / "data", download=True)


def test_damaged_copy_is_replaced(tmp_path, server):
    address, root = server
    sha256 = serve(root, "x.bin", b"right")
    (tmp_path / "x.bin").write_bytes(b"wrong")
    assert download.fetch(address + "x.bin", sha256, tmp_path).read_bytes() == b"right"


def test_no_connection(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.HTTPServer(("127.0.0.1", 0), QuietHandler) as unused:
        address = f"http://127.0.0.1:{unused.server_address[1]}/x.bin"
    with pytest.raises(DataError, match=r"x.bin: download failed") as caught:
        download.fetch(address, "0" * 64, tmp_path)
    assert "\n" not in str(caught.value) and f"put x.bin into {tmp_path}" in str(caught.value)


def test_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(DataError, match="pip install pooch"):
        load("mnist", tmp_path, download=True)


def archive(without=(), extra=()):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in (*cifar.TRAIN_FILES, *cifar.TEST_FILES, cifar.NAMES_FILE, *extra):
            if name not in without:
                content = "\n".join(cifar.CLASSES).encode() if name == cifar.NAMES_FILE else bytes(3073)
                entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def cifar10(server, monkeypatch):
    address, root = server

    def publish(content):
        sums = {"cifar-10-binary.tar.gz": serve(root, "cifar-10-binary.tar.gz", content)}
        monkeypatch.setattr(download, "CIFAR10_ADDRESS", address)
        monkeypatch.setattr(download, "CIFAR10_SHA256", sums)

    return publish


def test_cifar10_unpacks_the_batches_and_nothing_else(tmp_path, cifar10):
    cifar10(archive(extra=["readme.html", "../../outside"]))
    dataset = load("cifar10", tmp_path / "data", download=True)
    assert len(dataset) == 5
    expected = [*cifar.TRAIN_FILES, *cifar.TEST_FILES, cifar.NAMES_FILE]
    assert left_in(tmp_path / "data") == sorted(expected)
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("content", [archive(without=["data_batch_5.bin"]), archive()[:200], b"no archive"])
def test_broken_archive_leaves_no_batches(tmp_path, cifar10, content):
    cifar10(content)
    with pytest.raises(DataError, match="cannot be unpacked") as caught:
        load("cifar10", tmp_path / "data", download=True)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path / "data") == ["cifar-10-binary.tar.gz"]


def test_checksums_are_sha256():
    for sums in (download.MNIST_SHA256, download.FASHION_MNIST_SHA256, download.CIFAR10_SHA256):
        for value in sums.values():
            assert len(bytes.fromhex(value)) == 32
