"""Checkpoints: one safetensors file each, written atomically, read strictly, never pickled.

Tensors stand in the file under ``model/<name>`` and ``optimizer/<...>``; all the rest (position in the training,
history, description of model and data) is one JSON document in the file's string metadata. JSON writes a float with
as many digits as it takes to read the same bits back, so nothing is rounded on the way.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.errors import CheckpointError

FORMAT_VERSION = 1
METADATA_KEY = "gpunn"
MODEL_PREFIX = "model/"
OPTIMIZER_PREFIX = "optimizer/"
ARRAY = "$array"  # in the JSON document, stands for the tensor of that key


@dataclass
class Checkpoint:
    """What a file holds.

    ``model``: the network's state by name. ``optimizer``: its ``state_dict`` (None if there was none). ``training``:
    where training stands, JSON values only. ``description``: what a reader needs to use the weights (model, data,
    normalization, classes, configuration), JSON values only.
    """

    model: dict[str, np.ndarray]
    optimizer: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)


def save(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path``: whoever reads it meets the old file or the new one, never a half of one.

    Raises ``CheckpointError`` where the file cannot be written.
    """
    arrays = {MODEL_PREFIX + name: _to_array(value) for name, value in checkpoint.model.items()}
    document = {
        "format_version": FORMAT_VERSION,
        "gpunn_version": _gpunn_version(),
        "optimizer": _take_arrays(checkpoint.optimizer, OPTIMIZER_PREFIX, arrays),
        "training": checkpoint.training,
        "description": checkpoint.description,
    }
    _write(Path(path), arrays, {METADATA_KEY: json.dumps(document)})


def load(path: str | os.PathLike[str], *, with_optimizer: bool = True) -> Checkpoint:
    """Read a checkpoint. ``with_optimizer=False`` leaves the optimizer's tensors in the file.

    Raises ``CheckpointError`` if the file is missing, cut short, or not a checkpoint of gpunn.
    """
    path = Path(path)
    prefixes = (MODEL_PREFIX, OPTIMIZER_PREFIX) if with_optimizer else (MODEL_PREFIX,)
    arrays, metadata = _read(path, prefixes)
    if METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path} is not a checkpoint of gpunn: it holds weights only; "
            "read it with gpunn.training.load_weights, or give a file from a run's checkpoints folder"
        )
    try:
        document = json.loads(metadata[METADATA_KEY])
        version = int(document["format_version"])
        if version > FORMAT_VERSION:
            made_by = document["gpunn_version"]
            raise CheckpointError(
                f"{path} has checkpoint format {version}, made by gpunn {made_by}; "
                f"this gpunn reads formats up to {FORMAT_VERSION}: upgrade gpunn"
            )
        model = {n.removeprefix(MODEL_PREFIX): a for n, a in arrays.items() if n.startswith(MODEL_PREFIX)}
        optimizer = _put_arrays(document["optimizer"], arrays) if with_optimizer else None
        return Checkpoint(model, optimizer, dict(document["training"]), dict(document["description"]))
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: its description cannot be read; use another checkpoint") from error


def save_weights(net: Any, path: str | os.PathLike[str]) -> None:
    """Write the ``state_dict`` of a module (or a dict of arrays) as plain safetensors, under the names it has."""
    state = net if isinstance(net, dict) else net.state_dict()
    _write(Path(path), {name: _to_array(value) for name, value in state.items()}, {"format": "np"})


def load_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The weights in a safetensors file by name: a plain file's tensors, or the model's part of a checkpoint."""
    arrays, metadata = _read(Path(path), ("",))
    if METADATA_KEY not in metadata:
        return arrays
    return {n.removeprefix(MODEL_PREFIX): a for n, a in arrays.items() if n.startswith(MODEL_PREFIX)}


def load_into(net: Any, state: dict[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """``net.load_state_dict(state)``, strict, with an error that names the file the state came from."""
    try:
        net.load_state_dict(state, strict=True)
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit this model: {_one_line(error)}") from error


def _to_array(value: Any) -> np.ndarray:
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    return array if array.flags.c_contiguous else array.copy(order="C")


def _take_arrays(tree: Any, prefix: str, arrays: dict[str, np.ndarray]) -> Any:
    """``tree`` with each array moved to ``arrays`` and replaced by a reference to its key."""
    if isinstance(tree, dict):
        return {str(k): _take_arrays(v, f"{prefix}{k}/", arrays) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_take_arrays(v, f"{prefix}{i}/", arrays) for i, v in enumerate(tree)]
    if hasattr(tree, "numpy") or isinstance(tree, np.ndarray):
        key = prefix.removesuffix("/")
        arrays[key] = _to_array(tree)
        return {ARRAY: key}
    return tree.item() if isinstance(tree, np.generic) else tree


def _put_arrays(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The reverse of ``_take_arrays``. Keys that were whole numbers (an optimizer's parameters) are so again."""
    if isinstance(tree, dict):
        if tree.keys() == {ARRAY}:
            return arrays[tree[ARRAY]]
        return {int(k) if k.isdecimal() else k: _put_arrays(v, arrays) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_put_arrays(v, arrays) for v in tree]
    return tree


def _write(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # In the same folder, since a rename is atomic only within one file system.
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, partial, metadata)
        partial.chmod(0o666 & ~_umask())  # safetensors makes a file that only its owner can read
        _flush_to_disk(partial, os.O_RDWR)
        os.replace(partial, path)
        if os.name == "posix":  # elsewhere a folder cannot be opened
            _flush_to_disk(path.parent, os.O_RDONLY)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):  # where the folder itself is out of reach, the first error says so
            partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"cannot write the checkpoint {path}: {_one_line(error)}; check that the folder is writable and has room"
        ) from error


def _umask() -> int:
    """The permissions that this process withholds from its files; the system tells them only while setting them."""
    withheld = os.umask(0o077)
    os.umask(withheld)
    return withheld


def _flush_to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, prefixes: tuple[str, ...]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise CheckpointError(f"checkpoint {path} {what}; give the path of a .safetensors file")
    with contextlib.suppress(ImportError):
        import ml_dtypes  # noqa: F401 - from then on NumPy has bfloat16
    try:
        with safe_open(path, framework="np") as file:
            names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118 - it is no dict
            arrays = {}
            for name in names:
                try:
                    arrays[name] = file.get_tensor(name)
                except (TypeError, AttributeError) as error:
                    kind = file.get_slice(name).get_dtype()
                    raise CheckpointError(
                        f"{path}: {name} is of type {kind}, which NumPy has not; convert the file to float32 first "
                        "(BF16 can be read where ml_dtypes is installed)"
                    ) from error
            return arrays, file.metadata() or {}
    except (SafetensorError, OSError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({_one_line(error)}): it was cut short or is of another format; "
            "use another checkpoint or train again"
        ) from error


def _one_line(error: BaseException) -> str:
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(message.split()).removesuffix(".") or type(error).__name__


def _gpunn_version() -> str:
    from gpunn.version import __version__

    return __version__
