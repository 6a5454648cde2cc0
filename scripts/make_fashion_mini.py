"""Make gpunn/data/fashion_mini.npz, the images that come with the package, from the files of Fashion-MNIST.

    python scripts/make_fashion_mini.py DIR [--out FILE]

DIR holds the four IDX files (plain or .gz), or FashionMNIST/raw with them. The same files give the same
bytes, with the same version of zlib.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np

from gpunn.data import fashion_mini, load
from gpunn.data.dataset import Dataset

TRAIN_PER_CLASS, TEST_PER_CLASS = 1000, 200
# The earliest date a zip archive can hold: the file must not depend on when it was made.
DATE = (1980, 1, 1, 0, 0, 0)


def first_of_each_class(dataset: Dataset, count: int) -> Dataset:
    """The first ``count`` images of each class, in the order of the data set."""
    chosen = [np.flatnonzero(dataset.labels == label)[:count] for label in range(len(dataset.classes))]
    for label, indices in zip(dataset.classes, chosen, strict=True):
        if len(indices) < count:
            raise SystemExit(f"{dataset}: class {label} has {len(indices)} images; expected at least {count}")
    return dataset.subset(np.sort(np.concatenate(chosen)))


def pack(train: Dataset, test: Dataset) -> bytes:
    """The bytes of the .npz file: images (N, H, W) and labels (N,) of both sets, uint8, deflated."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for part, dataset in (("train", train), ("test", test)):
            for kind, array in (("images", dataset.images[:, 0]), ("labels", dataset.labels)):
                content = io.BytesIO()
                np.lib.format.write_array(
                    content, np.ascontiguousarray(array, dtype=np.uint8), version=(1, 0), allow_pickle=False
                )
                entry = zipfile.ZipInfo(f"{part}_{kind}.npy", DATE)
                entry.create_system = 3  # the default depends on the operating system
                file.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return archive.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the images that come with gpunn from Fashion-MNIST.")
    parser.add_argument("directory", help="folder with the files of Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=fashion_mini.FILE, help="file to write (%(default)s)")
    options = parser.parse_args()
    train = first_of_each_class(load("fashion-mnist", options.directory, train=True), TRAIN_PER_CLASS)
    test = first_of_each_class(load("fashion-mnist", options.directory, train=False), TEST_PER_CLASS)
    content = pack(train, test)
    options.out.write_bytes(content)
    print(f"{options.out}: {len(train)} + {len(test)} images, {len(content)} bytes")


if __name__ == "__main__":
    main()
