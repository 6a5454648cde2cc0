"""The folder of a run: config.toml, metrics.jsonl, checkpoints/last.safetensors and best.safetensors, curves.png."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpunn.errors import ConfigError


class RunDirectory:
    """The paths in a run's folder and how its files are written. Make one with ``create``, ``open`` or ``next_free``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.toml"
        self.metrics_path = self.path / "metrics.jsonl"
        self.last_checkpoint = self.path / "checkpoints" / "last.safetensors"
        self.best_checkpoint = self.path / "checkpoints" / "best.safetensors"
        self.curves_path = self.path / "curves.png"

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The folder for a new run. A folder that holds a run already is an error: nothing is overwritten."""
        run = cls(path)
        if run.holds_a_run():
            raise run._occupied()
        with _naming(run.path):
            run.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)
            # Asked now, since an error after the first epoch would come late.
            run._write_atomically(run.metrics_path, "")
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The folder of a run that is there. Raises ``ConfigError`` if there is none."""
        run = cls(path)
        if not run.holds_a_run():
            raise ConfigError(f"{run.path} holds no run (no {run.config_path.name}, no checkpoint); check the path")
        return run

    @classmethod
    def next_free(cls, parent: str | os.PathLike[str], name: str) -> RunDirectory:
        """``parent/name-1``, or the next number that is free."""
        with _naming(parent):
            Path(parent).mkdir(parents=True, exist_ok=True)
            number = 1
            while True:
                path = Path(parent) / f"{name}-{number}"
                try:
                    path.mkdir()  # fails if it is there: two runs started together get two folders
                    break
                except FileExistsError:
                    number += 1
        return cls.create(path)

    def check_untrained(self) -> None:
        """Raise ``ConfigError`` if a training has left its results here: those of another would mix with them."""
        if self.last_checkpoint.exists() or (self.metrics_path.exists() and self.metrics_path.stat().st_size):
            raise self._occupied()

    def _occupied(self) -> ConfigError:
        return ConfigError(
            f"{self.path} already holds a run; go on with it by --resume (resume=True) or give another --out "
            "(run_directory)"
        )

    def holds_a_run(self) -> bool:
        files = (self.config_path, self.metrics_path, self.last_checkpoint)
        return any(os.path.exists(file) for file in files)

    def write_config(self, config: dict[str, Any]) -> None:
        """config.toml; a value of None is left out, as TOML has none."""
        import tomli_w

        with _naming(self.path):
            text = tomli_w.dumps({key: value for key, value in config.items() if value is not None})
            self._write_atomically(self.config_path, text)

    def append_metrics(self, record: dict[str, Any]) -> None:
        """One more line in metrics.jsonl."""
        with _naming(self.path), open(self.metrics_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def rewrite_metrics(self, records: Iterable[dict[str, Any]]) -> None:
        """metrics.jsonl with these lines and no others: what came after a checkpoint is not part of a resumed run."""
        with _naming(self.path):
            self._write_atomically(self.metrics_path, "".join(json.dumps(r) + "\n" for r in records))

    def _write_atomically(self, path: Path, text: str) -> None:
        partial = path.with_name(f".{path.name}.partial")
        with open(partial, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an error of the file system into one that names the run directory."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write the run directory {path}: {error.strerror or error}; give a writable folder with --out"
        ) from error
