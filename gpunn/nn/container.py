"""Modules that hold modules: Sequential and ModuleList."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .fusion import steps
from .module import Module


class _Listed(Module):
    """Modules under the names "0", "1", ... or names of their own, in order."""

    def _names(self) -> list[str]:
        return list(self._modules)

    def _name_at(self, index: int) -> str:
        names = self._names()
        if not -len(names) <= index < len(names):
            raise IndexError(f"{type(self).__name__}: index {index} is out of range, it holds {len(names)} modules")
        return names[index]

    def _at(self, index: int) -> Module:
        module = self._modules[self._name_at(index)]
        assert module is not None
        return module

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name_at(index), _module(self, module))

    def __delitem__(self, index: int) -> None:
        delattr(self, self._name_at(index))
        kept = list(self._modules.items())
        self._modules.clear()
        # Modules without names of their own are numbered afresh, so that the next one finds its number free.
        for number, (name, module) in enumerate(kept):
            self._modules[str(number) if name.isdigit() else name] = module

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        for module in self._modules.values():
            assert module is not None
            yield module

    def append(self, module: Module) -> Any:
        """Add a module at the end and return this container."""
        number = len(self)
        while str(number) in self._modules:  # a slice keeps its modules' names: net[1:] begins with "1"
            number += 1
        self.add_module(str(number), _module(self, module))
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end and return this container."""
        for module in modules:
            self.append(module)
        return self


def _module(owner: Module, value: Any) -> Module:
    if not isinstance(value, Module):
        raise TypeError(f"{type(owner).__name__}: expected modules, got {type(value).__name__}")
    return value


class Sequential(_Listed):
    """Modules one after another: each takes the output of the one before.

    ``Sequential(first, second, ...)`` or ``Sequential(OrderedDict(name=first, ...))``; ``net[0]`` is a module,
    ``net[:3]`` a Sequential of the same modules. Some neighbours are computed together, with the same results (see `fusion`).
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, _module(self, module))
        else:
            self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)({name: self._modules[name] for name in self._names()[index]})
        return self._at(index)

    def forward(self, x: Any) -> Any:
        for step in steps(self):
            x = step(x)
        return x


class ModuleList(_Listed):
    """A list of modules, whose parameters are registered; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._at(index)
