"""Every layer and loss that PyTorch has too: forward, gradients and buffers equal PyTorch's, over wide spreads of arguments."""

from __future__ import annotations

import inspect
import itertools
import random
import re

import numpy as np
import pytest

import gpunn
from gpunn import nn

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

# Largest difference allowed, as a share of the largest magnitude expected.
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


def assert_close(got, expected, dtype, what):
    expected = expected.detach().numpy()
    got = np.asarray(got)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    assert got.dtype == expected.dtype, f"{what}: dtype {got.dtype}, expected {expected.dtype}"
    scale = TOLERANCE[dtype] * max(np.abs(expected).max(initial=0.0), 1e-3)
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE[dtype], atol=scale, err_msg=what)


def compare(ours, theirs, shape, dtype="float64", steps=1, seed=0, values=None):
    """Same weights, same input, same gradient of the output; then compare everything there is."""
    rng = np.random.default_rng(seed)
    theirs = theirs.to(getattr(torch, dtype))
    ours = ours.to(dtype)
    for parameter in theirs.parameters():
        parameter.data = torch.tensor(rng.normal(size=tuple(parameter.shape)).astype(dtype))
    ours.load_state_dict(theirs.state_dict())
    for _ in range(steps):
        data = (rng.normal(size=shape) if values is None else values).astype(dtype)
        x = gpunn.tensor(data, requires_grad=True)
        t = torch.tensor(data, requires_grad=True)
        out, expected = ours(x), theirs(t)
        assert_close(out, expected, dtype, "output")
        weights = rng.normal(size=tuple(expected.shape)).astype(dtype)
        ours.zero_grad()
        theirs.zero_grad()
        (out * gpunn.tensor(weights)).sum().backward()
        (expected * torch.tensor(weights)).sum().backward()
        assert_close(x.grad, t.grad, dtype, "gradient of the input")
    for name, parameter in theirs.named_parameters():
        assert_close(dict(ours.named_parameters())[name].grad, parameter.grad, dtype, f"gradient of {name}")
    for name, buffer in theirs.named_buffers():
        if buffer.is_floating_point():
            assert_close(dict(ours.named_buffers())[name], buffer, dtype, name)
        else:
            assert dict(ours.named_buffers())[name].item() == buffer.item()
    # PyTorch's batch normalization shows its bias from version 2.13 on.
    assert re.sub("bias=[A-Za-z]*, track", "track", repr(ours)) == re.sub(
        "bias=[A-Za-z]*, track", "track", repr(theirs)
    )
    return ours, theirs


def test_the_comparison_itself_notices_a_difference():
    with pytest.raises(AssertionError):
        compare(nn.LeakyReLU(0.1), torch.nn.LeakyReLU(0.1 + 1e-6), (3, 4))


# --- convolution ----------------------------------------------------------------------------------------------------


def convolutions(count=90):
    """Arguments of convolutions, drawn by a fixed seed so that each value of each argument comes up often."""
    draw = random.Random(1)
    pairs = [1, 2, 3, (1, 3), (3, 2), (2, 1)]
    made = []
    while len(made) < count:
        groups = draw.choice([1, 1, 2, 3])
        case = {
            "in_channels": groups * draw.choice([1, 2, 3]),
            "out_channels": groups * draw.choice([1, 2, 4]),
            "kernel_size": draw.choice([*pairs, 5, (4, 3)]),
            "stride": draw.choice(pairs),
            "padding": draw.choice([0, 1, 2, (0, 1), (2, 1), "same", "valid"]),
            "dilation": draw.choice([1, 1, 2, (1, 2), (3, 1)]),
            "groups": groups,
            "bias": draw.random() < 0.7,
            "padding_mode": draw.choice(["zeros", "zeros", "reflect", "replicate", "circular"]),
        }
        if case["padding"] == "same":
            case["stride"] = 1
        made.append((case, (draw.choice([1, 2, 3]), case["in_channels"], draw.choice([9, 12]), draw.choice([8, 13]))))
    return made


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("number", range(90))
def test_conv2d(number):
    case, shape = convolutions()[number]
    dtype = "float32" if number % 4 == 0 else "float64"
    fits = torch.nn.Conv2d(**case)
    try:
        fits(torch.zeros(shape))
    except RuntimeError:
        with pytest.raises(ValueError, match=r"Conv2d|conv2d|pad"):
            nn.Conv2d(**case)(gpunn.tensor(np.zeros(shape, "float32")))
        return
    compare(nn.Conv2d(**case), torch.nn.Conv2d(**case), shape, dtype)


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        ({"in_channels": 3, "out_channels": 64, "kernel_size": 11, "stride": 4, "padding": 2}, (2, 3, 63, 70)),
        ({"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, "groups": 8}, (2, 8, 10, 10)),
        ({"in_channels": 16, "out_channels": 32, "kernel_size": 1}, (2, 16, 7, 7)),
        ({"in_channels": 4, "out_channels": 6, "kernel_size": 5}, (3, 4, 5, 5)),
        ({"in_channels": 2, "out_channels": 3, "kernel_size": 3, "padding": 1}, (2, 6, 5)),
        ({"in_channels": 2, "out_channels": 3, "kernel_size": 3, "padding": 1, "padding_mode": "reflect"}, (2, 6, 5)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conv2d_of_known_networks_and_single_images(case, shape, dtype):
    compare(nn.Conv2d(**case), torch.nn.Conv2d(**case), shape, dtype)


# --- linear layers, pooling, shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 7), (2, 3, 7), (2, 3, 4, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias, dtype):
    compare(nn.Linear(7, 4, bias=bias), torch.nn.Linear(7, 4, bias=bias), shape, dtype)


MAX_POOLS = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
    for kernel, stride, padding, dilation, ceil in itertools.product(
        [2, 3, (3, 2)], [None, 1, 2, (2, 3)], [0, 1, (1, 0)], [1, 2], [False, True]
    )
]


@pytest.mark.parametrize("case", MAX_POOLS[::2], ids=str)
def test_max_pool(case):
    compare(nn.MaxPool2d(**case), torch.nn.MaxPool2d(**case), (2, 3, 8, 9))


@pytest.mark.parametrize("case", MAX_POOLS[1::6], ids=str)
def test_max_pool_with_ties_and_indices(case):
    values = np.random.default_rng(0).integers(0, 3, size=(2, 3, 8, 9))
    compare(nn.MaxPool2d(**case), torch.nn.MaxPool2d(**case), values.shape, "float32", values=values)
    out, places = nn.MaxPool2d(**case, return_indices=True)(gpunn.tensor(values.astype("float32")))
    expected = torch.nn.MaxPool2d(**case, return_indices=True)(torch.tensor(values.astype("float32")))
    np.testing.assert_array_equal(out.numpy(), expected[0].numpy())
    np.testing.assert_array_equal(places.numpy(), expected[1].numpy())


AVERAGE_POOLS = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil, "count_include_pad": include,
     "divisor_override": by}
    for kernel, stride, padding, ceil, include, by in itertools.product(
        [2, 3, (3, 2)], [None, 1, (2, 3)], [0, 1, (1, 0)], [False, True], [True, False], [None, 5]
    )
]  # fmt: skip


@pytest.mark.parametrize("case", AVERAGE_POOLS[::3], ids=str)
def test_avg_pool(case):
    compare(nn.AvgPool2d(**case), torch.nn.AvgPool2d(**case), (2, 3, 8, 9))


@pytest.mark.parametrize("size", [1, 2, 3, 6, 10, (1, 1), (3, 5), (None, 2), (7, None)])
@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (1, 2, 7, 10), (2, 13, 4)])
def test_adaptive_avg_pool(size, shape):
    compare(nn.AdaptiveAvgPool2d(size), torch.nn.AdaptiveAvgPool2d(size), shape)


@pytest.mark.parametrize("arguments", [(), (0,), (2,), (1, 2), (-2,), (0, -2)])
def test_flatten(arguments):
    compare(nn.Flatten(*arguments), torch.nn.Flatten(*arguments), (2, 3, 4, 5))


@pytest.mark.parametrize(("dim", "sizes"), [(1, (2, 6)), (1, (3, -1)), (-1, (2, 2)), (0, (1, 2, 1))])
def test_unflatten(dim, sizes):
    x = np.random.default_rng(0).normal(size=(2, 12, 4))
    expected = torch.nn.Unflatten(dim, sizes)(torch.tensor(x))
    np.testing.assert_array_equal(nn.Unflatten(dim, sizes)(gpunn.tensor(x)).numpy(), expected.numpy())


# --- batch normalization ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 0.7, 1.0, None])
@pytest.mark.parametrize(
    ("name", "shape"),
    [("BatchNorm1d", (5, 3)), ("BatchNorm1d", (4, 3, 6)), ("BatchNorm2d", (4, 3, 5, 6)), ("BatchNorm2d", (1, 3, 2, 2))],
)
def test_batch_norm(name, shape, momentum, affine, tracked, dtype):
    options = {"eps": 1e-3, "momentum": momentum, "affine": affine, "track_running_stats": tracked}
    if tracked or dtype == "float64":
        make = (getattr(nn, name)(3, **options), getattr(torch.nn, name)(3, **options))
        ours, theirs = compare(*make, shape, dtype, steps=3)
        compare_after_training(ours.eval(), theirs.eval(), shape, dtype)


def compare_after_training(ours, theirs, shape, dtype):
    """Evaluation mode uses the statistics gathered so far, and gathers none."""
    data = np.random.default_rng(5).normal(1.0, 2.0, size=shape).astype(dtype)
    x, t = gpunn.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    out, expected = ours(x), theirs(t)
    assert_close(out, expected, dtype, "output")
    (out * out).sum().backward()
    (expected * expected).sum().backward()
    assert_close(x.grad, t.grad, dtype, "gradient of the input")
    for name, buffer in theirs.named_buffers():
        np.testing.assert_allclose(dict(ours.named_buffers())[name].numpy(), buffer.numpy(), rtol=1e-5, atol=1e-6)


def test_batch_norm_without_bias():
    if "bias" not in inspect.signature(torch.nn.BatchNorm2d).parameters:
        pytest.skip("this PyTorch has no batch normalization without bias")
    compare(nn.BatchNorm2d(3, bias=False), torch.nn.BatchNorm2d(3, bias=False), (4, 3, 5, 5), steps=2)


def test_batch_norm_whose_tracking_was_switched_off():
    ours, theirs = nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    ours.track_running_stats = theirs.track_running_stats = False
    compare(ours, theirs, (4, 3, 5, 5))
    compare(ours.eval(), theirs.eval(), (4, 3, 5, 5))


# --- activations ------------------------------------------------------------------------------------------------------

ACTIVATIONS = [
    ("ReLU", {}), ("LeakyReLU", {}), ("LeakyReLU", {"negative_slope": 0.3}),
    ("PReLU", {}), ("PReLU", {"num_parameters": 3}), ("ELU", {}), ("ELU", {"alpha": 0.5}), ("Sigmoid", {}), ("Tanh", {}),
    ("Softplus", {}), ("Softplus", {"beta": 3.0, "threshold": 2.0}), ("Softmax", {"dim": 1}), ("Softmax", {"dim": -1}),
    ("LogSoftmax", {"dim": 1}), ("LogSoftmax", {"dim": 0}), ("Identity", {}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize(("name", "options"), ACTIVATIONS, ids=str)
def test_activation(name, options, shape, dtype):
    compare(getattr(nn, name)(**options), getattr(torch.nn, name)(**options), shape, dtype)


@pytest.mark.parametrize(("name", "options"), ACTIVATIONS, ids=str)
def test_activation_of_large_numbers(name, options):
    values = np.array([[-1e4, 0.0, 1e4], [-90.0, 90.0, 1e-30], [-700.0, 700.0, -1e-30]])
    compare(getattr(nn, name)(**options), getattr(torch.nn, name)(**options), values.shape, values=values)


@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "ELU", "Dropout"])
def test_inplace_is_accepted_and_leaves_the_input_alone(name):
    x = gpunn.tensor([-1.0, 2.0])
    layer = getattr(nn, name)(inplace=True)
    layer(x)
    np.testing.assert_array_equal(x.numpy(), np.array([-1.0, 2.0], "float32"))
    assert repr(layer) == repr(getattr(torch.nn, name)(inplace=True))


def test_softmax_without_dim_takes_the_classes_of_a_matrix():
    x = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_allclose(
        nn.Softmax()(gpunn.tensor(x)).numpy(), torch.softmax(torch.tensor(x), 1).numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_dropout_in_evaluation(p):
    compare(nn.Dropout(p).eval(), torch.nn.Dropout(p).eval(), (4, 5))


# --- losses -----------------------------------------------------------------------------------------------------------


def compare_loss(ours, theirs, data, target, dtype):
    ours, theirs = ours.to(dtype), theirs.to(getattr(torch, dtype))
    data = data.astype(dtype)
    target = target.astype(dtype) if target.dtype.kind == "f" else target
    x, t = gpunn.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    out, expected = ours(x, gpunn.tensor(target)), theirs(t, torch.tensor(target))
    assert_close(out, expected, dtype, "loss")
    weights = np.random.default_rng(9).normal(size=tuple(expected.shape)).astype(dtype)
    (out * gpunn.tensor(weights)).sum().backward()
    (expected * torch.tensor(weights)).sum().backward()
    assert_close(x.grad, t.grad, dtype, "gradient of the input")


CLASS_WEIGHTS = [0.5, 2.0, 1.0, 0.1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (2, 4, 3, 2), (4,)])
@pytest.mark.parametrize("kind", ["indices", "ignored", "probabilities"])
def test_cross_entropy(kind, shape, weighted, reduction, smoothing, dtype):
    rng = np.random.default_rng(0)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    if kind == "probabilities":
        target = rng.random(shape)
        target /= target.sum(axis=0 if len(shape) == 1 else 1, keepdims=True)
    else:
        target = rng.integers(0, 4, size=() if len(shape) == 1 else (shape[0], *shape[2:]))
        if kind == "ignored":
            options["ignore_index"] = 2
    weights = np.array(CLASS_WEIGHTS)
    ours = nn.CrossEntropyLoss(weight=weights if weighted else None, **options)
    theirs = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights) if weighted else None, **options)
    compare_loss(ours, theirs, 3 * rng.normal(size=shape), np.asarray(target), dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [-100, 1])
@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5)])
def test_nll(shape, ignored, weighted, reduction):
    rng = np.random.default_rng(1)
    target = rng.integers(0, 4, size=(shape[0], *shape[2:]))
    options = {"reduction": reduction, "ignore_index": ignored}
    ours = nn.NLLLoss(weight=CLASS_WEIGHTS if weighted else None, **options)
    theirs = torch.nn.NLLLoss(weight=torch.tensor(CLASS_WEIGHTS) if weighted else None, **options)
    compare_loss(ours, theirs, rng.normal(size=shape), target, "float64" if not weighted else "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "BCELoss", "BCEWithLogitsLoss", "SoftMarginLoss"])
@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4)])
def test_elementwise_loss(name, shape, reduction, dtype):
    rng = np.random.default_rng(2)
    data, target = rng.normal(size=shape), rng.normal(size=shape)
    if name == "BCELoss":
        data = rng.uniform(0.01, 0.99, size=shape)
    if name.startswith("BCE"):
        target = rng.uniform(0.0, 1.0, size=shape)
    if name == "SoftMarginLoss":
        target = np.sign(target)
    compare_loss(
        getattr(nn, name)(reduction=reduction), getattr(torch.nn, name)(reduction=reduction), data, target, dtype
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["BCELoss", "BCEWithLogitsLoss"])
def test_binary_cross_entropy_with_weights(name, reduction):
    rng = np.random.default_rng(3)
    data, target, weight = rng.uniform(0.1, 0.9, (4, 3)), rng.integers(0, 2, (4, 3)).astype(float), rng.random((4, 3))
    options = {"BCELoss": {}, "BCEWithLogitsLoss": {"pos_weight": np.array([0.5, 2.0, 3.0])}}[name]
    ours = getattr(nn, name)(weight=weight, reduction=reduction, **options)
    torch_options = {key: torch.tensor(value) for key, value in options.items()}
    theirs = getattr(torch.nn, name)(weight=torch.tensor(weight), reduction=reduction, **torch_options)
    compare_loss(ours, theirs, data, target, "float64")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("margin", [1.0, 0.4])
@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin(p, margin, weighted, reduction):
    rng = np.random.default_rng(4)
    options = {"p": p, "margin": margin, "reduction": reduction}
    weight = np.array(CLASS_WEIGHTS)
    ours = nn.MultiMarginLoss(weight=weight if weighted else None, **options)
    theirs = torch.nn.MultiMarginLoss(weight=torch.tensor(weight) if weighted else None, **options)
    compare_loss(ours, theirs, rng.normal(size=(6, 4)), rng.integers(0, 4, size=6), "float64")


# --- whole networks ---------------------------------------------------------------------------------------------------


def small_network(library):
    return library.Sequential(
        library.Conv2d(2, 4, 3, padding=1, bias=False), library.BatchNorm2d(4), library.ReLU(), library.MaxPool2d(2),
        library.Conv2d(4, 6, 3), library.ELU(), library.AvgPool2d(2), library.Flatten(), library.Linear(24, 8, bias=False),
        library.BatchNorm1d(8), library.Tanh(), library.Linear(8, 5), library.LogSoftmax(dim=1),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_of_many_layers(dtype):
    compare(small_network(nn), small_network(torch.nn), (6, 2, 13, 13), dtype, steps=2)


def test_default_weights_have_pytorchs_bounds():
    gpunn.manual_seed(3)
    for ours, theirs in (
        (nn.Linear(400, 300), torch.nn.Linear(400, 300)),
        (nn.Conv2d(16, 64, 5, groups=2), torch.nn.Conv2d(16, 64, 5, groups=2)),
    ):
        for name, value in theirs.state_dict().items():
            got = ours.state_dict()[name].numpy()
            assert got.dtype == np.float32
            assert np.abs(got).max() == pytest.approx(value.abs().max().item(), rel=0.05)
            assert got.std() == pytest.approx(value.std().item(), rel=0.15)
