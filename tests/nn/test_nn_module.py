"""Module: registration, names, state, hooks, moving, showing."""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import pytest

import backends
import gpunn
from gpunn import nn
from gpunn.errors import GpunnError


class Block(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.scale = nn.Parameter(gpunn.ones(width))
        self.register_buffer("offset", gpunn.zeros(width))
        self.register_buffer("scratch", gpunn.zeros(1), persistent=False)

    def forward(self, x):
        return self.norm(self.first(x)) * self.scale + self.offset


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(Block(), nn.ReLU())
        self.tail = Block()

    def forward(self, x):
        return self.tail(self.head(x))


NAMES = [
    "head.0.scale", "head.0.offset", "head.0.first.weight", "head.0.first.bias", "head.0.norm.weight", "head.0.norm.bias",
    "head.0.norm.running_mean", "head.0.norm.running_var", "head.0.norm.num_batches_tracked",
    "tail.scale", "tail.offset", "tail.first.weight", "tail.first.bias", "tail.norm.weight", "tail.norm.bias",
    "tail.norm.running_mean", "tail.norm.running_var", "tail.norm.num_batches_tracked",
]  # fmt: skip


def values(module):
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def assert_same_state(got, expected):
    assert list(got) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
        assert got[name].dtype == expected[name].dtype


# --- registration and names -------------------------------------------------------------------------------------------


def test_names_of_the_state_are_pytorchs_and_leave_out_what_is_not_persistent():
    assert list(Network().state_dict()) == NAMES


def test_parameters_buffers_and_modules_are_found_by_name():
    net = Network()
    assert [name for name, _ in net.named_parameters()] == [
        n for n in NAMES if not n.endswith(("offset", "mean", "var", "tracked"))
    ]
    assert [name for name, _ in net.named_buffers()][:2] == ["head.0.offset", "head.0.scratch"]
    assert [name for name, _ in net.named_children()] == ["head", "tail"]
    assert [name for name, _ in net.named_modules()][:4] == ["", "head", "head.0", "head.0.first"]
    assert net.get_submodule("head.0.norm") is net.head[0].norm
    assert net.get_submodule("") is net
    assert len(list(net.tail.parameters(recurse=False))) == 1
    with pytest.raises(AttributeError, match=r"no 'middle' in Sequential; has 0, 1$"):
        net.get_submodule("head.middle")


def test_a_shared_parameter_or_module_comes_once_but_keeps_both_names_in_the_state():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "2.bias"]
    assert nn.count_parameters(net) == 9 + 3 + 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    shared = nn.Linear(2, 2)
    twice = nn.Sequential(shared, shared)
    assert len(list(twice.parameters())) == 2
    assert len(list(twice.children())) == 1
    assert len(list(twice.state_dict())) == 4


def test_the_gradients_of_both_uses_of_a_shared_parameter_are_added():
    layer = nn.Linear(2, 2, bias=False)
    x = gpunn.tensor(np.ones((1, 2), "float32"))
    layer(x).sum().backward()
    once = layer.weight.grad.numpy().copy()
    layer.zero_grad()
    (layer(x).sum() + layer(x).sum()).backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), 2 * once)


def test_a_new_value_takes_the_place_of_the_old_one():
    net = Network()
    net.head = nn.Identity()
    assert [name for name, _ in net.named_children()] == ["head", "tail"]
    net.tail.first.weight = nn.Parameter(gpunn.zeros(3, 3))
    assert [name for name, _ in net.tail.first.named_parameters()] == ["weight", "bias"]
    net.tail.first.bias = None
    assert [name for name, _ in net.tail.first.named_parameters()] == ["weight"]
    del net.head
    assert [name for name, _ in net.named_children()] == ["tail"]
    with pytest.raises(AttributeError, match="'Network' has no attribute 'head'"):
        _ = net.head


def test_a_parameter_a_buffer_and_a_plain_attribute_can_replace_one_another():
    module = nn.Module()
    module.value = 3
    module.value = nn.Parameter(gpunn.ones(2))
    assert list(module.state_dict()) == ["value"]
    module.register_buffer("value", gpunn.zeros(2))
    assert not list(module.parameters())
    module.value = gpunn.ones(2)
    assert module.state_dict()["value"].numpy().tolist() == [1, 1]
    module.value = nn.ReLU()
    assert not module.state_dict()
    assert [name for name, _ in module.named_children()] == ["value"]


def test_a_plain_tensor_cannot_take_the_place_of_a_parameter():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"Linear.weight: expected a Parameter or None, got Tensor"):
        layer.weight = gpunn.zeros(2, 2)
    with pytest.raises(TypeError, match=r"Network.head: expected a Module or None, got int"):
        Network().head = 3


@pytest.mark.parametrize("name", ["", "a.b", "forward"])
def test_names_that_cannot_be(name):
    with pytest.raises(KeyError):
        nn.Module().register_buffer(name, gpunn.zeros(1))


def test_assigning_before_init_says_what_is_missing():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before assigning 'layer'"):
        Forgetful()


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module: define forward"):
        nn.Module()(1)


def test_parameter_shares_the_array_of_a_tensor_and_requires_gradients():
    source = gpunn.zeros(3)
    parameter = nn.Parameter(source)
    assert parameter.data is source.data
    assert parameter.requires_grad
    assert not source.requires_grad
    assert not nn.Parameter(source, requires_grad=False).requires_grad
    assert nn.Parameter([1.0, 2.0]).dtype == np.float32
    assert repr(parameter).startswith("Parameter containing:\ntensor([0. 0. 0.]")


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_numpy", [True, False])
def test_loading_copies_every_value(as_numpy):
    gpunn.manual_seed(1)
    source, target = Network(), Network()
    source.tail.norm.num_batches_tracked.data[...] = 7
    state = values(source) if as_numpy else source.state_dict()
    before = values(source)
    result = target.load_state_dict(state)
    assert result == ([], [])
    assert_same_state(values(target), before)
    for parameter in target.parameters():
        parameter.data[...] = 5
    assert_same_state(values(source), before)


def test_loading_keeps_the_dtype_of_the_module():
    net = Network().double()
    state = {
        name: value.astype("float32") if value.dtype.kind == "f" else value for name, value in values(Network()).items()
    }
    net.load_state_dict(state)
    assert net.tail.scale.dtype == np.float64
    assert net.tail.norm.num_batches_tracked.dtype == np.int64


def test_the_error_names_every_missing_extra_and_wrongly_shaped_entry_and_nothing_is_changed():
    net = Network()
    before = values(net)
    state = {name: np.full_like(value, 9) for name, value in before.items()}
    del state["tail.scale"], state["head.0.norm.num_batches_tracked"]
    state["head.0.first.bias"] = np.zeros(4)
    state["tail.first.weight"] = np.zeros((3, 1))
    state["stranger"] = np.zeros(1)
    with pytest.raises(nn.StateDictError) as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    assert message == (
        "state_dict does not fit Network: "
        "wrong shape: head.0.first.bias (expected (3,), got (4,)), tail.first.weight (expected (3, 3), got (3, 1)); "
        "missing: head.0.norm.num_batches_tracked, tail.scale; unexpected: stranger"
    )
    assert_same_state(values(net), before)


def test_a_shape_that_would_broadcast_is_still_wrong():
    layer = nn.Linear(3, 3)
    with pytest.raises(nn.StateDictError, match=r"weight \(expected \(3, 3\), got \(1, 3\)\)"):
        layer.load_state_dict({"weight": np.zeros((1, 3)), "bias": np.zeros(3)})
    with pytest.raises(nn.StateDictError, match=r"bias \(expected \(3,\), got \(\)\)"):
        layer.load_state_dict({"weight": np.zeros((3, 3)), "bias": 1.0})
    with pytest.raises(nn.StateDictError, match="expected real numbers, got dtype"):
        layer.load_state_dict({"weight": np.zeros((3, 3)), "bias": np.array(["a", "b", "c"])})


def test_values_that_would_lose_a_part_are_refused():
    norm = nn.BatchNorm1d(2)
    with pytest.raises(nn.StateDictError, match=r"num_batches_tracked \(expected whole numbers, got dtype float64\)"):
        norm.load_state_dict({**norm.state_dict(), "num_batches_tracked": np.array(3.7)})
    norm.load_state_dict({**norm.state_dict(), "num_batches_tracked": np.array(3.0)})  # whole, whatever its dtype
    assert norm.num_batches_tracked.item() == 3
    with pytest.raises(nn.StateDictError, match=r"weight \(expected real numbers, got dtype complex128\)"):
        norm.load_state_dict({**norm.state_dict(), "weight": np.ones(2) * 1j})


def test_loading_without_strict_leaves_the_rest_alone_but_never_a_wrong_shape():
    net = Network()
    result = net.load_state_dict({"tail.scale": np.full(3, 2.0), "stranger": np.zeros(1)}, strict=False)
    assert result.missing_keys == [name for name in NAMES if name != "tail.scale"]
    assert result.unexpected_keys == ["stranger"]
    assert net.tail.scale.numpy().tolist() == [2, 2, 2]
    with pytest.raises(nn.StateDictError, match=r"tail\.scale"):
        net.load_state_dict({"tail.scale": np.zeros(4)}, strict=False)


def test_the_error_of_loading_can_be_caught_as_any_of_its_kinds():
    for kind in (nn.StateDictError, GpunnError, ValueError, RuntimeError):
        with pytest.raises(kind):
            nn.Linear(1, 1).load_state_dict({})


def test_the_state_shares_memory_and_carries_no_gradient():
    layer = nn.Linear(2, 2)
    state = layer.state_dict()
    assert not state["weight"].requires_grad
    layer.weight.data[...] = 4
    assert state["weight"].numpy()[0, 0] == 4


def test_a_deep_copy_is_a_network_of_its_own():
    net = Network()
    copied = copy.deepcopy(net)
    assert_same_state(values(copied), values(net))
    copied.tail.scale.data[...] = 8
    assert net.tail.scale.numpy()[0] == 1
    assert isinstance(copied.tail.scale, nn.Parameter)
    assert copied.tail.scale.requires_grad
    x = gpunn.tensor(np.ones((2, 3), "float32"))
    assert copied(x).shape == (2, 3)


def test_a_copy_still_shares_what_was_shared():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    copied = copy.deepcopy(net)
    assert copied[0].weight is copied[1].weight
    assert copied[0].weight is not net[0].weight


# --- modes, gradients, dtypes -----------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_module():
    net = Network()
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())


def test_zero_grad_forgets_or_zeroes():
    layer = nn.Linear(2, 2)
    layer(gpunn.ones(1, 2)).sum().backward()
    assert layer.weight.grad is not None
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.numpy().tolist() == [[0, 0], [0, 0]]
    layer.zero_grad()
    assert layer.weight.grad is None


def test_frozen_parameters_get_no_gradient():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    net(gpunn.ones(1, 2)).sum().backward()
    assert net[0].weight.grad is None
    assert net[1].weight.grad is not None


@pytest.mark.parametrize(
    "move", [lambda net: net.double(), lambda net: net.to("float64"), lambda net: net.to(dtype=np.float64),
             lambda net: net.to(gpunn.float64), lambda net: net.to("cpu", "float64")]
)  # fmt: skip
def test_a_new_dtype_keeps_the_objects_and_integer_buffers(move):
    net = Network()
    parameters = list(net.parameters())
    net(gpunn.ones(2, 3)).sum().backward()
    assert move(net) is net
    assert all(old is new for old, new in zip(parameters, net.parameters(), strict=True))
    assert {p.dtype.name for p in net.parameters()} == {"float64"}
    assert {p.grad.dtype.name for p in net.parameters()} == {"float64"}
    assert net.tail.norm.running_mean.dtype.name == "float64"
    assert net.tail.norm.num_batches_tracked.dtype.name == "int64"
    assert net.float().tail.scale.dtype.name == "float32"
    assert net.half().tail.scale.dtype.name == "float16"
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())


def test_a_shared_parameter_stays_shared_after_moving():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    net.double()
    assert net[0].weight is net[1].weight


def test_moving_to_every_device_at_hand(device):
    gpunn.manual_seed(2)
    net = Network()
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    expected = copy.deepcopy(net)(gpunn.tensor(x)).numpy()
    net.to(device)
    assert {p.device for p in net.parameters()} == {b.device for b in net.buffers()} == {device}
    out = net(gpunn.tensor(x, device=device))
    out.sum().backward()
    assert {p.grad.device for p in net.parameters()} == {device}
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-5, atol=1e-6)
    state = values(net)
    other = Network()
    other.load_state_dict(net.state_dict())
    assert_same_state(values(other), state)
    net.load_state_dict(other.state_dict())
    assert_same_state(values(net.cpu()), state)
    assert {p.device for p in net.parameters()} == {"cpu"}


def test_to_with_a_dtype_twice_is_an_error():
    with pytest.raises(TypeError, match=r"to: expected to\(device, dtype\)"):
        nn.Linear(1, 1).to(np.float64, "float32")


@pytest.mark.parametrize("dtype", [np.int64, "int32", gpunn.bool, int])
def test_to_takes_floating_dtypes_alone(dtype):
    with pytest.raises(TypeError, match="to: expected a dtype of float16, float32, float64, bfloat16, got "):
        nn.Linear(1, 1).to(dtype=dtype)


def test_to_of_a_device_that_is_not_there_changes_nothing():
    layer = nn.Linear(1, 1)
    with pytest.raises(backends.DeviceError):
        layer.to("cudaa", "float64")
    assert layer.weight.dtype == np.float32


def test_apply_visits_those_below_first():
    seen = []
    net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["ReLU", "Tanh", "Sequential", "Sequential"]


# --- hooks ------------------------------------------------------------------------------------------------------------


def test_hooks_see_and_may_replace_inputs_and_outputs():
    layer = nn.Identity()
    seen = []
    before = layer.register_forward_pre_hook(lambda module, inputs: seen.append(("pre", module, inputs)))
    after = layer.register_forward_hook(lambda module, inputs, output: seen.append(("post", inputs, output)))
    assert layer(3) == 3
    assert seen == [("pre", layer, (3,)), ("post", (3,), 3)]
    before.remove()
    after.remove()
    after.remove()
    layer(4)
    assert len(seen) == 2
    with layer.register_forward_pre_hook(lambda module, inputs: inputs[0] + 1):
        with layer.register_forward_hook(lambda module, inputs, output: output * 10):
            assert layer(1) == 20
        assert layer(1) == 2
    assert layer(1) == 1


def test_removing_an_old_handle_leaves_a_newer_hook_alone():
    layer = nn.Identity()
    first = layer.register_forward_hook(lambda module, inputs, output: output + 1)
    first.remove()
    layer.register_forward_hook(lambda module, inputs, output: output + 10)
    first.remove()
    assert layer(0) == 10


# --- containers -------------------------------------------------------------------------------------------------------


def test_sequential_is_a_sequence():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    net = nn.Sequential(a, b)
    assert net.append(c) is net
    assert len(net) == 3
    assert list(net) == [a, b, c]
    assert net[-1] is c
    assert [name for name, _ in net[1:].named_children()] == ["1", "2"]
    net[1] = nn.ELU()
    assert [type(m).__name__ for m in net] == ["ReLU", "ELU", "Sigmoid"]
    del net[0]
    assert [name for name, _ in net.named_children()] == ["0", "1"]
    with pytest.raises(IndexError, match="Sequential: index 5 is out of range, it holds 2 modules"):
        net[5]
    with pytest.raises(TypeError, match="Sequential: expected modules, got function"):
        nn.Sequential(lambda x: x)


def test_append_to_a_slice_replaces_nothing():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Tanh())
    rest = net[1:]
    added = nn.Sigmoid()
    rest.append(added)
    assert [*rest] == [net[1], net[2], net[3], added]
    assert list(rest._modules) == ["1", "2", "3", "4"]


def test_sequential_with_names():
    net = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), act=nn.ReLU()))
    assert list(net.state_dict()) == ["conv.weight", "conv.bias"]
    assert net.conv is net[0]
    assert [name for name, _ in net[:1].named_children()] == ["conv"]


def test_module_list():
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    assert [name for name, _ in layers.named_children()] == ["0", "1", "2"]
    assert len(layers[1:]) == 2
    assert layers[1:][0] is layers[1]
    assert len(layers.extend([nn.ReLU()])) == 4
    with pytest.raises(NotImplementedError):
        layers(1)


def test_repr_shows_the_tree():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.left = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
            self.right = nn.Identity()

    assert repr(Pair()) == (
        "Pair(\n"
        "  (left): Sequential(\n"
        "    (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "    (1): ReLU()\n"
        "  )\n"
        "  (right): Identity()\n"
        ")"
    )
    assert repr(nn.Sequential()) == "Sequential()"
