"""Convolution by its definition, for few channels in and out: plane by plane, along whole padded images at once.

Where the rows of a padded image stand one behind the other, an output's plane (with some unused places at the end of each
row) is a weighted sum of shifted copies of the input's: long loops, whatever the size of the image. Arrays are float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import compiled


@compiled
def pad(image: Any, padded: Any, top: int, left: int) -> None:
    """image (C, H, W) into the middle of ``padded``, whose border stays as it is."""
    channels, height, width = image.shape
    pitch = width + 2 * left
    for c in range(channels):
        for h in range(height):
            start = (c * (height + 2 * top) + top + h) * pitch + left
            target, source = padded[start : start + width], image[c, h]
            for w in range(width):
                target[w] = source[w]


@compiled
def convolve(images: Any, weight: Any, bias: Any, out: Any, top: int, left: int) -> None:
    """images (N, C, H, W), weight (O, C, KH, KW), bias (O); out (N, OH, OW, O)."""
    channels, height, pitch = images.shape[1], images.shape[2] + 2 * top, images.shape[3] + 2 * left
    across = weight.shape[3]
    length = out.shape[1] * pitch
    padded = np.zeros(channels * height * pitch + across, np.float32)  # the last plane is read past its end
    plane = np.empty(length, np.float32)
    for n in range(len(images)):
        pad(images[n], padded, top, left)
        for o in range(len(weight)):
            for i in range(length):
                plane[i] = 0
            for c in range(channels):
                for u in range(weight.shape[2]):
                    row = (c * height + u) * pitch
                    v = 0
                    while v + 5 <= across:
                        add_five(padded[row + v :], weight[o, c, u, v : v + 5], plane)
                        v += 5
                    while v + 3 <= across:
                        add_three(padded[row + v :], weight[o, c, u, v : v + 3], plane)
                        v += 3
                    while v < across:
                        source, factor = padded[row + v :], weight[o, c, u, v]
                        for i in range(length):
                            plane[i] += factor * source[i]
                        v += 1
            for h in range(out.shape[1]):
                for w in range(out.shape[2]):
                    # The bias last, as where it is added by an operation of its own: the results are the same bits.
                    out[n, h, w, o] = plane[h * pitch + w] + bias[o]


@compiled
def add_five(source: Any, weight: Any, plane: Any) -> None:
    a, b, c, d, e = weight[0], weight[1], weight[2], weight[3], weight[4]
    for i in range(len(plane)):
        plane[i] += a * source[i] + b * source[i + 1] + c * source[i + 2] + d * source[i + 3] + e * source[i + 4]


@compiled
def add_three(source: Any, weight: Any, plane: Any) -> None:
    a, b, c = weight[0], weight[1], weight[2]
    for i in range(len(plane)):
        plane[i] += a * source[i] + b * source[i + 1] + c * source[i + 2]


@compiled(reassociate=True)
def add_weight_gradient(images: Any, dout: Any, gradient: Any, top: int, left: int) -> None:
    """images (N, C, H, W), dout (N, OH, OW, O); adds to ``gradient`` (O, C, KH, KW)."""
    channels, height, pitch = images.shape[1], images.shape[2] + 2 * top, images.shape[3] + 2 * left
    across = gradient.shape[3]
    length = dout.shape[1] * pitch
    padded = np.zeros(channels * height * pitch + across, np.float32)
    plane = np.zeros(length, np.float32)  # the unused places stay zero
    for n in range(len(images)):
        pad(images[n], padded, top, left)
        for o in range(len(gradient)):
            for h in range(dout.shape[1]):
                for w in range(dout.shape[2]):
                    plane[h * pitch + w] = dout[n, h, w, o]
            for c in range(channels):
                for u in range(gradient.shape[2]):
                    row = (c * height + u) * pitch
                    v = 0
                    while v + 5 <= across:
                        multiply_five(padded[row + v :], plane, gradient[o, c, u, v : v + 5])
                        v += 5
                    while v < across:
                        gradient[o, c, u, v] += multiply(padded[row + v :], plane)
                        v += 1


@compiled(inline=True)
def multiply_five(source: Any, plane: Any, sums: Any) -> None:
    """Add the products of the plane with five shifted copies of the source."""
    a = b = c = d = e = np.float32(0)
    for i in range(len(plane)):
        factor = plane[i]
        a += factor * source[i]
        b += factor * source[i + 1]
        c += factor * source[i + 2]
        d += factor * source[i + 3]
        e += factor * source[i + 4]
    sums[0] += a
    sums[1] += b
    sums[2] += c
    sums[3] += d
    sums[4] += e


@compiled(inline=True)
def multiply(source: Any, plane: Any) -> Any:
    total = np.float32(0)
    for i in range(len(plane)):
        total += plane[i] * source[i]
    return total
