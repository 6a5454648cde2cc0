"""Single kernels: gpunn's primitives, PyTorch's functions, and how near they come to the speed of a plain copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from device import torch_or_none
from timing import Contender

from gpunn.dtypes import as_dtype

ELEMENTS = 2**26  # of an elementwise case: several times what a cache holds
ROWS, CLASSES = 16_384, 1000
MAPS = (64, 256, 56, 56)
# The parameters of VGG16, which most of the large ones among networks resemble: a few huge arrays and many small ones.
WEIGHTS = [(64, 3, 3, 3), (64,), (128, 64, 3, 3), (128,), (256, 256, 3, 3), (256,), (512, 512, 3, 3), (512,),
           (512, 512, 3, 3), (512,), (4096, 25088), (4096,), (4096, 4096), (4096,), (1000, 4096), (1000,)]  # fmt: skip

Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """``least_bytes``: what must be read and written if every input is read once and every output written once."""

    name: str
    dtype: str
    least_bytes: int
    ours: Run
    theirs: Run | None
    compiled: Run | None = None


class Pair:
    """The same numbers as an array of gpunn's backend and as a tensor of PyTorch, both channels-last if they are images."""

    def __init__(
        self, backend: Any, torch: Any, shape: tuple[int, ...], dtype: str, requires_grad: bool = False
    ) -> None:
        values = np.random.default_rng(len(shape)).standard_normal(shape, dtype=np.float32)
        if len(shape) == 4:
            ours = backend.asarray(np.ascontiguousarray(np.moveaxis(values, 1, -1))).astype(as_dtype(dtype))
            self.ours = backend.xp.moveaxis(ours, -1, 1)
        else:
            self.ours = backend.asarray(values).astype(as_dtype(dtype))
        self.theirs = None
        if torch is not None:
            memory_format = torch.channels_last if len(shape) == 4 else torch.contiguous_format
            self.theirs = torch.tensor(values, device="cuda", dtype=getattr(torch, dtype))
            self.theirs = self.theirs.contiguous(memory_format=memory_format).requires_grad_(requires_grad)
        self.nbytes = int(self.ours.nbytes)


def cases(backend: Any, compiled: bool) -> list[Callable[[], list[Case]]]:
    """What makes the cases, a family at a time, so that only one family's arrays are in memory."""
    torch = torch_or_none()
    families: list[Callable[[], list[Case]]] = []
    for dtype in ("float32", "bfloat16"):
        families += [
            lambda dtype=dtype: _activations(backend, torch, dtype, compiled),
            lambda dtype=dtype: _cross_entropy(backend, torch, dtype, compiled),
            lambda dtype=dtype: _batch_norm_relu(backend, torch, dtype, compiled),
        ]
    return [*families, lambda: _adam(backend, torch)]


def _compile(torch: Any, function: Any) -> Any:
    return torch.compile(function, mode="max-autotune-no-cudagraphs")


def _activations(backend: Any, torch: Any, dtype: str, compiled: bool) -> list[Case]:
    x, dout = (Pair(backend, torch, (ELEMENTS,), dtype, requires_grad=True) for _ in range(2))
    found = []
    for name in ("relu", "elu"):
        saved, gradient = getattr(backend, name)(x.ours)[1], getattr(backend, f"{name}_backward")
        theirs = backward = quick = None
        if torch is not None:
            function = getattr(torch.nn.functional, name)
            y = function(x.theirs)
            theirs = _without_grad(torch, function, x.theirs)
            quick = _without_grad(torch, _compile(torch, function), x.theirs) if compiled else None

            def backward(y: Any = y) -> Any:
                return torch.autograd.grad(y, x.theirs, dout.theirs, retain_graph=True)

        found += [
            Case(f"{name} forward", dtype, 2 * x.nbytes, _bound(getattr(backend, name), x.ours), theirs, quick),
            Case(f"{name} backward", dtype, 3 * x.nbytes, _bound(gradient, saved, dout.ours), backward),
        ]
    return found


def _cross_entropy(backend: Any, torch: Any, dtype: str, compiled: bool) -> list[Case]:
    """Loss and gradient with regard to the logits: they are read once, and as much is written."""
    logits = Pair(backend, torch, (ROWS, CLASSES), dtype, requires_grad=True)
    labels = np.random.default_rng(0).integers(0, CLASSES, ROWS)
    ours = backend.asarray(labels)
    one = backend.ones((), as_dtype(dtype))

    def run() -> Any:
        _, saved = backend.cross_entropy(logits.ours, ours)
        return backend.cross_entropy_backward(saved, one)

    theirs = quick = None
    if torch is not None:
        targets = torch.tensor(labels, device="cuda")

        def loss(x: Any) -> Any:
            return torch.nn.functional.cross_entropy(x, targets)

        theirs = _gradient_of(torch, loss, logits.theirs)
        quick = _gradient_of(torch, _compile(torch, loss), logits.theirs) if compiled else None
    return [Case(f"softmax-cross-entropy {ROWS}x{CLASSES}", dtype, 2 * logits.nbytes, run, theirs, quick)]


def _batch_norm_relu(backend: Any, torch: Any, dtype: str, compiled: bool) -> list[Case]:
    """Training: the input is read for its statistics and again to be normalized, and the output written."""
    x, dout = (Pair(backend, torch, MAPS, dtype, requires_grad=True) for _ in range(2))
    channels = MAPS[1]
    weight, bias = backend.ones((channels,), "float32"), backend.zeros((channels,), "float32")
    fused = hasattr(backend, "batch_norm_relu")

    def forward() -> Any:
        if fused:
            return backend.batch_norm_relu(x.ours, weight, bias)
        (y, *_), saved = backend.batch_norm(x.ours, weight, bias)
        y, kept = backend.relu(y)
        return y, (saved, kept)

    _, saved = forward()

    def backward() -> Any:
        if fused:
            return backend.batch_norm_relu_backward(saved, dout.ours)
        return backend.batch_norm_backward(saved[0], *backend.relu_backward(saved[1], dout.ours))

    theirs = theirs_backward = quick = None
    if torch is not None:
        layer = torch.nn.BatchNorm2d(channels, track_running_stats=False).to("cuda")

        def both(images: Any) -> Any:
            return torch.nn.functional.relu(layer(images))

        y = both(x.theirs)
        theirs = _without_grad(torch, both, x.theirs)
        quick = _without_grad(torch, _compile(torch, both), x.theirs) if compiled else None
        inputs = (x.theirs, *layer.parameters())

        def theirs_backward() -> Any:
            return torch.autograd.grad(y, inputs, dout.theirs, retain_graph=True)

    size = "x".join(map(str, MAPS))
    return [
        Case(f"batchnorm+relu forward {size}", dtype, 3 * x.nbytes, forward, theirs, quick),
        # The rectifier's mask, the sums and the gradient need input and gradient twice; one array is written.
        Case(f"batchnorm+relu backward {size}", dtype, 5 * x.nbytes, backward, theirs_backward),
    ]


def _adam(backend: Any, torch: Any) -> list[Case]:
    """All parameters in one call: parameter, gradient and two averages are read, three of them written."""
    arrays: list[list[Any]] = [[backend.ones(shape, "float32") for shape in WEIGHTS] for _ in range(4)]
    nbytes = sum(int(array.nbytes) for array in arrays[0])
    options: dict[str, Any] = {"lr": 1e-4, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False,
                               "step": 10, "maximize": False}  # fmt: skip
    theirs = None
    if torch is not None:
        parameters = [torch.ones(shape, device="cuda", requires_grad=True) for shape in WEIGHTS]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        theirs = torch.optim.Adam(parameters, lr=1e-4, fused=True).step
    millions = nbytes / 4e6
    return [Case(f"Adam, {millions:.0f} million parameters", "float32", 7 * nbytes,
                 lambda: backend.adam_(*arrays, None, **options), theirs)]  # fmt: skip


def contenders(case: Case) -> list[Contender]:
    named = (("gpunn", case.ours), ("PyTorch", case.theirs), ("PyTorch, compiled", case.compiled))
    return [Contender(name, run) for name, run in named if run is not None]


def _bound(function: Any, *arguments: Any) -> Run:
    return lambda: function(*arguments)


def _without_grad(torch: Any, function: Any, x: Any) -> Run:
    def run() -> Any:
        with torch.no_grad():
            return function(x)

    return run


def _gradient_of(torch: Any, loss: Any, x: Any) -> Run:
    return lambda: torch.autograd.grad(loss(x), x)
