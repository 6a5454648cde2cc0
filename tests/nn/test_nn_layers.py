"""Layers and losses by hand: figures, errors in one line, and what PyTorch does not have."""

from __future__ import annotations

import numpy as np
import pytest

import gpunn
from gpunn import nn


def random_tensor(*shape, dtype="float64", requires_grad=False, seed=0):
    return gpunn.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype), requires_grad=requires_grad)


# --- errors -----------------------------------------------------------------------------------------------------------

WRONG_SHAPES = [
    (lambda: nn.Conv2d(3, 64, 3), (32, 1, 28, 28),
     "Conv2d(3, 64): expected input of shape (N, 3, H, W), got (32, 1, 28, 28)"),
    (lambda: nn.Conv2d(3, 64, 3), (32, 3), "Conv2d(3, 64): expected input of shape (N, 3, H, W), got (32, 3)"),
    (lambda: nn.Conv2d(1, 1, 5, dilation=2, padding=1), (1, 1, 6, 9),
     "Conv2d(1, 1): expected an image, padding included, of at least 9x9 pixels (the kernel's reach), "
     "got 8x11 from input of shape (1, 1, 6, 9)"),
    (lambda: nn.Linear(4, 2), (3, 5), "Linear(4, 2): expected input of shape (..., 4), got (3, 5)"),
    (lambda: nn.Linear(4, 2), (), "Linear(4, 2): expected input of shape (..., 4), got ()"),
    (lambda: nn.Maxout(4, 2, 3), (3, 5), "Maxout(4, 2): expected input of shape (..., 4), got (3, 5)"),
    (lambda: nn.BatchNorm2d(8), (2, 4, 3, 3), "BatchNorm2d(8): expected input of shape (N, 8, H, W), got (2, 4, 3, 3)"),
    (lambda: nn.BatchNorm2d(8), (2, 8), "BatchNorm2d(8): expected input of shape (N, 8, H, W), got (2, 8)"),
    (lambda: nn.BatchNorm1d(8), (2, 4), "BatchNorm1d(8): expected input of shape (N, 8) or (N, 8, L), got (2, 4)"),
    (lambda: nn.PReLU(3), (2, 4), "PReLU(3): expected input of shape (N, 3, ...), got (2, 4)"),
    (lambda: nn.AdaptiveAvgPool2d(1), (2, 4),
     "AdaptiveAvgPool2d(output_size=1): expected input of shape (N, C, H, W), got (2, 4)"),
    (lambda: nn.Flatten(1), (3,), "Flatten(start_dim=1, end_dim=-1): expected input that has these axes, got shape (3,)"),
    (lambda: nn.Unflatten(1, (2, 3)), (1, 7),
     "Unflatten(dim=1, unflattened_size=(2, 3)): expected axis 1 to split into these sizes, got shape (1, 7)"),
    (lambda: nn.Softmax(), (1, 2, 3), "Softmax(dim=None): say which axis to sum over, dim=..., for input of shape (1, 2, 3)"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "message"), WRONG_SHAPES, ids=lambda value: str(value)[:24])
def test_an_input_of_the_wrong_shape_is_one_line_that_names_the_layer(make, shape, message):
    with pytest.raises(nn.ShapeError) as caught:
        make()(gpunn.tensor(np.zeros(shape, "float32")))
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "expected groups to divide both numbers of channels, got groups=2"),
        (lambda: nn.Conv2d(4, 3, 3, groups=0), "expected groups to divide"),
        (lambda: nn.Conv2d(3, 4, 0), "Conv2d(3, 4): kernel_size: expected a number >= 1 or a pair (height, width)"),
        (lambda: nn.Conv2d(1, 1, (1, 2, 3)), "Conv2d(1, 1): kernel_size: expected a number >= 1 or a pair"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), "Conv2d(3, 4): stride: expected a number >= 1"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), "Conv2d(3, 4): padding: expected a number >= 0"),
        (lambda: nn.Conv2d(0, 2, 3), "Conv2d: expected in_channels and out_channels of at least 1, got 0 and 2"),
        (lambda: nn.Linear(-1, 2), "Linear: expected in_features and out_features of at least 1, got -1 and 2"),
        (lambda: nn.Maxout(2, 0), "Maxout: expected in_features and out_features of at least 1, got 2 and 0"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), 'expected padding as numbers, "same" or "valid", got \'full\''),
        (lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"), 'padding="same" needs stride 1'),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "one of zeros, reflect, replicate, circular, got 'mirror'"),
        (lambda: nn.Dropout(1.5), "expected a probability 0 <= p <= 1, got 1.5"),
        (lambda: nn.Maxout(2, 2, 0), "expected pieces >= 1, got 0"),
        (lambda: nn.MSELoss(reduction="avg"), "MSELoss: expected reduction to be one of mean, sum, none, got 'avg'"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2.0), "expected 0 <= label_smoothing <= 1, got 2.0"),
        (lambda: nn.MultiMarginLoss(p=3), "expected p to be 1 or 2, got 3"),
    ],
)
def test_an_argument_out_of_range_is_one_line(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- layers by hand ---------------------------------------------------------------------------------------------------


def test_linear_by_hand():
    layer = nn.Linear(2, 1).double()
    layer.load_state_dict({"weight": np.array([[2.0, -1.0]]), "bias": np.array([0.5])})
    x = gpunn.tensor(np.array([[3.0, 4.0]]), requires_grad=True)
    out = layer(x)
    assert out.numpy().tolist() == [[2.5]]
    out.sum().backward()
    assert x.grad.numpy().tolist() == [[2.0, -1.0]]
    assert layer.weight.grad.numpy().tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("leading", [(3,), (2, 3), (0,), ()], ids=str)
@pytest.mark.parametrize(("ins", "outs"), [(0, 5), (5, 0), (0, 0)])
def test_linear_without_inputs_or_outputs(device, leading, ins, outs):
    x, weight, bias = (
        gpunn.tensor(np.ones(shape, "float32"), device=device, requires_grad=True)
        for shape in ((*leading, ins), (outs, ins), (outs,))
    )
    functions = (
        [gpunn.functional.linear, gpunn.functional.linear_relu] if len(leading) == 1 else [gpunn.functional.linear]
    )
    for function in functions:
        x.grad = weight.grad = bias.grad = None
        out = function(x, weight, bias)
        np.testing.assert_array_equal(out.numpy(), np.ones((*leading, outs)))
        out.sum().backward()
        assert x.grad.shape == x.shape and weight.grad.shape == weight.shape
        np.testing.assert_array_equal(bias.grad.numpy(), np.full(outs, np.prod(leading)))


def test_conv2d_by_hand():
    layer = nn.Conv2d(1, 1, 2, bias=False).double()
    layer.load_state_dict({"weight": np.array([[[[1.0, 2.0], [3.0, 4.0]]]])})
    x = gpunn.tensor(np.arange(9.0).reshape(1, 1, 3, 3))
    assert layer(x).numpy().tolist() == [[[[0 + 2 + 9 + 16, 1 + 4 + 12 + 20], [3 + 8 + 18 + 28, 4 + 10 + 21 + 32]]]]


def test_conv2d_takes_numpys_integers():
    conv = nn.Conv2d(1, 1, np.int64(3), stride=np.int32(2), padding=np.int64(1))
    assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (2, 2), (1, 1))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_modes_put_numpys_padding_around_the_image(mode):
    image = np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    layer = nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode=mode).double()
    plain = nn.Conv2d(3, 4, 3).double()
    plain.load_state_dict(layer.state_dict())
    names = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    padded = np.pad(image, ((0, 0), (0, 0), (2, 2), (1, 1)), mode=names[mode])
    np.testing.assert_allclose(
        layer(gpunn.tensor(image)).numpy(), plain(gpunn.tensor(padded)).numpy(), rtol=1e-12, atol=1e-12
    )


def test_dirac_weights_hand_the_image_on():
    layer = nn.Conv2d(3, 3, 3, padding=1, bias=False).double()
    gpunn.init.dirac_(layer.weight)
    x = random_tensor(2, 3, 5, 5)
    np.testing.assert_array_equal(layer(x).numpy(), x.numpy())


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_maxout_is_the_largest_of_its_linear_pieces(shape, bias):
    layer = nn.Maxout(4, 3, pieces=2, bias=bias).double()
    x = random_tensor(*shape)
    pieces = x.numpy() @ layer.weight.numpy().T + (layer.bias.numpy() if bias else 0)
    np.testing.assert_allclose(layer(x).numpy(), pieces.reshape(*shape[:-1], 3, 2).max(-1), rtol=1e-12)
    assert repr(layer) == f"Maxout(in_features=4, out_features=3, pieces=2, bias={bias})"


def test_maxout_of_one_piece_is_linear_and_of_x_and_minus_x_the_absolute_value():
    x = random_tensor(3, 4)
    linear, one = nn.Linear(4, 2).double(), nn.Maxout(4, 2, pieces=1).double()
    one.load_state_dict(linear.state_dict())
    np.testing.assert_allclose(one(x).numpy(), linear(x).numpy(), rtol=1e-12)
    absolute = nn.Maxout(1, 1, pieces=2, bias=False).double()
    absolute.load_state_dict({"weight": np.array([[1.0], [-1.0]])})
    np.testing.assert_array_equal(absolute(x.reshape(12, 1)).numpy(), np.abs(x.numpy().reshape(12, 1)))


def test_batch_norm_with_momentum_none_averages_all_batches():
    norm = nn.BatchNorm1d(2, momentum=None).double()
    batches = [np.random.default_rng(seed).normal(size=(4, 2)) for seed in range(3)]
    for batch in batches:
        norm(gpunn.tensor(batch))
    np.testing.assert_allclose(norm.running_mean.numpy(), np.mean([b.mean(0) for b in batches], axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        norm.running_var.numpy(), np.mean([b.var(0, ddof=1) for b in batches], axis=0), rtol=1e-12
    )
    assert norm.num_batches_tracked.item() == 3
    norm.reset_running_stats()
    assert norm.num_batches_tracked.item() == 0
    assert norm.running_var.numpy().tolist() == [1, 1]


def test_batch_norm_with_momentum_moves_its_statistics_by_it():
    norm = nn.BatchNorm2d(1, momentum=0.25).double()
    batch = np.random.default_rng(0).normal(3.0, 2.0, size=(4, 1, 3, 3))
    out = norm(gpunn.tensor(batch)).numpy()
    assert abs(out.mean()) < 1e-12
    assert out.var() == pytest.approx(1, abs=1e-4)
    assert norm.running_mean.item() == pytest.approx(0.25 * batch.mean(), rel=1e-12)
    assert norm.running_var.item() == pytest.approx(0.75 + 0.25 * batch.var(ddof=1), rel=1e-12)
    norm.eval()
    frozen = norm.running_mean.item()
    expected = (batch - frozen) / np.sqrt(norm.running_var.item() + 1e-5)
    np.testing.assert_allclose(norm(gpunn.tensor(batch)).numpy(), expected, rtol=1e-10)
    assert norm.running_mean.item() == frozen
    assert norm.num_batches_tracked.item() == 1
    assert norm.num_batches_tracked.shape == ()


def test_batch_norm_without_statistics_uses_the_batch_in_evaluation_too():
    norm = nn.BatchNorm1d(3, affine=False, track_running_stats=False).double().eval()
    assert list(norm.state_dict()) == []
    out = norm(random_tensor(6, 3)).numpy()
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-12)


def test_batch_norm_of_one_value_a_channel_cannot_train():
    norm = nn.BatchNorm1d(3)
    with pytest.raises(
        nn.ShapeError, match=r"BatchNorm1d\(3\): expected more than 1 value per channel.*\(1, 3\); give"
    ):
        norm(random_tensor(1, 3, dtype="float32"))
    assert norm.num_batches_tracked.item() == 0
    assert nn.BatchNorm1d(3).eval()(random_tensor(1, 3, dtype="float32")).shape == (1, 3)


def test_dropout_drops_its_share_scales_the_rest_and_repeats_under_a_seed():
    layer = nn.Dropout(0.3)
    x = gpunn.ones(200, 200)
    gpunn.manual_seed(4)
    first, second = layer(x).numpy(), layer(x).numpy()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (first == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert (first != second).any()
    gpunn.manual_seed(4)
    np.testing.assert_array_equal(layer(x).numpy(), first)
    assert layer.eval()(x) is x
    assert not nn.Dropout(1.0)(x).numpy().any()


def test_pooling_keeps_nan():
    image = np.zeros((1, 1, 4, 4), "float32")
    image[0, 0, 1, 1] = np.nan
    for layer in (nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2)):
        out = layer(gpunn.tensor(image)).numpy()
        assert np.isnan(out[0, 0, 0, 0])
        assert np.isfinite(out[0, 0, 1, 1])


def test_an_empty_batch_passes_through_a_network():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3))
    assert net(gpunn.zeros(0, 1, 8, 8)).shape == (0, 3)


def test_unflatten_undoes_flatten():
    x = random_tensor(2, 3, 4, 5)
    flat = nn.Flatten()(x)
    assert flat.shape == (2, 60)
    np.testing.assert_array_equal(nn.Unflatten(1, (3, -1, 5))(flat).numpy(), x.numpy())


# --- losses of targets -1 and +1 --------------------------------------------------------------------------------------

SCORES = np.array([-3.0, -1.0, -0.2, 0.0, 0.4, 1.0, 2.5])
BINARY = [
    (nn.HingeLoss, lambda z: np.maximum(0, 1 - z)),
    (nn.ModifiedHuberLoss, lambda z: np.where(z >= -1, np.maximum(0, 1 - z) ** 2, -4 * z)),
    (nn.ExponentialLoss, lambda z: np.exp(-z)),
    (nn.SigmoidLoss, lambda z: 1 / (1 + np.exp(z))),
    (nn.SoftMarginLoss, lambda z: np.log1p(np.exp(-z))),
]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("make", "formula"), BINARY)
def test_losses_of_binary_targets(make, formula, sign):
    target = gpunn.tensor(np.full(7, sign))
    expected = formula(sign * SCORES)
    scores = gpunn.tensor(SCORES)
    np.testing.assert_allclose(make(reduction="none")(scores, target).numpy(), expected, rtol=1e-12)
    assert make()(scores, target).item() == pytest.approx(expected.mean(), rel=1e-12)
    assert make(reduction="sum")(scores, target).item() == pytest.approx(expected.sum(), rel=1e-12)


@pytest.mark.parametrize(("make", "formula"), BINARY)
def test_gradients_of_binary_losses_by_central_differences(make, formula):
    scores = gpunn.tensor(SCORES + 0.01, requires_grad=True)
    target = gpunn.tensor(np.array([1.0, -1, 1, -1, 1, -1, 1]))
    make(reduction="sum")(scores, target).backward()
    z, step = (SCORES + 0.01) * target.numpy(), 1e-6
    expected = target.numpy() * (formula(z + step) - formula(z - step)) / (2 * step)
    np.testing.assert_allclose(scores.grad.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_weights_of_a_loss_are_a_buffer_and_move_with_it():
    loss = nn.CrossEntropyLoss(weight=[1.0, 2.0])
    assert [name for name, _ in loss.named_buffers()] == ["weight"]
    assert loss.double().weight.dtype == np.float64
    assert loss(random_tensor(3, 2), np.array([0, 1, 1])).dtype == np.float64


def test_a_network_learns(device):
    gpunn.manual_seed(0)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 1, 8, 8)).astype("float32")
    labels = (images.mean((1, 2, 3)) > 0).astype("int64")
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    net.to(device)
    x, loss = gpunn.tensor(images, device=device), nn.CrossEntropyLoss()
    losses = []
    for _ in range(30):
        net.zero_grad()
        value = loss(net(x), gpunn.tensor(labels, device=device))
        value.backward()
        for parameter in net.parameters():
            parameter.data -= parameter.data.dtype.type(0.5) * parameter.grad.data
        losses.append(value.item())
    assert losses[-1] < 0.6 * losses[0]
