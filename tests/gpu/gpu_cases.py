"""Calls of the CUDA backend's primitives whose results on a GPU are compared with those of the emulator.

    python tests/gpu/gpu_cases.py        # where there is a C++ compiler: record the emulator's results anew

The recorded ones (recorded.npz) serve on a machine with a GPU and without a compiler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).with_name("recorded.npz")
DTYPES = ("float32", "float64", "float16", "bfloat16")
RECORDED_DTYPE = "float32"  # the others would make the file large, and differ in their types alone

IMAGES = (2, 5, 7, 6)
ROWS = (3, 37)
LABELS = np.array([4, 36, 0])
Arrays = dict[str, Any]


class Call:
    """One backend and one dtype: makes arrays, and calls a pair of primitives.

    ``rounded_to``: the dtype in which the numbers are drawn, if it is not that in which they are computed with.
    """

    def __init__(self, backend: Any, dtype: Any, rounded_to: Any = None) -> None:
        self.backend, self.dtype, self.rounded_to = backend, dtype, rounded_to or dtype

    def array(self, *shape: int, seed: int = 0, positive: bool = False, dtype: Any = None) -> Any:
        values = np.random.default_rng([seed, *shape]).standard_normal(shape).astype(self.rounded_to)
        return self.backend.asarray((abs(values) if positive else values).astype(dtype or self.dtype))

    def statistics(self, *shape: int, seed: int = 0, positive: bool = False) -> Any:
        """What kernels take in the accumulator's dtype: float64 of float64, else float32."""
        wide = "float64" if np.dtype(self.dtype).name == "float64" else "float32"
        return self.array(*shape, seed=seed, positive=positive, dtype=wide)

    def pair(self, op: str, *arguments: Any, **options: Any) -> Arrays:
        """Results and gradients of ``op``; the gradient of its first result is drawn at random."""
        with self.backend.scope():
            out, saved = getattr(self.backend, op)(*arguments, **options)
            results = out if isinstance(out, tuple) else (out,)
            dout = self.array(*results[0].shape, seed=9).astype(results[0].dtype)
            gradients = getattr(self.backend, f"{op}_backward")(saved, dout)
        return {f"result {i}": a for i, a in enumerate(results)} | {
            f"gradient {i}": a for i, a in enumerate(gradients) if a is not None
        }

    def step(self, op: str, states: int, **options: Any) -> Arrays:
        """Two arrays of parameters after a step of an optimizer, and its state."""
        shapes = ((5, 13), (31,))
        lists = [[self.array(*shape, seed=i, positive=i > 1) for shape in shapes] for i in range(2 + states)]
        absent = {"sgd_": 0, "adagrad_": 0, "rmsprop_": 2, "adam_": 1}[op]  # momentum and averages that are not kept
        with self.backend.scope():
            getattr(self.backend, op)(*lists, *[None] * absent, maximize=False, **options)
        changed = [lists[0], *lists[2:]]
        return {f"state {i}, {j}": a for i, arrays in enumerate(changed) for j, a in enumerate(arrays)}


def channels_last(call: Call, x: Any) -> Any:
    xp = call.backend.xp
    return xp.moveaxis(xp.ascontiguousarray(xp.moveaxis(x, 1, -1)), -1, 1)


CASES: dict[str, Callable[[Call], Arrays]] = {
    "relu": lambda c: c.pair("relu", c.array(1031)),
    "leaky_relu": lambda c: c.pair("leaky_relu", c.array(1031), slope=0.25),
    "elu": lambda c: c.pair("elu", c.array(1031), alpha=1.5),
    "sigmoid": lambda c: c.pair("sigmoid", c.array(1031)),
    "tanh": lambda c: c.pair("tanh", c.array(1031)),
    "softplus": lambda c: c.pair("softplus", c.array(1031)),
    "prelu": lambda c: c.pair("prelu", c.array(*IMAGES), c.array(5, seed=1)),
    "softmax": lambda c: c.pair("softmax", c.array(*ROWS), axis=1),
    "log_softmax": lambda c: c.pair("log_softmax", c.array(*ROWS), axis=1),
    "cross_entropy": lambda c: c.pair("cross_entropy", c.array(*ROWS), c.backend.asarray(LABELS), label_smoothing=0.1),
    "batch_norm": lambda c: c.pair("batch_norm", c.array(*IMAGES), c.statistics(5), c.statistics(5, seed=1)),
    "batch_norm, channels last": lambda c: c.pair(
        "batch_norm", channels_last(c, c.array(*IMAGES)), c.statistics(5), c.statistics(5, seed=1)
    ),
    "batch_norm_inference": lambda c: c.pair(
        "batch_norm_inference", c.array(*IMAGES), c.statistics(5), c.statistics(5, seed=1), c.statistics(5, seed=2),
        c.statistics(5, seed=3, positive=True),
    ),
    "max_pool2d": lambda c: c.pair("max_pool2d", c.array(*IMAGES), (3, 2), (2, 1), (1, 1), (1, 1)),
    "avg_pool2d": lambda c: c.pair("avg_pool2d", c.array(*IMAGES), (3, 2), (2, 1), (1, 1)),
    "conv2d": lambda c: c.pair("conv2d", c.array(*IMAGES), c.array(3, 5, 3, 3), c.array(3), stride=(2, 1), padding=(1, 0)),
    "linear": lambda c: c.pair("linear", c.array(*ROWS), c.array(11, 37), c.array(11)),
    "dropout": lambda c: c.pair("dropout", c.array(1031), p=0.3, seed=2**40 + 5, stream=2**33 + 1),
    "sgd": lambda c: c.step("sgd_", 1, lr=0.1, momentum=0.9, dampening=0.0, weight_decay=0.01, nesterov=True,
                            first_step=False),
    "adagrad": lambda c: c.step("adagrad_", 1, lr=0.1, weight_decay=0.01, eps=1e-10),
    "rmsprop": lambda c: c.step("rmsprop_", 1, lr=0.1, alpha=0.9, eps=1e-8, weight_decay=0.01, momentum=0.0),
    "adam": lambda c: c.step("adam_", 2, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.01, decoupled=False,
                             step=3),
    "total_norm": lambda c: {"norm": c.backend.total_norm([c.array(57), c.array(7, 5)], 2.0)},
}  # fmt: skip
# No elementary function and no sum of several products: the same bits, whoever computes them.
EXACT = ("relu", "leaky_relu", "max_pool2d", "dropout")
# The longest sum behind an element, where that is not 1.
TERMS = {"softmax": 37, "log_softmax": 37, "cross_entropy": 37, "batch_norm": 84, "batch_norm, channels last": 84,
         "batch_norm_inference": 84, "avg_pool2d": 6, "conv2d": 84, "linear": 37, "prelu": 84, "total_norm": 92}  # fmt: skip


def results(backend: Any, name: str, dtype: Any, rounded_to: Any = None) -> dict[str, np.ndarray]:
    """What a case gives, on the host."""
    arrays = CASES[name](Call(backend, dtype, rounded_to))
    return {key: np.array(backend.to_numpy(array)) for key, array in arrays.items()}


def record() -> None:
    from backends import emulator

    if emulator.missing():
        raise SystemExit(f"nothing recorded: {emulator.missing()}")
    backend = emulator.backend()
    arrays: dict[str, Any] = {
        f"{name}/{key}": array for name in CASES for key, array in results(backend, name, RECORDED_DTYPE).items()
    }
    np.savez_compressed(RECORDED, **arrays)
    print(f"{len(arrays)} arrays of {len(CASES)} cases in {RECORDED} ({RECORDED.stat().st_size} bytes)")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    record()
