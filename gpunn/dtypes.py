"""The types of a tensor's elements: NumPy's dtypes by name, on every device, and bfloat16 from the package ml_dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy import dtype, result_type

from backends.dtypes import is_floating, is_number, is_real, is_whole

float16 = dtype("float16")
float32 = dtype("float32")
float64 = dtype("float64")
int32 = dtype("int32")
int64 = dtype("int64")
uint8 = dtype("uint8")
bool = dtype("bool")

if TYPE_CHECKING:
    bfloat16: dtype[Any]


def __getattr__(name: str) -> Any:
    """bfloat16 is looked up when it is asked for, so that `import gpunn` needs no ml_dtypes."""
    if name == "bfloat16":
        return as_dtype(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def as_dtype(given: Any) -> Any:
    """The dtype of a name, or of whatever else NumPy takes for one.

    Raises:
        ImportError: "bfloat16" without ml_dtypes.
        TypeError: there is no such dtype.
    """
    if isinstance(given, str) and given == "bfloat16":
        try:
            import ml_dtypes
        except ImportError as error:
            raise ImportError("bfloat16 needs the package ml_dtypes: pip install ml_dtypes") from error
        return dtype(ml_dtypes.bfloat16)
    try:
        return dtype(given)
    except TypeError:
        raise TypeError(f"unknown dtype {given!r}; expected a name such as 'float32', 'float64' or 'int64'") from None


def promote(*dtypes: Any) -> Any:
    """The smallest dtype that holds the numbers of all; of the two half precisions, which differ, it is float32."""
    names = {given.name for given in dtypes}
    if "bfloat16" in names and "float16" in names:
        return result_type(float32, *(given for given in dtypes if given.itemsize > 2))
    return result_type(*dtypes)


__all__ = [
    "as_dtype",
    "bool",
    "float16",
    "float32",
    "float64",
    "int32",
    "int64",
    "is_floating",
    "is_number",
    "is_real",
    "is_whole",
    "promote",
    "uint8",
]
