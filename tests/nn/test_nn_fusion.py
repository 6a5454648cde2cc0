"""Neighbours that a Sequential computes as one operation: the same results as one by one, unless somebody looks between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backends
from gpunn import nn
from gpunn.tensor import Tensor

FUSED, APART = "batch_norm_relu", "relu"
# A layer in front of a ReLU, its input's shape, and what both are in training and in evaluation.
LAYERS: dict[str, tuple[Any, tuple[int, ...], str, str]] = {
    "rows": (lambda: nn.BatchNorm1d(6), (5, 6), FUSED, "batch_norm_inference_relu"),
    "sequences": (lambda: nn.BatchNorm1d(6), (4, 6, 3), FUSED, "batch_norm_inference_relu"),
    "images": (lambda: nn.BatchNorm2d(6), (3, 6, 4, 2), FUSED, "batch_norm_inference_relu"),
    "without parameters": (lambda: nn.BatchNorm2d(6, affine=False), (3, 6, 4, 2), FUSED, "batch_norm_inference_relu"),
    "convolution": (lambda: nn.Conv2d(6, 4, 3, padding=1), (3, 6, 5, 4), "conv2d_relu", "conv2d_relu"),
    "groups": (lambda: nn.Conv2d(6, 4, 2, groups=2), (3, 6, 5, 4), "conv2d_relu", "conv2d_relu"),
    "convolution without bias": (lambda: nn.Conv2d(6, 4, 3, bias=False), (3, 6, 5, 4), APART, APART),
    "one image": (lambda: nn.Conv2d(6, 4, 3), (6, 5, 4), APART, APART),
    "linear": (lambda: nn.Linear(6, 5), (7, 6), "linear_relu", "linear_relu"),
    "linear without bias": (lambda: nn.Linear(6, 5, bias=False), (7, 6), APART, APART),
    "linear of three dimensions": (lambda: nn.Linear(6, 5), (2, 3, 6), APART, APART),
}


def network(layer: str, device: str) -> Any:
    net = nn.Sequential(LAYERS[layer][0](), nn.ReLU()).to(device)
    rng = np.random.default_rng(1)
    for value in (*net.parameters(), *net.buffers()):
        if value.dtype.kind == "f":
            low = 0.5 if value.shape == (6,) else -0.5
            value.data[...] = backends.get(device).asarray(rng.uniform(low, low + 1, value.shape).astype("float32"))
    return net


def images(shape: tuple[int, ...], device: str) -> Tensor:
    backend = backends.get(device)
    values = np.random.default_rng(2).normal(size=shape).astype("float32")
    return Tensor(backend.asarray(values), backend, requires_grad=True)


def outcome(net: Any, x: Tensor, one_by_one: bool) -> dict[str, Any]:
    """Result, gradients and buffers of one step."""
    if one_by_one:
        y = x
        for module in net:
            y = module(y)
    else:
        y = net(x)
    y.backward(np.cos(np.arange(y.numel(), dtype="float32")).reshape(y.shape))
    found = {"operation": y.node.name if y.node else "", "y": y, "dx": x.grad}
    found |= {f"gradient of {name}": value.grad for name, value in net.named_parameters()}
    return found | dict(net.named_buffers())


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_the_same_results(device: str, layer: str, training: bool) -> None:
    """Bit for bit, on every device."""
    _, shape, *names = LAYERS[layer]
    nets = [network(layer, device).train(training) for _ in range(2)]
    one, apart = (outcome(net, images(shape, device), flag) for net, flag in zip(nets, (False, True), strict=True))
    assert one.pop("operation") == names[0 if training else 1]
    assert apart.pop("operation") == APART
    assert one.keys() == apart.keys()
    for name in one:
        np.testing.assert_array_equal(one[name].numpy(), apart[name].numpy(), err_msg=name)


@pytest.mark.parametrize("layer", ["rows", "images", "convolution"])
def test_in_pieces_on_the_cpu(monkeypatch: pytest.MonkeyPatch, layer: str) -> None:
    """Where the data are larger than the cache, they are worked on piece by piece."""
    monkeypatch.setattr("backends.cpu.normalization.CACHE_BYTES", 100)
    monkeypatch.setattr("backends.cpu.layout.CACHE_BYTES", 100)
    test_the_same_results("cpu", layer, training=True)


def operation(net: Any) -> str:
    """The last operation of ``net``."""
    return str(net(images((3, 6, 4, 2), "reference")).node.name)


def test_a_hook_separates_them() -> None:
    """It sees what it would see without fusion, and when it is gone they are one again."""
    plain = network("images", "reference")
    between = plain[0](images((3, 6, 4, 2), "reference")).numpy()
    for place, kind in ((0, "forward_hook"), (0, "forward_pre_hook"), (1, "forward_hook"), (1, "forward_pre_hook")):
        net, seen = network("images", "reference"), []
        with getattr(net[place], f"register_{kind}")(lambda *given, seen=seen: seen.append(given)):
            assert operation(net) == APART
        if (place, kind) == (0, "forward_hook"):
            np.testing.assert_array_equal(seen[0][2].numpy(), between)
        if place == 1:
            np.testing.assert_array_equal(seen[0][1][0].numpy(), between)
        assert operation(net) == FUSED
        assert len(seen) == 1


def test_a_hook_that_is_added_on_the_way() -> None:
    """Before the modules' turn has come."""
    net, seen = nn.Sequential(nn.Identity(), *network("images", "reference")), []
    net[0].register_forward_hook(lambda *_: net[2].register_forward_hook(lambda *_: seen.append(1)) and None)
    assert operation(net) == APART
    assert seen == [1]


class Doubled(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_a_subclass_is_its_own() -> None:
    net = nn.Sequential(network("images", "reference")[0], Doubled())
    assert operation(net) == "mul"


def test_another_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one module, or of all of a class."""
    net = network("images", "reference")
    net[1].forward = lambda x: x + 1
    assert operation(net) == "add"
    net = network("images", "reference")
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x - 1)
    assert operation(net) == "sub"


def test_who_is_fused() -> None:
    norm, relu = network("images", "reference")
    assert operation(nn.Sequential(norm)) == "batch_norm"
    assert operation(nn.Sequential(relu)) == APART
    assert operation(nn.Sequential(relu, norm)) == "batch_norm"
    assert operation(nn.Sequential(norm, nn.Identity(), relu)) == APART
    assert operation(nn.Sequential(norm, relu, relu)) == APART
    assert operation(nn.Sequential(norm, norm, relu)) == FUSED
    assert operation(nn.Sequential(norm, nn.LeakyReLU())) == "leaky_relu"
    assert operation(nn.Sequential(nn.Sequential(norm), relu)) == APART
    assert operation(nn.Sequential(relu, nn.Sequential(norm, relu), norm, relu)[1:]) == FUSED
    assert nn.Sequential()(3) == 3


def test_nothing_else_shows() -> None:
    net = network("images", "reference")
    before = repr(net), list(net.state_dict())
    operation(net)
    assert (repr(net), list(net.state_dict())) == before
    assert before[1] == ["0.weight", "0.bias", "0.running_mean", "0.running_var", "0.num_batches_tracked"]
    assert net[0].num_batches_tracked.item() == 1
    with pytest.raises(
        nn.ShapeError, match=r"BatchNorm2d\(6\): expected input of shape \(N, 6, H, W\), got \(3, 5, 4, 2\)"
    ):
        net(images((3, 5, 4, 2), "reference"))
