"""Kernels of softmax-cross-entropy, on the emulator: loss and gradient against the reference in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, assert_close, numbers, rounded, wide

from backends import emulator
from backends.cuda import layout, softmax

REDUCTIONS = ("mean", "sum", "none")
CLASSES = (1, 2, 10, 31, 32, 33, 256, 257, 1000)
ROWS = 6
INF, NAN = np.inf, np.nan


def labels_for(rows: int, classes: int, ignored: int | None = None) -> np.ndarray:
    """Labels from both ends of the range, every third one ignored."""
    labels = (np.arange(rows) * (classes - 1) // max(rows - 1, 1)).astype(np.int64)
    if ignored is not None:
        labels[1::3] = ignored
    return labels


def weights_for(classes: int, dtype: str) -> np.ndarray:
    weight = np.abs(numbers(classes, seed=3)) + 0.1
    weight[1::4] = 0
    return rounded(weight, dtype)


def wide_or_none(array: Any) -> Any:
    return None if array is None else wide(array)


def compare(backend: Any, logits: Any, labels: Any, what: str, weight: Any = None, reduction: str = "mean",
            ignore_index: int = -100, label_smoothing: float = 0.0) -> tuple[Any, Any]:  # fmt: skip
    """Loss and gradient against the oracle on the very same numbers; returns both."""
    options = (ignore_index, label_smoothing, reduction)
    rows, classes = logits.shape
    dout = rounded(np.asarray(1.5) if reduction != "none" else numbers(rows, seed=9), logits.dtype.name)
    loss, saved = backend.cross_entropy(logits, labels, weight, *options)
    gradient, *others = backend.cross_entropy_backward(saved, dout)
    oracle, kept = ORACLE.cross_entropy(wide(logits), labels, wide_or_none(weight), *options)
    (wanted, *_) = ORACLE.cross_entropy_backward(kept, wide(dout))
    what = f"{what}, {rows} x {classes} {logits.dtype.name}, {reduction}"
    assert loss.dtype == gradient.dtype == logits.dtype
    assert others == [None, None]
    assert_close(loss, oracle, terms=classes * (1 if reduction == "none" else max(rows, 1)), what=what, scale=1)
    # Of the two terms of a gradient, p and t, which cancel where p is almost 1: of this size, divided as the loss is.
    largest = float(np.abs(wide(dout)).max(initial=0)) * (1 if weight is None else float(wide(weight).max()))
    counted = labels[labels != ignore_index]
    total = len(counted) if weight is None else float(wide(weight)[counted].sum())
    scale = largest / total if reduction == "mean" and total else largest
    assert_close(gradient, wanted, terms=classes, what=f"{what}, gradient", scale=scale)
    return loss, gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_tails(emulated: Any, dtype: str, reduction: str) -> None:
    with emulated.scope():
        for classes, rows in [*((classes, ROWS) for classes in CLASSES), (10, 0), (10, 1), (10, 33), (16, 129)]:
            logits = rounded(numbers(rows, classes, seed=1, scale=3), dtype)
            compare(emulated, logits, labels_for(rows, classes), "plain", reduction=reduction)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_options(emulated: Any, dtype: str, smoothing: float, weighted: bool) -> None:
    with emulated.scope():
        for classes, reduction, ignored in itertools.product((7, 33, 260), REDUCTIONS, (-100, 1)):
            logits = rounded(numbers(ROWS, classes, seed=1, scale=3), dtype)
            weight = weights_for(classes, dtype) if weighted else None
            compare(emulated, logits, labels_for(ROWS, classes, ignored), f"smoothing {smoothing}", weight, reduction,
                    ignored, smoothing)  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("classes", [4, 300])
def test_rows_that_do_not_count(emulated: Any, classes: int, reduction: str) -> None:
    """If none counts, the mean is 0/0, NaN, the sum 0, and the gradient 0."""
    logits = numbers(3, classes).astype("float32")
    labels = np.full(3, 2)
    with emulated.scope():
        loss, gradient = compare(emulated, logits, labels, "all ignored", reduction=reduction, ignore_index=2)
        assert np.isnan(loss) if reduction == "mean" else np.all(loss == 0)
        assert np.all(gradient == 0)
        weight = np.ones(classes, "float32")
        weight[2] = 0
        loss, gradient = compare(emulated, logits, labels, "no weight", weight, reduction)
        assert np.isnan(loss) if reduction == "mean" else np.all(loss == 0)
        assert np.all(gradient == 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("classes", [6, 256, 400])
def test_infinities_and_nan(emulated: Any, classes: int, smoothing: float) -> None:
    """0 times -inf is 0: a class without weight adds nothing, however improbable. NaN stays NaN."""
    logits = numbers(8, classes, seed=5)
    labels = np.array([0, 1, 0, 2, 3, 0, 0, -100])
    weight = np.ones(classes)
    weight[1] = 0
    logits[0, 1] = -INF  # of weight 0
    logits[1, 1] = -INF  # so is this label
    logits[2, 0] = -INF  # the right class
    logits[3, 3] = NAN
    logits[4] = -INF
    logits[5, 2] = INF
    logits[7, 0] = NAN  # ignored
    for dtype in ("float32", "float64"):
        with emulated.scope():
            losses, _ = compare(emulated, logits.astype(dtype), labels, f"smoothing {smoothing}", weight.astype(dtype),
                                "none", label_smoothing=smoothing)  # fmt: skip
        assert np.isfinite(losses[[0, 1, 6, 7]]).all()
        assert losses[2] == INF
        assert np.isnan(losses[3:6]).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_long_rows(dtype: str, emulated: Any) -> None:
    """Kept in shared memory, and too long for that; in fast mode."""
    fast = emulator.backend(checked=False)
    with fast.scope():
        for classes in (5000, 30_001, 100_003):
            logits = rounded(numbers(3, classes, seed=1, scale=3), dtype)
            compare(fast, logits, np.array([0, classes - 1, 77]), "long", label_smoothing=0.1)


def test_rows_that_shared_memory_does_not_hold(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "MOST_KEPT_BYTES", 0)
    with emulated.scope():
        for classes in (300, 301):
            logits = numbers(4, classes, scale=3).astype("float32")
            compare(emulated, logits, labels_for(4, classes, -100), "not kept", label_smoothing=0.1)


def test_many_rows(emulated: Any) -> None:
    """More blocks than the threads that add up what each has found."""
    fast = emulator.backend(checked=False)
    with fast.scope():
        logits = numbers(9000, 5, scale=3).astype("float32")
        compare(fast, logits, labels_for(9000, 5, -100), "many")


def test_more_rows_than_a_grid_holds(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_BLOCKS", 2)
    with emulated.scope():
        for rows, classes in ((75, 7), (16, 33), (7, 260)):
            compare(emulated, numbers(rows, classes).astype("float32"), labels_for(rows, classes, -100), "small grid")


def test_any_place_in_memory(emulated: Any) -> None:
    whole = numbers(9, 8 * 16 + 1).astype("float32")
    views = (
        whole[:, ::2],
        whole[::-1],
        whole[:8].T,
        whole.reshape(-1)[1 : 1 + 64].reshape(8, 8),
        whole[:3].repeat(2, 0)[::2],
    )
    with emulated.scope():
        for logits in views:
            labels = labels_for(2 * logits.shape[0], logits.shape[1])[::2]
            compare(emulated, logits, labels, f"strides {logits.strides}")
            compare(emulated, logits, labels.astype("int32"), "int32")
            compare(emulated, logits, labels.astype("uint8"), "uint8")


def test_the_same_bits_in_every_order_of_threads(in_every_order: Any, emulated: Any) -> None:
    for rows, classes in ((40, 10), (3, 257), (3, 1000)):
        logits, labels = numbers(rows, classes, scale=3).astype("float32"), labels_for(rows, classes, -100)
        found = []
        for backend in (emulated, in_every_order, in_every_order):
            with backend.scope():
                loss, saved = backend.cross_entropy(logits, labels, weights_for(classes, "float32"), -100, 0.1)
                (gradient, *_) = backend.cross_entropy_backward(saved, loss)
            found.append(loss.tobytes() + gradient.tobytes())
        assert found[0] == found[1] == found[2]


def test_inputs_are_only_read(emulated: Any) -> None:
    logits, labels, weight = numbers(3, 8).astype("float32"), np.array([0, 1, 7]), np.ones(8, "float32")
    before = [a.copy() for a in (logits, labels, weight)]
    for array in (logits, labels, weight):
        array.flags.writeable = False
    with emulated.scope():
        _, (gradient, divisor) = emulated.cross_entropy(logits, labels, weight)
        kept = gradient.copy()
        emulated.cross_entropy_backward((gradient, divisor), np.asarray(2, "float32"))
    for array, old in zip((logits, labels, weight, gradient), (*before, kept), strict=True):
        np.testing.assert_array_equal(array, old)


def test_small_gradients_of_half_precision(emulated: Any) -> None:
    """A probability of 1e-4 divided by 2,048 rows is less than float16 has; times a loss scale of 1,024 it is not."""
    fast = emulator.backend(checked=False)
    logits = rounded(np.tile([[9.0, 0.0]], (2048, 1)), "float16")
    labels = np.zeros(2048, np.int64)
    with fast.scope():
        _, saved = fast.cross_entropy(logits, labels)
        gradient = wide(fast.cross_entropy_backward(saved, np.asarray(1024, "float16"))[0])
    wanted = 1 / (1 + np.exp(9)) / 2048 * 1024
    np.testing.assert_allclose(gradient[:, 1], wanted, rtol=2 * 2.0**-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 10, 33, 257])
def test_distributions(emulated: Any, dtype: str, classes: int) -> None:
    """Targets that are probabilities, and not classes."""
    logits = rounded(numbers(ROWS, classes, seed=1, scale=3), dtype)
    shares = np.abs(numbers(ROWS, classes, seed=2))
    targets = rounded(shares / shares.sum(axis=1, keepdims=True), dtype)
    with emulated.scope():
        for reduction, smoothing, weighted in itertools.product(REDUCTIONS, (0.0, 0.2), (False, True)):
            weight = weights_for(classes, dtype) if weighted else None
            dout = rounded(np.asarray(1.5) if reduction != "none" else numbers(ROWS, seed=9), dtype)
            what = f"{reduction}, smoothing {smoothing}, {'weighted' if weighted else ''}"
            loss, saved = emulated.soft_cross_entropy(logits, targets, weight, smoothing, reduction)
            oracle, kept = ORACLE.soft_cross_entropy(
                wide(logits), wide(targets), wide_or_none(weight), smoothing, reduction
            )
            assert_close(loss, oracle, terms=classes * ROWS, what=what, scale=1)
            found = emulated.soft_cross_entropy_backward(saved, dout)
            wanted = ORACLE.soft_cross_entropy_backward(kept, wide(dout))
            largest = float(np.abs(wide(dout)).max()) * (1 if weight is None else float(wide(weight).max()))
            scale = largest / ROWS if reduction == "mean" else largest
            assert_close(found[0], wanted[0], terms=classes, what=f"{what}, scores", scale=scale)
            assert_close(found[1], wanted[1], terms=classes, what=f"{what}, targets", scale=scale)
            assert emulated.soft_cross_entropy_backward(saved, dout, (True, False, False))[1] is None


def test_long_rows_of_distributions(emulated: Any) -> None:
    fast = emulator.backend(checked=False)
    logits, targets = numbers(2, 20_001, scale=3).astype("float32"), np.zeros((2, 20_001), "float32")
    targets[:, [5, 20_000]] = 0.5
    with fast.scope():
        loss, saved = fast.soft_cross_entropy(logits, targets)
        (gradient, *_) = fast.soft_cross_entropy_backward(saved, np.asarray(1, "float32"))
    oracle, kept = ORACLE.soft_cross_entropy(wide(logits), wide(targets))
    assert_close(loss, oracle, terms=20_001)
    assert_close(gradient, kept[0], terms=20_001)


def test_other_dtypes_are_left_to_array_code(emulated: Any) -> None:
    with emulated.scope():
        loss, saved = emulated.cross_entropy(np.zeros((2, 4), "longdouble"), np.array([0, 3]))
        assert loss == pytest.approx(np.log(4))
        (gradient, *_) = emulated.cross_entropy_backward(saved, np.asarray(2.0))
        np.testing.assert_allclose(gradient, [[-0.75, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, -0.75]])
        loss, saved = emulated.soft_cross_entropy(np.zeros((2, 4), "longdouble"), np.full((2, 4), 0.25, "longdouble"))
        assert loss == pytest.approx(np.log(4))
        np.testing.assert_allclose(emulated.soft_cross_entropy_backward(saved, np.asarray(2.0))[0], 0, atol=1e-9)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_against_torch(emulated: Any, reduction: str, smoothing: float) -> None:
    torch = pytest.importorskip("torch")
    for classes in (10, 1000):
        logits, weight = numbers(5, classes, scale=3).astype("float32"), weights_for(classes, "float32")
        labels = labels_for(5, classes, -100)
        tensor = torch.tensor(logits, requires_grad=True)
        wanted = torch.nn.functional.cross_entropy(
            tensor, torch.tensor(labels), torch.tensor(weight), reduction=reduction, label_smoothing=smoothing
        )
        wanted.sum().backward()
        with emulated.scope():
            loss, saved = emulated.cross_entropy(logits, labels, weight, -100, smoothing, reduction)
            (gradient, *_) = emulated.cross_entropy_backward(saved, np.ones_like(loss))
        assert_close(loss, wanted.detach().numpy(), terms=5 * classes, scale=1)
        assert_close(gradient, tensor.grad.numpy(), terms=classes, scale=1)
