"""The version of gpunn, where the build reads it without importing anything else."""

__version__ = "0.1.0"
