"""Data sets by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpunn.data import cifar, download, fashion_mini, folder, idx
from gpunn.data.dataset import Dataset
from gpunn.data.paths import expanded
from gpunn.data.resize import checked_size, resize
from gpunn.errors import ConfigError, DataError

DEFAULT_DIRECTORY = "data"
FOLDER = "folder:"
IDX_SUFFIXES = ("", ".gz")


@dataclass(frozen=True)
class Published:
    """A data set that lies in files of known names below the data directory."""

    home: str  # where torchvision keeps the files; downloads go there
    address: str  # where they are published
    fetch: Callable[[Path], None]
    files: Callable[[bool], tuple[str, ...]]
    read: Callable[[Path, bool], Dataset]
    suffixes: tuple[str, ...] = ("",)  # what a file's name may end in besides


def names() -> list[str]:
    """What `load` accepts; of the last, PATH stands for any folder."""
    return ["fashion-mini", *PUBLISHED, FOLDER + "PATH"]


def load(
    name: str,
    data_dir: str | Path | None = None,
    train: bool = True,
    download: bool = False,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
) -> Dataset:
    """The training or the test set of a data set.

    Args:
        name: ``fashion-mini`` (comes with the package), ``mnist``, ``fashion-mnist``, ``cifar10`` or
            ``folder:PATH`` (see `gpunn.data.folder`).
        data_dir: where the files lie: in it, or in torchvision's folders below it. Default: ``data``.
        train: the training set, or the test set.
        download: fetch the files where they are missing.
        image_size: side or (height, width) to which the images are resized; by default they keep their own.
        seed: of the split of a folder that is not split into train and test.

    Raises:
        ConfigError: no data set has this name.
        DataError: files are missing or broken, or the download failed.
    """
    if name.startswith(FOLDER) and name != FOLDER:
        return folder.read(name.removeprefix(FOLDER), train, image_size, seed=seed)
    if image_size is not None:
        checked_size(image_size)
    if name == "fashion-mini":
        dataset = fashion_mini.load(train)
    elif name in PUBLISHED:
        dataset = _load_published(name, expanded(data_dir or DEFAULT_DIRECTORY), train, download)
    else:
        raise ConfigError(_unknown(name))
    return dataset if image_size is None else resize(dataset, image_size)


def _unknown(name: str) -> str:
    nearest = difflib.get_close_matches(name.lower().replace("_", "-"), names(), n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"data: unknown data set {name!r}; expected one of {', '.join(names())}{hint}"


def _load_published(name: str, data_dir: Path, train: bool, download: bool) -> Dataset:
    published = PUBLISHED[name]
    home = data_dir / published.home
    wanted = published.files(train)
    for directory in (home, data_dir):
        if all(_present(directory / file, published.suffixes) for file in wanted):
            return published.read(directory, train)
    if download:
        published.fetch(home)
        return published.read(home, train)
    # Where some files lie but not all, the message is about the others.
    missing = min(
        (
            [file for file in wanted if not _present(directory / file, published.suffixes)]
            for directory in (home, data_dir)
        ),
        key=len,
    )
    raise DataError(
        f"{name}: {', '.join(missing)} not found in {home} or {data_dir}; "
        f"add --download (download=True), or fetch the files from {published.address}"
    )


def _present(path: Path, suffixes: tuple[str, ...]) -> Path | None:
    """The file with one of the suffixes, where there is one."""
    candidates = (path.with_name(path.name + suffix) for suffix in suffixes)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _idx_files(train: bool) -> tuple[str, ...]:
    prefix = "train" if train else "t10k"
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _idx_reader(name: str, classes: tuple[str, ...]) -> Callable[[Path, bool], Dataset]:
    def read(directory: Path, train: bool) -> Dataset:
        paths = [directory / file for file in _idx_files(train)]
        images, labels = (_present(path, IDX_SUFFIXES) or path for path in paths)
        return Dataset(*idx.read_images(images, labels), classes, name)

    return read


PUBLISHED = {
    "mnist": Published(
        "MNIST/raw",
        download.MNIST_ADDRESS,
        download.mnist,
        _idx_files,
        _idx_reader("mnist", tuple("0123456789")),
        IDX_SUFFIXES,
    ),
    "fashion-mnist": Published(
        "FashionMNIST/raw",
        download.FASHION_MNIST_ADDRESS,
        download.fashion_mnist,
        _idx_files,
        _idx_reader("fashion-mnist", fashion_mini.CLASSES),
        IDX_SUFFIXES,
    ),
    "cifar10": Published(
        "cifar-10-batches-bin",
        download.CIFAR10_ADDRESS + "cifar-10-binary.tar.gz",
        download.cifar10,
        cifar.files,
        cifar.read,
    ),
}
