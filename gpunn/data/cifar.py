"""CIFAR-10 in its binary version: a byte of label and 3072 bytes of image (red, green, blue plane) a record.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009; file format as on the
author's page of the data set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpunn.data.dataset import Dataset
from gpunn.errors import DataError

IMAGE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
NAMES_FILE = "batches.meta.txt"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def files(train: bool) -> tuple[str, ...]:
    """The names of the batch files of the training or of the test set."""
    return TRAIN_FILES if train else TEST_FILES


def read(directory: str | Path, train: bool = True) -> Dataset:
    """The training set (the five batches in their order) or the test set in a folder.

    Raises:
        DataError: a batch is missing, cut short or holds a label above 9, or the file of names has not ten.
    """
    directory = Path(directory)
    classes = read_names(directory / NAMES_FILE)
    batches = [read_batch(directory / file) for file in files(train)]
    return Dataset(
        np.concatenate([images for images, _ in batches]),
        np.concatenate([labels for _, labels in batches]),
        classes,
        "cifar10",
    )


def read_batch(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) uint8, a view of the file's bytes, and labels (N,) int64 of one batch file."""
    path = Path(path)
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a CIFAR-10 binary batch") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not content.size or content.size % RECORD:
        raise DataError(
            f"{path}: {content.size} bytes; expected a multiple of {RECORD} "
            f"(a CIFAR-10 binary batch of 10000 images has {10000 * RECORD}); remove it and download it again"
        )
    records = content.reshape(-1, RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        index = int(np.argmax(labels >= len(CLASSES)))
        raise DataError(f"{path}: label {labels[index]} in record {index}; expected 0 to {len(CLASSES) - 1}")
    return records[:, 1:].reshape(-1, *IMAGE), labels


def read_names(path: str | Path) -> list[str]:
    """The ten class names, a line each; the well-known ones where the file is missing."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return list(CLASSES)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != len(CLASSES):
        raise DataError(f"{path}: {len(names)} names; expected {len(CLASSES)} class names, one a line")
    return names
