"""Projected gradient descent: convex sets, the nearest point in each, and an optimizer that stays in one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from gpunn.dtypes import is_number
from gpunn.optim.optimizer import Optimizer
from gpunn.tensor import Tensor


class ConvexSet:
    """A closed convex set of vectors, which knows the nearest of its points to any vector.

        project(x) = the y in the set with the smallest ||y - x||_2

    Source: S. Boyd, L. Vandenberghe, "Convex Optimization", 2004, section 8.1.

    dim: None takes a tensor as one vector of all its elements; a number takes the vectors along that dimension, each for
    itself (of ``Linear.weight``, dim=1 has one vector for each output).
    """

    def __init__(self, dim: int | None = None) -> None:
        self.dim = dim

    def rows(self, xp: Any, vectors: Any) -> Any:
        """The projection of each row of an array (m, n)."""
        raise NotImplementedError

    def project(self, x: Tensor) -> Tensor:
        """A new tensor, not on the tape: of x's shape, dtype and device."""
        if not isinstance(x, Tensor):
            raise TypeError(f"{type(self).__name__}: expected a Tensor to project, got {type(x).__name__}")
        if self.dim is not None and not -x.ndim <= self.dim < x.ndim:
            raise ValueError(f"{type(self).__name__}: dim={self.dim} is not a dimension of a tensor of shape {x.shape}")
        with x.backend.scope():
            xp = x.backend.xp
            if not x.data.size:
                return Tensor(x.data.copy(), x.backend)
            if self.dim is None:
                return Tensor(self.rows(xp, x.data.reshape(1, -1)).reshape(x.shape).astype(x.dtype), x.backend)
            moved = xp.moveaxis(x.data, self.dim, -1)
            nearest = self.rows(xp, moved.reshape(-1, moved.shape[-1])).reshape(moved.shape)
            return Tensor(xp.moveaxis(nearest, -1, self.dim).astype(x.dtype), x.backend)

    def _positive(self, name: str, value: float) -> float:
        if not (is_number(value) and 0 < value < math.inf):
            raise ValueError(f"{type(self).__name__}: expected {name} > 0, got {value!r}")
        return float(value)


class Box(ConvexSet):
    """{y : low <= y_i <= high}. project(x)_i = min(max(x_i, low), high). ``Box(0)``: no negative elements."""

    def __init__(self, low: float = -math.inf, high: float = math.inf) -> None:
        super().__init__()
        if not (is_number(low) and is_number(high) and low <= high):
            raise ValueError(f"Box: expected low <= high, got low={low!r} and high={high!r}")
        self.low, self.high = float(low), float(high)

    def rows(self, xp: Any, vectors: Any) -> Any:
        return xp.clip(vectors, self.low, self.high)


class Ball(ConvexSet):
    """{y : ||y||_2 <= radius}. project(x) = x min(1, radius / ||x||_2).  radius: > 0."""

    def __init__(self, radius: float = 1.0, dim: int | None = None) -> None:
        super().__init__(dim)
        self.radius = self._positive("radius", radius)

    def rows(self, xp: Any, vectors: Any) -> Any:
        norms = xp.sqrt(xp.square(vectors, dtype=xp.float64).sum(axis=1, keepdims=True))
        return vectors * (self.radius / xp.maximum(norms, self.radius))


class HalfSpace(ConvexSet):
    """{y : <normal, y> <= offset}. project(x) = x - max(<normal, x> - offset, 0) / ||normal||^2 normal.

    normal: the elements of a vector (numbers), not all zero, as long as the vectors that are projected.
    offset: a number.
    """

    def __init__(self, normal: Iterable[float], offset: float = 0.0, dim: int | None = None) -> None:
        super().__init__(dim)
        elements = list(normal)
        if not (all(is_number(value) for value in elements) and 0 < sum(value**2 for value in elements) < math.inf):
            raise ValueError(f"HalfSpace: expected a normal of finite numbers that are not all zero, got {normal!r}")
        self.normal = [float(value) for value in elements]
        self.offset = float(offset)

    def rows(self, xp: Any, vectors: Any) -> Any:
        if vectors.shape[1] != len(self.normal):
            raise ValueError(
                f"HalfSpace: expected vectors of {len(self.normal)} elements, as many as the normal has, "
                f"got {vectors.shape[1]}"
            )
        normal = xp.asarray(self.normal)
        excess = xp.maximum(vectors @ normal - self.offset, 0.0) / (normal @ normal)
        return vectors - excess[:, None] * normal


class Simplex(ConvexSet):
    """{y : y_i >= 0, sum y_i = total}: the probabilities of n outcomes, where total = 1.

        project(x)_i = max(x_i - t, 0), with the one t for which these have the sum ``total``

    Sorted downwards as u, t = (u_1 + ... + u_k - total) / k for the largest k with u_k > t. In the order of n log n.
    Source: J. Duchi, S. Shalev-Shwartz, Y. Singer, T. Chandra, "Efficient projections onto the l1-ball for learning in
    high dimensions", ICML 2008.  total: > 0.
    """

    def __init__(self, total: float = 1.0, dim: int | None = None) -> None:
        super().__init__(dim)
        self.total = self._positive("total", total)

    def rows(self, xp: Any, vectors: Any) -> Any:
        return _onto_simplex(xp, vectors, self.total)


class L1Ball(ConvexSet):
    """{y : sum |y_i| <= radius}: many elements of a projection are zero.  radius: > 0.

        project(x) = sign(x) * (the projection of |x| onto the simplex of total ``radius``), where x lies outside

    Source: as for `Simplex`.
    """

    def __init__(self, radius: float = 1.0, dim: int | None = None) -> None:
        super().__init__(dim)
        self.radius = self._positive("radius", radius)

    def rows(self, xp: Any, vectors: Any) -> Any:
        magnitudes = xp.abs(vectors)
        inside = magnitudes.sum(axis=1, keepdims=True) <= self.radius
        return xp.where(inside, vectors, xp.sign(vectors) * _onto_simplex(xp, magnitudes, self.radius))


def _onto_simplex(xp: Any, vectors: Any, total: float) -> Any:
    # What is added to all elements changes nothing; with the largest at 0, no total is lost in rounding.
    shifted = vectors.astype(xp.float64) - vectors.max(axis=1, keepdims=True)
    downwards = -xp.sort(-shifted, axis=1)
    thresholds = (downwards.cumsum(axis=1) - total) / xp.arange(1, vectors.shape[1] + 1)
    # The elements above their threshold are the first k; the k-th threshold is the one that serves.
    k = (downwards > thresholds).sum(axis=1, keepdims=True)
    return xp.maximum(shifted - xp.take_along_axis(thresholds, k - 1, axis=1), 0)


class Projected(Optimizer):
    """An optimizer that stays in a convex set: after each of its steps, parameters go to the nearest point of the set.

        p = project(step(p))

    With `SGD` this is the projected (sub)gradient method, and its steps converge as those of gradient descent do. With
    optimizers that scale each coordinate (`Adam`, `Adagrad`) the fixed points may differ: the nearest point is then
    not that of their own metric; a `Box` has the same in both.

    Source: S. Bubeck, "Convex optimization: algorithms and complexity", 2015, section 3.

        optimizer = optim.Projected(optim.SGD([weights], lr=0.1), optim.Simplex())

    optimizer: takes the steps; its groups, options and state are this one's too.
    onto: the set.
    parameters: which parameters stay in it; None: all of the optimizer's. They are moved into the set at once.
    Raises TypeError for what is no optimizer or no set, ValueError for a parameter that is not the optimizer's.
    """

    def __init__(self, optimizer: Optimizer, onto: ConvexSet, parameters: Iterable[Tensor] | None = None) -> None:
        if not isinstance(optimizer, Optimizer) or not isinstance(onto, ConvexSet):
            raise TypeError(
                "Projected: expected an Optimizer and a ConvexSet (Box, Ball, ...), "
                f"got a {type(optimizer).__name__} and a {type(onto).__name__}"
            )
        own = [param for group in optimizer.param_groups for param in group["params"]]
        self.optimizer = optimizer
        self.onto = onto
        self.projected = own if parameters is None else list(parameters)
        if not {id(param) for param in self.projected} <= {id(param) for param in own}:
            raise ValueError("Projected: a parameter to project is not among the optimizer's; give it to both")
        self.defaults, self.state, self.param_groups = optimizer.defaults, optimizer.state, optimizer.param_groups
        self._project()

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Optimize more. The new parameters are not projected: say what is when the optimizer is made."""
        self.optimizer.add_param_group(group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """The optimizer's step, and the projection."""
        loss = self.optimizer.step(closure)
        self._project()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, its own or the optimizer's, which are the same."""
        self.optimizer.load_state_dict(state_dict)
        self.state, self.param_groups = self.optimizer.state, self.optimizer.param_groups

    def _project(self) -> None:
        for param in self.projected:
            nearest = self.onto.project(param)
            with param.backend.scope():
                param.data[...] = nearest.data
            param.version.count += 1
