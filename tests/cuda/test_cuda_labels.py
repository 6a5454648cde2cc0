"""Labels out of range on the device: never followed, noted there, and an error where the host reads something."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backends
import gpunn
from backends import LabelError, emulator
from gpunn import functional as F
from gpunn.tensor import Tensor

CLASSES = 4
WRONG = (-1, CLASSES, 2**31 - 1, 2**40, -(2**63))


@pytest.fixture(autouse=True)
def nothing_noted(emulated: Any) -> Any:
    """A test that fails before it reads its error leaves it to no other test."""
    yield
    if emulated.label_flag.pending:
        try:
            emulated.label_flag.raise_error()
        except LabelError:
            return


def scores(rows: int, classes: int = CLASSES) -> np.ndarray:
    return np.random.default_rng(rows).normal(size=(rows, classes)).astype(np.float32)


def read(backend: Any) -> None:
    """Any number: an error that the device has kept is raised now."""
    with backend.scope():
        backend.to_numpy(backend.asarray([1.0]))


def message_of(backend: Any, labels: np.ndarray, classes: int, ignore_index: int | None) -> str:
    with pytest.raises(LabelError) as error:
        backend.check_labels(labels, classes, ignore_index)
        read(backend)
    return str(error.value)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("function", [F.cross_entropy, F.nll_loss, F.multi_margin_loss])
def test_the_error_and_the_device_after_it(emulated: Any, wrong: int, function: Any) -> None:
    labels = np.array([0, 3, wrong, 1, wrong])
    ignored = "" if function is F.multi_margin_loss else " or ignore_index -100"
    message = f"label {wrong} in row 2 is out of range: expected 0 <= label <= 3{ignored}; the scores have 4 classes"

    def loss_of(array: np.ndarray) -> Any:
        return function(Tensor(scores(5), emulated), Tensor(array, emulated))

    loss = loss_of(labels)
    with pytest.raises(LabelError) as error:
        loss.item()
    assert str(error.value) == message
    right = loss_of(np.abs(labels % CLASSES))
    wanted = function(gpunn.tensor(scores(5)), np.abs(labels % CLASSES))
    assert right.item() == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize("ignore_index", [None, -100, 2])
def test_the_message_is_that_of_the_cpu(emulated: Any, ignore_index: int | None) -> None:
    for wrong in WRONG:
        labels = np.array([1, 2, 0, wrong, 7])
        cpu = message_of(backends.get("cpu"), labels, CLASSES, ignore_index)
        assert message_of(emulated, labels, CLASSES, ignore_index) == cpu
        with emulated.scope():
            emulated.cross_entropy(scores(5), labels, None, -100 if ignore_index is None else ignore_index)
        with pytest.raises(LabelError, match=f"label {wrong} in row 3"):
            read(emulated)


def test_no_label_is_followed(emulated: Any) -> None:
    """Neither scores nor weights are read at a wrong label, which checked mode would see; its row adds nothing."""
    labels = np.array([0, 2**40, 3, -5])
    weight = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    for classes in (CLASSES, 300):
        x = scores(4, classes)
        many = np.resize(weight, classes)
        with emulated.scope():
            losses, (gradient, _) = emulated.cross_entropy(x, labels, many, -100, 0.1, "none")
            mean, _ = emulated.cross_entropy(x, labels, many, -100, 0.1)
            right, _ = backends.get("reference").cross_entropy(x[[0, 2]], labels[[0, 2]], many, -100, 0.1)
        assert losses[1] == losses[3] == 0
        assert np.all(losses[[0, 2]] != 0)
        assert not gradient[[1, 3]].any()
        assert mean == pytest.approx(right, rel=1e-5)
        with pytest.raises(LabelError, match=f"label {2**40} in row 1"):
            read(emulated)


def test_the_first_of_many(emulated: Any) -> None:
    """Across all blocks and threads, the smallest row; of several batches, the first."""
    fast = emulator.backend(checked=False)
    for rows, classes in ((5000, 3), (300, 33), (40, 260)):
        labels = np.zeros(rows, np.int64)
        labels[rows // 3 :: 7] = 1000 + np.arange(len(labels[rows // 3 :: 7]))
        other = np.full(rows, -7)
        for is_loss in (True, False):
            with fast.scope():
                for batch in (np.zeros(rows, np.int64), labels, other):
                    if is_loss:
                        fast.cross_entropy(scores(rows, classes), batch)
                    else:
                        fast.check_labels(batch, classes, -100)
            with pytest.raises(LabelError, match=f"label 1000 in row {rows // 3} is out of range"):
                read(fast)
            read(fast)  # an error is raised once


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int8"])
def test_labels_of_other_types(emulated: Any, dtype: str) -> None:
    assert "label 9 in row 1" in message_of(emulated, np.array([0, 9], dtype), CLASSES, None)
    strided = np.array([0, 99, 1, 99, 9, 99], dtype)[::2]
    assert "label 9 in row 2" in message_of(emulated, strided, CLASSES, None)


def test_right_labels(emulated: Any) -> None:
    for size in (0, 1, 31, 32, 33, 1024, 1025, 3000):
        labels = np.arange(size) % CLASSES
        emulated.check_labels(labels, CLASSES, None)
        labels[::5] = 77
        emulated.check_labels(labels, CLASSES, 77)
        if size:
            assert f"label 77 in row {(size - 1) // 5 * 5}" in message_of(
                emulated, np.where(np.arange(size) == (size - 1) // 5 * 5, labels, 0), CLASSES, None
            )
    read(emulated)


def test_no_classes(emulated: Any) -> None:
    with emulated.scope():
        emulated.cross_entropy(np.zeros((2, 0), np.float32), np.array([-100, 0]))
    with pytest.raises(LabelError, match="label 0 in row 1"):
        read(emulated)


def test_nobody_waits(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A primitive reads nothing from the device. The note lies at one place; it is read once, if a check was launched."""
    read(emulated)
    reads: list[int] = []
    to_numpy = emulated.runtime.to_numpy
    monkeypatch.setattr(emulated.runtime, "to_numpy", lambda array: reads.append(1) or to_numpy(array))
    place = emulated.label_flag.allocate()
    with emulated.scope():
        for _ in range(3):
            emulated.check_labels(np.array([0, 9]), CLASSES, None)
            _, saved = emulated.cross_entropy(scores(2), np.array([0, 1]))
            emulated.cross_entropy_backward(saved, np.ones((), np.float32))
    assert reads == []
    assert emulated.label_flag.allocate() is place
    with pytest.raises(LabelError, match="label 9 in row 1"):
        read(emulated)
    assert len(reads) == 1
    read(emulated)
    assert len(reads) == 2
    assert emulated.label_flag.allocate() is place
