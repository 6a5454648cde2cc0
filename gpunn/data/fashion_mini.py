"""A part of Fashion-MNIST that comes with the package: 10,000 training and 2,000 test images, 28x28 gray.

For each of the ten classes the first 1,000 images of the training set and the first 200 of the test set, in
the order of the original files; made by ``scripts/make_fashion_mini.py``.

Source: H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms", 2017, https://github.com/zalandoresearch/fashion-mnist. MIT licence, Copyright (c) 2017
Zalando SE, https://tech.zalando.com; the text is in ``fashion_mini.LICENSE`` beside the file.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from gpunn.data.dataset import Dataset
from gpunn.errors import DataError

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FILE = Path(__file__).with_name("fashion_mini.npz")


def load(train: bool = True) -> Dataset:
    """The 10,000 training or the 2,000 test images: (N, 1, 28, 28) uint8, a tenth of each class."""
    part = "train" if train else "test"
    try:
        with FILE.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{FILE}: missing or damaged ({error}); install the package again") from error
    return Dataset(images[:, np.newaxis], labels, CLASSES, "fashion-mini")
