"""Parameter groups, gradients, saving and loading, and what is refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from gpunn import optim
from gpunn.nn import Parameter
from gpunn.tensor import tensor

OPTIMIZERS = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {}),
]
each = pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=[f"{n}-{len(o)}" for n, o in OPTIMIZERS])
SHAPES = [(2, 3), (4,), ()]


def parameters(dtype="float32"):
    numbers = np.random.default_rng(1)
    return [Parameter(tensor(numbers.standard_normal(shape), dtype=dtype)) for shape in SHAPES]


def train(optimizer, params, steps):
    """Steps with gradients that depend on the number of the step alone; parameter 1 misses some."""
    for step in steps:
        numbers = np.random.default_rng(step)
        for i, param in enumerate(params):
            grad = np.asarray(numbers.standard_normal(param.shape), param.dtype)
            param.grad = None if i == 1 and step % 2 else tensor(grad, dtype=param.dtype.name)
        optimizer.step()


def through_json(state):
    """Where JSON can go: everything but the arrays."""
    arrays = {(i, n): v for i, s in state["state"].items() for n, v in s.items() if isinstance(v, np.ndarray)}
    numbers = {i: {n: v for n, v in s.items() if not isinstance(v, np.ndarray)} for i, s in state["state"].items()}
    loaded = json.loads(json.dumps({"state": numbers, "param_groups": state["param_groups"]}))
    for (index, name), array in arrays.items():
        loaded["state"][str(index)][name] = array
    return loaded


@pytest.mark.parametrize("way", [lambda state: state, through_json], ids=["direct", "json"])
@each
def test_resumed_training_is_bitwise_the_same(name, options, way):
    params = parameters()
    optimizer = getattr(optim, name)(params, **options)
    train(optimizer, params, range(4))
    state = optimizer.state_dict()
    values = [param.numpy().copy() for param in params]
    train(optimizer, params, range(4, 9))

    resumed = [Parameter(tensor(value, dtype="float32")) for value in values]
    other = getattr(optim, name)(resumed)
    other.load_state_dict(way(state))
    train(other, resumed, range(4, 9))
    for param, again in zip(params, resumed, strict=True):
        np.testing.assert_array_equal(param.numpy(), again.numpy())
    assert other.param_groups[0].keys() == optimizer.param_groups[0].keys()


@each
def test_state_is_a_copy_both_ways(name, options):
    params = parameters()
    optimizer = getattr(optim, name)(params, **options)
    train(optimizer, params, range(2))
    state = optimizer.state_dict()
    before = {(i, n): np.copy(v) for i, s in state["state"].items() for n, v in s.items()}
    optimizer.load_state_dict(state)
    train(optimizer, params, range(2, 4))
    for (index, key), value in before.items():
        np.testing.assert_array_equal(state["state"][index][key], value)


def test_state_dict_holds_plain_values():
    params = parameters()
    optimizer = optim.Adam([{"params": params[:1], "lr": np.float32(0.5)}, {"params": params[1:]}], betas=(0.5, 0.75))
    train(optimizer, params, range(1, 2))  # parameter 1 has no gradient
    state = optimizer.state_dict()
    options = {"betas": (0.5, 0.75), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
    assert state["param_groups"] == [
        {"lr": 0.5, **options, "params": [0]},
        {"lr": 1e-3, **options, "params": [1, 2]},
    ]
    assert type(state["param_groups"][0]["lr"]) is float
    assert sorted(state["state"]) == [0, 2]
    assert state["state"][2]["step"] == 1
    assert type(state["state"][2]["step"]) is int
    assert type(state["state"][0]["exp_avg"]) is np.ndarray
    assert state["state"][2]["exp_avg"].shape == ()


def test_state_names_and_values_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name, options in OPTIMIZERS:
        param, other = Parameter(tensor([1.0, -2.0])), torch.tensor([1.0, -2.0], requires_grad=True)
        optimizer, reference = (
            getattr(optim, name)([param], **options),
            getattr(torch.optim, name)([other], **options),
        )
        param.grad, other.grad = tensor([0.5, 0.25]), torch.tensor([0.5, 0.25])
        optimizer.step()
        reference.step()
        theirs = {k: v for k, v in reference.state_dict()["state"].get(0, {}).items() if v is not None}
        ours = optimizer.state_dict()["state"].get(0, {})
        assert set(ours) == set(theirs)
        for key, value in ours.items():
            np.testing.assert_allclose(value, theirs[key].numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["param_groups"].pop(), "the state has 1 parameter groups, the optimizer 2"),
        (lambda s: s["param_groups"][1]["params"].pop(), "group 1 of the state has 1 parameters"),
        (lambda s: s["param_groups"][0].pop("eps"), "group 0 of the state lacks eps"),
        (lambda s: s["param_groups"][0].update(lr=-1.0), "expected a number lr >= 0, got lr=-1.0"),
        (lambda s: s["state"][0].pop("exp_avg"), "parameter 0: expected the state ['exp_avg', "),
        (lambda s: s["state"][2].update(extra=np.zeros(())), "parameter 2: expected the state"),
        (lambda s: s["state"][0].update(exp_avg=np.zeros((3, 2))), "exp_avg of shape (2, 3), got (3, 2)"),
        (lambda s: s["state"].update({7: s["state"][0]}), "the state names parameter 7, which no group has"),
        (lambda s: s.pop("state"), 'expected a dict with "state" and "param_groups"'),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, message):
    params = parameters()
    optimizer = optim.Adam([{"params": params[:1]}, {"params": params[1:], "lr": 0.1}])
    train(optimizer, params, range(3))
    wrong = optimizer.state_dict()
    change(wrong)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        optimizer.load_state_dict(wrong)
    assert "\n" not in str(caught.value)
    values = [param.numpy().copy() for param in params]
    train(optimizer, params, range(3, 6))

    untouched = parameters()
    other = optim.Adam([{"params": untouched[:1]}, {"params": untouched[1:], "lr": 0.1}])
    train(other, untouched, range(6))
    assert not np.array_equal(values[0], params[0].numpy())
    for param, again in zip(params, untouched, strict=True):
        np.testing.assert_array_equal(param.numpy(), again.numpy())


def test_the_state_of_another_optimizer_is_refused():
    source = optim.RMSprop(parameters()).state_dict()
    for name in ("SGD", "Adagrad", "Adam"):
        with pytest.raises(ValueError, match="is it another optimizer's"):
            getattr(optim, name)(parameters()).load_state_dict(source)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SGD", {"lr": -1.0}, "SGD: expected a number lr >= 0, got lr=-1.0"),
        ("SGD", {"lr": float("nan")}, "got lr=nan"),
        ("SGD", {"lr": "0.1"}, "got lr='0.1'"),
        ("SGD", {"momentum": -0.1}, "momentum >= 0"),
        ("SGD", {"weight_decay": -0.1}, "weight_decay >= 0"),
        ("SGD", {"nesterov": True}, "nesterov needs momentum > 0 and dampening = 0"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening=0.1"),
        ("Adagrad", {"lr_decay": -1}, "lr_decay >= 0"),
        ("Adagrad", {"initial_accumulator_value": -1}, "initial_accumulator_value >= 0"),
        ("RMSprop", {"alpha": -1}, "alpha >= 0"),
        ("RMSprop", {"momentum": -1}, "momentum >= 0"),
        ("Adam", {"eps": -1}, "eps >= 0"),
        ("Adam", {"betas": (1.0, 0.9)}, "beta1 >= 0 and beta1 < 1, got beta1=1.0"),
        ("Adam", {"betas": (0.9, -0.1)}, "beta2=-0.1"),
        ("Adam", {"betas": 0.9}, "expected betas=(beta1, beta2), got betas=0.9"),
        ("AdamW", {"lr": -1}, "AdamW: expected a number lr >= 0"),
    ],
)
def test_options_that_are_not_allowed(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        getattr(optim, name)([tensor([1.0])], **options)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=re.escape(message)):  # in a group, too
        getattr(optim, name)([{"params": [tensor([1.0])], **options}])


def test_parameters_that_are_not_allowed():
    param, other = tensor([1.0], requires_grad=True), tensor([1.0], requires_grad=True)
    for params, error, message in [
        ([], ValueError, "got no parameters"),
        (param, TypeError, "got one Tensor; write [tensor]"),
        ({param, other}, TypeError, "fixed order (a list, say), got a set"),
        (3, TypeError, "got a int"),
        ([param, other, param], ValueError, "parameter 2 of group 0: is given twice"),
        (
            [{"params": [param]}, {"params": [other, param]}],
            ValueError,
            "parameter 1 of group 1: is given twice",
        ),
        ([param * 2], ValueError, "only leaf Tensors can be optimized"),
        ([np.zeros(3)], TypeError, "expected a Tensor, got a ndarray"),
        ([{"params": [param]}, other], ValueError, "expected a group"),
        ([{"lr": 0.1}], ValueError, "expected a group"),
        ([("weight", param), other], ValueError, "1 of 2 parameters have names"),
        ([{"params": [("weight", param)]}, {"params": [other]}], ValueError, "some don't; name all or none"),
    ]:
        with pytest.raises(error, match=re.escape(message)) as caught:
            optim.SGD(params)
        assert "\n" not in str(caught.value)


def test_named_parameters_and_generators():
    params = [("a", tensor([1.0])), ("b", tensor([2.0]))]
    optimizer = optim.SGD(pair for pair in params)
    assert optimizer.param_groups[0]["param_names"] == ["a", "b"]
    assert optimizer.param_groups[0]["params"][1] is params[1][1]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["a", "b"]


def test_a_later_group():
    first, second = tensor([1.0]), tensor([1.0])
    optimizer = optim.SGD([first], lr=0.5)
    given = {"params": second, "lr": 0.25}
    optimizer.add_param_group(given)
    assert given == {"params": second, "lr": 0.25}  # the caller's dict stays as it was
    first.grad, second.grad = tensor([1.0]), tensor([1.0])
    optimizer.step()
    assert (first.item(), second.item()) == (0.5, 0.75)


def test_zero_grad():
    param, other = tensor([1.0, 2.0], requires_grad=True), tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([param, other])
    (param * param).mean().backward()
    optimizer.zero_grad(set_to_none=False)
    assert param.grad.tolist() == [0.0, 0.0]
    assert other.grad is None
    optimizer.zero_grad()
    assert param.grad is None


def test_a_gradient_of_another_shape_is_refused():
    param = tensor([1.0, 2.0])
    param.grad = tensor([1.0])
    with pytest.raises(ValueError, match=r"expected a gradient of shape \(2,\) on cpu, got \(1,\) on cpu"):
        optim.SGD([param]).step()


def test_a_network_that_moves_before_its_first_step():
    param = Parameter(tensor([1.0], dtype="float32"))
    optimizer = optim.Adagrad([param], lr=0.5)
    moved = param.detach().to("reference").to(dtype="float64")
    param.data, param.backend = moved.data, moved.backend
    param.grad = tensor([2.0], dtype="float64", device="reference")
    optimizer.step()
    assert param.item() == pytest.approx(0.5)


def test_repr_names_the_options():
    assert repr(optim.Adagrad([tensor([1.0])], lr=0.5, eps=0.25)) == (
        "Adagrad(1 parameters, lr=0.5, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, "
        "eps=0.25, maximize=False)"
    )
