"""The entry `gpunn`: finds the command, runs it, and turns every error of the user's into one line and exit code 2."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

import gpunn
from backends.errors import BackendError, LabelError
from gpunn.cli.parser import suggestion
from gpunn.errors import ConfigError, GpunnError

COMMANDS = {
    "train": "train a network on images and keep the run in a folder",
    "eval": "measure a trained network on test images",
    "predict": "name what is on an image",
    "parity": "compare one training step on several devices, operation by operation",
    "gradcheck": "compare the gradients of a model's operations with finite differences",
    "doctor": "show versions and devices, and which device would be chosen and why",
}
# What a shell expects of a program that Ctrl-C has ended, and of one whose reader has gone.
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for a check that found something, 2 for wrong use, 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _log_to_standard_error()
    try:
        code = _run(arguments)
        sys.stdout.flush()  # now, when what fails can still be said in one line
        return code
    except SystemExit as exit_request:  # argparse, after it printed a help
        return int(exit_request.code or 0)
    except (GpunnError, BackendError, LabelError) as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(f"out of memory ({error}); give a smaller --batch-size or --image-size")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_unwritten_output()  # whoever read it has gone, as in `gpunn train | head`
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is None:  # of what is written, only standard output has none
            _drop_unwritten_output()
        what = error.filename or "standard output"
        return _fail(f"{what}: {error.strerror or error}; check the path, its permissions and the room on its disk")
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        wrong = error.object[error.start : error.end]
        return _fail(f"{wrong!r} in a name or a text cannot be {error.encoding}; rename the file or the folder")


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(f"gpunn {gpunn.__version__}")
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        raise ConfigError(
            f"unknown command {command!r}{suggestion(command, COMMANDS)}; expected one of {', '.join(COMMANDS)}"
        )
    # Imported when asked for, so that `gpunn --help` answers at once.
    return int(importlib.import_module(f"gpunn.cli.{command}").main(rest))


def _help() -> str:
    lines = [f"  {name:<9} {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gpunn COMMAND [options]",
            "",
            "Train convolutional networks on a GPU or a CPU.",
            "",
            "commands:",
            *lines,
            "",
            "`gpunn COMMAND --help` shows the options of a command with examples; `gpunn --version` the version.",
            "",
            "example:",
            "  gpunn train        # a small network on the images that come with the package",
        ]
    )


def _fail(message: str) -> int:
    print(f"gpunn: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _drop_unwritten_output() -> None:
    """Send what is left for standard output nowhere: Python would write it at its exit, and complain once more."""
    with contextlib.suppress(OSError):  # one that was replaced may have no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _log_to_standard_error() -> None:
    logger = logging.getLogger("gpunn")
    if not any(isinstance(handler, _StandardError) for handler in logger.handlers):
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("gpunn: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


class _StandardError(logging.StreamHandler):
    """Writes to what ``sys.stderr`` is at the time of the message, which a test may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
