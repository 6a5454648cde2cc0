"""Arrays by their addresses: how a kernel works on as many arrays as there are, with one argument for all of them."""

from __future__ import annotations

from typing import Any

from .compiler import Intrinsic


def _line_at(typing: Any, address: Any, length: Any, like: Any) -> Any:
    """An array (length) of the dtype of ``like``, at ``address``, which must outlive it."""
    from numba import types
    from numba.np.arrayobj import make_array, populate_array

    kind = types.Array(like.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, length, _ = arguments
        step = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(like.dtype)))
        line = make_array(kind)(context, builder)
        data = builder.inttoptr(address, line.data.type)
        populate_array(line, data=data, shape=[length], strides=[step], itemsize=step, meminfo=None)
        return line._getvalue()

    return kind(types.int64, types.int64, like), generate


line_at = Intrinsic(_line_at, __name__)
