"""A folder of images with a folder for each class.

Either ``PATH/train/CLASS/...`` with ``PATH/test/CLASS/...`` (or ``val``), or ``PATH/CLASS/...``, of which a
seeded fifth of each class is the test set. Classes and files are taken in the order of their names.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from gpunn.data.dataset import Dataset, stratified_split
from gpunn.data.images import read_image, without_warnings
from gpunn.data.paths import expanded
from gpunn.data.resize import checked_size, empty_images
from gpunn.errors import DataError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"))
TRAIN, TESTS = "train", ("test", "val")
TEST_SHARE = 0.2


def read(
    path: str | Path,
    train: bool = True,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    seed: int = 0,
) -> Dataset:
    """The training or the test set of a folder of images.

    Args:
        path: the folder.
        train: whether the training or the test set is wanted.
        image_size: side or (height, width) to which every image is resized (stretched where its shape
            differs); without it all images must have the size of the first training image.
        channels: 1 for gray or 3 for RGB; without it as in the first training image. Alpha is dropped.
        seed: of the split, where the folder is not split already.

    Raises:
        DataError: no such folder, a class without images, a file that is no image or of another size.
    """
    path = expanded(path)
    if channels not in (None, 1, 3):
        raise ValueError(f"folder: expected channels=1 (gray) or 3 (RGB), got {channels}")
    if not path.is_dir():
        raise DataError(f"folder:{path}: no such folder; expected a folder with a folder of images for each class")
    train_files, test_files, classes = _train_and_test(path, seed)
    wanted = train_files if train else test_files
    if not wanted:
        missing = f"{TRAIN}/ folder" if train else "test images: every class has one image, none can be held out"
        raise DataError(f"folder:{path}: no {missing}")
    # The first training image sets size and channels of both sets, so that one network serves both.
    first = (train_files or test_files)[0][0]
    with without_warnings():
        first_channels, *own_size = read_image(first).shape
        size = checked_size(own_size if image_size is None else image_size)
        images = _decode([file for file, _ in wanted], size, channels or first_channels, first, image_size is not None)
    return Dataset(images, np.array([label for _, label in wanted]), classes, f"folder:{path}")


Files = list[tuple[Path, int]]


def _train_and_test(path: Path, seed: int) -> tuple[Files, Files, list[str]]:
    """The files of both sets with their labels, and the classes, which the training set decides."""
    train_folder = path / TRAIN if _subfolders(path / TRAIN) else None
    test_folder = next((path / name for name in TESTS if _subfolders(path / name)), None)
    if test_folder is None:
        files, classes = _files(train_folder or path)
        rest, held_out = stratified_split(np.array([label for _, label in files]), TEST_SHARE, seed)
        return [files[i] for i in rest], [files[i] for i in held_out], classes
    if train_folder is None:
        return [], *_files(test_folder)
    train_files, classes = _files(train_folder)
    return train_files, _files(test_folder, classes)[0], classes


def _subfolders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files(root: Path, classes: list[str] | None = None) -> tuple[Files, list[str]]:
    """The image files below ``root`` with their labels, and the classes (given, or the folders' names)."""
    folders = _subfolders(root)
    if not folders:
        raise DataError(f"folder:{root}: no folders in it; expected a folder of images for each class")
    names = [folder.name for folder in folders] if classes is None else classes
    files: Files = []
    for folder in folders:
        try:
            folder.name.encode()
        except UnicodeEncodeError:  # it would be noticed no sooner than when the classes are written down
            raise DataError(f"folder:{root}: class {folder.name!r} has a name that is not UTF-8; rename it") from None
        if folder.name not in names:
            raise DataError(
                f"folder:{folder}: class {folder.name!r} is not in the training set; it has {', '.join(names)}"
            )
        members = sorted(
            Path(parent, name)
            for parent, _, entries in os.walk(folder)
            for name in entries
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        )
        if not members:
            raise DataError(
                f"folder:{folder}: no images in this class ({' '.join(sorted(SUFFIXES))}); add some or remove it"
            )
        files += [(file, names.index(folder.name)) for file in members]
    return files, names


def _decode(files: list[Path], size: tuple[int, int], channels: int, first: Path, resize: bool) -> np.ndarray:
    """All files as one array (N, channels, height, width) of uint8."""
    from concurrent.futures import ThreadPoolExecutor

    images = empty_images(len(files), channels, size)

    def decode(index: int) -> None:
        image = read_image(files[index], channels, size if resize else None)
        if image.shape[1:] != size:
            raise DataError(
                f"{files[index]}: {image.shape[1]}x{image.shape[2]} pixels; "
                f"expected {size[0]}x{size[1]} like {first}; give an image size to resize all"
            )
        images[index] = image

    # Pillow decodes outside the interpreter's lock. The error raised is the first in the order of the files.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(decode, range(len(files))):
            pass
    return images
