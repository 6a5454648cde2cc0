"""Sizes, parameters, connections and receptive fields, by the formulas and by counting; LeNet-5 as in its paper."""

from __future__ import annotations

import numpy as np
import pytest

import gpunn
from gpunn import models, nn


def test_output_sizes_of_the_course():
    """(W - F + 2P) / S + 1."""
    assert models.output_size(7, 3) == 5
    assert models.output_size(7, 3, stride=2) == 3
    assert models.output_size(7, 3, padding=1) == 7
    assert models.output_size(32, 5, padding=2) == 32
    assert models.output_size(227, 11, stride=4) == 55, "AlexNet's first layer"
    assert models.output_size(30, 3, dilation=2) == 26


def test_a_stride_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError) as caught:
        models.output_size(10, 3, stride=2)
    assert str(caught.value) == (
        "output_size: windows of 3 with stride 2 do not fit into 10 + 2 * 0 pixels: 7 / 2 + 1 = 4.5, and 1 of the pixels "
        "would be left over; strides that fit: 1, 7"
    )
    with pytest.raises(ValueError, match="strides that fit: 1, 7; with stride 3, padding 1 fits"):
        models.output_size(10, 3, stride=3)
    assert models.output_size(10, 3, stride=2, exact=False) == 4
    with pytest.raises(ValueError, match=r"a window of 5 pixels does not fit into 4 \+ 2 \* 0"):
        models.output_size(4, 5, exact=False)
    with pytest.raises(ValueError, match="expected stride of at least 1, got 0"):
        models.output_size(4, 3, stride=0)


@pytest.mark.parametrize("size", [5, 8, 11])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(3, 1, 0, 1), (3, 2, 1, 1), (2, 3, 0, 2)])
def test_output_size_is_that_of_the_layer(device, size, kernel, stride, padding, dilation):
    layer = nn.Conv2d(1, 1, kernel, stride, padding, dilation).to(device)
    found = layer(gpunn.zeros(1, 1, size, size, device=device)).shape[-1]
    assert models.output_size(size, kernel, stride, padding, dilation, exact=False) == found


def test_a_layer_rounds_down_and_never_sees_what_is_left(device):
    """nn.Conv2d takes what does not fit; the gradient shows the column that no window reaches."""
    x = gpunn.zeros(1, 1, 6, 6, device=device).requires_grad_()
    nn.Conv2d(1, 1, 3, stride=2).to(device)(x).sum().backward()
    seen = x.grad.numpy()[0, 0] != 0
    assert seen[:5, :5].all()
    assert not seen[5].any()
    assert not seen[:, 5].any()


def test_require_fit_names_the_layer():
    models.require_fit(models.lenet5(), (1, 28, 28))
    models.require_fit(models.vgg11(image_size=32), (3, 32, 32))
    models.require_fit(nn.Sequential(nn.Conv2d(1, 1, 3, padding="same"), nn.MaxPool2d(2, ceil_mode=True)), (1, 5, 5))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    models.require_fit(net, (3, 10, 10))
    with pytest.raises(nn.ShapeError, match=r"^2 \(MaxPool2d\), height: windows of 2 with stride 2 do not fit into 9"):
        models.require_fit(net, (3, 11, 10))
    with pytest.raises(nn.ShapeError, match=r"width: .* 10 \+ 2 \* 1 pixels: 9 / 2 \+ 1 = 5\.5"):
        models.require_fit(nn.Conv2d(1, 1, 3, 2, 1), (1, 9, 10))


def test_parameters():
    """Ten 5x5 filters over three channels: 10 (5 5 3 + 1) = 760."""
    assert models.convolution_parameters(3, 10, 5) == 760
    assert models.convolution_parameters(8, 4, (1, 3), groups=2, bias=False) == 48
    for layer in (nn.Conv2d(3, 10, 5), nn.Conv2d(8, 4, (1, 3), groups=2, bias=False)):
        counted = models.convolution_parameters(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.groups, layer.bias is not None
        )
        assert counted == nn.count_parameters(layer)


def test_receptive_fields():
    """Three 3x3 layers see what one of 7x7 does; pooling makes what follows it wider."""
    assert models.receptive_field([]) == 1
    assert models.receptive_field([(3, 1)] * 3) == 7
    assert models.receptive_field([(5, 1), (2, 2), (5, 1), (2, 2)]) == 16, "LeNet-5: 1 + 4 + 1 + 4 * 2 + 1 * 2"
    assert models.receptive_field([(3, 1, 2), (3, 2, 4)]) == 13
    rows = models.summary(models.lenet5(), (1, 28, 28)).rows
    assert rows[5].receptive_field == (16, 16)


def test_connections_of_lenet5_in_its_paper():
    """Section II.B: 122,304 in C1, 5,880 in S2, 151,600 in C3, 2,000 in S4, 48,120, 10,164; with the output 340,908."""
    net = models.lenet5_1998()
    assert nn.count_parameters(net) == 60_000
    trained = {name: nn.count_parameters(getattr(net, name)) for name in ("c1", "s2", "c3", "s4", "c5", "f6")}
    assert trained == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    counts = models.connections(net, (1, 32, 32))
    layers: dict[str, int] = {}
    for name, count in counts.items():
        layers[name.split(".")[0]] = layers.get(name.split(".")[0], 0) + count
    assert layers == {
        "c1": 122_304, "s2": 5_880, "c3": 151_600, "s4": 2_000, "c5": 48_120, "f6": 10_164, "output": 840,
    }  # fmt: skip
    assert counts.total == 340_908


def test_connections_of_lenet5_as_it_is_taught():
    counts = models.connections(models.lenet5(), (1, 28, 28))
    assert counts == {
        "features.0": 28 * 28 * 156,
        "features.2": 14 * 14 * 6 * 4,
        "features.3": 10 * 10 * 2416,
        "features.5": 5 * 5 * 16 * 4,
        "classifier.0": 48_120,
        "classifier.2": 10_164,
        "classifier.4": 850,
    }
    assert counts.total == 429_342


def test_connections_are_counted_where_a_layer_runs_twice():
    layer = nn.Conv2d(1, 1, 3, padding=1)
    assert models.connections(nn.Sequential(layer, layer), (1, 4, 4)) == {"0": 2 * 16 * 10}


def test_lenet5_of_1998_computes_by_its_table(device):
    """C3's map 4 sees maps 0, 4 and 5 of S2; S2 sums four pixels; the output is a distance to the codes."""
    net = models.lenet5_1998(3).to(device)
    x = gpunn.tensor(np.random.default_rng(0).normal(size=(2, 1, 32, 32)).astype("float32"), device=device)
    assert net(x).shape == (2, 3)
    maps = gpunn.tensor(np.random.default_rng(1).normal(size=(1, 6, 14, 14)).astype("float32"), device=device)
    maps.requires_grad_()
    net.c3(maps)[0, 4].sum().backward()
    assert [channel for channel in range(6) if maps.grad.numpy()[0, channel].any()] == [0, 4, 5]
    pixels = gpunn.tensor(np.arange(16.0, dtype="float32").reshape(1, 1, 4, 4), device=device)
    pool = type(net.s2)(1).to(device)
    with gpunn.no_grad():
        pool.weight.fill_(2.0)
        pool.bias.fill_(1.0)
    assert pool(pixels).numpy().tolist() == [[[[2 * 10 + 1, 2 * 18 + 1], [2 * 42 + 1, 2 * 50 + 1]]]]
    codes = net.output.codes.numpy()
    assert set(np.unique(codes)) == {-1.0, 1.0}
    given = gpunn.tensor(codes[1:2], device=device)
    expected = -((codes[1:2, None] - codes) ** 2).sum(axis=2)
    np.testing.assert_allclose(net.output(given).numpy(), expected)
    assert net.output(given).numpy().argmax() == 1
    np.testing.assert_allclose(net.squash(gpunn.tensor([1.0, -1.0])).numpy(), [1, -1], atol=1e-4)


def test_lenet5_of_1998_learns():
    from gpunn import optim

    generator = np.random.default_rng(0)
    labels = np.arange(12) % 3
    images = generator.normal(scale=0.3, size=(12, 1, 32, 32)) + 0.7 * labels[:, None, None, None] - 0.7
    x, net = gpunn.tensor(images, dtype="float32"), models.lenet5_1998(3)
    optimizer = optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(40):
        loss = nn.CrossEntropyLoss()(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (net(x).numpy().argmax(axis=1) == labels).mean() == 1
