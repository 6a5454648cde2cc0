"""Data sets, readers, augmentation and the loader.

`load` finds a data set by name; `DataLoader` makes batches of it, the same for one seed on every machine.
"""

from gpunn.data.augmentation import GaussianNoise, RandomBlur, RandomRotation, RandomShift
from gpunn.data.catalog import load, names
from gpunn.data.dataset import Dataset
from gpunn.data.images import read_image
from gpunn.data.loader import DataLoader
from gpunn.data.preprocessing import Standardize
from gpunn.data.principal_components import PCA, Whiten
from gpunn.data.sampler import BalancedSampler, LargestErrorSampler, Sampler
from gpunn.data.transforms import Cutout, Normalize, RandomCrop, RandomHorizontalFlip

__all__ = [
    "BalancedSampler",
    "Cutout",
    "DataLoader",
    "Dataset",
    "GaussianNoise",
    "LargestErrorSampler",
    "Normalize",
    "PCA",
    "RandomBlur",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomShift",
    "Sampler",
    "Standardize",
    "Whiten",
    "load",
    "names",
    "read_image",
]
