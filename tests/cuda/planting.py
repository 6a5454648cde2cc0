"""How a bug is planted in the kernels."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from backends.cuda import program


@dataclass(frozen=True)
class Bug:
    """In file ``file`` of kernels/, the one place that reads ``old`` becomes ``new``.

    ``test`` is what catches it: a file of this folder, ``::`` and a test.
    """

    name: str
    file: str
    old: str
    new: str
    test: str

    def text(self) -> str:
        """The file with the bug in it."""
        whole = program.text_of(self.file)
        count = whole.count(self.old)
        assert count == 1, f"{self.name}: expected {self.old!r} once in {self.file}, found it {count} times"
        return whole.replace(self.old, self.new)


def plant(bug: Bug) -> None:
    """From now on the kernels have the bug."""
    folder = Path(tempfile.mkdtemp(prefix="gpunn-bug-")) / "kernels"
    shutil.copytree(program.FOLDER, folder)
    altered = bug.text()
    (folder / bug.file).write_text(altered, encoding="utf-8")
    program.FOLDER = folder
    program.source.cache_clear()
