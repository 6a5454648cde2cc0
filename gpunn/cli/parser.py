"""A parser of flags whose every complaint is one line with the nearest right name."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from gpunn.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """argparse, but a wrong flag raises ``ConfigError``, and flags can't be shortened (a new one would break scripts)."""

    def __init__(self, command: str, description: str, example: str) -> None:
        super().__init__(
            prog=f"gpunn {command}",
            description=description,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in example.strip().splitlines()),
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The flags by name. Raises ``ConfigError`` for one that is unknown or has a wrong value."""
        namespace, rest = self.parse_known_args(argv)
        unknown = next((text for text in rest if text.startswith("-")), None)
        if unknown is not None:
            name = unknown.partition("=")[0]
            known = [flag for action in self._actions for flag in action.option_strings]
            raise ConfigError(f"unknown option {name}{suggestion(name, known)}; {self.prog} --help lists them all")
        if rest:
            raise ConfigError(f"unexpected argument {rest[0]!r}; {self.prog} --help shows what is taken")
        return namespace

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, max_help_position=30, **options)


def suggestion(given: str, allowed: Iterable[str]) -> str:
    """``: did you mean X?`` for the nearest of ``allowed``, or nothing if none is near."""
    close = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else ""
