"""Data sets, readers, augmentation and the loader.

`load` finds a data set by name; `DataLoader` makes batches of it, the same for one seed on every machine.
"""

from gpunn.data.catalog import load, names
from gpunn.data.dataset import Dataset
from gpunn.data.images import read_image
from gpunn.data.loader import DataLoader
from gpunn.data.transforms import Cutout, Normalize, RandomCrop, RandomHorizontalFlip

__all__ = [
    "Cutout",
    "DataLoader",
    "Dataset",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "load",
    "names",
    "read_image",
]
