"""Initializers: their distributions, their determinism, and what orthogonal, identity and Dirac weights promise."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

import gpunn
from backends import philox
from gpunn import init, nn
from gpunn.random import Generator

SHAPE = (200, 30, 3, 5)  # fan-in 450, fan-out 3000
FAN_IN, FAN_OUT = 450, 3000

DISTRIBUTIONS = [
    (lambda t, g: init.uniform_(t, -2, 3, generator=g), "uniform", 0.5, 5 / math.sqrt(12)),
    (lambda t, g: init.normal_(t, 1.5, 0.2, generator=g), "normal", 1.5, 0.2),
    (lambda t, g: init.xavier_uniform_(t, generator=g), "uniform", 0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
    (lambda t, g: init.xavier_uniform_(t, gain=2, mode="fan_in", generator=g), "uniform", 0, 2 / math.sqrt(FAN_IN)),
    (lambda t, g: init.xavier_uniform_(t, mode="fan_out", generator=g), "uniform", 0, 1 / math.sqrt(FAN_OUT)),
    (lambda t, g: init.xavier_normal_(t, gain=3, generator=g), "normal", 0, 3 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    (lambda t, g: init.xavier_normal_(t, mode="fan_in", generator=g), "normal", 0, 1 / math.sqrt(FAN_IN)),
    (lambda t, g: init.xavier_normal_(t, mode="fan_out", generator=g), "normal", 0, 1 / math.sqrt(FAN_OUT)),
    (lambda t, g: init.kaiming_uniform_(t, generator=g), "uniform", 0, math.sqrt(2 / FAN_IN)),
    (lambda t, g: init.kaiming_uniform_(t, a=math.sqrt(5), generator=g), "uniform", 0, 1 / math.sqrt(3 * FAN_IN)),
    (lambda t, g: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu", generator=g), "normal", 0, math.sqrt(2 / FAN_OUT)),
    (lambda t, g: init.kaiming_normal_(t, a=0.5, generator=g), "normal", 0, math.sqrt(2 / 1.25 / FAN_IN)),
    (lambda t, g: init.kaiming_normal_(t, nonlinearity="tanh", generator=g), "normal", 0, 5 / 3 / math.sqrt(FAN_IN)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(DISTRIBUTIONS)))
def test_mean_deviation_and_shape_of_each_distribution(number):
    fill, kind, mean, deviation = DISTRIBUTIONS[number]
    tensor = gpunn.zeros(*SHAPE, dtype="float64")
    assert fill(tensor, Generator(7)) is tensor
    values = tensor.numpy().ravel()
    assert values.mean() == pytest.approx(mean, abs=6 * deviation / math.sqrt(values.size))
    assert values.std() == pytest.approx(deviation, rel=0.02)
    standard = np.sort((values - mean) / deviation)
    if kind == "uniform":
        assert np.abs(standard).max() <= math.sqrt(3) * (1 + 1e-7)
        expected = (standard + math.sqrt(3)) / math.sqrt(12)
    else:
        assert 3.8 < np.abs(standard).max() < 6.5
        expected = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in standard[::50]])
        standard = standard[::50]
    # Kolmogorov and Smirnov's distance from the distribution function, below its 1e-6 quantile.
    distance = np.abs(expected - (np.arange(len(expected)) + 0.5) / len(expected)).max()
    assert (
        distance < 2.7 / math.sqrt(len(expected))
        if kind == "uniform"
        else distance < 2.7 / math.sqrt(values.size) + 1e-3
    )


@pytest.mark.parametrize("fill", [init.uniform_, init.normal_, init.kaiming_normal_, init.orthogonal_])
def test_the_same_seed_gives_the_same_weights_and_each_call_takes_one_stream(fill):
    first, second, third = (gpunn.zeros(40, 30) for _ in range(3))
    gpunn.manual_seed(3)
    fill(first)
    fill(second)
    gpunn.manual_seed(3)
    fill(third)
    np.testing.assert_array_equal(first.numpy(), third.numpy())
    assert (first.numpy() != second.numpy()).mean() > 0.9
    generator = Generator(3)
    fill(third, generator=generator)
    np.testing.assert_array_equal(first.numpy(), third.numpy())
    assert generator.get_state() == {"seed": 3, "stream": 1}


@pytest.mark.parametrize("count", [init.CHUNK - 1, init.CHUNK, init.CHUNK + 1, 3 * init.CHUNK + 17])
def test_large_tensors_hold_the_stream_element_by_element(count):
    tensor = gpunn.zeros(count, dtype="float64")
    init.uniform_(tensor, generator=Generator(5))
    np.testing.assert_array_equal(tensor.numpy(), philox.uniform(5, 0, count).astype("float64"))
    init.normal_(tensor, generator=Generator(5))
    np.testing.assert_array_equal(tensor.numpy(), philox.normal(5, 0, count))


@pytest.mark.parametrize("fill", [init.uniform_, init.xavier_normal_, init.orthogonal_])
def test_weights_are_the_same_on_every_device_and_rounded_from_float64(fill, device):
    exact = gpunn.zeros(20, 30, dtype="float64")
    fill(exact, generator=Generator(1))
    for dtype in ("float64", "float32", "float16"):
        tensor = gpunn.zeros(20, 30, dtype=dtype, device=device)
        fill(tensor, generator=Generator(1))
        np.testing.assert_array_equal(tensor.numpy(), exact.numpy().astype(dtype))


def test_constants():
    tensor = gpunn.zeros(2, 3)
    assert (init.constant_(tensor, 2.5).numpy() == 2.5).all()
    assert (init.ones_(tensor).numpy() == 1).all()
    assert (init.zeros_(tensor).numpy() == 0).all()


def test_tensors_without_elements_are_left_alone():
    for fill in (init.uniform_, init.normal_, init.kaiming_uniform_, init.xavier_uniform_):
        assert fill(gpunn.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (6, 2, 3, 3), (40, 2, 3, 3), (1, 4)])
@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_orthogonal_rows_or_columns(shape, gain):
    tensor = gpunn.zeros(*shape, dtype="float64")
    init.orthogonal_(tensor, gain=gain)
    matrix = tensor.numpy().reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, gain**2 * np.eye(len(small)), atol=1e-12)


def test_orthogonal_matrices_favour_no_sign():
    signs = []
    for seed in range(60):
        tensor = gpunn.zeros(4, 4, dtype="float64")
        signs.append(np.sign(np.diagonal(init.orthogonal_(tensor, generator=Generator(seed)).numpy())))
    assert np.abs(np.mean(signs)) < 0.25


def test_identity_of_any_rectangle():
    np.testing.assert_array_equal(init.eye_(gpunn.ones(3, 5)).numpy(), np.eye(3, 5))
    with pytest.raises(ValueError, match=r"eye_: expected a matrix"):
        init.eye_(gpunn.ones(3))


@pytest.mark.parametrize(("channels", "groups", "kernel"), [(4, 1, 3), (4, 2, 3), (6, 3, 5), (4, 4, 1)])
def test_dirac_is_the_identity_of_convolution(channels, groups, kernel):
    layer = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False)
    init.dirac_(layer.weight, groups=groups)
    x = gpunn.randn(2, channels, 7, 6)
    np.testing.assert_array_equal(layer(x).numpy(), x.numpy())


def test_dirac_with_more_outputs_than_inputs_leaves_the_rest_zero():
    weight = init.dirac_(gpunn.ones(4, 2, 3, 3)).numpy()
    assert weight.sum() == 2
    assert weight[0, 0, 1, 1] == weight[1, 1, 1, 1] == 1


def test_against_pytorch():
    torch = pytest.importorskip("torch")
    for shape, groups in (((4, 2, 3, 3), 2), ((6, 3, 2, 4), 1), ((3, 5, 3), 3), ((4, 1, 2, 2, 3), 2)):
        expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
        np.testing.assert_array_equal(init.dirac_(gpunn.ones(*shape), groups).numpy(), expected)
    for name, param in (("linear", None), ("conv2d", None), ("sigmoid", None), ("tanh", None), ("relu", None), ("selu", None),
                        ("leaky_relu", None), ("leaky_relu", 0.3), ("leaky_relu", math.sqrt(5))):  # fmt: skip
        assert init.calculate_gain(name, param) == pytest.approx(torch.nn.init.calculate_gain(name, param), rel=1e-15)
    for shape in ((3, 4), (5, 2, 3, 3), (7, 1, 2)):
        assert init.fans(gpunn.ones(*shape)) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.kaiming_normal_(gpunn.ones(3)), "fans: expected a weight of 2 or more dimensions"),
        (lambda: init.orthogonal_(gpunn.ones(3)), "fans: expected a weight of 2 or more dimensions"),
        (
            lambda: init.xavier_normal_(gpunn.ones(3, 3), mode="fan"),
            "mode: expected one of fan_avg, fan_in, fan_out, got 'fan'",
        ),
        (
            lambda: init.kaiming_normal_(gpunn.ones(3, 3), mode="fan_avg"),
            "mode: expected one of fan_in, fan_out, got 'fan_avg'",
        ),
        (lambda: init.kaiming_normal_(gpunn.ones(3, 3), nonlinearity="gelu"), "calculate_gain: expected one of"),
        (lambda: init.dirac_(gpunn.ones(3, 3)), "dirac_: expected a convolution's weight"),
        (lambda: init.dirac_(gpunn.ones(3, 3, 3), groups=2), "dirac_: expected groups to divide 3 output channels"),
    ],
)
def test_wrong_use_is_one_line(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_skip_leaves_zeros_and_draws_nothing():
    gpunn.manual_seed(5)
    with init.skip():
        layer = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(1, 2, 3), nn.PReLU())
        init.orthogonal_(layer[0].weight)
        with init.skip():
            pass
        assert not nn.Linear(2, 2).weight.numpy().any()
    assert not any(parameter.numpy().any() for parameter in layer.parameters())
    assert gpunn.random.default_generator.stream == 0
    assert nn.Linear(3, 4).weight.numpy().any()


def test_skip_ends_with_an_error_and_reaches_no_other_thread():
    with pytest.raises(KeyError), init.skip():
        raise KeyError
    assert init.ones_(gpunn.zeros(1)).item() == 1
    results = []
    with init.skip():
        thread = threading.Thread(target=lambda: results.append(init.ones_(gpunn.zeros(1)).item()))
        thread.start()
        thread.join()
    assert results == [1]
