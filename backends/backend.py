"""`Backend`: every primitive once, over any array module. The reference, and the contract for all others."""

from __future__ import annotations

from typing import Any

from .errors import LabelError
from .reference.activation import Activations
from .reference.arithmetic import Arithmetic
from .reference.convolution import Convolution
from .reference.dropout import Dropout
from .reference.linear_algebra import LinearAlgebra
from .reference.loss import Losses
from .reference.normalization import Normalization
from .reference.optimizer import Optimizers
from .reference.pooling import Pooling
from .reference.reduction import Reductions
from .reference.shaping import Shaping
from .reference.softmax import Softmax


class Backend(
    Arithmetic,
    Reductions,
    Shaping,
    LinearAlgebra,
    Activations,
    Softmax,
    Losses,
    Convolution,
    Pooling,
    Normalization,
    Dropout,
    Optimizers,
):
    """The families of primitives (see `backends.reference`) and the handling of arrays.

    Over NumPy it is the device "reference"; in float64 it is the oracle that every other backend is held against.

    Attributes:
        xp: the array module (numpy, or cupy).
        device: the name that `backends.get` knows it by: "reference", "cpu", "cuda:0", ...
    """

    def __init__(self, xp: Any, device: str) -> None:
        self.xp = xp
        self.device = device

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.device}>"

    def __deepcopy__(self, memo: Any) -> Backend:
        return self  # a device is not copied with the tensors on it

    # Arrays

    def asarray(self, values: Any, dtype: Any = None) -> Any:
        """An array of this device: the very one where it is one already, else a copy."""
        return self.xp.asarray(values, dtype=dtype)

    def to_numpy(self, array: Any) -> Any:
        """A NumPy array on the host, for which the device finishes its work; errors that it has kept are raised now."""
        return array

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.xp.empty(shape, dtype=dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.xp.zeros(shape, dtype=dtype)

    def ones(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.xp.ones(shape, dtype=dtype)

    def zero_filters(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Zeros for the filters (O, C, KH, KW) of a convolution, in the memory order that `conv2d` reads best."""
        return self.zeros(shape, dtype)

    def scope(self) -> Any:
        """The context to call primitives in; whoever calls them enters it once around them.

        In it 1/0, log(0) and overflow give inf or NaN, as IEEE 754 says, without a warning.
        """
        return self.xp.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore")

    # The device

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""

    def memory_used(self) -> int | None:
        """Bytes of the device's memory in use by this process; None where the device is the host."""
        return None

    def check_labels(self, labels: Any, classes: int, ignore_index: int | None) -> None:
        """LabelError unless every label is in 0..classes-1 or equals ``ignore_index``."""
        wrong = (labels < 0) | (labels >= classes)
        if ignore_index is not None:
            wrong &= labels != ignore_index
        if wrong.any():
            row = int(wrong.argmax())
            raise label_error(int(labels[row]), row, classes, ignore_index)


def label_error(label: int, row: int, classes: int, ignore_index: int | None) -> LabelError:
    """The one message for a label out of range, whichever device found it."""
    or_ignored = "" if ignore_index is None else f" or ignore_index {ignore_index}"
    return LabelError(
        f"label {label} in row {row} is out of range: expected 0 <= label <= {classes - 1}{or_ignored}; "
        f"the scores have {classes} classes"
    )
