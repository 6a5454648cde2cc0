"""What the course says about initial weights: symmetry, signals that vanish or saturate, and variances that stay."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import init, nn, optim

Fill = Callable[[gpunn.Tensor], gpunn.Tensor]
DEPTH, WIDTH = 8, 512
# The mean square of a ReLU layer of random weights varies by about sqrt(5 / WIDTH); eight of them: 14% of its root.
SPREAD = 0.4


def variance_of(fill: Fill, n_out: int = 400, n_in: int = 150, device: str = "cpu") -> float:
    return float(fill(gpunn.zeros(n_out, n_in, dtype="float64", device=device)).numpy().var())


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (lambda w: init.xavier_normal_(w, mode="fan_in"), 1 / 150),
        (lambda w: init.xavier_normal_(w, mode="fan_out"), 1 / 400),
        (lambda w: init.xavier_normal_(w), 2 / (150 + 400)),
        (lambda w: init.xavier_uniform_(w, mode="fan_in"), 1 / 150),
        (lambda w: init.xavier_uniform_(w, mode="fan_out"), 1 / 400),
        (lambda w: init.xavier_uniform_(w), 2 / (150 + 400)),
        (lambda w: init.kaiming_normal_(w), 2 / 150),
        (lambda w: init.kaiming_uniform_(w), 2 / 150),
        (lambda w: init.inverse_sqrt_uniform_(w), 1 / (3 * 150)),
        (lambda w: init.inverse_sqrt_uniform_(w, n=7), 1 / (3 * 7)),
        (lambda w: init.normal_(w, std=0.01), 1e-4),
    ],
)
def test_variances(fill: Fill, expected: float, device: str) -> None:
    # Of 60,000 numbers; the standard error of a normal's variance is sqrt(2 / 60000), 0.6 percent of it.
    assert variance_of(fill, device=device) == pytest.approx(expected, rel=0.03)


def test_bounds_of_the_uniform_ones(device: str) -> None:
    for fill, bound in (
        (init.xavier_uniform_, math.sqrt(6 / (30 + 50))),
        (init.inverse_sqrt_uniform_, 1 / math.sqrt(30)),
        (init.kaiming_uniform_, math.sqrt(6 / 30)),
    ):
        largest = np.abs(fill(gpunn.zeros(50, 30, dtype="float64", device=device)).numpy()).max()
        assert 0.98 * bound < largest <= bound


def test_the_default_of_layers_is_the_inverse_root(device: str) -> None:
    gpunn.manual_seed(3)
    layer = nn.Linear(20, 30, device=device)
    gpunn.manual_seed(3)
    weight = init.inverse_sqrt_uniform_(gpunn.zeros(30, 20, device=device))
    bias = init.inverse_sqrt_uniform_(gpunn.zeros(30, device=device), n=20)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), weight.numpy())
    np.testing.assert_array_equal(layer.bias.detach().numpy(), bias.numpy())


def test_equal_weights_stay_equal(device: str) -> None:
    """Units of one layer that begin alike get the same gradient forever; from 0 a hidden layer does not even move."""
    x, labels = gpunn.randn(20, 4, device=device), np.arange(20) % 3
    for value in (0.0, 0.5):
        net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(device)
        for parameter in net.parameters():
            init.constant_(parameter, value)
        optimizer = optim.SGD(net.parameters(), lr=0.5)
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(net(x), labels).backward()
            optimizer.step()
        weight = net[0].weight.detach().numpy()
        np.testing.assert_allclose(weight, np.broadcast_to(weight[0], weight.shape), rtol=1e-5, atol=1e-7)
        assert (np.abs(weight - value).max() > 1e-3) == (value != 0.0)


def deviations(fill: Fill, nonlinearity: Callable[[gpunn.Tensor], gpunn.Tensor], device: str) -> list[float]:
    """The root of the mean square of the activations, layer by layer, for inputs of variance 1."""
    h = gpunn.randn(200, WIDTH, device=device)
    found = []
    for _ in range(DEPTH):
        h = nonlinearity(h @ fill(gpunn.zeros(WIDTH, WIDTH, device=device)).T)
        found.append(float(np.sqrt(np.square(h.numpy()).mean())))
    return found


def test_activations_by_depth(device: str) -> None:
    """Small weights: the signal vanishes by a constant factor a layer. Large: tanh saturates. Xavier for tanh, He for ReLU."""
    small = deviations(lambda w: init.normal_(w, std=0.01), F.tanh, device)
    factor = 0.01 * math.sqrt(WIDTH)
    np.testing.assert_allclose(small, factor ** np.arange(1, DEPTH + 1), rtol=0.25)

    assert min(deviations(lambda w: init.normal_(w, std=1.0), F.tanh, device)) > 0.94

    xavier = deviations(lambda w: init.xavier_normal_(w, mode="fan_in"), F.tanh, device)
    assert xavier[0] > xavier[-1] > 0.25  # tanh takes a little at each layer

    # ReLU keeps half of the mean square: Xavier loses that each time, He makes up for it.
    halved = deviations(lambda w: init.xavier_normal_(w, mode="fan_in"), F.relu, device)
    np.testing.assert_allclose(halved, 2 ** (-np.arange(1, DEPTH + 1) / 2), rtol=SPREAD)
    kept = deviations(lambda w: init.kaiming_normal_(w, nonlinearity="relu"), F.relu, device)
    np.testing.assert_allclose(kept, 1, rtol=SPREAD)


def test_fan_in_keeps_the_signal_and_fan_out_the_gradient(device: str) -> None:
    """Var(W x) = n_in Var(w) Var(x) and Var(W' d) = n_out Var(w) Var(d)."""
    x, d = (gpunn.randn(300, n, dtype="float64", device=device) for n in (100, 400))
    for mode, forward, backward in (("fan_in", 1.0, 4.0), ("fan_out", 0.25, 1.0), ("fan_avg", 0.4, 1.6)):
        weight = init.xavier_normal_(gpunn.zeros(400, 100, dtype="float64", device=device), mode=mode)
        assert (x @ weight.T).numpy().var() == pytest.approx(forward, rel=0.05)
        assert (d @ weight).numpy().var() == pytest.approx(backward, rel=0.05)


def test_wrong_use() -> None:
    with pytest.raises(ValueError, match="fans: expected a weight of 2 or more dimensions"):
        init.inverse_sqrt_uniform_(gpunn.zeros(3))
