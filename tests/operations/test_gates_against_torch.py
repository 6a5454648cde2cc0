"""Gates, reductions, shaping and activations against PyTorch, with their gradients, and at the edges of their domain."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from operations.torch_comparison import numbers, same_as_torch

import gpunn
from gpunn import functional as F
from gpunn import where
from gpunn.tensor import Tensor

torch = pytest.importorskip("torch")
TF = torch.nn.functional

INF, NAN = math.inf, math.nan
EDGES = np.array([-INF, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 30.0, INF, NAN])

X = numbers(3, 4)
POSITIVE = numbers(3, 4, seed=1, low=0.2, high=3.0)
TIES = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [-1.0, 0.0, 0.0, -1.0]])


UNARY: dict[str, tuple[Any, Any]] = {
    "neg": (lambda x: -x, lambda x: -x),
    "exp": (Tensor.exp, torch.exp),
    "abs": (Tensor.abs, torch.abs),
    "square": (lambda x: x**2, lambda x: x**2),
    "cube": (lambda x: x**3, lambda x: x**3),
    "power 0": (lambda x: x**0, lambda x: x**0),
    "power 1": (lambda x: x**1, lambda x: x**1),
    "power -1": (lambda x: x**-1, lambda x: x**-1),
    "power 0.5": (lambda x: x**0.5, lambda x: x**0.5),
    "power 1.5": (lambda x: x**1.5, lambda x: x**1.5),
    "2 to the power": (lambda x: 2**x, lambda x: 2**x),
    "sqrt": (Tensor.sqrt, torch.sqrt),
    "log": (Tensor.log, torch.log),
    "reciprocal": (Tensor.reciprocal, torch.reciprocal),
    "1 over": (lambda x: 1 / x, lambda x: 1 / x),
    "over 3": (lambda x: x / 3, lambda x: x / 3),
    "1 minus": (lambda x: 1 - x, lambda x: 1 - x),
    "plus 1": (lambda x: x + 1, lambda x: x + 1),
    "times -2.5": (lambda x: x * -2.5, lambda x: x * -2.5),
    "clamp both": (lambda x: x.clamp(-0.5, 1.0), lambda x: x.clamp(-0.5, 1.0)),
    "clamp low": (lambda x: x.clamp(min=0.5), lambda x: x.clamp(min=0.5)),
    "clamp high": (lambda x: x.clamp(max=0.5), lambda x: x.clamp(max=0.5)),
    "clamp crossed": (lambda x: x.clamp(1.0, -1.0), lambda x: x.clamp(1.0, -1.0)),
    "relu": (F.relu, TF.relu),
    "elu": (F.elu, TF.elu),
    "elu alpha 0.5": (lambda x: F.elu(x, alpha=0.5), lambda x: TF.elu(x, alpha=0.5)),
    "leaky_relu": (F.leaky_relu, TF.leaky_relu),
    "leaky_relu 0.2": (lambda x: F.leaky_relu(x, 0.2), lambda x: TF.leaky_relu(x, 0.2)),
    "sigmoid": (F.sigmoid, torch.sigmoid),
    "tanh": (F.tanh, torch.tanh),
    "softplus": (F.softplus, TF.softplus),
    "softplus beta 3": (lambda x: F.softplus(x, beta=3.0), lambda x: TF.softplus(x, beta=3.0)),
    "softplus threshold 1": (lambda x: F.softplus(x, threshold=1.0), lambda x: TF.softplus(x, threshold=1.0)),
}
POSITIVE_ONLY = {"sqrt", "log", "power 0.5", "power 1.5"}


@pytest.mark.parametrize("name", UNARY)
def test_unary(device: str, name: str) -> None:
    ours, theirs = UNARY[name]
    same_as_torch(device, ours, theirs, POSITIVE if name in POSITIVE_ONLY else X)


@pytest.mark.parametrize("name", UNARY)
def test_unary_at_the_edges(device: str, name: str) -> None:
    ours, theirs = UNARY[name]
    # IEEE 754 has (-inf)^-0.5 = 0 and (-0)^-0.5 = inf; PyTorch takes a reciprocal root there, which has not.
    edges = EDGES[5:] if name == "power 0.5" else EDGES
    same_as_torch(device, ours, theirs, edges, gradients=False)
    # What PyTorch calls the gradient at NaN is nobody's contract.
    same_as_torch(device, ours, theirs, edges[:-1])


SHAPES = [
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((), (2, 3)),
    ((2, 1, 3), (4, 1)),
    ((0, 4), (1, 4)),
    ((), ()),
]
BINARY: dict[str, tuple[Any, Any]] = {
    "add": (lambda a, b: a + b, torch.add),
    "sub": (lambda a, b: a - b, torch.sub),
    "mul": (lambda a, b: a * b, torch.mul),
    "div": (lambda a, b: a / b, torch.div),
    "pow": (lambda a, b: a**b, torch.pow),
    "maximum": (F.maximum, torch.maximum),
    "minimum": (F.minimum, torch.minimum),
    "where": (lambda a, b: where(a > b, a, b), lambda a, b: torch.where(a > b, a, b)),
}


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_binary_broadcast(device: str, name: str, shapes: tuple[Any, Any]) -> None:
    a, b = (numbers(*shape, seed=i, low=0.3, high=2.0) for i, shape in enumerate(shapes))
    same_as_torch(device, *BINARY[name], a, b)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow"])
def test_binary_at_the_edges(device: str, name: str) -> None:
    same_as_torch(device, *BINARY[name], *np.meshgrid(EDGES, EDGES), gradients=False)
    finite = EDGES[1:-2]
    same_as_torch(device, *BINARY[name], *np.meshgrid(finite, finite))


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_between_two(device: str, name: str) -> None:
    same_as_torch(device, *BINARY[name], TIES, TIES[::-1].copy())
    same_as_torch(device, *BINARY[name], EDGES[:-1], EDGES[:-1][::-1].copy())


DIMS = [None, 0, 1, -1, (0, 1), (0, 2), (-1, 0)]
REDUCTIONS: dict[str, tuple[Any, Any]] = {
    "sum": (lambda x, d, k: x.sum(d, k), lambda x, d, k: x.sum() if d is None else x.sum(d, k)),
    "mean": (lambda x, d, k: x.mean(d, k), lambda x, d, k: x.mean() if d is None else x.mean(d, k)),
    "amax": (lambda x, d, k: x.amax(d, k), lambda x, d, k: x.amax() if d is None else x.amax(d, k)),
    "amin": (lambda x, d, k: x.amin(d, k), lambda x, d, k: x.amin() if d is None else x.amin(d, k)),
    "logsumexp": (lambda x, d, k: x.logsumexp(d, k), lambda x, d, k: x.logsumexp(d, k)),
    "var": (lambda x, d, k: x.var(d, keepdim=k), lambda x, d, k: x.var(d, keepdim=k)),
    "std biased": (lambda x, d, k: x.std(d, 0, k), lambda x, d, k: x.std(d, correction=0, keepdim=k)),
    "norm 2": (lambda x, d, k: x.norm(2, d, k), lambda x, d, k: torch.linalg.vector_norm(x, 2, d, k)),
    "norm 1": (lambda x, d, k: x.norm(1, d, k), lambda x, d, k: torch.linalg.vector_norm(x, 1, d, k)),
    "norm 3": (lambda x, d, k: x.norm(3, d, k), lambda x, d, k: torch.linalg.vector_norm(x, 3, d, k)),
    "norm inf": (lambda x, d, k: x.norm(INF, d, k), lambda x, d, k: torch.linalg.vector_norm(x, INF, d, k)),
}


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", DIMS, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(device: str, name: str, dim: Any, keepdim: bool) -> None:
    if dim is None and (keepdim or name == "logsumexp"):
        return  # PyTorch takes no keepdim without dim
    ours, theirs = REDUCTIONS[name]
    same_as_torch(device, lambda x: ours(x, dim, keepdim), lambda x: theirs(x, dim, keepdim), numbers(3, 2, 4))


@pytest.mark.parametrize(
    "name", ["sum", "mean", "amax", "amin", "logsumexp", "norm 2", "norm 1", "norm 3", "norm inf", "std biased"]
)
def test_reduction_with_ties_and_zeros(device: str, name: str) -> None:
    ours, theirs = REDUCTIONS[name]
    for values in (TIES, np.zeros((2, 3))):
        same_as_torch(device, lambda x: ours(x, 1, False), lambda x: theirs(x, 1, False), values)


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "logsumexp", "norm 2", "norm 1", "norm inf"])
def test_reduction_at_the_edges(device: str, name: str) -> None:
    # Large numbers of which no square overflows: PyTorch's norm in float32 does not scale before it squares.
    rows = np.array([[1.0, NAN, 2.0], [INF, 1.0, 2.0], [-INF, 1.0, 2.0], [-INF, -INF, -INF], [1e15, 1e15, -1e15]])
    ours, theirs = REDUCTIONS[name]
    same_as_torch(device, lambda x: ours(x, 1, False), lambda x: theirs(x, 1, False), rows, gradients=False)


@pytest.mark.parametrize("name", ["sum", "mean", "norm 2", "norm 1", "var"])
def test_reduction_of_nothing(device: str, name: str) -> None:
    ours, theirs = REDUCTIONS[name]
    for shape in ((0, 3), (3, 0)):
        with np.errstate(all="raise"):
            same_as_torch(
                device, lambda x: ours(x, 0, False), lambda x: _quiet(theirs, x, 0, False), numbers(*shape),
                gradients=name != "var",
            )  # fmt: skip


def _quiet(function: Any, *arguments: Any) -> Any:
    """PyTorch warns about a variance of nothing."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


@pytest.mark.parametrize("values", [numbers(3, 4), TIES], ids=["numbers", "ties"])
@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_maximum_along(device: str, name: str, values: np.ndarray, dim: int, keepdim: bool) -> None:
    def call(x: Any) -> Any:
        return getattr(x, name)(dim, keepdim)

    same_as_torch(device, call, call, values)


@pytest.mark.parametrize("name", ["max", "min"])
def test_maximum_of_all_and_of_nan(device: str, name: str) -> None:
    def of_all(x: Any) -> Any:
        return getattr(x, name)()

    def along(x: Any) -> Any:
        return getattr(x, name)(1)

    same_as_torch(device, of_all, of_all, numbers(3, 4))
    same_as_torch(device, of_all, of_all, TIES)
    same_as_torch(device, along, along, np.array([[1.0, NAN, 3.0], [NAN, NAN, 0.0], [-INF, -INF, -INF]]))


MATRICES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)),
            ((2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)), ((0, 3), (3, 2)),
            ((2, 0), (0, 3)), ((1, 1), (1, 1))]  # fmt: skip


@pytest.mark.parametrize("shapes", MATRICES, ids=str)
def test_matmul(device: str, shapes: tuple[Any, Any]) -> None:
    a, b = (numbers(*shape, seed=i) for i, shape in enumerate(shapes))
    same_as_torch(device, lambda a, b: a @ b, torch.matmul, a, b)


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3), (3,), (0, 3), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(device: str, shape: tuple[int, ...], bias: bool) -> None:
    arrays = [numbers(*shape), numbers(2, 3, seed=1), *([numbers(2, seed=2)] if bias else [])]
    same_as_torch(device, F.linear, TF.linear, *arrays)


def test_matrix_functions(device: str) -> None:
    square = numbers(3, 3) + 4 * np.eye(3)
    same_as_torch(device, Tensor.trace, torch.trace, numbers(3, 4))
    same_as_torch(device, Tensor.inverse, torch.linalg.inv, square)
    same_as_torch(device, Tensor.logdet, torch.logdet, square)
    batch = numbers(2, 3, 3) + 4 * np.eye(3)
    same_as_torch(device, Tensor.inverse, torch.linalg.inv, batch)
    same_as_torch(device, Tensor.logdet, torch.logdet, batch)
    same_as_torch(device, Tensor.logdet, torch.logdet, np.diag([1.0, -2.0]), gradients=False)
    same_as_torch(device, Tensor.logdet, torch.logdet, np.zeros((2, 2)), gradients=False)


SHAPING: dict[str, Any] = {
    "reshape": lambda x: x.reshape(4, -1),
    "flatten": lambda x: x.flatten(1),
    "permute": lambda x: x.permute(2, 0, -2),
    "transpose": lambda x: x.transpose(-1, 0),
    "expand": lambda x: x[:, :1].expand(3, 5, -1),
    "expand front": lambda x: x.expand(2, 3, 2, 4),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "row": lambda x: x[1],
    "last": lambda x: x[..., -1],
    "slice": lambda x: x[1:, :, ::2],
    "new axis": lambda x: x[:, None, 0],
    "list": lambda x: x[[0, 2, 0]],
    "repeated pairs": lambda x: x[[0, 1, 0, 0], [1, 1, 1, 0]],
    "mask": lambda x: x[x > 0],
    "mixed": lambda x: x[:, 0, [3, 3, 1]],
}


@pytest.mark.parametrize("name", SHAPING)
def test_shaping(device: str, name: str) -> None:
    same_as_torch(device, SHAPING[name], SHAPING[name], numbers(3, 2, 4))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat_and_stack(device: str, dim: int) -> None:
    arrays = [numbers(2, 3, seed=i) for i in range(3)]
    same_as_torch(device, lambda *t: F.cat(t, dim), lambda *t: torch.cat(t, dim), *arrays)
    same_as_torch(device, lambda *t: F.stack(t, dim), lambda *t: torch.stack(t, dim), *arrays)


PADS = [("constant", (1, 2)), ("constant", (1, 0, 2, 3)), ("constant", (-1, 2, 0, -1)), ("reflect", (2, 1)),
        ("reflect", (1, 2, 3, 0)), ("replicate", (3, 1)), ("replicate", (0, 2, 5, 1)), ("circular", (2, 1, 4, 3))]  # fmt: skip


@pytest.mark.parametrize(("mode", "widths"), PADS)
def test_pad(device: str, mode: str, widths: tuple[int, ...]) -> None:
    x = numbers(2, 3, 4, 5) if len(widths) == 4 else numbers(2, 3, 5)
    value = 1.5 if mode == "constant" else 0.0
    same_as_torch(device, lambda x: F.pad(x, widths, mode, value), lambda x: TF.pad(x, widths, mode, value), x)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2, 2), (5,), (0, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(device: str, name: str, shape: tuple[int, ...]) -> None:
    for dim in {0, min(1, len(shape) - 1), -1}:
        same_as_torch(
            device, lambda x, dim=dim: getattr(F, name)(x, dim), lambda x, dim=dim: getattr(TF, name)(x, dim),
            numbers(*shape, high=30.0),
        )  # fmt: skip


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_at_the_edges(device: str, name: str) -> None:
    rows = np.array([[1.0, NAN, 2.0], [INF, 1.0, 2.0], [-INF, 1.0, 2.0], [-INF, -INF, -INF], [1e30, -1e30, 0.0]])
    same_as_torch(device, lambda x: getattr(F, name)(x, 1), lambda x: getattr(TF, name)(x, 1), rows, gradients=False)


@pytest.mark.parametrize(("shape", "weights"), [((3, 4), 1), ((3, 4), 4), ((2, 3, 2, 2), 3), ((5,), 1), ((0, 3), 3)])
def test_prelu(device: str, shape: tuple[int, ...], weights: int) -> None:
    same_as_torch(device, F.prelu, TF.prelu, numbers(*shape), numbers(weights, low=0.1, high=0.4))


def test_a_scalar_of_numpy_does_not_change_the_dtype(device: str) -> None:
    """np.float64 is a Python float: PyTorch keeps float32."""
    for scalar in (np.float64(2.0), 2.0, 2):
        same_as_torch(device, lambda x, s=scalar: x * s, lambda x, s=scalar: x * s, X)
        same_as_torch(device, lambda x, s=scalar: s * x, lambda x: 2.0 * x, X)
        same_as_torch(device, lambda x, s=scalar: x**s, lambda x, s=scalar: x**s, X)


def test_composed(device: str) -> None:
    """A tensor used in several places sums its gradients."""

    def network(x: Any) -> Any:
        y = (x * x + x) @ x.transpose(0, 1)
        return (y * y).sum(1) + y.mean()

    same_as_torch(device, network, network, X)


KINDS = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")


@pytest.mark.parametrize("name", ["add", "mul", "div", "maximum", "minimum"])
@pytest.mark.parametrize("kind", KINDS)
def test_dtype_of_mixed_operands(device: str, kind: str, name: str) -> None:
    """Kinds and widths, tensors with and without dimensions, and plain numbers."""
    function = BINARY[name][0] if name in ("add", "mul", "div") else None
    one = np.ones(2).astype(kind)
    for other_kind, shape in itertools.product(KINDS, [(), (2,)]):
        other = np.ones(shape).astype(other_kind)
        theirs = (function or BINARY[name][1])(torch.tensor(one), torch.tensor(other))
        ours = BINARY[name][0](gpunn.tensor(one, device=device), gpunn.tensor(other, device=device))
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch."), (other_kind, shape)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    if function is None:
        return
    for number in (True, 2, 2.0):
        theirs, ours = function(torch.tensor(one), number), function(gpunn.tensor(one, device=device), number)
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch."), number
        theirs, ours = function(number, torch.tensor(one)), function(number, gpunn.tensor(one, device=device))
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch."), number


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64"])
@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "reciprocal", "sigmoid", "tanh", "sum", "abs"])
def test_dtype_of_functions_of_integers(device: str, kind: str, name: str) -> None:
    if (name, kind) == ("abs", "bool"):
        return  # PyTorch has none
    values = np.ones(3).astype(kind)
    theirs, ours = getattr(torch.tensor(values), name)(), getattr(gpunn.tensor(values, device=device), name)()
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
