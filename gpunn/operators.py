"""What can be done to a tensor: its operators and the methods that compute. `Tensor` inherits them.

Each is one primitive of the backend, or a few. Names and meanings are PyTorch's; ``dim`` counts from 0, or from the end
with negative numbers.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from . import mixed_precision, tape
from .dtypes import is_floating


class ValuesAndIndices(NamedTuple):
    """What a maximum or minimum along one dimension returns: two tensors."""

    values: Any
    indices: Any


WRITE_TO_LEAF = "a tensor that requires gradients cannot be written to; do it within gpunn.no_grad(), or use a new name"


class Operators:
    """Arithmetic, comparison, reductions, shapes and matrices. ``_apply`` and ``_constant`` are the tensor's."""

    __slots__ = ()

    if TYPE_CHECKING:  # what `Tensor` has and this file uses
        data: Any
        backend: Any
        requires_grad: bool
        version: Any

        @property
        def shape(self) -> tuple[int, ...]: ...

        @property
        def ndim(self) -> int: ...

        @property
        def dtype(self) -> Any: ...

        @property
        def is_leaf(self) -> bool: ...

        def numel(self) -> int: ...

        @staticmethod
        def _apply(op: str, *inputs: Any, **options: Any) -> Any: ...

        def _constant(self, array: Any) -> Self: ...

    # Arithmetic

    def __add__(self, other: Any) -> Self:
        return self._apply("add", self, other)

    def __radd__(self, other: Any) -> Self:
        return self._apply("add", other, self)

    def __sub__(self, other: Any) -> Self:
        return self._apply("sub", self, other)

    def __rsub__(self, other: Any) -> Self:
        return self._apply("sub", other, self)

    def __mul__(self, other: Any) -> Self:
        return self._apply("mul", self, other)

    def __rmul__(self, other: Any) -> Self:
        return self._apply("mul", other, self)

    def __truediv__(self, other: Any) -> Self:
        return self._apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Self:
        return self._apply("div", other, self)

    def __pow__(self, exponent: Any) -> Self:
        return self._apply("pow", self, exponent)

    def __rpow__(self, base: Any) -> Self:
        return self._apply("pow", base, self)

    def __neg__(self) -> Self:
        return self._apply("neg", self)

    def __matmul__(self, other: Any) -> Self:
        return self.matmul(other)

    def __rmatmul__(self, other: Any) -> Self:
        return self._apply("matmul", other, self)

    # In place: rebinds the name to a new tensor where the old one is on the tape, else writes to the elements.

    def __iadd__(self, other: Any) -> Self:
        return self._in_place(self + other)

    def __isub__(self, other: Any) -> Self:
        return self._in_place(self - other)

    def __imul__(self, other: Any) -> Self:
        return self._in_place(self * other)

    def __itruediv__(self, other: Any) -> Self:
        return self._in_place(self / other)

    def _in_place(self, result: Self) -> Self:
        if result.requires_grad:
            if self.requires_grad and self.is_leaf:
                raise RuntimeError(WRITE_TO_LEAF)
            return result
        if not is_floating(self.dtype) and is_floating(result.dtype):
            raise TypeError(
                f"in place: expected a result of dtype {self.dtype.name}, got {result.dtype.name}; use a new name"
            )
        self[...] = result
        return self

    def zero_(self) -> Self:
        """Set every element to 0, in place."""
        return self.copy_(0)

    def fill_(self, value: builtins.float) -> Self:
        """Set every element to ``value``, in place."""
        return self.copy_(value)

    def copy_(self, source: Any) -> Self:
        """Overwrite the elements with those of ``source``, which may broadcast; shape, dtype and device stay."""
        self[...] = source
        return self

    def pow(self, exponent: Any) -> Self:
        return self._apply("pow", self, exponent)

    def matmul(self, other: Any) -> Self:
        """The matrix product; dimensions before the last two are a batch and broadcast."""
        if hasattr(other, "dtype") and not mixed_precision.alike(self, other):
            raise TypeError(
                f"matmul: expected two tensors of one dtype, got {self.dtype.name} and {other.dtype.name}; "
                f"use .to('{self.dtype.name}')"
            )
        return self._apply("matmul", self, other)

    def exp(self) -> Self:
        return self._apply("exp", self)

    def log(self) -> Self:
        """The natural logarithm."""
        return self._apply("log", self)

    def sqrt(self) -> Self:
        return self._apply("sqrt", self)

    def abs(self) -> Self:
        return self._apply("abs", self)

    def reciprocal(self) -> Self:
        return self._apply("reciprocal", self)

    def clamp(self, min: builtins.float | None = None, max: builtins.float | None = None) -> Self:
        """Cut off below ``min`` and above ``max``; the gradient is 0 where it was cut."""
        return self._apply("clamp", self, low=min, high=max)

    def relu(self) -> Self:
        return self._apply("relu", self)

    def sigmoid(self) -> Self:
        return self._apply("sigmoid", self)

    def tanh(self) -> Self:
        return self._apply("tanh", self)

    # Comparison; no gradients

    def __eq__(self, other: Any) -> Any:
        return self._compare("equal", other)

    def __ne__(self, other: Any) -> Any:
        return self._compare("not_equal", other)

    def __lt__(self, other: Any) -> Self:
        return self._compare("less", other)

    def __le__(self, other: Any) -> Self:
        return self._compare("less_equal", other)

    def __gt__(self, other: Any) -> Self:
        return self._compare("greater", other)

    def __ge__(self, other: Any) -> Self:
        return self._compare("greater_equal", other)

    __hash__ = object.__hash__  # by identity: tensors are keys of the tape and of optimizers

    def _compare(self, ufunc: str, other: Any) -> Self:
        with self.backend.scope():
            return self._constant(getattr(self.backend.xp, ufunc)(self.data, self._on_device(other)))

    # Reductions

    def sum(self, dim: Any = None, keepdim: bool = False) -> Self:
        return self._apply("sum", self, axis=dim, keepdims=keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False) -> Self:
        return self._apply("mean", self, axis=dim, keepdims=keepdim)

    def var(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> Self:
        """The mean squared distance from the mean, the sum divided by count - correction."""
        centered = self - self.mean(dim, keepdim=True)
        total = (centered * centered).sum(dim, keepdim)
        count = self.numel() // builtins.max(total.numel(), 1)
        return total / (count - correction) if count > correction else total * builtins.float("nan")

    def std(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> Self:
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

    def amax(self, dim: Any = None, keepdim: bool = False) -> Self:
        return self._apply("amax", self, axis=dim, keepdims=keepdim)

    def amin(self, dim: Any = None, keepdim: bool = False) -> Self:
        return self._apply("amin", self, axis=dim, keepdims=keepdim)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Self:
        """The index of the largest element, of all (counted through) or along ``dim``; the first at a tie."""
        with self.backend.scope():
            return self._constant(self.backend.xp.argmax(self.data, axis=dim, keepdims=keepdim))

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Self:
        """The index of the smallest element; see `argmax`."""
        with self.backend.scope():
            return self._constant(self.backend.xp.argmin(self.data, axis=dim, keepdims=keepdim))

    def logsumexp(self, dim: Any, keepdim: bool = False) -> Self:
        """log(sum exp(x)) along ``dim``, without overflow: max(x) <= logsumexp(x) <= max(x) + log(n); see `F.logsumexp`."""
        return self._apply("logsumexp", self, axis=dim, keepdims=keepdim)

    def norm(self, p: builtins.float = 2.0, dim: Any = None, keepdim: bool = False) -> Self:
        """(sum |x|^p)^(1/p) over all elements or along ``dim``; p = inf is the largest magnitude."""
        if p == builtins.float("inf"):
            return self.abs().amax(dim, keepdim)
        if p == 1:
            return self.abs().sum(dim, keepdim)
        if p <= 0:
            raise ValueError(f"norm: expected p > 0, got {p}")
        return self._apply("norm", self, p=p, axis=dim, keepdims=keepdim)

    def _along(self, op: str, dim: int, keepdim: bool) -> ValuesAndIndices:
        return ValuesAndIndices(*self._apply(op, self, axis=dim, keepdims=keepdim))

    # Shape

    def reshape(self, *shape: Any) -> Self:
        return self._apply("reshape", self, shape=_dimensions(shape))

    def view(self, *shape: Any) -> Self:
        """`reshape`; it copies where the memory order leaves no other way."""
        return self.reshape(*shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
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

    def permute(self, *dims: Any) -> Self:
        return self._apply("permute", self, axes=_dimensions(dims))

    def transpose(self, dim0: int, dim1: int) -> Self:
        """Exchange two dimensions."""
        order = list(range(self.ndim))
        first, second = _place(dim0, self.ndim), _place(dim1, self.ndim)
        order[first], order[second] = order[second], order[first]
        return self.permute(*order)

    def expand(self, *shape: Any) -> Self:
        """Repeat dimensions of length 1 without a copy; -1 keeps a length."""
        wanted = _dimensions(shape)
        added = len(wanted) - self.ndim
        return self._apply(
            "expand", self, shape=tuple(self.shape[i - added] if n == -1 else n for i, n in enumerate(wanted))
        )

    def unsqueeze(self, dim: int) -> Self:
        place = _place(dim, self.ndim + 1)
        return self.reshape(*self.shape[:place], 1, *self.shape[place:])

    def squeeze(self, dim: int | None = None) -> Self:
        """Leave out dimension ``dim`` if its length is 1, or all such dimensions."""
        places = range(self.ndim) if dim is None else (_place(dim, self.ndim),)
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if n != 1 or i not in places))

    def __getitem__(self, index: Any) -> Self:
        return self._apply("getitem", self, index=_plain_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.requires_grad and tape.is_grad_enabled():
            raise RuntimeError(WRITE_TO_LEAF)
        with self.backend.scope():
            self.data[_plain_index(index)] = self._on_device(value)
        self.version.count += 1

    def _on_device(self, value: Any) -> Any:
        """The array of a tensor; a list or an array of the host as an array of this device; a number as it is."""
        if isinstance(value, Operators):
            return value.data
        return self.backend.asarray(value) if isinstance(value, (list, tuple)) or hasattr(value, "ndim") else value

    # Matrices

    def trace(self) -> Self:
        """The sum of the diagonal of a matrix."""
        if self.ndim != 2:
            raise ValueError(f"trace: expected a matrix, got shape {self.shape}")
        return self._apply("trace", self)

    def inverse(self) -> Self:
        """Of a square matrix, or of a batch of them."""
        return self._apply("inverse", self)

    def logdet(self) -> Self:
        """The logarithm of the determinant; NaN where that is negative."""
        return self._apply("logdet", self)


def _dimensions(given: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) from both f(2, 3) and f((2, 3))."""
    return tuple(given[0]) if len(given) == 1 and not hasattr(given[0], "__index__") else tuple(given)


def _place(dim: int, ndim: int) -> int:
    """A dimension counted from the end as one counted from the start; IndexError where there is none."""
    if not -ndim <= dim < ndim:
        raise IndexError(f"dimension {dim} is out of range: expected {-ndim} to {ndim - 1}")
    return dim % ndim


def _plain_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_plain_index(part) for part in index)
    if isinstance(index, Operators):
        return index.data
    return index
