"""Several tasks, one network: a shared trunk, and a head for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunn import nn
from gpunn.tensor import Tensor


class MultiTask(nn.Module):
    """``heads[name](trunk(x))`` for each task by its name.

    The loss of all tasks is a weighted sum, sum over k of w_k L_k(head_k(trunk(x)), y_k), so the gradient of the trunk is the
    weighted sum of what each task asks of it: what one task has few examples for, the others help to learn. R. Caruana,
    "Multitask learning", 1997::

        net = MultiTask(trunk, {"class": nn.Linear(64, 10), "sleeves": nn.Linear(64, 2)})
        out = net(x)
        loss = F.cross_entropy(out["class"], classes) + 0.5 * F.cross_entropy(out["sleeves"], sleeves)

    Args:
        trunk: what all tasks share; inputs to features.
        heads: for each task a module that takes the features. In ``state_dict`` they stand under ``heads.<name>``.

    Raises:
        ValueError: there are no heads.
    """

    def __init__(self, trunk: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not isinstance(heads, Mapping) or not all(isinstance(head, nn.Module) for head in heads.values()):
            raise TypeError(f"MultiTask: expected heads as a dict of names and modules, got {heads!r}")
        if not heads:
            raise ValueError("MultiTask: expected at least one head, got none")
        self.trunk = trunk
        self.heads = nn.Module()
        for name, head in heads.items():
            self.heads.add_module(name, head)

    def forward(self, x: Any) -> dict[str, Tensor]:
        features = self.trunk(x)
        return {name: head(features) for name, head in self.heads.named_children()}
