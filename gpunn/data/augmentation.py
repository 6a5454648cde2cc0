"""Random changes of images that leave their class as it is: rotation, shift, blur, noise. `transforms` has crop, flip and cutout.

They are called as the transforms there (see `gpunn.data.transforms`), and what happens to an image depends on seed, stream and
position alone. The result has the batch's dtype; uint8 is rounded to the nearest, and cut off at 0 and 255.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backends import philox
from gpunn.dtypes import is_number


class RandomRotation:
    """The image turned about its centre by an angle drawn uniformly from [-degrees, degrees].

    Pixels between pixels are interpolated linearly; what comes from outside is ``fill``.
    """

    def __init__(self, degrees: float, fill: float = 0.0) -> None:
        if not (is_number(degrees) and 0 <= degrees <= 180):
            raise ValueError(f"RandomRotation: expected 0 <= degrees <= 180, got {degrees!r}")
        self.degrees, self.fill = float(degrees), _checked_fill("RandomRotation", fill)

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray:
        n, _, height, width = batch.shape
        angle = np.deg2rad(_between(-self.degrees, self.degrees, philox.uniform(seed, stream, (n, 1, 1), start)))
        cosine, sine = np.cos(angle), np.sin(angle)
        down = (np.arange(height) - (height - 1) / 2)[:, np.newaxis]
        right = np.arange(width) - (width - 1) / 2
        # Where each pixel of the result comes from: turned back by the angle, which is counterclockwise on the screen.
        rows = cosine * down + sine * right + (height - 1) / 2
        columns = cosine * right - sine * down + (width - 1) / 2
        return _interpolated(batch, rows, columns, self.fill)

    def __repr__(self) -> str:
        return f"RandomRotation(degrees={self.degrees}, fill={self.fill})"


class RandomShift:
    """The image moved down and to the right by two numbers of pixels drawn uniformly from [-pixels, pixels].

    Parts of pixels are interpolated linearly; what comes from outside is ``fill``. Whole pixels, with the border mirrored:
    `RandomCrop(padding=pixels)`.
    """

    def __init__(self, pixels: float, fill: float = 0.0) -> None:
        if not (is_number(pixels) and 0 <= pixels < math.inf):
            raise ValueError(f"RandomShift: expected a finite number of pixels >= 0, got {pixels!r}")
        self.pixels, self.fill = float(pixels), _checked_fill("RandomShift", fill)

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray:
        n, _, height, width = batch.shape
        moved = _between(-self.pixels, self.pixels, philox.uniform(seed, stream, (n, 2, 1, 1), 2 * start))
        rows = np.arange(height)[:, np.newaxis] - moved[:, 0]
        columns = np.arange(width) - moved[:, 1]
        return _interpolated(batch, rows, columns, self.fill)

    def __repr__(self) -> str:
        return f"RandomShift(pixels={self.pixels}, fill={self.fill})"


class RandomBlur:
    """The image smoothed by a Gaussian whose standard deviation, in pixels, is drawn uniformly from [low, high].

    The Gaussian is cut off at 3 * high pixels and sums to 1; beyond the border the outermost pixel goes on.
    """

    def __init__(self, low: float = 0.1, high: float = 2.0) -> None:
        if not (is_number(low) and is_number(high) and 0 < low <= high < math.inf):
            raise ValueError(f"RandomBlur: expected 0 < low <= high, both finite, got {low!r} and {high!r}")
        self.low, self.high = float(low), float(high)

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray:
        sigma = _between(self.low, self.high, philox.uniform(seed, stream, (len(batch), 1), start))
        radius = math.ceil(3 * self.high)
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)  # (n, taps)
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(_computed_in(batch))
        return _as_given(_smoothed(_smoothed(batch, weights, 2), weights, 3), batch)

    def __repr__(self) -> str:
        return f"RandomBlur(low={self.low}, high={self.high})"


class GaussianNoise:
    """Independent normal numbers of mean 0 and standard deviation ``std`` added to the pixels.

    For uint8 images ``std`` is on the scale of [0, 1], as for `Normalize`; else it is on that of the batch.
    """

    def __init__(self, std: float) -> None:
        if not (is_number(std) and 0 <= std < math.inf):
            raise ValueError(f"GaussianNoise: expected a finite std >= 0, got {std!r}")
        self.std = float(std)

    def __call__(self, batch: np.ndarray, seed: int, stream: int, start: int) -> np.ndarray:
        noise = philox.normal(seed, stream, batch.shape, start * math.prod(batch.shape[1:]))
        noise *= self.std * (255.0 if batch.dtype == np.uint8 else 1.0)
        return _as_given(batch + noise.astype(_computed_in(batch)), batch)

    def __repr__(self) -> str:
        return f"GaussianNoise(std={self.std})"


def _checked_fill(name: str, fill: float) -> float:
    if not is_number(fill):
        raise ValueError(f"{name}: expected fill to be a number, got {fill!r}")
    return float(fill)


def _between(low: float, high: float, share: np.ndarray) -> np.ndarray:
    return low + (high - low) * share.astype(np.float64)


def _computed_in(batch: np.ndarray) -> Any:
    return np.dtype(np.float64 if batch.dtype == np.float64 else np.float32)


def _as_given(values: np.ndarray, batch: np.ndarray) -> np.ndarray:
    if batch.dtype == np.uint8:
        values = np.clip(np.rint(values), 0, 255)
    return values.astype(batch.dtype, copy=False)


def _interpolated(batch: np.ndarray, rows: np.ndarray, columns: np.ndarray, fill: float) -> np.ndarray:
    """Each image at the places (rows, columns), which broadcast to (n, height, width): linear between four pixels."""
    n, channels, height, width = batch.shape
    rows, columns = np.broadcast_arrays(rows, columns)
    top, left = np.floor(rows), np.floor(columns)
    out = np.zeros((n, channels, *rows.shape[1:]), dtype=_computed_in(batch))
    image = np.arange(n)[:, np.newaxis, np.newaxis]
    for row, row_weight in ((top, top + 1 - rows), (top + 1, rows - top)):
        for column, column_weight in ((left, left + 1 - columns), (left + 1, columns - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            i, j = np.where(inside, row, 0).astype(np.int64), np.where(inside, column, 0).astype(np.int64)
            # Indices on both sides of the channels put them last.
            pixels = np.where(inside[..., np.newaxis], batch[image, :, i, j], fill)
            out += np.moveaxis(pixels * (row_weight * column_weight)[..., np.newaxis], -1, 1)
    return _as_given(out, batch)


def _smoothed(batch: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    """Along one axis, image i by weights[i]."""
    radius = weights.shape[1] // 2
    sides = [(0, 0)] * 4
    sides[axis] = (radius, radius)
    padded, length = np.pad(batch, sides, mode="edge"), batch.shape[axis]
    out = np.zeros(batch.shape, dtype=weights.dtype)
    for tap in range(weights.shape[1]):
        window = padded[:, :, tap : tap + length] if axis == 2 else padded[..., tap : tap + length]
        out += weights[:, tap, np.newaxis, np.newaxis, np.newaxis] * window
    return out
