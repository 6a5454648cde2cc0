"""Errors with names, so that a program can tell them apart. Each message is one line: given, allowed, what to do."""


class GpunnError(Exception):
    """The base of all errors that gpunn raises by name."""


class DataError(GpunnError, ValueError):
    """A data set or an image is missing, broken or of another shape than it should be."""


class CheckpointError(GpunnError, ValueError):
    """A checkpoint is missing, cut short, or of another model."""


class ConfigError(GpunnError, ValueError):
    """An option, a name or a key of the configuration is unknown or has a value that is not allowed."""


class NonFiniteError(GpunnError, ArithmeticError):
    """A loss or a gradient became NaN or infinite in training."""
