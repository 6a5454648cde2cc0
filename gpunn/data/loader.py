"""Batches of a data set, in an order and with augmentation that depend on the seed and the epoch alone."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from queue import SimpleQueue
from typing import Any

import numpy as np

from backends import philox
from gpunn.data.dataset import Dataset
from gpunn.data.sampler import Sampler
from gpunn.data.transforms import Transform
from gpunn.errors import DataError
from gpunn.random import AUGMENT, SHUFFLE, stream_of

Batch = tuple[np.ndarray, np.ndarray]
# The transform's number is the low byte of the number of its stream.
MAX_TRANSFORMS = 256


class DataLoader:
    """Each iteration yields the batches of one epoch, ``(images, labels)``, and then the epoch counts up.

    ``images`` is (n, C, H, W) float32: uint8 images which no transform has made floating point are scaled to
    [0, 1]. ``labels`` is (n,) int64. Both are the caller's own.

    An iteration that was abandoned (``break``, an exception) is forgotten when the next one begins: the epoch
    starts over. Only after `load_state_dict` does an iteration begin in the middle.

    Args:
        dataset: the images.
        batch_size: images a batch; the last batch of an epoch has what remains.
        shuffle: another order each epoch, drawn from the seed; else the order of the data set.
        seed: of order and augmentation.
        transforms: applied to each batch, in order (see `gpunn.data.transforms`).
        drop_last: leave out a last batch that is not full.
        prefetch: batches that a background thread prepares ahead; 0: no thread. The batches are the same.
        sampler: chooses the images of an epoch and their order (see `gpunn.data.sampler`), in place of ``shuffle``.

    Raises:
        DataError: the data set is empty.
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        transforms: Sequence[Transform] = (),
        drop_last: bool = False,
        prefetch: int = 2,
        sampler: Sampler | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"DataLoader: expected batch_size >= 1, got {batch_size}")
        if prefetch < 0:
            raise ValueError(f"DataLoader: expected prefetch >= 0, got {prefetch}")
        if not isinstance(transforms, Sequence) or not all(map(callable, transforms)):
            raise ValueError(f"DataLoader: expected a sequence of transforms (callables), got {transforms!r}")
        if len(transforms) > MAX_TRANSFORMS:
            raise ValueError(f"DataLoader: expected at most {MAX_TRANSFORMS} transforms, got {len(transforms)}")
        if not len(dataset):
            raise DataError(f"{dataset}: no images; expected at least one")
        if shuffle and sampler is not None:
            raise ValueError("DataLoader: expected shuffle or a sampler, got both; the sampler chooses the order")
        if sampler is not None and not callable(sampler):
            raise ValueError(f"DataLoader: expected a sampler such as BalancedSampler, got {sampler!r}")
        count = len(dataset) if sampler is None else len(sampler)  # images an epoch
        if drop_last and count < batch_size:
            raise ValueError(
                f"DataLoader: {count} images make no batch of {batch_size}; "
                f"give a smaller batch_size or drop_last=False"
            )
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.seed = int(seed)
        self.transforms = tuple(transforms)
        self.drop_last = drop_last
        self.prefetch = int(prefetch)
        self.sampler = sampler
        self.epoch = 0
        self.batch = 0  # batches of this epoch that the caller has been given
        self._resume = False

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        count = len(self.dataset) if self.sampler is None else len(self.sampler)
        whole, rest = divmod(count, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        # Epoch and position are read when the first batch is asked for, and written as each is handed over.
        epoch, first = self.epoch, self.batch if self._resume else 0
        self._resume, self.batch = False, first
        order = self._order(epoch)

        def make(number: int) -> Batch:
            return self._make(epoch, number, order)

        numbers = range(first, len(self))
        batches = _ahead(make, numbers, self.prefetch) if self.prefetch else (make(i) for i in numbers)
        with closing(batches):  # ends the thread when the iteration is abandoned
            for number, made in zip(numbers, batches, strict=True):
                self.batch = number + 1
                yield made
        self.epoch, self.batch = epoch + 1, 0

    def _order(self, epoch: int) -> np.ndarray:
        if self.sampler is not None:
            order = np.asarray(self.sampler(self.seed, epoch))
            if (largest := order.max(initial=-1)) >= len(self.dataset):
                raise ValueError(
                    f"DataLoader: the sampler chose image {largest} of {len(self.dataset)}; make it for this data set"
                )
            return order
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return philox.permutation(self.seed, stream_of(SHUFFLE, epoch), len(self.dataset))

    def _make(self, epoch: int, number: int, order: np.ndarray) -> Batch:
        """Batch ``number`` of an epoch: a pure function, so that any thread may compute it at any time."""
        start = number * self.batch_size
        chosen = order[start : start + self.batch_size]
        images, labels = self.dataset.images[chosen], self.dataset.labels[chosen]  # copies
        for index, transform in enumerate(self.transforms):
            images = transform(images, self.seed, stream_of(AUGMENT, epoch << 8 | index), start)
        if images.dtype == np.uint8:
            images = images.astype(np.float32)
            images /= np.float32(255)
        return np.ascontiguousarray(images, dtype=np.float32), labels

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands (the epoch, the batches of it that were handed over, the seed), and in what."""
        state = {"epoch": self.epoch, "batch": self.batch, "seed": self.seed, **self._kind()}
        return state if self.sampler is None else {**state, "sampler": self.sampler.state_dict()}

    def _kind(self) -> dict[str, Any]:
        """What a position has a meaning with; the checksum stands for which images there are, in which order."""
        return {
            "images": len(self.dataset),
            "labels_crc32": zlib.crc32(self.dataset.labels.astype("<i8").tobytes()),
            "batch_size": self.batch_size,
            "shuffle": bool(self.shuffle),
            "drop_last": bool(self.drop_last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where `state_dict` was taken: the next iteration yields what remained of that epoch.

        Where every batch of the epoch had been handed over, but the iteration had not ended, that is nothing:
        the next iteration is empty, and ends the epoch. So what a training loop does at the end of an epoch
        is not lost.

        Raises:
            ValueError: a key is missing, or the state is of other data, of another batch size or order.
        """
        expected = (
            "epoch",
            "batch",
            "seed",
            *(kind := self._kind()),
            *(("sampler",) if self.sampler is not None else ()),
        )
        if missing := set(expected) - set(state):
            raise ValueError(
                f"DataLoader: the state lacks {', '.join(sorted(missing))}; expected {', '.join(expected)}"
            )
        for name, own in kind.items():
            if state[name] != own:
                raise ValueError(
                    f"DataLoader: the state has {name}={state[name]}, this loader {name}={own}; "
                    "use the data and the options it was saved with"
                )
        epoch, batch = int(state["epoch"]), int(state["batch"])
        if epoch < 0 or not 0 <= batch <= len(self):
            raise ValueError(
                f"DataLoader: the state is at epoch {epoch}, batch {batch}; "
                f"an epoch has {len(self)} batches here; use the data and the batch size it was saved with"
            )
        if self.sampler is not None:
            self.sampler.load_state_dict(state["sampler"])
        elif "sampler" in state:
            raise ValueError("DataLoader: the state is of a loader with a sampler, this one has none; give it the same")
        self.epoch, self.batch, self.seed = epoch, batch, int(state["seed"])
        self._resume = True


def _ahead(make: Callable[[int], Batch], numbers: Sequence[int], depth: int) -> Generator[Batch]:
    """``map(make, numbers)``, computed by a thread that is at most ``depth`` batches ahead."""
    done: SimpleQueue[Batch | BaseException] = SimpleQueue()
    room = threading.Semaphore(depth)
    stopped = threading.Event()

    def work() -> None:
        for number in numbers:
            room.acquire()
            if stopped.is_set():
                return
            try:
                done.put(make(number))
            except BaseException as error:  # raised again where the batch is asked for
                done.put(error)
                return

    thread = threading.Thread(target=work, name="gpunn-prefetch", daemon=True)
    thread.start()
    try:
        for _ in numbers:
            made = done.get()
            if isinstance(made, BaseException):
                raise made
            room.release()
            yield made
    finally:
        stopped.set()
        room.release()
        # The garbage collector may close an abandoned iteration in any thread, even in this one.
        if threading.current_thread() is not thread:
            thread.join()
