"""The command line: `gpunn train`, `eval`, `predict`, `doctor`; a file a command."""
