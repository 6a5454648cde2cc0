"""`Tensor`: an array on a device that remembers how it was computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import backends
from backends import Backend

from . import mixed_precision, tape
from .device import resolve
from .dtypes import as_dtype, is_floating, is_real
from .operators import Operators
from .promotion import MIXING, REAL_VALUED, common_dtype, narrowed

if TYPE_CHECKING:
    from .graph import Graph

# Their gradients are costly and separable: each is computed only for an input that requires it.
COSTLY = frozenset({"matmul", "linear", "linear_relu", "conv2d", "conv2d_relu", "soft_cross_entropy"})


class Tensor(Operators):
    """An array of numbers on a device, with automatic differentiation.

    Attributes:
        data: the array (NumPy's or CuPy's).
        backend: the `backends.Backend` that computes on it.
        requires_grad: whether operations on it are written on the tape.
        grad: after `backward`, a tensor of the same shape (leaves only); None before.
        node: the operation that made it; None for a leaf.
        version: counts how often the memory was written to, so that `backward` can notice it.
    """

    __slots__ = ("__weakref__", "backend", "data", "grad", "node", "requires_grad", "version")
    __array_ufunc__ = None  # so that ndarray + Tensor asks the Tensor

    def __init__(self, data: Any, backend: Backend, requires_grad: bool = False) -> None:
        self.data = data
        self.backend = backend
        self.grad: Tensor | None = None
        self.node: tape.Node | None = None
        self.version = tape.Version()
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
            raise ValueError(
                f"item: expected a tensor of one element, got shape {self.shape}; use .numpy() or .tolist()"
            )
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
        if dtype is not None and self.dtype != (dtype := as_dtype(dtype)):
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

    def bfloat16(self) -> Tensor:
        return self.to(dtype="bfloat16")

    def long(self) -> Tensor:
        return self.to(dtype="int64")

    # Gradients

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if requires_grad and not is_floating(self.dtype):
            raise TypeError(
                f"only floating-point tensors can require gradients, got {self.dtype.name}; use .to('float32')"
            )
        if not requires_grad and self.node is not None:
            raise RuntimeError("requires_grad_(False) is for leaves; use .detach() for a tensor that was computed")
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """The same array, cut off from the tape."""
        detached = Tensor(self.data, self.backend)
        detached.version = self.version
        return detached

    def clone(self) -> Tensor:
        """A differentiable copy."""
        return apply("clone", self)

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to ``.grad`` of all leaves that it was computed from.

        Args:
            gradient: weights of this tensor's elements, of its shape; may be left out for a tensor of one element.
            retain_graph: keep what the operations saved, so that `backward` can be called again.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this tensor does not require gradients, nor does anything it was computed from"
            )
        if gradient is None and self.data.size != 1:
            raise RuntimeError(f"backward: expected a tensor of one element, got shape {self.shape}; pass gradient=")
        with self.backend.scope():
            start = self._first_gradient(gradient)
            if self.node is None:
                self.accumulate_grad(start, shared_with=start)
            else:
                tape.backward(self.node, start, retain_graph)

    def _first_gradient(self, gradient: Any) -> Any:
        """The array with which a walk back from here begins: ``gradient``, else ones."""
        if gradient is None:
            return self.backend.ones(self.shape, self.dtype)
        given = gradient.data if isinstance(gradient, Tensor) else gradient
        start = self.backend.asarray(given, dtype=self.dtype)
        if start.shape != self.shape:
            raise ValueError(f"backward: expected a gradient of shape {self.shape}, got {start.shape}")
        return start

    def graph(self, names: dict[str, Tensor] | None = None, gradient: Any = None) -> Graph:
        """The computation graph that led to this tensor, with every value and every gradient; see `gpunn.graph.Graph`.

        Call it before `backward` (or after ``backward(retain_graph=True)``): it finds the gradients itself and leaves
        ``.grad`` alone.

        Args:
            names: what to call tensors of the graph: ``{"x": x, "y": y}``, or ``dict(net.named_parameters())``.
            gradient: weights of this tensor's elements, as for `backward`; without it, a tensor of more than one element
                is shown without gradients.
        """
        from .graph import build

        with self.backend.scope():
            start = None if gradient is None and self.data.size != 1 else self._first_gradient(gradient)
        return build(self, names or {}, start)

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

    @staticmethod
    def _apply(op: str, *inputs: Any, **options: Any) -> Any:
        return apply(op, *inputs, **options)  # how the inherited operators reach the functions below

    def _constant(self, array: Any) -> Tensor:
        return Tensor(self.backend.asarray(array), self.backend)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.node is not None:
            raise RuntimeError("deepcopy is for leaves; use .detach() or .clone() for a tensor that was computed")
        copied = type(self).__new__(type(self))
        with self.backend.scope():
            Tensor.__init__(copied, self.data.copy(order="K"), self.backend)
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
    dtype = None if dtype is None else as_dtype(dtype)
    if isinstance(data, Tensor):
        data = move(data.data, data.backend, backend)
    given_dtype = getattr(data, "dtype", None)
    if dtype is not None and getattr(given_dtype, "kind", "") == "c":  # the cast would drop the imaginary part
        raise TypeError(f"tensor: expected real numbers, got {given_dtype} from {type(data).__name__}")
    with backend.scope():
        try:
            array = backend.xp.array(data, dtype=dtype)
        except ValueError as error:  # text, or lists of several lengths
            reason = str(error).split(". ")[0]
            raise ValueError(f"tensor: expected real numbers in lists of equal lengths: {reason}") from None
        if not is_real(array.dtype):
            raise TypeError(f"tensor: expected real numbers, got {array.dtype} from {type(data).__name__}")
        if dtype is None and given_dtype is None and array.dtype.kind == "f":
            array = array.astype("float32")
        if not array.dtype.isnative:  # as files may have it; devices compute in their own order of bytes
            array = array.astype(array.dtype.newbyteorder("="))
    return Tensor(array, backend, requires_grad)


def move(array: Any, source: Backend, target: Backend) -> Any:
    """An array of ``source`` as an array of ``target``, by way of the host where they differ."""
    return array if source is target else target.asarray(source.to_numpy(array))


def apply(op: str, *inputs: Any, **options: Any) -> Any:
    """Carry out primitive ``op`` of the inputs' backend and write it on the tape.

    The result is a tensor; where the primitive has several, a tuple of them, of which the first is differentiable.

    Args:
        inputs: tensors (at least one), arrays, plain numbers or None, in the order of the primitive's array arguments.
        options: its other arguments.
    """
    backend = backend_of(op, inputs)
    operands = _of_one_dtype(op, mixed_precision.cast(op, tuple([as_operand(x, backend) for x in inputs])))
    arrays = [x.data if isinstance(x, Tensor) else x for x in operands]
    with backend.scope():
        out, saved = getattr(backend, op)(*arrays, **options)
    gradients = getattr(backend, f"{op}_backward")
    needs = (tuple([isinstance(x, Tensor) and x.requires_grad for x in operands]),) if op in COSTLY else ()
    first, *others = out if isinstance(out, tuple) else (out,)
    if op != "cast":
        first = narrowed(first, operands)
    result = record(op, first, operands, lambda dout: gradients(saved, dout, *needs), backend)
    return (result, *(Tensor(backend.asarray(x), backend) for x in others)) if others else result


def _of_one_dtype(op: str, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands as they are, or, where the operation mixes them or needs real numbers, cast to one dtype."""
    if op not in MIXING and op not in REAL_VALUED:
        return operands
    tensors = [x for x in operands if isinstance(x, Tensor)]
    numbers = [x for x in operands if not isinstance(x, Tensor) and x is not None]
    dtype = common_dtype(op, tensors, numbers)
    if dtype is None or all(x.dtype == dtype for x in tensors):
        return operands
    return tuple(x.to(dtype=dtype) if isinstance(x, Tensor) else x for x in operands)


def record(
    name: str,
    out: Any,
    inputs: tuple[Any, ...],
    backward: Callable[[Any], tuple[Any, ...]],
    backend: Backend | None = None,
) -> Tensor:
    """The tensor of ``out``; on the tape if an input requires gradients and the tape is on.

    ``backward`` takes the gradient of ``out`` and returns one array or None for each of ``inputs``.
    """
    backend = backend or backend_of(name, inputs)
    result = Tensor(backend.asarray(out), backend)
    source = inputs[0]
    if name in tape.VIEWS and source.backend is backend and backend.xp.may_share_memory(source.data, result.data):
        result.version = source.version
    if tape.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        result.requires_grad = is_floating(result.dtype)
        if result.requires_grad:
            tensors = tuple([x if isinstance(x, Tensor) else None for x in inputs])
            result.node = tape.Node(name, tensors, backward, result, inputs)
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
    array = backend.asarray(x)
    if not is_real(array.dtype):
        raise TypeError(f"expected a tensor, an array of numbers or a number, got {type(x).__name__} {x!r}")
    return Tensor(array, backend)
