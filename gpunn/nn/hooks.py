"""The handle by which a hook on a module is taken away again."""

from __future__ import annotations

from collections.abc import Callable


class RemovableHandle:
    """What registering a hook returns: ``remove()`` takes the hook away; so does leaving a ``with`` block."""

    def __init__(self, hooks: dict[int, Callable]) -> None:
        self.hooks = hooks
        self.key = max(hooks, default=-1) + 1

    def remove(self) -> None:
        # A later hook may have taken the number of one that was removed, so a handle removes only once.
        if self.key >= 0:
            self.hooks.pop(self.key, None)
        self.key = -1

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
