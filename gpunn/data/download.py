"""Fetches data sets from the places where their authors (or, for MNIST, PyTorch's mirror) publish them.

Every file is checked against its SHA-256 before it gets its final name, so that a broken or interrupted
download never looks like data.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from gpunn.errors import DataError

MNIST_ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FASHION_MNIST_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
CIFAR10_ADDRESS = "https://www.cs.toronto.edu/~kriz/"
CIFAR10_SHA256 = {
    "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
}
logger = logging.getLogger("gpunn")


def fetch(address: str, sha256: str, folder: Path) -> Path:
    """Download one file into ``folder`` under its own name, unless it lies there already, intact.

    Raises:
        DataError: no connection, an answer other than the file, a wrong checksum, or a folder not writable.
    """
    try:
        import pooch
    except ImportError:
        raise DataError("downloading needs the package pooch: pip install pooch") from None
    pooch.get_logger().setLevel(logging.ERROR)  # its lines would break the progress bar
    name = address.rsplit("/", 1)[-1]
    logger.info("downloading %s to %s", address, folder)
    try:
        path = pooch.retrieve(address, f"sha256:{sha256}", fname=name, path=folder, progressbar=_can_show_progress())
    # Network errors are OSErrors; pooch reports a wrong checksum and an unknown protocol as ValueErrors.
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{address}: download failed ({reason}); try again, or put {name} into {folder}") from error
    return Path(path)


def _can_show_progress() -> bool:
    try:
        import tqdm  # noqa: F401
    except ImportError:
        return False
    return sys.stderr.isatty()


def unpack(archive: Path, members: tuple[str, ...], folder: Path) -> None:
    """Put the files ``members`` of a tar archive into ``folder``, each under its last name, and nothing else.

    All files are unpacked beside their place first, so that an interruption leaves no half file behind.

    Raises:
        DataError: the archive is damaged or has not all members.
    """
    import tarfile

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=folder) as unfinished:
            for member in members:
                source = tar.extractfile(member)
                if source is None:
                    raise KeyError(f"{member} is not a file")
                with source, open(Path(unfinished, Path(member).name), "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
            for member in members:
                name = Path(member).name
                os.replace(Path(unfinished, name), folder / name)
    except (tarfile.TarError, OSError, EOFError, KeyError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({' '.join(str(error).split())})") from error


def mnist(folder: Path) -> None:
    """The four files of MNIST into ``folder``."""
    for name, sha256 in MNIST_SHA256.items():
        fetch(MNIST_ADDRESS + name, sha256, folder)


def fashion_mnist(folder: Path) -> None:
    """The four files of Fashion-MNIST into ``folder``."""
    for name, sha256 in FASHION_MNIST_SHA256.items():
        fetch(FASHION_MNIST_ADDRESS + name, sha256, folder)


def cifar10(folder: Path) -> None:
    """The binary batches of CIFAR-10 into ``folder``; the archive is removed when it is unpacked."""
    from gpunn.data import cifar

    names = (*cifar.TRAIN_FILES, *cifar.TEST_FILES, cifar.NAMES_FILE)
    for name, sha256 in CIFAR10_SHA256.items():
        archive = fetch(CIFAR10_ADDRESS + name, sha256, folder.parent)
        unpack(archive, tuple(f"cifar-10-batches-bin/{file}" for file in names), folder)
        archive.unlink()
