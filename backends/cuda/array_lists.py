"""Many arrays in one launch: the host's side of kernels/chunks.cuh.

A network has hundreds of parameters, and most are so small that launching a kernel costs more than its work. So the elements
of all are shared out in chunks, one for each block, and two tables on the device tell a block what is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from .layout import BLOCK, is_dense, same_order
from .program import is_served
from .runtime import Runtime

Arrays = Sequence[Any]
# Elements of a block: so many that reading the tables costs nothing beside them, so few that a layer of middling size keeps
# a whole GPU busy. A multiple of every pack, so that a chunk of an aligned array is aligned.
CHUNK = 4096
MOST_TABLES = 16


class Batch(NamedTuple):
    """Arrays of one dtype for one launch.

    Attributes:
        dtype: of all of them.
        lists: side by side; those at the same place have the same shape, are dense, and have the same order in memory.
        stand_ins: (array, copy of it that stands in a list and is changed in its place).
    """

    dtype: Any
    lists: tuple[list[Any], ...]
    stand_ins: list[tuple[Any, Any]]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many elements the arrays of a list have."""
        return tuple(array.size for array in self.lists[0])

    @property
    def blocks(self) -> int:
        """How many chunks there are."""
        return sum(-(-size // CHUNK) for size in self.sizes)


class ArrayLists:
    """What the families with kernels over lists of arrays share."""

    xp: Any
    runtime: Runtime
    launch: Any
    recording: Any

    def _in_batches(self, read: Sequence[Arrays], written: Sequence[Arrays]) -> tuple[list[Batch], list[int]]:
        """The lists ``read`` and ``written``, which stand side by side, as batches; and the places that no kernel serves.

        Those are the places where dtypes or shapes differ, where the dtype has no kernels, and where an array is to be
        written a second time: it must wait for the first. Empty arrays are left out.
        """
        batches: dict[Any, Batch] = {}
        unserved = []
        seen: set[int] = set()
        for place, arrays in enumerate(zip(*read, *written, strict=True)):
            first, *others = arrays
            dtype, shape, strides = first.dtype, first.shape, first.strides
            if not is_served(dtype) or any(a.dtype != dtype or a.shape != shape for a in others):
                unserved.append(place)
            elif first.size:
                targets = arrays[len(read) :]
                addresses = {self.runtime.address(array) for array in targets}
                if addresses & seen:
                    unserved.append(place)
                    continue
                seen |= addresses
                batch = batches.get(dtype)
                if batch is None:
                    batch = batches[dtype] = Batch(dtype, tuple([] for _ in arrays), [])
                placed: Arrays = arrays
                if not is_dense(first) or any(a.strides != strides for a in others):
                    placed = self._in_one_order(arrays[: len(read)], targets)
                    changed = zip(targets, placed[len(read) :], strict=True)
                    batch.stand_ins.extend((array, copy) for array, copy in changed if copy is not array)
                for members, array in zip(batch.lists, placed, strict=True):
                    members.append(array)
        return list(batches.values()), unserved

    def _launch_batch(self, file: str, kernel: str, batch: Batch, *arguments: Any) -> None:
        """Run a kernel whose parameters begin with those of `update` in kernels/chunks.cuh, once for the whole batch."""
        addresses, chunks = self._tables(batch)
        tables = addresses, chunks, len(batch.lists[0])
        self.launch(file, kernel, batch.dtype, batch.blocks, BLOCK, (*tables, *arguments))
        for array, copy in batch.stand_ins:
            array[...] = copy

    def _tables(self, batch: Batch) -> tuple[Any, Any]:
        """The addresses of the batch's arrays, list by list, and its chunks: int64 arrays on the device.

        They are kept for the next step. Parameters and state stay where they are, and the memory pool mostly gives the
        gradients of a step the places of those before; then nothing is uploaded. A table of addresses tells nothing but
        what is in its key, so that it is right for any arrays that come to lie there.
        """
        arrays = list(chain.from_iterable(batch.lists))
        addresses = tuple(map(self.runtime.address, arrays))
        return (
            self._kept((batch.dtype, batch.sizes, addresses), lambda: self.runtime.pointer_table(arrays)),
            self._kept((batch.sizes, CHUNK), lambda: self.runtime.upload(chunk_table(batch.sizes, CHUNK), "int64")),
        )

    def _kept(self, key: Any, upload: Callable[[], Any]) -> Any:
        """The table under this key, uploaded where there is none. That of a recorded launch belongs to the recording."""
        if self.recording is not None:
            return self.recording.table(upload)
        table = self._kept_tables.pop(key) if key in self._kept_tables else upload()
        self._kept_tables[key] = table  # last in the dictionary, as the one that was used last
        if len(self._kept_tables) > MOST_TABLES:
            del self._kept_tables[next(iter(self._kept_tables))]
        return table

    @cached_property
    def _kept_tables(self) -> dict[Any, Any]:
        return {}

    def _in_one_order(self, read: Arrays, written: Arrays) -> list[Any]:
        """The arrays, or copies where they do not run through one piece of memory in one order.

        The order is that of the arrays to be written, so that it is the gradient of a filter that is copied and not the
        filter and its averages; only if these have gaps, or several orders, they are copied too.
        """
        first = (*written, *read)[0]
        if is_dense(first) and all(_fits(array, first) for array in written):
            return [*(array if _fits(array, first) else self._copied(array, first) for array in read), *written]
        return [self.xp.ascontiguousarray(array) for array in (*read, *written)]

    def _copied(self, array: Any, like: Any) -> Any:
        copy = self.xp.empty_like(like)
        copy[...] = array
        return copy


def chunk_table(sizes: Sequence[int], chunk: int) -> list[int]:
    """Of each chunk, one after the other: the array, its first element, its number of elements, at most ``chunk``."""
    return [
        number
        for place, size in enumerate(sizes)
        for first in range(0, size, chunk)
        for number in (place, first, min(chunk, size - first))
    ]


def _fits(array: Any, first: Any) -> bool:
    """Whether an array of the shape of ``first``, which is dense, lies in memory as that does."""
    if array is first or (array.flags.c_contiguous and first.flags.c_contiguous):
        return True
    return is_dense(array) and same_order(array, first)
