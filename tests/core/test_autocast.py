"""Mixed precision: which operation computes in what, and that parameters keep float32 and get float32 gradients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backends
import gpunn
from gpunn import functional as F
from gpunn import mixed_precision, nn
from gpunn.tensor import Tensor

pytest.importorskip("ml_dtypes")

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
LABELS = np.array([0, 2])


def uniform(*shape: int, device: str = "cpu", dtype: str = "float32") -> Tensor:
    values = np.random.default_rng(sum(shape)).uniform(0.25, 1, shape).astype(np.float32)
    return gpunn.tensor(values, device=device).to(dtype=dtype)


# What each operation gives within autocast(half): "half", "float32", or "given", the dtype of its input.
RULES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "linear": (lambda x, w: F.linear(x, w), "half"),
    "matmul": (lambda x, w: x @ w.T, "half"),
    "conv2d": (lambda x, w: F.conv2d(x.reshape(2, 3, 1, 1), w.reshape(3, 3, 1, 1)), "half"),
    "prelu": (lambda x, w: F.prelu(x, w[0, :1]), "half"),
    "softmax": (lambda x, w: F.softmax(x, 1), "float32"),
    "log_softmax": (lambda x, w: F.log_softmax(x, 1), "float32"),
    "softplus": (lambda x, w: F.softplus(x), "float32"),
    "exp": (lambda x, w: x.exp(), "float32"),
    "log": (lambda x, w: x.log(), "float32"),
    "pow": (lambda x, w: x**2, "float32"),
    "norm": (lambda x, w: x.norm(), "float32"),
    "sum": (lambda x, w: x.sum(), "float32"),
    "cross_entropy": (lambda x, w: F.cross_entropy(x, LABELS), "float32"),
    "nll_loss": (lambda x, w: F.nll_loss(x, LABELS), "float32"),
    "mse_loss": (lambda x, w: F.mse_loss(x, np.zeros((2, 3), np.float32)), "float32"),
    "l1_loss": (lambda x, w: F.l1_loss(x, np.zeros((2, 3), np.float32)), "float32"),
    "bce": (lambda x, w: F.binary_cross_entropy_with_logits(x, np.ones((2, 3), np.float32)), "float32"),
    "hinge_loss": (lambda x, w: F.hinge_loss(x, np.ones((2, 3), np.float32)), "float32"),
    "relu": (lambda x, w: F.relu(x), "given"),
    "mean": (lambda x, w: x.mean(), "given"),
    "times 3": (lambda x, w: x * 3.5, "given"),
    "max_pool2d": (lambda x, w: F.max_pool2d(x.reshape(1, 2, 3, 1), (2, 1)), "given"),
    "dropout": (lambda x, w: F.dropout(x, 0.5), "given"),
    "beside float32": (lambda x, w: x + w[:2], "float32"),
}


@pytest.mark.parametrize("half", EPS)
@pytest.mark.parametrize("given", ["float32", "half"])
@pytest.mark.parametrize("rule", RULES)
def test_what_an_operation_computes_in(device: str, rule: str, given: str, half: str) -> None:
    operation, expected = RULES[rule]
    dtype = half if given == "half" else "float32"
    x, w = uniform(2, 3, device=device, dtype=dtype), uniform(3, 3, device=device)
    with gpunn.autocast(half):
        found = operation(x, w).dtype.name
    assert found == {"half": half, "float32": "float32", "given": dtype}[expected]


@pytest.mark.parametrize("half", EPS)
def test_a_product_of_rounded_operands_and_gradients_in_float32(device: str, half: str) -> None:
    x, w, b = (uniform(*shape, device=device).requires_grad_() for shape in [(5, 40), (7, 40), (7,)])
    with gpunn.autocast(half):
        y = F.linear(x, w, b)
    weights = uniform(5, 7, device=device, dtype=half)
    y.backward(weights)
    rounded = [t.to(dtype=half).numpy().astype(np.float64) for t in (x, w, b, weights)]
    expected = {
        "y": (y, rounded[0] @ rounded[1].T + rounded[2], 40),
        "x": (x.grad, rounded[3] @ rounded[1], 7),
        "w": (w.grad, rounded[3].T @ rounded[0], 5),
        "b": (b.grad, rounded[3].sum(0), 5),
    }
    for name, (found, exact, terms) in expected.items():
        assert found is not None
        assert found.dtype.name == (half if name == "y" else "float32"), name
        # Added up in float32 or better, and rounded once; NumPy's sums of bfloat16 round as they go.
        tolerance = EPS[half] * (terms**0.5 if backends.get(device).xp is np else 1)
        np.testing.assert_allclose(found.numpy().astype(np.float64), exact, rtol=tolerance, err_msg=name)


@pytest.mark.parametrize("half", EPS)
def test_a_network_beside_torch(half: str) -> None:
    torch: Any = pytest.importorskip("torch")
    ours = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)
    )
    theirs.load_state_dict({name: torch.from_numpy(value.numpy().copy()) for name, value in ours.state_dict().items()})
    images = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    labels = np.array([0, 1, 2, 3])
    with gpunn.autocast(half):
        scores = ours(gpunn.tensor(images))
        loss = F.cross_entropy(scores, labels)
    loss.backward()
    with torch.autocast("cpu", dtype=getattr(torch, half)):
        other = theirs(torch.from_numpy(images))
    torch.nn.functional.cross_entropy(other.float(), torch.from_numpy(labels)).backward()
    assert str(other.dtype) == f"torch.{scores.dtype.name}"
    bound = EPS[half] * (8 * 36) ** 0.5
    np.testing.assert_allclose(scores.numpy().astype("f4"), other.detach().float().numpy(), atol=bound, rtol=bound)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert p.grad is not None
        assert p.grad.dtype.name == "float32"
        expected = q.grad.numpy()
        np.testing.assert_allclose(p.grad.numpy(), expected, atol=bound * abs(expected).max(), err_msg=name)


def test_float64_is_left_alone() -> None:
    x, w = uniform(2, 3, dtype="float64"), uniform(3, 3, dtype="float64")
    with gpunn.autocast("float16"):
        assert F.linear(x, w).dtype == gpunn.float64
        assert F.softmax(x, 1).dtype == gpunn.float64
        with pytest.raises(TypeError, match="linear: expected input and weight of one dtype, got float64 and float32"):
            F.linear(x, uniform(3, 3))


def test_where_it_holds() -> None:
    x, w = uniform(2, 3), uniform(3, 3)

    def dtype() -> str:
        return F.linear(x, w).dtype.name

    elsewhere: list[str] = []
    with gpunn.autocast("float16") as outer:
        assert dtype() == "float16"
        with gpunn.autocast("bfloat16"):
            assert dtype() == "bfloat16"
        with gpunn.autocast(enabled=False):
            assert dtype() == "float32"
        with outer:
            assert dtype() == "float16"
        assert dtype() == "float16"
        thread = threading.Thread(target=lambda: elsewhere.append(dtype()))
        thread.start()
        thread.join()
    assert elsewhere == ["float32"]
    with pytest.raises(ZeroDivisionError), gpunn.autocast("float16"):
        _ = 1 / 0
    assert dtype() == "float32"
    assert gpunn.autocast("float16")(dtype)() == "float16"
    assert mixed_precision.current_dtype() is None


def test_a_weight_is_cast_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, casts = type(backends.get("cpu")), []
    plain = kind.cast

    def counted(self: Any, x: Any, dtype: Any) -> Any:
        casts.append(x.shape)
        return plain(self, x, dtype)

    monkeypatch.setattr(kind, "cast", counted)
    x, w = uniform(2, 3).half(), uniform(3, 3).requires_grad_()
    casts.clear()
    with gpunn.autocast("float16"):
        first = F.linear(F.linear(x, w), w)
        assert casts == [(3, 3)]
        first.backward(gpunn.ones(2, 3, dtype="float16"))
        F.linear(x, w).backward(gpunn.ones(2, 3, dtype="float16"))  # the first cast was used up by backward
        assert casts == [(3, 3)] * 2
        with gpunn.no_grad():
            w.fill_(2.0)
        assert F.linear(x, w).numpy()[0, 0] == pytest.approx(2 * x.numpy()[0].astype(float).sum(), rel=1e-2)
        with gpunn.no_grad():
            assert not F.linear(x, w).requires_grad
        assert F.linear(x, w).requires_grad
    with gpunn.autocast("float16"):
        casts.clear()
        with gpunn.no_grad():
            assert not F.linear(x, w).requires_grad
        assert casts == [(3, 3)]  # nothing is kept from one block to the next
        assert F.linear(x, w).requires_grad  # nor from where nothing is written on the tape
        with gpunn.no_grad():
            w.fill_(4.0)
        assert F.linear(x, w).numpy()[0, 0] == pytest.approx(4 * x.numpy()[0].astype(float).sum(), rel=1e-2)


def test_misuse() -> None:
    with pytest.raises(ValueError, match="autocast: expected dtype float16 or bfloat16, got float32"):
        gpunn.autocast("float32")
