"""summary: shapes, parameters, multiply-adds and receptive fields, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import gpunn
from gpunn import init, models, nn


def by_name(result):
    return {row.name: row for row in result.rows}


def test_lenet5_by_hand():
    result = models.summary(models.lenet5(), (1, 28, 28))
    assert [
        (row.name, row.output_shape, row.parameters, row.multiply_adds, row.receptive_field) for row in result.rows
    ] == [
        ("features.0", (6, 28, 28), 156, 6 * 28 * 28 * 25, (5, 5)),
        ("features.1", (6, 28, 28), 0, 0, (5, 5)),
        ("features.2", (6, 14, 14), 0, 0, (6, 6)),
        ("features.3", (16, 10, 10), 2416, 16 * 10 * 10 * 6 * 25, (14, 14)),
        ("features.4", (16, 10, 10), 0, 0, (14, 14)),
        ("features.5", (16, 5, 5), 0, 0, (16, 16)),
        ("classifier.0", (120,), 48_120, 48_000, None),
        ("classifier.1", (120,), 0, 0, None),
        ("classifier.2", (84,), 10_164, 10_080, None),
        ("classifier.3", (84,), 0, 0, None),
        ("classifier.4", (10,), 850, 840, None),
    ]
    assert (result.parameters, result.multiply_adds) == (61_706, 416_520)


def test_the_table_is_aligned():
    lines = str(models.summary(models.lenet5(), (1, 28, 28))).split("\n")
    assert lines[0].split() == ["name", "layer", "output", "parameters", "multiply-adds", "receptive", "field"]
    assert lines[2].split() == ["features.0", "Conv2d", "6x28x28", "156", "117,600", "5x5"]
    assert lines[-2].split() == ["total", "61,706", "416,520"]
    assert lines[-1] == "input 1x28x28, 61,706 parameters trained, 0 frozen"
    column = lines[0].index("parameters") + len("parameters")
    assert lines[2][:column].endswith(" 156")
    assert lines[-2][:column].endswith(" 61,706")
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("make", "size", "layer", "field", "multiply_adds"),
    [
        # Receptive fields as in A. Araujo et al., 2019, table 1; multiply-adds as commonly quoted: 0.71 and 15.47 billion.
        (models.alexnet, 224, "features.12", (195, 195), 714_188_480),
        (models.vgg16, 224, "features.30", (212, 212), 15_470_264_320),
    ],
)
def test_known_networks(make, size, layer, field, multiply_adds):
    with init.skip():
        net = make()
    result = models.summary(net, (3, size, size))
    assert by_name(result)[layer].receptive_field == field
    assert result.multiply_adds == multiply_adds
    assert result.parameters == nn.count_parameters(net)


def test_receptive_fields_of_uneven_kernels_strides_and_dilations():
    net = nn.Sequential(
        nn.Conv2d(1, 1, (3, 1), stride=(2, 1)), nn.Conv2d(1, 1, 3, dilation=(1, 2)), nn.AvgPool2d((1, 2)),
        nn.Conv2d(1, 1, (1, 3)),
    )  # fmt: skip
    fields = [row.receptive_field for row in models.summary(net, (1, 30, 30)).rows]
    assert fields == [(3, 1), (7, 5), (7, 6), (7, 10)]


def test_receptive_field_is_what_the_gradient_reaches():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.AvgPool2d(3, stride=2), nn.Conv2d(2, 1, 3, dilation=2))
    net.double()
    field = models.summary(net, (1, 61, 61)).rows[-1].receptive_field
    x = gpunn.tensor(np.zeros((1, 1, 61, 61)), requires_grad=True)
    net(x)[0, 0, 2, 2].backward()
    rows, columns = np.nonzero(x.grad.numpy()[0, 0])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == field


def test_global_pooling_sees_its_whole_input():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2), nn.ReLU())
    assert [row.receptive_field for row in models.summary(net, (1, 9, 9)).rows] == [(3, 3), (9, 9), (9, 9), None, None]


def test_groups_shared_parameters_and_frozen_ones():
    convolution = nn.Conv2d(4, 8, 3, groups=4, bias=False)
    net = nn.Sequential(convolution, nn.Flatten(), nn.Linear(8, 8), nn.Linear(8, 8), nn.Maxout(8, 3, 2))
    net[3].weight = net[2].weight
    net[0].requires_grad_(False)
    result = models.summary(net, (4, 3, 3))
    assert [row.parameters for row in result.rows] == [72, 0, 72, 8, 54]
    assert [row.multiply_adds for row in result.rows] == [72, 0, 64, 64, 48]
    assert (result.parameters, result.trainable) == (206, 134)


def test_a_layer_used_twice_has_two_rows_and_its_parameters_once():
    layer = nn.Linear(3, 3)
    result = models.summary(nn.Sequential(layer, nn.ReLU(), layer), (3,))
    rows = [(row.layer, row.parameters, row.multiply_adds) for row in result.rows]
    assert rows == [("Linear", 12, 9), ("ReLU", 0, 0), ("Linear", 0, 9)]


def test_the_network_is_left_as_it_was():
    net = models.small_cnn()
    net[1].eval()
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    models.summary(net, (1, 28, 28))
    assert [module.training for module in net.modules()] == modes
    assert not any(module._forward_hooks for module in net.modules())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    with pytest.raises(nn.ShapeError):
        models.summary(net, (3, 28, 28))
    assert [module.training for module in net.modules()] == modes
    assert not any(module._forward_hooks for module in net.modules())


def test_networks_without_parameters_and_of_other_dtypes():
    assert models.summary(nn.Sequential(nn.ReLU()), (3, 4)).parameters == 0
    assert models.summary(models.mlp(image_size=2).double(), (1, 2, 2)).rows[-1].output_shape == (10,)
