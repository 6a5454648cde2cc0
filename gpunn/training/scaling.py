"""The dynamic loss scale, without which small gradients are zero in float16."""

from __future__ import annotations

import math
from typing import Any


class GradScaler:
    """Multiplies the loss, and so all gradients, by a power of two that is as large as it can be without overflow.

    float16 has no number but 0 below 6e-8, where many gradients lie. After ``backward`` the gradients are divided by the
    scale again. A step whose gradients are not all finite is left out, and the scale halved; after ``growth_interval``
    steps without one it is doubled. P. Micikevicius et al., "Mixed precision training", ICLR 2018::

        with gpunn.autocast("float16"):
            loss = F.cross_entropy(net(x), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    Names, defaults and meaning are those of PyTorch's. Each ``step`` waits for the device once, to learn whether the
    gradients are finite. ValueError for factors that do not grow and back off.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if not (growth_factor > 1 > backoff_factor > 0 and growth_interval >= 1 and 0 < init_scale < math.inf):
            raise ValueError(
                "GradScaler: expected init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1 and growth_interval >= 1, got "
                f"{init_scale}, {growth_factor}, {backoff_factor} and {growth_interval}"
            )
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.enabled = enabled
        self._scale = float(init_scale)
        self._good_steps = 0  # since the scale last changed
        self._finite: bool | None = None  # of this step's gradients; None before anybody looked

    def get_scale(self) -> float:
        return self._scale if self.enabled else 1.0

    def scale(self, loss: Any) -> Any:
        """The loss to call ``backward`` on."""
        return loss * self._scale if self.enabled else loss

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients by the scale, in place: for who clips them before `step`. Once a step."""
        if not self.enabled:
            return
        if self._finite is not None:
            raise RuntimeError("GradScaler: unscale_ was called already since the last update()")
        self._finite = True
        for backend, gradients in _gradients(optimizer):
            with backend.scope():
                # The sum of squares, in float64, is finite if and only if every gradient is.
                self._finite &= math.isfinite(float(backend.to_numpy(backend.total_norm(gradients, 2.0))))
                if self._finite:
                    backend.scale_(gradients, 1.0 / self._scale)

    def step(self, optimizer: Any) -> bool:
        """``optimizer.step()``, left out where a gradient is infinite or NaN. Returns whether it was taken."""
        if self.enabled and self._finite is None:
            self.unscale_(optimizer)
        if self._finite is not False:
            optimizer.step()
        return self._finite is not False

    def update(self) -> None:
        """Settle the scale of the next step."""
        if not self.enabled:
            return
        if self._finite is None:
            raise RuntimeError("GradScaler: update() comes after step()")
        if not self._finite:
            self._scale *= self.backoff_factor
            self._good_steps = 0
        else:
            self._good_steps += 1
            if self._good_steps == self.growth_interval:
                self._scale *= self.growth_factor
                self._good_steps = 0
        self._finite = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON values."""
        return {"scale": self._scale, "good_steps": self._good_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        try:
            self._scale, self._good_steps = float(state["scale"]), int(state["good_steps"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"GradScaler: expected a state with scale and good_steps, got {state!r}") from error
        self._finite = None


def _gradients(optimizer: Any) -> list[tuple[Any, list[Any]]]:
    """Each device with the gradients that lie on it."""
    found: dict[int, tuple[Any, list[Any]]] = {}
    for group in optimizer.param_groups:
        for param in group["params"]:
            if param.grad is not None:
                found.setdefault(id(param.backend), (param.backend, []))[1].append(param.grad.data)
    return list(found.values())
