"""`Tensor`: an array on a device that remembers how it was computed."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, SupportsIndex

import backends
from backends import Backend

from . import tape
from .device import resolve

# Their gradients are costly and separable: each is computed only for an input that requires it.
COSTLY = frozenset({"matmul", "linear", "conv2d", "soft_cross_entropy"})


class ValuesAndIndices(NamedTuple):
    """What a maximum or minimum along one dimension returns."""

    values: Tensor
    indices: Tensor


class Tensor:
    """An array of numbers on a device, with automatic differentiation.

    Attributes:
        data: the array (NumPy's or CuPy's).
        backend: the `backends.Backend` that computes on it.
        requires_grad: whether operations on it are written on the tape.
        grad: after `backward`, a tensor of the same shape (leaves only); None before.
        node: the operation that made it; None for a leaf.
    """

    __slots__ = ("__weakref__", "backend", "data", "grad", "node", "requires_grad")
    __array_ufunc__ = None  # so that ndarray + Tensor asks the Tensor

    def __init__(self, data: Any, backend: Backend, requires_grad: bool = False) -> None:
        self.data = data
        self.backend = backend
        self.grad: Tensor | None = None
        self.node: tape.Node | None = None
        self.requires_grad = False
        if requires_grad:
            self.requires_grad_()

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> Any:
        """A NumPy dtype, on every device."""
        return self.data.dtype

    @property
    def device(self) -> str:
        return self.backend.device

    @property
    def is_leaf(self) -> bool:
        return self.node is None

    @property
    def T(self) -> Tensor:
        """All dimensions in reverse."""
        return self.permute(*reversed(range(self.ndim)))

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        return int(self.data.size)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a tensor with no dimensions")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        values = str(self.numpy()).replace("\n", "\n       ")
        device = "" if self.device == "cpu" else f", device='{self.device}'"
        dtype = "" if self.dtype.name in ("float32", "int64", "bool") else f", dtype={self.dtype.name}"
        grad = f", grad_fn=<{self.node.name}>" if self.node else ", requires_grad=True" if self.requires_grad else ""
        return f"tensor({values}{device}{dtype}{grad})"

    # To the host and to other devices

    def numpy(self) -> Any:
        """The values as a NumPy array; on the CPU it shares memory with the tensor."""
        return self.backend.to_numpy(self.data)

    def item(self) -> Any:
        """The one element as a Python number."""
        if self.data.size != 1:
            raise ValueError(f"item: expected a tensor of one element, got shape {self.shape}; use .numpy() or .tolist()")
        return self.numpy().reshape(-1)[0].item()

    def tolist(self) -> Any:
        return self.numpy().tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        values = self.numpy()
        return values.astype(dtype, copy=bool(copy)) if dtype is not None else values.copy() if copy else values

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.ndim == 0 else format(str(self), spec)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only integer tensors of one element can be an index, got {self.dtype.name}")
        return int(self.item())

    def to(self, device: Any = None, dtype: Any = None) -> Tensor:
        """On another device and/or of another dtype; differentiable. ``to("cuda")``, ``to(gpunn.float64)`` and both."""
        if device is not None and not isinstance(device, (str, Backend)):
            device, dtype = None, device
        out = self
        if dtype is not None and self.dtype != dtype:
            out = apply("cast", out, dtype=dtype)
        if device is not None:
            backend = device if isinstance(device, Backend) else resolve(device)
            if backend is not out.backend:
                source = out.backend
                moved = move(out.data, source, backend)
                out = record("to", moved, (out,), lambda dout: (move(dout, backend, source),), backend)
        return out

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self) -> Tensor:
        return self.to("cuda")

    def float(self) -> Tensor:
        return self.to(dtype="float32")

    def double(self) -> Tensor:
        return self.to(dtype="float64")

    def half(self) -> Tensor:
        return self.to(dtype="float16")

    def long(self) -> Tensor:
        return self.to(dtype="int64")

    # Gradients

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"only floating-point tensors can require gradients, got {self.dtype.name}; use .to('float32')")
        if not requires_grad and self.node is not None:
            raise RuntimeError("requires_grad_(False) is for leaves; use .detach() for a tensor that was computed")
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """The same array, cut off from the tape."""
        return Tensor(self.data, self.backend)

    def clone(self) -> Tensor:
        """A differentiable copy."""
        return record("clone", self.data.copy(), (self,), lambda dout: (dout,))

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to ``.grad`` of all leaves that it was computed from.

        Args:
            gradient: weights of this tensor's elements, of its shape; may be left out for a tensor of one element.
            retain_graph: keep what the operations saved, so that `backward` can be called again.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: this tensor does not require gradients, nor does anything it was computed from")
        if gradient is None:
            if self.data.size != 1:
                raise RuntimeError(f"backward: expected a tensor of one element, got shape {self.shape}; pass gradient=")
            start = self.backend.ones(self.shape, self.dtype)
        else:
            start = self.backend.asarray(gradient.data if isinstance(gradient, Tensor) else gradient, dtype=self.dtype)
            if start.shape != self.shape:
                raise ValueError(f"backward: expected a gradient of shape {self.shape}, got {start.shape}")
        if self.node is None:
            self.accumulate_grad(start.copy(), shared_with=None)
        else:
            with self.backend.quiet():
                tape.backward(self.node, start, retain_graph)

    def accumulate_grad(self, grad: Any, shared_with: Any) -> None:
        """Add an array to ``.grad``. The first one is kept itself, unless other tensors may hold its memory too."""
        backend = self.backend
        if self.grad is not None:
            self.grad = Tensor(backend.asarray(self.grad.data + grad), backend)
            return
        grad = backend.asarray(grad)
        # Many gradients are views: of the output's gradient (reshape), or of one number spread over a shape (sum).
        borrowed = 0 in grad.strides or (shared_with is not None and backend.xp.may_share_memory(grad, shared_with))
        self.grad = Tensor(grad.copy() if borrowed else grad, backend)

    # Arithmetic

    def __add__(self, other: Any) -> Tensor:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return apply("sub", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return apply("sub", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return apply("mul", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return apply("mul", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return apply("div", other, self)

    def __pow__(self, exponent: Any) -> Tensor:
        return apply("pow", self, exponent)

    def __rpow__(self, base: Any) -> Tensor:
        return apply("pow", base, self)

    def __neg__(self) -> Tensor:
        return apply("neg", self)

    def __matmul__(self, other: Any) -> Tensor:
        return apply("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return apply("matmul", other, self)

    def pow(self, exponent: Any) -> Tensor:
        return apply("pow", self, exponent)

    def matmul(self, other: Any) -> Tensor:
        """The matrix product; dimensions before the last two are a batch and broadcast."""
        return apply("matmul", self, other)

    def exp(self) -> Tensor:
        return apply("exp", self)

    def log(self) -> Tensor:
        """The natural logarithm."""
        return apply("log", self)

    def sqrt(self) -> Tensor:
        return apply("sqrt", self)

    def abs(self) -> Tensor:
        return apply("abs", self)

    def reciprocal(self) -> Tensor:
        return apply("reciprocal", self)

    def clamp(self, min: builtins.float | None = None, max: builtins.float | None = None) -> Tensor:
        """Cut off below ``min`` and above ``max``; the gradient is 0 where it was cut."""
        return apply("clamp", self, low=min, high=max)

    def relu(self) -> Tensor:
        return apply("relu", self)

    def sigmoid(self) -> Tensor:
        return apply("sigmoid", self)

    def tanh(self) -> Tensor:
        return apply("tanh", self)

    # Comparison; no gradients

    def __eq__(self, other: Any) -> Any:
        return self._compare("equal", other)

    def __ne__(self, other: Any) -> Any:
        return self._compare("not_equal", other)

    def __lt__(self, other: Any) -> Tensor:
        return self._compare("less", other)

    def __le__(self, other: Any) -> Tensor:
        return self._compare("less_equal", other)

    def __gt__(self, other: Any) -> Tensor:
        return self._compare("greater", other)

    def __ge__(self, other: Any) -> Tensor:
        return self._compare("greater_equal", other)

    __hash__ = object.__hash__  # by identity: tensors are keys of the tape and of optimizers

    def _compare(self, ufunc: str, other: Any) -> Tensor:
        operand = other.data if isinstance(other, Tensor) else other
        return Tensor(self.backend.asarray(getattr(self.backend.xp, ufunc)(self.data, operand)), self.backend)

    # Reductions

    def sum(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply("sum", self, axis=dim, keepdims=keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply("mean", self, axis=dim, keepdims=keepdim)

    def var(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> Tensor:
        """The mean squared distance from the mean, the sum divided by count - correction."""
        centered = self - self.mean(dim, keepdim=True)
        total = (centered * centered).sum(dim, keepdim)
        count = self.numel() // builtins.max(total.numel(), 1)
        return total / (count - correction) if count > correction else total * builtins.float("nan")

    def std(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> Tensor:
        """The square root of `var`; its gradient where nothing varies is taken as 0."""
        spread = (self - self.mean(dim, keepdim=True)).norm(2, dim, keepdim)
        degrees = self.numel() // builtins.max(spread.numel(), 1) - correction
        return spread / degrees**0.5 if degrees > 0 else spread * builtins.float("nan")

    def max(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The largest of all elements, or with ``dim`` a pair (values, indices) along it.

        Of all: elements that tie share the gradient. Along a dimension: the first one takes it. As in PyTorch.
        """
        return self.amax() if dim is None else self._along("max_along", dim, keepdim)

    def min(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The smallest; see `max`."""
        return self.amin() if dim is None else self._along("min_along", dim, keepdim)

    def amax(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply("amax", self, axis=dim, keepdims=keepdim)

    def amin(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return apply("amin", self, axis=dim, keepdims=keepdim)

    def argmax(self, dim: int | None = None) -> Tensor:
        return Tensor(self.backend.asarray(self.backend.xp.argmax(self.data, axis=dim)), self.backend)

    def argmin(self, dim: int | None = None) -> Tensor:
        return Tensor(self.backend.asarray(self.backend.xp.argmin(self.data, axis=dim)), self.backend)

    def logsumexp(self, dim: Any, keepdim: bool = False) -> Tensor:
        return apply("logsumexp", self, axis=dim, keepdims=keepdim)

    def norm(self, p: builtins.float = 2.0, dim: Any = None, keepdim: bool = False) -> Tensor:
        """(sum |x|^p)^(1/p) over all elements or along ``dim``; p = inf is the largest magnitude."""
        if p == builtins.float("inf"):
            return self.abs().amax(dim, keepdim)
        if p == 1:
            return self.abs().sum(dim, keepdim)
        if p <= 0:
            raise ValueError(f"norm: expected p > 0, got {p}")
        return apply("norm", self, p=p, axis=dim, keepdims=keepdim)

    def _along(self, op: str, dim: int, keepdim: bool) -> ValuesAndIndices:
        (values, indices), saved = getattr(self.backend, op)(self.data, axis=dim, keepdims=keepdim)
        backward = getattr(self.backend, f"{op}_backward")
        out = record(op, values, (self,), lambda dout: backward(saved, dout))
        return ValuesAndIndices(out, Tensor(indices, self.backend))

    # Shape

    def reshape(self, *shape: Any) -> Tensor:
        return apply("reshape", self, shape=_dimensions(shape))

    def view(self, *shape: Any) -> Tensor:
        """`reshape`; it copies where the memory order leaves no other way."""
        return self.reshape(*shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Join the dimensions from ``start_dim`` to ``end_dim`` into one."""
        if self.ndim == 0:
            return self.reshape(1)
        first, last = _place(start_dim, self.ndim), _place(end_dim, self.ndim)
        if first > last:
            raise ValueError(f"flatten: expected start_dim to come before end_dim, got {start_dim} and {end_dim}")
        joined = 1
        for n in self.shape[first : last + 1]:
            joined *= n
        return self.reshape(*self.shape[:first], joined, *self.shape[last + 1 :])

    def permute(self, *dims: Any) -> Tensor:
        return apply("permute", self, axes=_dimensions(dims))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Exchange two dimensions."""
        order = list(range(self.ndim))
        order[dim0], order[dim1] = order[dim1], order[dim0]
        return self.permute(*order)

    def expand(self, *shape: Any) -> Tensor:
        """Repeat dimensions of length 1 without a copy; -1 keeps a length."""
        wanted = _dimensions(shape)
        added = len(wanted) - self.ndim
        return apply("expand", self, shape=tuple(self.shape[i - added] if n == -1 else n for i, n in enumerate(wanted)))

    def unsqueeze(self, dim: int) -> Tensor:
        place = _place(dim, self.ndim + 1)
        return self.reshape(*self.shape[:place], 1, *self.shape[place:])

    def squeeze(self, dim: int | None = None) -> Tensor:
        if dim is None:
            return self.reshape(tuple(n for n in self.shape if n != 1))
        place = _place(dim, self.ndim)
        return self.reshape(self.shape[:place] + self.shape[place + 1 :]) if self.shape[place] == 1 else self

    def __getitem__(self, index: Any) -> Tensor:
        return apply("getitem", self, index=_plain_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.requires_grad and tape.is_grad_enabled():
            raise RuntimeError("a tensor that requires gradients cannot be written to; do it within gpunn.no_grad()")
        self.data[_plain_index(index)] = value.data if isinstance(value, Tensor) else value

    # Matrices

    def trace(self) -> Tensor:
        """The sum of the diagonal of a matrix."""
        if self.ndim != 2:
            raise ValueError(f"trace: expected a matrix, got shape {self.shape}")
        return apply("trace", self)

    def inverse(self) -> Tensor:
        """Of a square matrix, or of a batch of them."""
        return apply("inverse", self)

    def logdet(self) -> Tensor:
        """The logarithm of the determinant; NaN where that is negative."""
        return apply("logdet", self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.node is not None:
            raise RuntimeError("deepcopy is for leaves; use .detach() or .clone() for a tensor that was computed")
        copied = type(self).__new__(type(self))
        Tensor.__init__(copied, self.data.copy(), self.backend)
        copied.requires_grad = self.requires_grad
        copied.grad = None if self.grad is None else self.grad.clone()
        memo[id(self)] = copied
        return copied


def tensor(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of ``data`` (numbers, nested lists, an array or a tensor).

    Args:
        dtype: None keeps an array's own; Python floats become float32, Python integers int64.
        device: "cpu" (None), "cuda", "cuda:N", "reference" or "auto".
    """
    backend = resolve(device)
    if isinstance(data, Tensor):
        data = move(data.data, data.backend, backend)
    given_dtype = getattr(data, "dtype", None)
    array = backend.xp.array(data, dtype=dtype)
    if dtype is None and given_dtype is None and array.dtype.kind == "f":
        array = array.astype("float32")
    return Tensor(array, backend, requires_grad)


def move(array: Any, source: Backend, target: Backend) -> Any:
    """An array of ``source`` as an array of ``target``, by way of the host where they differ."""
    return array if source is target else target.asarray(source.to_numpy(array))


def apply(op: str, *inputs: Any, **options: Any) -> Tensor:
    """Carry out primitive ``op`` of the inputs' backend and write it on the tape.

    Args:
        inputs: tensors (at least one), arrays, plain numbers or None, in the order of the primitive's array arguments.
        options: its other arguments.
    """
    backend = backend_of(op, inputs)
    operands = tuple(as_operand(x, backend) for x in inputs)
    arrays = [x.data if isinstance(x, Tensor) else x for x in operands]
    with backend.quiet():
        out, saved = getattr(backend, op)(*arrays, **options)
    gradients = getattr(backend, f"{op}_backward")
    if op in COSTLY:
        needs = tuple(isinstance(x, Tensor) and x.requires_grad for x in operands)
        return record(op, out, operands, lambda dout: gradients(saved, dout, needs), backend)
    return record(op, out, operands, lambda dout: gradients(saved, dout), backend)


def record(
    name: str, out: Any, inputs: tuple[Any, ...], backward: Callable[[Any], tuple[Any, ...]], backend: Backend | None = None
) -> Tensor:
    """The tensor of ``out``; on the tape if an input requires gradients and the tape is on.

    ``backward`` takes the gradient of ``out`` and returns one array or None for each of ``inputs``.
    """
    backend = backend or backend_of(name, inputs)
    result = Tensor(backend.asarray(out), backend)
    if tape.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        result.requires_grad = result.dtype.kind == "f"
        if result.requires_grad:
            result.node = tape.Node(name, tuple(x if isinstance(x, Tensor) else None for x in inputs), backward)
    return result


def backend_of(op: str, inputs: tuple[Any, ...]) -> Backend:
    """The one backend of all tensors among ``inputs``."""
    found = None
    for x in inputs:
        if isinstance(x, Tensor):
            if found is None:
                found = x.backend
            elif x.backend is not found:
                raise backends.DeviceError(
                    f"{op}: expected all tensors on one device, got '{found.device}' and '{x.device}'; use .to('{found.device}')"
                )
    if found is None:
        raise TypeError(f"{op}: expected at least one Tensor, got {', '.join(type(x).__name__ for x in inputs)}")
    return found


def as_operand(x: Any, backend: Backend) -> Any:
    """Tensors, plain numbers and None as they are; any other array as a constant tensor of the backend."""
    if x is None or isinstance(x, Tensor) or type(x) in (bool, int, float):
        return x
    if getattr(x, "shape", None) == ():  # NumPy's scalars would widen float32 to float64, Python's do not
        return x.item()
    return Tensor(backend.asarray(x), backend)


def _dimensions(given: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) from both f(2, 3) and f((2, 3))."""
    return tuple(given[0]) if len(given) == 1 and not isinstance(given[0], SupportsIndex) else tuple(given)


def _place(dim: int, ndim: int) -> int:
    """A dimension counted from the end as one counted from the start; IndexError where there is none."""
    if not -ndim <= dim < ndim:
        raise IndexError(f"dimension {dim} is out of range: expected {-ndim} to {ndim - 1}")
    return dim % ndim


def _plain_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_plain_index(part) for part in index)
    if isinstance(index, Tensor):
        return index.data
    return index
