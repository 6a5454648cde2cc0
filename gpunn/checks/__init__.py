"""Checks of the numbers: gradients against finite differences, devices against each other."""

from .gradcheck import GradientError, gradcheck
from .parity import ParityError, assert_parity, default_devices, parity
from .report import Report

__all__ = ["GradientError", "ParityError", "Report", "assert_parity", "default_devices", "gradcheck", "parity"]
