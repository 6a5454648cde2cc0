"""`compiled`: a function of plain loops, compiled by Numba when it is first called, and kept on disk for good.

What is kept is looked up by the text of the function's module and of those whose kernels it calls, by the types of its
arguments, and by the processor; so it is never out of date. Floating-point arithmetic keeps its order, NaN and infinities;
a product and a sum may be rounded once instead of twice, and the sign of a zero may change.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, overload

import numpy as np

ARITHMETIC = {"contract", "nsz"}
logger = logging.getLogger("gpunn")


def is_available() -> bool:
    """Whether kernels are compiled: Numba is installed, and GPUNN_COMPILED is not "0"."""
    return os.environ.get("GPUNN_COMPILED") != "0" and _has_numba()


@functools.cache
def _has_numba() -> bool:
    return find_spec("numba") is not None


@overload
def compiled(function: Callable[..., Any]) -> Kernel: ...
@overload
def compiled(*, reassociate: bool = False, inline: bool = False) -> Callable[[Callable[..., Any]], Kernel]: ...
def compiled(function: Callable[..., Any] | None = None, *, reassociate: bool = False, inline: bool = False) -> Any:
    """A decorator. With ``reassociate`` a sum in a loop is taken in an order that the code generator fixes, in parallel lanes.
    No other kernel may call such a one, only Python: of a kernel that another one calls there is a second version in the
    caller's code, whose order may differ, and which of the two runs depends on whether this process compiled it.

    ``inline``: the text takes the place of each call in another kernel, which halves the time to compile what one kernel
    calls at one place.
    """
    if function is None:
        return functools.partial(Kernel, reassociate=reassociate, inline=inline)
    return Kernel(function)


class Kernel:
    """A function that is compiled at its first call, for each combination of dtypes and dimensions.

    It may call other kernels. Array arguments should be C-contiguous: any other layout compiles anew. One that must not
    be written to is taken as any other; a kernel writes only to its outputs. An array that a kernel makes is freed behind
    its last mention: its address is taken where it is used. An address is unsigned; where it and a number may stand in one
    variable, it is ``np.int64(...)`` of it, or both would become float64.
    """

    def __init__(self, function: Callable[..., Any], reassociate: bool = False, inline: bool = False) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.reassociate = reassociate
        # Under these names Numba looks for what it is to inline.
        self.py_func = function
        self.targetoptions = {"inline": "always"} if inline else {}

    def __call__(self, *arguments: Any) -> Any:
        plain = [_plain(a) if isinstance(a, np.ndarray) and not a.flags.writeable else a for a in arguments]
        try:
            return self.dispatcher(*plain)
        except OSError:  # the compiled code could not be written to disk, nothing has run yet
            _stop_keeping()
            return self.dispatcher(*plain)

    @functools.cached_property
    def dispatcher(self) -> Any:
        """Numba's object of the function."""
        with _lock:
            if self not in _dispatchers:
                _dispatchers[self] = _dispatcher(self)
            return _dispatchers[self]

    @property
    def _numba_type_(self) -> Any:
        """As what Numba sees a kernel that another one calls."""
        from numba import typeof

        if self.reassociate:
            raise TypeError(
                f"another kernel calls {self.function.__name__}, whose sums are in parallel lanes: "
                "give reassociate=True to the kernel that Python calls, and inline=True to this one"
            )
        return typeof(self.dispatcher)


class Intrinsic:
    """A function whose code a kernel that calls it gets in the code generator's own language.

    ``define`` is what `numba.extending.intrinsic` decorates; it is handed over when the first kernel that needs it is compiled.
    ``module`` is the name of the module in which the object stands.
    """

    def __init__(self, define: Callable[..., Any], module: str) -> None:
        self.define = define
        self.modules = {define.__module__, module}

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError("an intrinsic is called by a compiled kernel alone, not by Python")

    @functools.cached_property
    def _numba_type_(self) -> Any:
        from numba.core import registry
        from numba.extending import intrinsic

        function = intrinsic(self.define)
        registry.cpu_target.typing_context.refresh()
        return registry.cpu_target.typing_context.resolve_value_type(function)


_lock = threading.RLock()
_dispatchers: dict[Kernel, Any] = {}


def _dispatcher(kernel: Kernel) -> Any:
    import numba

    settings: Any = numba.config
    _announce_compilation()
    arithmetic = ARITHMETIC | ({"reassoc"} if kernel.reassociate else set())
    dispatcher: Any = numba.njit(nogil=True, fastmath=arithmetic, error_model="numpy", boundscheck=False)(
        kernel.function
    )
    # A kernel that is called with a constant is the one for any number: it is not compiled anew.
    resolve = dispatcher.get_call_template
    dispatcher.get_call_template = lambda types, named: resolve(*_without_constants(types, named))
    others, settings.CACHE_DIR = settings.CACHE_DIR, str(cache_folder() / _digest(kernel.function.__module__))
    try:
        dispatcher.enable_caching()
    except (RuntimeError, OSError):
        pass  # nowhere to keep it: compiled in every process
    finally:
        settings.CACHE_DIR = others
    return dispatcher


def _without_constants(types: Any, named: Any) -> Any:
    """The types of a call's arguments, those of constants as those of any other number."""
    from numba.core.types import unliteral

    return tuple(map(unliteral, types)), {name: unliteral(kind) for name, kind in named.items()}


def _stop_keeping() -> None:
    from numba.core.caching import NullCache

    for dispatcher in list(_dispatchers.values()):
        dispatcher._cache = NullCache()


def cache_folder() -> Path:
    """GPUNN_CACHE/compiled or ~/.cache/gpunn/compiled."""
    named = os.environ.get("GPUNN_CACHE")
    kept = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(named or os.path.join(kept, "gpunn")) / "compiled"


def _digest(module: str) -> str:
    """Of the text of a module of kernels, and of the modules whose kernels, intrinsics and words for these it uses."""
    found, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            for value in vars(sys.modules[name]).values():
                if isinstance(value, Intrinsic):
                    todo += value.modules
                elif isinstance(value, Kernel) or str(getattr(value, "__module__", "")).startswith(f"{__package__}."):
                    todo.append(value.__module__)
    texts = [inspect.getsource(sys.modules[name]) for name in sorted(found | {__name__})]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


@functools.cache
def _announce_compilation() -> None:
    """Say once in a process that kernels are compiled, when the first is not read from disk; count them on a terminal."""
    from numba.core import event
    from tqdm import tqdm

    class Announcement(event.Listener):
        bar: Any = None
        under_way = 0  # a kernel that calls another one waits for it

        def on_start(self, event: Any) -> None:
            if not _is_ours(event):
                return
            self.under_way += 1
            if self.bar is None:
                logger.warning("compiling CPU kernels, first run only")
                # disable=None: nothing where standard error is no terminal.
                self.bar = tqdm(desc="compiling", unit=" kernels", leave=False, disable=None)
            self.bar.refresh()

        def on_end(self, event: Any) -> None:
            if not _is_ours(event):
                return
            self.under_way -= 1
            self.bar.update()
            if self.under_way == 0:
                self.bar.clear()  # the line belongs to whoever writes next

    event.register("numba:compile", Announcement())


def _is_ours(event: Any) -> bool:
    return any(event.data.get("dispatcher") is dispatcher for dispatcher in _dispatchers.values())


class _Writable:
    """Hands out an array's memory as if it might be written to; lives as long as that array."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _plain(array: np.ndarray) -> np.ndarray:
    """One that is protected in the form of those that are not, for which kernels are compiled."""
    return np.asarray(_Writable(array))
