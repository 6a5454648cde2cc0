"""Operations a second time, as plain loops over their formulas, in float64 and without a thought of speed."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

Pair = tuple[int, int]


def pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else tuple(value)


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> np.ndarray:
    """A sum for each output element, over the channels of its group and the places of the kernel inside the image."""
    if x.ndim == 3:
        return conv2d(x[None], weight, bias, stride, padding, dilation, groups)[0]
    (n, _, height, width), (filters, channels, kernel_height, kernel_width) = x.shape, weight.shape
    (step_y, step_x), (gap_y, gap_x) = pair(stride), pair(dilation)
    span_y, span_x = gap_y * (kernel_height - 1), gap_x * (kernel_width - 1)
    if padding == "same":
        top, left = span_y // 2, span_x // 2
        out_height, out_width = height, width
    else:
        top, left = (0, 0) if padding == "valid" else pair(padding)
        out_height, out_width = (
            (height + 2 * top - span_y - 1) // step_y + 1,
            (width + 2 * left - span_x - 1) // step_x + 1,
        )
    out = np.zeros((n, filters, out_height, out_width))
    for o, i, j in itertools.product(range(filters), range(out_height), range(out_width)):
        first = (o // (filters // groups)) * channels
        for u, v in itertools.product(range(kernel_height), range(kernel_width)):
            row, column = i * step_y + u * gap_y - top, j * step_x + v * gap_x - left
            if 0 <= row < height and 0 <= column < width:
                for c in range(channels):
                    out[:, o, i, j] += weight[o, c, u, v] * x[:, first + c, row, column]
        out[:, o, i, j] += 0.0 if bias is None else bias[o]
    return out


def windows(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> list[list[int]]:
    """For each window along one axis the positions it covers, also those in the padding and beyond the end."""
    found = []
    for start in itertools.count(-padding, stride):
        last = start + dilation * (kernel - 1)
        fits = last < size + padding
        # The overhanging window that ceil_mode allows must begin before the padding at the end.
        overhangs = ceil_mode and found and found[-1][-1] < size + padding - 1 and start < size
        if not fits and not overhangs:
            return found
        found.append([start + dilation * place for place in range(kernel)])
    return found


def _planes(x: np.ndarray, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    kernel, stride = pair(kernel), pair(kernel if stride is None else stride)
    padding, dilation = pair(padding), pair(dilation)
    return [
        windows(x.shape[2 + axis], kernel[axis], stride[axis], padding[axis], dilation[axis], ceil_mode)
        for axis in (0, 1)
    ]


def max_pool2d(
    x: np.ndarray,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window; NaN is larger than all, and the first one wins."""
    if x.ndim == 3:
        best, places = max_pool2d(x[None], kernel_size, stride, padding, dilation, ceil_mode, True)
        return (best[0], places[0]) if return_indices else best[0]
    (n, channels, height, width) = x.shape
    rows, columns = _planes(x, kernel_size, stride, padding, dilation, ceil_mode)
    best = np.full((n, channels, len(rows), len(columns)), -math.inf)
    places = np.zeros(best.shape, np.int64)
    for b, c, i, j in np.ndindex(best.shape):
        seen = [(r, s) for r in rows[i] for s in columns[j] if 0 <= r < height and 0 <= s < width]
        rank = [math.inf if math.isnan(x[b, c, r, s]) else x[b, c, r, s] for r, s in seen]
        r, s = seen[rank.index(max(rank))]
        best[b, c, i, j], places[b, c, i, j] = x[b, c, r, s], r * width + s
    return (best, places) if return_indices else best


def avg_pool2d(
    x: np.ndarray,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """The mean of each window; the padding counts on request, what hangs over beyond it never."""
    if x.ndim == 3:
        return avg_pool2d(x[None], kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)[0]
    height, width = x.shape[2:]
    top, left = pair(padding)
    rows, columns = _planes(x, kernel_size, stride, padding, 1, ceil_mode)
    out = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for i, j in np.ndindex(out.shape[2:]):
        seen = [(r, s) for r in rows[i] for s in columns[j] if 0 <= r < height and 0 <= s < width]
        count = sum(r < height + top and s < width + left for r in rows[i] for s in columns[j])
        divisor = divisor_override or (count if count_include_pad else len(seen))
        out[:, :, i, j] = sum(x[:, :, r, s] for r, s in seen) / divisor
    return out


def adaptive_avg_pool2d(x: np.ndarray, output_size: Any) -> np.ndarray:
    if x.ndim == 3:
        return adaptive_avg_pool2d(x[None], output_size)[0]
    height, width = x.shape[2:]
    wanted = pair(output_size)
    out_height, out_width = wanted[0] or height, wanted[1] or width
    out = np.zeros((*x.shape[:2], out_height, out_width))
    for i, j in np.ndindex(out_height, out_width):
        rows = range(math.floor(i * height / out_height), math.ceil((i + 1) * height / out_height))
        columns = range(math.floor(j * width / out_width), math.ceil((j + 1) * width / out_width))
        out[:, :, i, j] = sum(x[:, :, r, s] for r in rows for s in columns) / (len(rows) * len(columns))
    return out


def batch_norm(
    x: np.ndarray,
    mean: Any,
    variance: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Channel by channel: the normalized values, and the running mean and variance after the step."""
    y, means, variances = np.zeros(x.shape), [], []
    for c in range(x.shape[1]):
        values = x[:, c]
        if training and values.size:
            m = values.sum() / values.size
            v = ((values - m) ** 2).sum() / values.size
            means.append((1 - momentum) * mean[c] + momentum * m)
            variances.append((1 - momentum) * variance[c] + momentum * v * values.size / (values.size - 1))
        else:
            m, v = mean[c], variance[c]
            means.append(m)
            variances.append(v)
        y[:, c] = (values - m) / math.sqrt(v + eps)
        y[:, c] = y[:, c] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
    return y, np.asarray(means), np.asarray(variances)


def reduced(losses: np.ndarray, reduction: str, divisor: float | None = None) -> np.ndarray:
    if reduction == "none":
        return losses
    total = losses.sum()
    if reduction == "sum":
        return total
    count = losses.size if divisor is None else divisor
    return total / count if count else np.asarray(math.nan)


def cross_entropy(
    x: np.ndarray,
    target: np.ndarray,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    normalized: bool = False,
) -> np.ndarray:
    """For each row with target t: -sum_c w_c t'_c log p_c, where t' is t smoothed. Labels are rows of 0 and one 1.

    ``normalized``: the scores are log-probabilities already (the negative log-likelihood).
    """
    if x.ndim == 1:
        x, target = x[None], target[None]
        scalar = cross_entropy(x, target, weight, ignore_index, reduction, label_smoothing, normalized)
        return scalar.reshape(())
    classes = x.shape[1]
    weights = np.ones(classes) if weight is None else weight
    soft = target.dtype.kind == "f"
    losses, divisor = np.zeros((x.shape[0], *x.shape[2:])), 0.0
    for place in np.ndindex(losses.shape):
        scores = x[(place[0], slice(None), *place[1:])]
        log_p = scores if normalized else scores - math.log(sum(math.exp(s) for s in scores))
        if soft:
            t = target[(place[0], slice(None), *place[1:])]
            divisor += 1
        elif target[place] == ignore_index:
            continue
        else:
            t = np.eye(classes)[target[place]]
            divisor += weights[target[place]]
        t = t * (1 - label_smoothing) + label_smoothing / classes
        losses[place] = -sum(w * share * lp for w, share, lp in zip(weights, t, log_p, strict=True))
    return reduced(losses, reduction, divisor)


def multi_margin_loss(
    x: np.ndarray, target: np.ndarray, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> np.ndarray:
    if x.ndim == 1:
        return multi_margin_loss(x[None], target[None], p, margin, weight, reduction).reshape(())
    losses = np.zeros(len(x))
    for row, (scores, y) in enumerate(zip(x, target, strict=True)):
        hinges = [max(0.0, margin - scores[y] + scores[j]) ** p for j in range(len(scores)) if j != y]
        losses[row] = sum(hinges) * (1 if weight is None else weight[y]) / len(scores)
    return reduced(losses, reduction)


def crammer_singer_loss(x: np.ndarray, target: np.ndarray, margin: float = 1.0, reduction: str = "mean") -> np.ndarray:
    if x.ndim == 1:
        return crammer_singer_loss(x[None], target[None], margin, reduction).reshape(())
    losses = np.zeros(len(x))
    for row, (scores, y) in enumerate(zip(x, target, strict=True)):
        losses[row] = max([0.0, *(margin - scores[y] + scores[j] for j in range(len(scores)) if j != y)])
    return reduced(losses, reduction)


def dropout(x: np.ndarray, p: float, seed: int, stream: int) -> np.ndarray:
    """Element i is kept where the upper 24 bits of word i of the stream, as a fraction, reach p."""
    out = np.zeros(x.size)
    for i, value in enumerate(x.reshape(-1)):
        word = philox4x32((i // 4, 0, stream & 0xFFFFFFFF, stream >> 32), (seed & 0xFFFFFFFF, seed >> 32))[i % 4]
        out[i] = value / (1 - p) if (word >> 8) / 2**24 >= p else 0.0
    return out.reshape(x.shape)


def philox4x32(counter: tuple[int, ...], key: tuple[int, int], rounds: int = 10) -> tuple[int, ...]:
    """One block of Philox4x32 in Python's own integers (Salmon et al., 2011, section 3.3)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A product and a sum for each element; the dimensions before the last two broadcast."""
    rows = a[None] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    batch = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    rows = np.broadcast_to(rows, (*batch, *rows.shape[-2:]))
    columns = np.broadcast_to(columns, (*batch, *columns.shape[-2:]))
    out = np.zeros((*batch, rows.shape[-2], columns.shape[-1]))
    for place in np.ndindex(out.shape):
        out[place] = sum(rows[(*place[:-1], k)] * columns[(*place[:-2], k, place[-1])] for k in range(rows.shape[-1]))
    out = out[..., 0, :] if a.ndim == 1 else out
    return out[..., 0] if b.ndim == 1 else out


def determinant(x: np.ndarray) -> float:
    """By Laplace's expansion along the first row."""
    if len(x) == 0:
        return 1.0
    minors = (np.delete(x[1:], j, axis=1) for j in range(len(x)))
    return float(sum((-1) ** j * x[0, j] * determinant(minor) for j, minor in enumerate(minors)))


def inverse(x: np.ndarray) -> np.ndarray:
    """By Cramer's rule: cofactors over the determinant."""
    if x.ndim > 2:
        return np.stack([inverse(one) for one in x])
    n = len(x)
    out = np.zeros((n, n))
    for i, j in np.ndindex(n, n):
        minor = np.delete(np.delete(x, j, axis=0), i, axis=1)
        out[i, j] = (-1) ** (i + j) * determinant(minor) / determinant(x)
    return out


def logdet(x: np.ndarray) -> np.ndarray:
    return np.stack([logdet(one) for one in x]) if x.ndim > 2 else np.asarray(math.log(determinant(x)))


def pad(x: np.ndarray, widths: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> np.ndarray:
    """Element by element, by the position that it shows."""
    pairs = [(0, 0)] * (x.ndim - len(widths) // 2) + [(widths[i], widths[i + 1]) for i in range(0, len(widths), 2)][
        ::-1
    ]
    out = np.zeros([n + before + after for n, (before, after) in zip(x.shape, pairs, strict=True)])
    for place in np.ndindex(out.shape):
        source = [_shown(i - before, n, mode) for i, n, (before, _) in zip(place, x.shape, pairs, strict=True)]
        out[place] = value if None in source else x[tuple(source)]
    return out


def _shown(i: int, n: int, mode: str) -> int | None:
    if 0 <= i < n:
        return i
    if mode == "reflect":
        return -i if i < 0 else 2 * (n - 1) - i
    if mode == "replicate":
        return 0 if i < 0 else n - 1
    return i % n if mode == "circular" else None
