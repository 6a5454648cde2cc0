"""Module: a tree of named parameters, buffers and smaller modules, with PyTorch's names and meanings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gpunn.device import resolve
from gpunn.dtypes import is_floating
from gpunn.errors import GpunnError
from gpunn.tensor import Tensor

from .hooks import RemovableHandle
from .parameter import Parameter

# Where a module keeps what is registered under a name, and what may stand there.
REGISTRIES = {"_parameters": "a Parameter", "_buffers": "a Tensor", "_modules": "a Module"}
DTYPE_NAMES = ("float16", "float32", "float64", "bfloat16")


class ShapeError(GpunnError, ValueError):
    """A layer was given an input of a shape that it cannot take; the message names the layer and both shapes."""


class StateDictError(GpunnError, ValueError, RuntimeError):
    """A state dictionary does not fit the module; the message names every missing, extra or wrongly shaped entry."""


class LoadResult(NamedTuple):
    """The entries that ``load_state_dict(strict=False)`` left alone."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """The base of layers and networks.

    A subclass calls ``super().__init__()``, assigns parameters and smaller modules to attributes, which registers
    them, and defines ``forward``::

        class Block(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.linear = nn.Linear(width, width)

            def forward(self, x):
                return F.relu(self.linear(x)) + x
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        own = self.__dict__
        own["training"] = True
        own["_parameters"], own["_buffers"], own["_modules"] = {}, {}, {}
        own["_non_persistent"] = set()
        own["_forward_hooks"], own["_forward_pre_hooks"] = {}, {}

    # --- registration -------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        kind = "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Module) else None
        if "_parameters" not in own:
            if kind:
                raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
            own[name] = value
        elif kind:
            self._forget(name, keep=kind)
            own[kind][name] = value
        else:
            for registered, accepted in REGISTRIES.items():
                if name in own[registered]:
                    if value is not None and not (registered == "_buffers" and isinstance(value, Tensor)):
                        raise TypeError(
                            f"{type(self).__name__}.{name}: expected {accepted} or None, got {type(value).__name__}"
                        )
                    own[registered][name] = value
                    return
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for kind in REGISTRIES:
            if kind in own and name in own[kind]:
                return own[kind][name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for kind in REGISTRIES:
            if name in self.__dict__[kind]:
                self._forget(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _forget(self, name: str, keep: str = "") -> None:
        """Remove what goes by ``name``, but for the registry ``keep``: there a new value takes the old one's place."""
        own = self.__dict__
        for kind in REGISTRIES:
            if kind != keep:
                own[kind].pop(name, None)
        own["_non_persistent"].discard(name)
        own.pop(name, None)

    def register_parameter(self, name: str, value: Parameter | None) -> None:
        """Add a parameter; None keeps the name for a parameter that is not there (``bias=False``)."""
        self._check_name(name)
        self._forget(name, keep="_parameters")
        self._parameters[name] = value

    def register_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the state but not trained; one not ``persistent`` stays out of state_dict."""
        self._check_name(name)
        self._forget(name, keep="_buffers")
        self._buffers[name] = value
        if not persistent:
            self.__dict__["_non_persistent"].add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a smaller module under ``name``."""
        self._check_name(name)
        self._forget(name, keep="_modules")
        self._modules[name] = module

    def _check_name(self, name: str) -> None:
        if not name or "." in name:
            raise KeyError(f"{type(self).__name__}: expected a name without dots that is not empty, got {name!r}")
        if hasattr(type(self), name):
            raise KeyError(f"{type(self).__name__}: {name!r} is already an attribute of the class, choose another")

    # --- walking the tree ---------------------------------------------------------------------------------------

    def named_modules(self, prefix: str = "", memo: set[int] | None = None) -> Iterator[tuple[str, Module]]:
        """This module (under the name ``prefix``) and all below it; a shared one comes once."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name, memo)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one; a shared one comes once."""
        seen: set[int] = set()
        for name, child in self._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly below this one."""
        return (child for _, child in self.named_children())

    def _named_members(self, kind: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in module.__dict__[kind].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Names and parameters; a shared one comes once, under its first name."""
        return self._named_members("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """What an optimizer trains; a shared parameter comes once."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Names and buffers; a shared one comes once."""
        return self._named_members("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The tensors of the state that are not trained."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module with this dotted name, as in ``net.get_submodule("features.0")``; "" is the module itself."""
        module = self
        for name in target.split(".") if target else []:
            child = module._modules.get(name)
            if child is None:
                names = ", ".join(module._modules) or "none"
                raise AttributeError(f"get_submodule({target!r}): no {name!r} in {type(module).__name__}; has {names}")
            module = child
        return module

    def apply(self, function: Callable[[Module], object]) -> Module:
        """Call ``function`` on every module, those below first, and return this one."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # --- state --------------------------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Every parameter and persistent buffer by its dotted name; the arrays are shared, not copied."""
        state: dict[str, Tensor] = {}
        for name, value in self._parameters.items():
            if value is not None:
                state[prefix + name] = value.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self.__dict__["_non_persistent"]:
                state[prefix + name] = buffer.detach()
        for name, child in self._modules.items():
            if child is not None:
                state.update(child.state_dict(f"{prefix}{name}."))
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy values (Tensors, NumPy arrays or anything NumPy reads as an array) into parameters and buffers.

        Device and dtype stay those of this module. A wrongly shaped entry is always an error, a missing or extra one
        if ``strict``; the error names them all, and then nothing has been changed. Unlike PyTorch, this also holds
        for a missing ``num_batches_tracked``.
        """
        own = self.state_dict()
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        arrays, wrong = {}, []
        for name, target in own.items():
            if name in state:
                arrays[name] = array = _array_for(target, state[name])
                if array.shape != target.shape:
                    wrong.append(f"{name} (expected {target.shape}, got {array.shape})")
                elif array.dtype.kind in "OSUc":
                    wrong.append(f"{name} (expected real numbers, got dtype {array.dtype})")
                elif not _fits(array, target):
                    wrong.append(f"{name} (expected whole numbers, got dtype {array.dtype})")
        problems = [f"wrong shape: {', '.join(wrong)}"] if wrong else []
        if strict:
            problems += [f"missing: {', '.join(missing)}"] if missing else []
            problems += [f"unexpected: {', '.join(map(str, unexpected))}"] if unexpected else []
        if problems:
            raise StateDictError(f"state_dict does not fit {type(self).__name__}: {'; '.join(problems)}")
        # state_dict shares its arrays with the module, so this writes into parameters and buffers.
        for name, array in arrays.items():
            own[name][...] = array
        for tensor in [*self.parameters(), *self.buffers()]:
            tensor.version.count += 1
        return LoadResult(missing, unexpected)

    # --- training, gradients, place -----------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Set training mode (dropout drops, batch normalization uses and tracks the batch's statistics)."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set evaluation mode: ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Say for all parameters whether they are trained; ``False`` freezes them."""
        for value in self.parameters():
            value.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros."""
        for value in self.parameters():
            if set_to_none:
                value.grad = None
            elif value.grad is not None:
                value.grad.zero_()

    def to(self, device: Any = None, dtype: Any = None) -> Module:
        """Move parameters and buffers to a device, a dtype, or both, in place: ``net.to("cuda")``, ``net.to("float64")``.

        The Parameter objects stay the same, so an optimizer made before still holds them. Integer buffers keep
        their dtype.
        """
        if device is not None and (not isinstance(device, str) or device in DTYPE_NAMES):
            if dtype is not None:
                raise TypeError(f"to: expected to(device, dtype), got to({device!r}, {dtype!r})")
            device, dtype = None, device
        name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or getattr(dtype, "__name__", dtype)
        if dtype is not None and name not in DTYPE_NAMES:
            raise TypeError(f"to: expected a dtype of {', '.join(DTYPE_NAMES)}, got {name}")
        backend = None if device is None else resolve(device)
        for value in [*self.parameters(), *self.buffers()]:
            _move(value, backend, dtype)
        return self

    def cpu(self) -> Module:
        """Move everything to the CPU."""
        return self.to("cpu")

    def cuda(self, index: int | None = None) -> Module:
        """Move everything to a CUDA device, the current one unless ``index`` names it."""
        return self.to("cuda" if index is None else f"cuda:{index}")

    def float(self) -> Module:
        """Cast parameters and floating buffers to float32."""
        return self.to(dtype="float32")

    def double(self) -> Module:
        """Cast parameters and floating buffers to float64."""
        return self.to(dtype="float64")

    def half(self) -> Module:
        """Cast parameters and floating buffers to float16."""
        return self.to(dtype="float16")

    def bfloat16(self) -> Module:
        """Cast parameters and floating buffers to bfloat16."""
        return self.to(dtype="bfloat16")

    # --- calling ------------------------------------------------------------------------------------------------

    def forward(self, *inputs: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: define forward(self, ...)")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        for pre_hook in list(self._forward_pre_hooks.values()):
            changed = pre_hook(self, inputs)
            if changed is not None:
                inputs = changed if isinstance(changed, tuple) else (changed,)
        output = self.forward(*inputs, **options)
        for hook in list(self._forward_hooks.values()):
            changed = hook(self, inputs, output)
            if changed is not None:
                output = changed
        return output

    def register_forward_hook(self, hook: Callable[[Module, tuple, Any], Any]) -> RemovableHandle:
        """Call ``hook(module, inputs, output)`` after every forward; what it returns, if not None, is the output."""
        handle = RemovableHandle(self._forward_hooks)
        self._forward_hooks[handle.key] = hook
        return handle

    def register_forward_pre_hook(self, hook: Callable[[Module, tuple], Any]) -> RemovableHandle:
        """Call ``hook(module, inputs)`` before every forward; what it returns, if not None, are the inputs."""
        handle = RemovableHandle(self._forward_pre_hooks)
        self._forward_pre_hooks[handle.key] = hook
        return handle

    # --- showing ------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of this module's ``repr``."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        for name, child in self._modules.items():
            lines.append(f"({name}): " + repr(child).replace("\n", "\n  "))
        if not self._modules and len(lines) <= 1:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def count_parameters(module: Module) -> int:
    """How many numbers the module's parameters hold, shared ones counted once."""
    return sum(math.prod(value.shape) for value in module.parameters())


def _array_for(target: Tensor, value: Any) -> Any:
    """``value`` as an array on the device of ``target``."""
    if isinstance(value, Tensor):
        return value.data if value.backend is target.backend else target.backend.asarray(value.numpy())
    return target.backend.asarray(value)


def _fits(array: Any, target: Tensor) -> bool:
    """Whether a whole-number buffer (a count of batches) can take the values without losing a part of them."""
    if target.dtype.kind not in "iu" or array.dtype.kind in "iub":
        return True
    with target.backend.scope():
        return not bool((array != array.astype(target.dtype)).any())


def _move(value: Tensor, backend: Any, dtype: Any) -> None:
    for part in (value, value.grad):
        if part is not None:
            moved = part.detach().to(backend, dtype if is_floating(part.dtype) else None)
            part.data, part.backend = moved.data, moved.backend
