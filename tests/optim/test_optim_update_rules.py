"""The update rules: against loops over single elements in float64, and against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpunn import optim
from gpunn.nn import Parameter
from gpunn.tensor import tensor

STEPS = 10
SHAPES = [(3, 4), (), (0, 2), (5,)]

# One line a case: the optimizer, and its arguments beside the defaults.
CASES = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    ("SGD", {"lr": 0.05, "momentum": 0.5, "dampening": 0.3, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("Adagrad", {"lr": 0.2, "eps": 1e-3, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.9, "momentum": 0.9, "weight_decay": 0.01}),
    ("RMSprop", {"lr": 0.05, "centered": True, "eps": 1e-4}),
    ("RMSprop", {"alpha": 0.7, "momentum": 0.5, "centered": True, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.5), "amsgrad": True, "eps": 1e-3}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "maximize": True}),
]
case = pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{'-'.join(o)}" for n, o in CASES])


def initial_values(dtype: str) -> list[np.ndarray]:
    numbers = np.random.default_rng(1)
    return [np.asarray(numbers.standard_normal(shape), dtype) for shape in SHAPES]


def gradients(dtype: str) -> list[list[np.ndarray]]:
    """Gradients of each step, of very different magnitudes."""
    numbers = np.random.default_rng(2)
    return [
        [np.asarray(numbers.standard_normal(shape) * 10.0 ** numbers.integers(-3, 3), dtype) for shape in SHAPES]
        for _ in range(STEPS)
    ]


def train(optimizer: optim.Optimizer, params: list, steps: list) -> None:
    for step in steps:
        for param, grad in zip(params, step, strict=True):
            param.grad = None if grad is None else tensor(grad.copy(), dtype=grad.dtype.name)
        optimizer.step()


def run(name: str, options: dict, dtype: str, device: str = "cpu") -> list[np.ndarray]:
    params = [Parameter(tensor(value, dtype=dtype, device=device)) for value in initial_values(dtype)]
    optimizer = getattr(optim, name)(params, **options)
    for step in gradients(dtype):
        for param, grad in zip(params, step, strict=True):
            param.grad = tensor(grad, dtype=dtype, device=device)
        optimizer.step()
    return [param.numpy() for param in params]


# The rules as the papers give them, for one element.


def sgd(p, grads, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    buffer = None
    for g in grads:
        d = g + weight_decay * p
        buffer = d if buffer is None else momentum * buffer + (1 - dampening) * d
        p -= lr * (d + momentum * buffer if nesterov else buffer if momentum else d)
    return p


def adagrad(p, grads, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    total = initial_accumulator_value
    for t, g in enumerate(grads):
        d = g + weight_decay * p
        total += d**2
        p -= lr / (1 + t * lr_decay) * d / (math.sqrt(total) + eps)
    return p


def rmsprop(p, grads, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    square = mean = buffer = 0.0
    for g in grads:
        d = g + weight_decay * p
        square = alpha * square + (1 - alpha) * d**2
        mean = alpha * mean + (1 - alpha) * d if centered else 0.0
        buffer = momentum * buffer + d / (math.sqrt(square - mean**2) + eps)
        p -= lr * buffer
    return p


def adam(p, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False):
    m = v = largest = 0.0
    for t, g in enumerate(grads, start=1):
        if decoupled:
            p *= 1 - lr * weight_decay
        d = g if decoupled else g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * d
        v = betas[1] * v + (1 - betas[1]) * d**2
        largest = max(largest, v) if amsgrad else v
        p -= lr * (m / (1 - betas[0] ** t)) / (math.sqrt(largest / (1 - betas[1] ** t)) + eps)
    return p


def adamw(p, grads, weight_decay=1e-2, **options):
    return adam(p, grads, weight_decay=weight_decay, decoupled=True, **options)


RULES = {"SGD": sgd, "Adagrad": adagrad, "RMSprop": rmsprop, "Adam": adam, "AdamW": adamw}


@pytest.mark.parametrize("device", ["cpu", "reference"])
@case
def test_against_a_loop(name, options, device):
    options_of_rule = {key: value for key, value in options.items() if key != "maximize"}
    sign = -1 if options.get("maximize") else 1
    steps = gradients("float64")
    for i, (start, found) in enumerate(
        zip(initial_values("float64"), run(name, options, "float64", device), strict=True)
    ):
        expected = [
            RULES[name](p, [sign * step[i].reshape(-1)[j] for step in steps], **options_of_rule)
            for j, p in enumerate(start.reshape(-1).tolist())
        ]
        np.testing.assert_allclose(found, np.reshape(expected, start.shape), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@case
def test_against_pytorch(name, options, dtype):
    torch = pytest.importorskip("torch")
    params = [torch.tensor(value, requires_grad=True) for value in initial_values(dtype)]
    optimizer = getattr(torch.optim, name)(params, **options)
    for step in gradients(dtype):
        for param, grad in zip(params, step, strict=True):
            param.grad = torch.tensor(grad)
        optimizer.step()
    rtol, atol = (1e-9, 1e-14) if dtype == "float64" else (2e-5, 2e-5)
    for param, found in zip(params, run(name, options, dtype), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, param.detach().numpy(), rtol=rtol, atol=atol)


def test_sgd_by_hand():
    param = Parameter(tensor([1.0, 2.0], dtype="float64"))
    optimizer = optim.SGD([param], lr=0.5, momentum=0.5)
    param.grad = tensor([1.0, -2.0], dtype="float64")
    optimizer.step()  # the buffer is (1, -2)
    assert param.tolist() == [0.5, 3.0]
    optimizer.step()  # the buffer is (1.5, -3)
    assert param.tolist() == [-0.25, 4.5]


@case
def test_defaults_and_arguments_are_pytorchs(name, options):
    torch = pytest.importorskip("torch")
    ours = getattr(optim, name)([tensor([1.0])], **options).defaults
    theirs = getattr(torch.optim, name)([torch.zeros(1)], **options).defaults
    assert ours == {key: theirs[key] for key in ours}
    switches = {"foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay"}
    assert set(theirs) - set(ours) <= switches


@case
def test_gradients_stay_as_they_are_and_runs_repeat(name, options):
    params = [Parameter(tensor(value, dtype="float32")) for value in initial_values("float32")]
    optimizer = getattr(optim, name)(params, **options)
    steps = gradients("float32")
    for step in steps:
        for param, grad in zip(params, step, strict=True):
            param.grad = tensor(grad.copy(), dtype="float32")
        optimizer.step()
        for param, grad in zip(params, step, strict=True):
            np.testing.assert_array_equal(param.grad.numpy(), grad)
    for param, again in zip(params, run(name, options, "float32"), strict=True):
        np.testing.assert_array_equal(param.numpy(), again)


@case
def test_non_contiguous_parameters(name, options):
    values = np.random.default_rng(3).standard_normal((4, 6))
    grad = np.random.default_rng(4).standard_normal((4, 6))
    results = []
    for view in (
        lambda a: a.copy(),
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    ):
        param = Parameter(tensor([0.0], dtype="float64"))
        param.data = view(values)
        array = param.data
        optimizer = getattr(optim, name)([param], **options)
        train(optimizer, [param], [[grad]] * 3)
        assert param.data is array  # the step is in place
        results.append(param.numpy().copy())
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_groups_with_their_own_options_against_pytorch():
    torch = pytest.importorskip("torch")
    values = initial_values("float64")
    ours = [Parameter(tensor(value, dtype="float64")) for value in values]
    theirs = [torch.tensor(value, requires_grad=True) for value in values]

    def groups(params):
        return [
            {"params": params[:2], "lr": 0.1, "nesterov": True},
            {"params": params[2:], "weight_decay": 0.1},
        ]

    optimizer = optim.SGD(groups(ours), lr=0.01, momentum=0.9)
    reference = torch.optim.SGD(groups(theirs), lr=0.01, momentum=0.9)
    for step in gradients("float64"):
        for param, other, grad in zip(ours, theirs, step, strict=True):
            param.grad, other.grad = tensor(grad, dtype="float64"), torch.tensor(grad)
        optimizer.step()
        reference.step()
    for param, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(param.numpy(), other.detach().numpy(), rtol=1e-9)


@case
def test_missing_gradients_against_pytorch(name, options):
    torch = pytest.importorskip("torch")
    values = initial_values("float64")
    ours = [Parameter(tensor(value, dtype="float64")) for value in values]
    theirs = [torch.tensor(value, requires_grad=True) for value in values]
    optimizer = getattr(optim, name)(ours, **options)
    reference = getattr(torch.optim, name)(theirs, **options)
    for number, step in enumerate(gradients("float64")):
        for i, (param, other, grad) in enumerate(zip(ours, theirs, step, strict=True)):
            missing = (number + i) % 3 == 0
            param.grad = None if missing else tensor(grad, dtype="float64")
            other.grad = None if missing else torch.tensor(grad)
        optimizer.step()
        reference.step()
    for param, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(param.numpy(), other.detach().numpy(), rtol=1e-9, atol=1e-14)


def test_dtypes_may_be_mixed():
    single, double = Parameter(tensor([1.0], dtype="float32")), Parameter(tensor([1.0], dtype="float64"))
    optimizer = optim.Adam([single, double], lr=0.1)
    train(optimizer, [single, double], [[np.ones(1, "float32"), np.ones(1, "float64")]])
    assert (single.dtype, double.dtype) == ("float32", "float64")
    assert double.item() == pytest.approx(0.9, rel=1e-7)
    assert single.item() == pytest.approx(0.9, rel=1e-6)


def test_learning_rate_of_numpy_does_not_widen_the_computation():
    param = Parameter(tensor([1.0], dtype="float32"))
    optimizer = optim.SGD([param], lr=np.float64(0.1))
    train(optimizer, [param], [[np.ones(1, "float32")]])
    assert param.numpy()[0] == np.float32(1) - np.float32(0.1)


def test_centered_rmsprop_survives_a_constant_gradient():
    # After many steps the variance is below rounding, and may come out negative.
    param = Parameter(tensor(np.full(64, 0.5), dtype="float32"))
    optimizer = optim.RMSprop([param], lr=1e-3, centered=True, alpha=0.9)
    grad = np.linspace(0.1, 3.7, 64, dtype="float32")
    train(optimizer, [param], [[grad]] * 300)
    assert np.isfinite(param.numpy()).all()


@pytest.mark.parametrize("name", RULES)
def test_nan_and_infinite_gradients_reach_only_their_own_element(name):
    param = Parameter(tensor([1.0, 1.0, 1.0, 1.0], dtype="float64"))
    optimizer = getattr(optim, name)([param], lr=0.1)
    train(optimizer, [param], [[np.array([np.nan, 1.0, np.inf, -0.0])]])
    found = param.numpy()
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
    assert not np.isfinite(found[2])
    assert found[3] == pytest.approx(1.0, abs=2e-3)  # only AdamW's decay


def test_training_with_the_real_tape():
    inputs, targets = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])
    weight, bias = (Parameter(tensor(np.zeros(shape), dtype="float64")) for shape in ((1, 1), (1,)))
    optimizer = optim.SGD([weight, bias], lr=0.1, momentum=0.9)

    def closure():
        optimizer.zero_grad()
        error = tensor(inputs, dtype="float64") @ weight + bias - tensor(targets, dtype="float64")
        loss = (error * error).mean()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(300)]
    assert losses[-1] < 1e-9 < losses[0]
    assert weight.item() == pytest.approx(2, abs=1e-4)
    assert bias.item() == pytest.approx(1, abs=1e-4)
