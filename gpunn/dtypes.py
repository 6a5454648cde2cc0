"""The types of a tensor's elements: NumPy's dtypes by name, on every device."""

from numpy import dtype
from numpy import result_type as promote

float16 = dtype("float16")
float32 = dtype("float32")
float64 = dtype("float64")
int32 = dtype("int32")
int64 = dtype("int64")
uint8 = dtype("uint8")
bool = dtype("bool")

__all__ = ["bool", "float16", "float32", "float64", "int32", "int64", "promote", "uint8"]
