"""The base of all optimizers: parameter groups, the state of each parameter, and saving both.

A subclass says which arrays it keeps of a parameter (``state_names``), which options it allows (``check``),
and how a batch of parameters takes one step (``update``). This file does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from numbers import Real
from typing import Any

from gpunn.tape import enable_grad
from gpunn.tensor import Tensor

Options = dict[str, Any]
Parameters = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Options]


@dataclass
class Batch:
    """Parameters of one group that can step in one call: same backend, dtype and number of earlier steps."""

    backend: Any
    step: int  # the number of this step, from 1
    fresh: bool  # whether some state of these parameters begins with this step
    params: list[Any] = field(default_factory=list)
    grads: list[Any] = field(default_factory=list)
    state: dict[str, list[Any]] = field(default_factory=dict)


class Optimizer:
    """Parameters in groups, each with its options, and what the optimizer remembers of every parameter.

    params: Tensors, (name, Tensor) pairs, or groups: dicts ``{"params": Tensors, option: value, ...}``.
    defaults: the options of a group that does not give its own.

    Raises ValueError for no parameters, a parameter given twice, the result of an operation, or a wrong
    option; TypeError for what is neither a Tensor nor a group, and for a set of them.
    """

    counts_steps = True

    def __init__(self, params: Parameters, defaults: Options) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{self._name}: expected a list of Tensors or of groups, got one Tensor; write [tensor]")
        self.defaults = defaults
        self.check(defaults)
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[Options] = []
        groups: list[Any] = list(_ordered(self._name, params))
        if not groups:
            raise ValueError(f"{self._name}: got no parameters; expected at least one Tensor")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    # What a subclass defines.

    def check(self, options: Options) -> None:
        """Raise ValueError for options that are not allowed."""
        raise NotImplementedError

    def state_names(self, options: Options) -> tuple[str, ...]:
        """The arrays kept for each parameter of a group with these options (see ``new_state``)."""
        raise NotImplementedError

    def initial_value(self, name: str, options: Options) -> float:
        """What every element of a new state array starts from."""
        return 0.0

    def new_state(self, name: str, param: Tensor, options: Options) -> Any:
        """A new state array of a parameter: of its shape, dtype and memory order unless a subclass says otherwise."""
        array = param.backend.xp.zeros_like(param.data)
        if value := self.initial_value(name, options):
            array[...] = value
        return array

    def update(self, options: Options, batch: Batch) -> None:
        """Let the batch take one step, in place."""
        raise NotImplementedError

    # What a user calls.

    def add_param_group(self, group: Options) -> None:
        """Optimize more: ``{"params": Tensors, option: value, ...}``; options not given are the defaults."""
        if not isinstance(group, dict) or "params" not in group:
            raise ValueError(f'{self._name}: expected a group {{"params": Tensors, ...}}, got {_described(group)}')
        group = {**self.defaults, **group}
        given = group["params"]
        entries = [given] if isinstance(given, Tensor) else list(_ordered(self._name, given))
        named = [entry for entry in entries if isinstance(entry, tuple)]
        if named:
            if len(named) < len(entries):
                raise ValueError(
                    f"{self._name}: {len(named)} of {len(entries)} parameters have names; name all or none"
                )
            group["param_names"] = [name for name, _ in named]
            entries = [param for _, param in named]
        group["params"] = entries

        seen = {id(param) for other in self.param_groups for param in other["params"]}
        for position, param in enumerate(entries):
            where = f"{self._name}: parameter {position} of group {len(self.param_groups)}"
            if not isinstance(param, Tensor):
                raise TypeError(f"{where}: expected a Tensor, got {_described(param)}")
            if param.node is not None:
                raise ValueError(f"{where}: is the result of an operation; only leaf Tensors can be optimized")
            if id(param) in seen:
                raise ValueError(f"{where}: is given twice; give every parameter once")
            seen.add(id(param))
        if any(("param_names" in other) != ("param_names" in group) for other in self.param_groups):
            raise ValueError(f"{self._name}: some parameter groups have names and some don't; name all or none")
        self.check(group)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero."""
        for param in chain.from_iterable(group["params"] for group in self.param_groups):
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                param.grad = Tensor(param.backend.zeros(param.shape, dtype=param.dtype), param.backend)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient; the others, and their state, stay as they are.

        closure: computes the loss and its gradients anew; what it returns is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for batch in self._batches(group):
                with batch.backend.scope():
                    self.update(group, batch)
            for param in group["params"]:
                param.version.count += param.grad is not None  # a graph that still holds it cannot go back any more
        return loss

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that a resumed run needs: host NumPy arrays and plain Python values.

        ``{"state": {index: {name: array or number}}, "param_groups": [{option: value, "params": indices}]}``,
        where parameters are numbered through all groups. Those that never had a gradient have no state.
        """
        groups: list[Options] = []
        states: dict[int, dict[str, Any]] = {}
        for group in self.param_groups:
            first = sum(len(other["params"]) for other in groups)
            indices = list(range(first, first + len(group["params"])))
            groups.append({name: plain(value) for name, value in group.items() if name != "params"})
            groups[-1]["params"] = indices
            for index, param in zip(indices, group["params"], strict=True):
                if state := self.state.get(param):
                    states[index] = {
                        name: value if name == "step" else param.backend.to_numpy(value).copy()
                        for name, value in state.items()
                    }
        return {"state": states, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a ``state_dict()``; arrays are copied to each parameter's device and dtype.

        Raises ValueError, and changes nothing, where groups, parameters, options, names or shapes differ.
        Options that this optimizer doesn't know (a schedule's, say) are kept. Indices may be strings, as JSON
        makes them.
        """
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= set(state_dict):
            raise ValueError(
                f'{self._name}: expected a dict with "state" and "param_groups", got {_described(state_dict)}'
            )
        saved_groups = state_dict["param_groups"]
        if len(saved_groups) != len(self.param_groups):
            raise ValueError(
                f"{self._name}: the state has {len(saved_groups)} parameter groups, "
                f"the optimizer {len(self.param_groups)}"
            )
        owners: dict[int, tuple[Tensor, Options]] = {}
        groups: list[Options] = []
        for number, (saved, group) in enumerate(zip(saved_groups, self.param_groups, strict=True)):
            if missing := sorted({"params", *self.defaults} - set(saved)):
                raise ValueError(
                    f"{self._name}: group {number} of the state lacks {', '.join(missing)}; is it another optimizer's?"
                )
            if len(saved["params"]) != len(group["params"]):
                raise ValueError(
                    f"{self._name}: group {number} of the state has {len(saved['params'])} parameters, "
                    f"the optimizer's has {len(group['params'])}"
                )
            options = {
                # JSON makes lists of tuples.
                name: tuple(value) if isinstance(self.defaults.get(name), tuple) else plain(value)
                for name, value in saved.items()
            }
            options["params"] = group["params"]
            self.check(options)
            groups.append(options)
            for index, param in zip(saved["params"], group["params"], strict=True):
                owners[int(index)] = param, options
        states: dict[Tensor, dict[str, Any]] = {}
        for key, saved_state in state_dict["state"].items():
            if int(key) not in owners:
                raise ValueError(f"{self._name}: the state names parameter {key}, which no group has")
            param, options = owners[int(key)]
            states[param] = self._loaded(f"{self._name}: parameter {key}", saved_state, param, options)
        self.param_groups, self.state = groups, states

    def __repr__(self) -> str:
        groups = "; ".join(
            f"{len(group['params'])} parameters, "
            + ", ".join(f"{name}={value}" for name, value in group.items() if name not in ("params", "param_names"))
            for group in self.param_groups
        )
        return f"{self._name}({groups})"

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _expect(self, options: Options, names: str, low: float = 0.0, below: float = math.inf) -> None:
        """Raise ValueError unless each named option is a number in [low, below)."""
        for name in names.split():
            value = options[name]
            if not (isinstance(value, Real) and low <= float(value) < below):
                limit = "" if below == math.inf else f" and {name} < {below:g}"
                raise ValueError(f"{self._name}: expected a number {name} >= {low:g}{limit}, got {name}={value!r}")

    def _batches(self, group: Options) -> Iterator[Batch]:
        """The group's parameters that have a gradient, in few batches; state arrays that lack are made."""
        names = self.state_names(group)
        batches: dict[tuple[Any, ...], Batch] = {}
        for param in group["params"]:
            if param.grad is None:
                continue
            if param.grad.shape != param.shape or param.grad.backend is not param.backend:
                raise ValueError(
                    f"{self._name}: expected a gradient of shape {param.shape} on {param.device}, "
                    f"got {param.grad.shape} on {param.grad.device}"
                )
            state = self.state.setdefault(param, {})
            fresh = [name for name in names if name not in state]
            if fresh:
                with param.backend.scope():
                    state.update({name: self.new_state(name, param, group) for name in fresh})
            step = state.get("step", 0) + 1
            if self.counts_steps:
                state["step"] = step
            key = id(param.backend), param.dtype, step, bool(fresh)
            batch = batches.get(key)
            if batch is None:
                batch = Batch(param.backend, step, bool(fresh), state={name: [] for name in names})
                batches[key] = batch
            batch.params.append(param.data)
            batch.grads.append(param.grad.data)
            for name in names:
                batch.state[name].append(state[name])
        return iter(batches.values())

    def _loaded(self, where: str, saved: dict[str, Any], param: Tensor, options: Options) -> dict[str, Any]:
        """A checked copy of one parameter's saved state, on the parameter's device."""
        names = self.state_names(options)
        expected = {*names, "step"} if self.counts_steps else set(names)
        if set(saved) != expected:
            raise ValueError(f"{where}: expected the state {sorted(expected)}, got {sorted(saved)}")
        state: dict[str, Any] = {"step": int(saved["step"])} if self.counts_steps else {}
        for name in names:
            shape = tuple(getattr(saved[name], "shape", ()))
            with param.backend.scope():
                state[name] = self.new_state(name, param, options)
                if shape != state[name].shape:
                    raise ValueError(f"{where}: expected {name} of shape {state[name].shape}, got {shape}")
                state[name][...] = param.backend.asarray(saved[name], dtype=state[name].dtype)
        return state


def _ordered(owner: str, params: Any) -> Iterable[Any]:
    """``params``, unless it is no ordered collection: parameters are known by their position."""
    if isinstance(params, (set, frozenset)) or not isinstance(params, Iterable):
        raise TypeError(f"{owner}: expected parameters in a fixed order (a list, say), got {_described(params)}")
    return params


def _described(value: Any) -> str:
    return f"a {type(value).__name__}"


def plain(value: Any) -> Any:
    """A plain Python copy of an option: NumPy numbers become Python's."""
    if isinstance(value, (list, tuple)):
        return type(value)(plain(entry) for entry in value)
    return value.item() if hasattr(value, "item") else value
