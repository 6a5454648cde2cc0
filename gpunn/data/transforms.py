"""Preprocessing and augmentation of whole batches of images.

A transform is called as ``transform(batch, seed, stream, start)`` and returns a new array:

- ``batch``: (n, C, H, W), uint8 in [0, 255] or floating point; never written to.
- ``seed``, ``stream``: which random numbers to use; the loader gives a stream for each epoch and transform.
- ``start``: the position in the epoch of the first image of the batch.

Image ``i`` of a batch draws elements ``(start + i) * k`` to ``(start + i) * k + k - 1`` of the stream, k
being how many the transform needs. So what happens to an image depends on seed, epoch, transform and position
alone, and neither on the batch size nor on threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from backends import philox
from gpunn.data.dataset import Dataset
from gpunn.data.resize import checked_size
from gpunn.errors import DataError


class Transform(Protocol):
    """What the loader applies to a batch."""

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray: ...


class Normalize:
    """``(x - mean) / std`` for each channel, float32; uint8 images are first scaled to [0, 1].

    Args:
        mean, std: one number a channel, on the scale of [0, 1] for uint8 images.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(
                f"Normalize: expected one mean and one std a channel, got {len(self.mean)} and {len(self.std)}"
            )
        if not all(map(math.isfinite, self.mean)):
            raise ValueError(f"Normalize: expected finite means, got {self.mean}")
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise ValueError(f"Normalize: expected finite std > 0, got {self.std}")

    @classmethod
    def of(cls, dataset: Dataset) -> Normalize:
        """With mean and (population) standard deviation of each channel over all pixels of a data set.

        A channel that is constant gets std 1, so that it becomes 0 rather than NaN.
        """
        if not len(dataset):
            raise DataError(f"{dataset}: no images to take mean and std of")
        moments = [_moments(dataset.images[:, channel]) for channel in range(dataset.in_channels)]
        return cls([mean for mean, _ in moments], [std if std > 0 else 1.0 for _, std in moments])

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray:
        if batch.shape[1] != len(self.mean):
            raise DataError(
                f"Normalize: expected images of {len(self.mean)} channels, got a batch of shape {batch.shape}"
            )
        # One multiplication and one subtraction a pixel, their constants rounded once, from float64.
        std = np.array(self.std).reshape(-1, 1, 1)
        shift = np.array(self.mean).reshape(-1, 1, 1) / std
        scale = 1.0 / (255.0 * std if batch.dtype == np.uint8 else std)
        out = batch.astype(np.float32)
        out *= scale.astype(np.float32)
        out -= shift.astype(np.float32)
        return out

    def __repr__(self) -> str:
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"Normalize(mean=({mean}), std=({std}))"


def _moments(pixels: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; of uint8 on the scale [0, 1], from a histogram: the sums are exact."""
    if pixels.dtype != np.uint8:
        if pixels.min() == pixels.max():  # where the sums would leave a rounding error instead of 0
            return float(pixels.flat[0]), 0.0
        return float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64))
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(pixels), 1024):
        counts += np.bincount(pixels[start : start + 1024].reshape(-1), minlength=256)
    values = np.arange(256) / 255.0
    mean = float(counts @ values / counts.sum())
    return mean, math.sqrt(float(counts @ (values - mean) ** 2 / counts.sum()))


class RandomCrop:
    """A window of the image, padded on all sides, at a place drawn uniformly.

    Args:
        size: side or (height, width) of the window; None: that of the image.
        padding: pixels added on each side first.
        padding_mode: ``reflect`` (at the outermost pixel, which is not repeated) or ``constant`` (zeros).
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        padding: int = 4,
        padding_mode: Literal["reflect", "constant"] = "reflect",
    ) -> None:
        self.size = None if size is None else checked_size(size)
        self.padding, self.padding_mode = int(padding), padding_mode
        if padding < 0:
            raise ValueError(f"RandomCrop: expected padding >= 0, got {padding}")
        if padding_mode not in ("reflect", "constant"):
            raise ValueError(f"RandomCrop: expected padding_mode 'reflect' or 'constant', got {padding_mode!r}")

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray:
        n, _, height, width = batch.shape
        size = self.size or (height, width)
        rows, columns = height + 2 * self.padding - size[0] + 1, width + 2 * self.padding - size[1] + 1
        if rows < 1 or columns < 1:
            raise DataError(
                f"RandomCrop: window {size[0]}x{size[1]} is larger than images of {height}x{width} "
                f"with padding {self.padding}"
            )
        bits = philox.random_bits(seed, stream, 2 * n, 2 * start).reshape(n, 2)
        top, left = _below(rows, bits[:, 0]), _below(columns, bits[:, 1])
        windows: Any = np.lib.stride_tricks.sliding_window_view(self._padded(batch), size, axis=(2, 3))
        return windows[np.arange(n), :, top, left]

    def _padded(self, batch: np.ndarray) -> np.ndarray:
        """``np.pad`` of height and width, in half its time where the mirror image lies inside the image."""
        n, channels, height, width = batch.shape
        pad = self.padding
        if self.padding_mode == "constant" or pad > min(height, width) - 2:
            return np.pad(batch, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode=self.padding_mode)
        out = np.empty((n, channels, height + 2 * pad, width + 2 * pad), dtype=batch.dtype)
        middle = out[:, :, pad : pad + height]
        middle[..., pad : pad + width] = batch
        middle[..., :pad] = batch[..., pad:0:-1]
        middle[..., pad + width :] = batch[..., width - 2 : width - 2 - pad : -1]
        out[:, :, :pad] = out[:, :, 2 * pad : pad : -1]
        out[:, :, pad + height :] = out[:, :, pad + height - 2 : height - 2 : -1]
        return out

    def __repr__(self) -> str:
        return f"RandomCrop(size={self.size}, padding={self.padding}, padding_mode={self.padding_mode!r})"


class RandomHorizontalFlip:
    """The mirror image (left and right exchanged) with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: expected 0 <= p <= 1, got {p}")
        self.p = float(p)

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray:
        flipped = philox.uniform(seed, stream, len(batch), start) < self.p
        out = batch.copy()
        out[flipped] = batch[flipped][..., ::-1]
        return out

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


class Cutout:
    """A square of side ``size`` set to 0, which is the mean colour after `Normalize`.

    Its centre is drawn uniformly from the pixels of the image; what lies beyond the border is cut off.
    Source: T. DeVries and G. Taylor, "Improved regularization of convolutional neural networks with
    Cutout", 2017.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"Cutout: expected size >= 1, got {size}")
        self.size = int(size)

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray:
        n, _, height, width = batch.shape
        bits = philox.random_bits(seed, stream, 2 * n, 2 * start).reshape(n, 2)
        rows = self._covered(bits[:, 0], height)
        columns = self._covered(bits[:, 1], width)
        square = rows[:, np.newaxis, :, np.newaxis] & columns[:, np.newaxis, np.newaxis, :]
        out = batch.copy()
        np.copyto(out, 0, where=square)
        return out

    def _covered(self, bits: np.ndarray, length: int) -> np.ndarray:
        """(n, length): whether the square of each image covers each row (or column)."""
        first = _below(length, bits)[:, np.newaxis] - self.size // 2
        places = np.arange(length)
        return (places >= first) & (places < first + self.size)

    def __repr__(self) -> str:
        return f"Cutout(size={self.size})"


def _below(high: int, bits: np.ndarray) -> np.ndarray:
    """Integers in [0, high) from random words, by multiply-and-shift as `philox.integers`."""
    return ((bits.astype(np.uint64) * np.uint64(high)) >> np.uint64(32)).astype(np.int64)
