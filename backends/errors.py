"""What can go wrong on the floor of arrays and kernels."""


class BackendError(RuntimeError):
    """Any error of a backend."""


class DeviceError(BackendError):
    """The device that was asked for cannot be had; the message says why and what to do."""


class LabelError(ValueError):
    """A class label lies outside the range that the scores allow; the message names the label and its row."""
