"""Learning-rate schedules, against PyTorch and by hand."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest

from gpunn import optim
from gpunn.optim import lr_scheduler
from gpunn.tensor import tensor

STEPS = 50


def per_epoch(epoch):
    return 0.95**epoch


# One line a case: the schedule and its arguments.
CASES = [
    ("LambdaLR", {"lr_lambda": per_epoch}),
    ("LambdaLR", {"lr_lambda": [per_epoch, lambda epoch: 1 / (1 + epoch)]}),
    ("MultiplicativeLR", {"lr_lambda": lambda epoch: 0.9 if epoch % 3 else 1.1}),
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [30, 5, 5, 12]}),
    ("MultiStepLR", {"milestones": [0, 49], "gamma": 0.5}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 20}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 40}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 40, "power": 0.9}),
    ("CosineAnnealingLR", {"T_max": 20}),
    ("CosineAnnealingLR", {"T_max": 50, "eta_min": 1e-3}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 1e-3}),
    ("CosineAnnealingWarmRestarts", {"T_0": 6}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 1e-3}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 51}),
    ("OneCycleLR", {"max_lr": [0.4, 0.1], "epochs": 6, "steps_per_epoch": 10, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 60, "three_phase": True, "pct_start": 0.25}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 60, "pct_start": 0.0, "div_factor": 10.0}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 60, "base_momentum": [0.8, 0.7], "max_momentum": 0.9}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 60, "cycle_momentum": False}),
]
case = pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{'-'.join(o)}" for n, o in CASES])


def two_groups(name="SGD", **options):
    groups = [{"params": [tensor([1.0])]}, {"params": [tensor([1.0])], "lr": 0.02}]
    return getattr(optim, name)(groups, lr=0.1, **options)


def torch_groups(torch, name="SGD", **options):
    groups = [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], "lr": 0.02}]
    return getattr(torch.optim, name)(groups, lr=0.1, **options)


def cycled(optimizer):
    return [
        (group["lr"], group["betas"][0] if "betas" in group else group.get("momentum"))
        for group in optimizer.param_groups
    ]


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.parametrize("optimizer_name", ["SGD", "Adam"])
@case
def test_against_pytorch(name, options, optimizer_name):
    torch = pytest.importorskip("torch")
    ours, theirs = two_groups(optimizer_name), torch_groups(torch, optimizer_name)
    schedule = getattr(lr_scheduler, name)(ours, **options)
    reference = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    for _ in range(STEPS):
        np.testing.assert_allclose(cycled(ours), cycled(theirs), rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(schedule.get_last_lr(), reference.get_last_lr(), rtol=1e-9, atol=1e-15)
        assert schedule.get_last_lr() == [group["lr"] for group in ours.param_groups]
        schedule.step()
        reference.step()


def sequences(package, optimizer):
    """A warm-up, a decay, and a cosine with restarts."""
    return package.SequentialLR(
        optimizer,
        [
            package.LinearLR(optimizer, 0.1, total_iters=5),
            package.StepLR(optimizer, 4, gamma=0.5),
            package.CosineAnnealingWarmRestarts(optimizer, 6),
        ],
        milestones=[5, 20],
    )


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_schedules_in_a_row_against_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = two_groups(), torch_groups(torch)
    schedule, reference = sequences(lr_scheduler, ours), sequences(torch.optim.lr_scheduler, theirs)
    for _ in range(STEPS):
        np.testing.assert_allclose(schedule.get_last_lr(), reference.get_last_lr(), rtol=1e-9)
        schedule.step()
        reference.step()


def measurements():
    numbers = np.random.default_rng(1)
    return [*(3 * 0.8 ** np.arange(15)), *([0.2] * 12), math.nan, math.inf, *(0.2 + numbers.random(21))]


PLATEAUS = [
    {},
    {"patience": 2, "factor": 0.5},
    {"patience": 1, "cooldown": 3, "min_lr": [1e-3, 1e-2]},
    {"patience": 1, "mode": "max"},
    {"patience": 1, "mode": "max", "threshold_mode": "abs", "threshold": 0.3},
    {"patience": 0, "threshold_mode": "abs", "threshold": 0.1, "eps": 1e-3},
    {"patience": 0, "threshold": 0.3, "min_lr": 1e-5},
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateau_against_pytorch(options):
    torch = pytest.importorskip("torch")
    ours, theirs = two_groups(), torch_groups(torch)
    schedule = lr_scheduler.ReduceLROnPlateau(ours, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for value in measurements():
        schedule.step(value)
        reference.step(value)
        np.testing.assert_allclose(schedule.get_last_lr(), reference.get_last_lr(), rtol=1e-12)
        np.testing.assert_allclose(cycled(ours), cycled(theirs), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
def test_warm_restarts_within_an_epoch_against_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = two_groups(), torch_groups(torch)
    schedule = lr_scheduler.CosineAnnealingWarmRestarts(ours, 3, 2)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(theirs, 3, 2)
    for batch in range(STEPS):
        schedule.step(batch / 4 + 0.1)
        reference.step(batch / 4 + 0.1)
        np.testing.assert_allclose(schedule.get_last_lr(), reference.get_last_lr(), rtol=1e-9)
        assert schedule.last_epoch == reference.last_epoch
    schedule.step()
    reference.step()
    np.testing.assert_allclose(schedule.get_last_lr(), reference.get_last_lr(), rtol=1e-9)


# Without PyTorch: the values that the formulas give.


def rates(schedule, steps):
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("LambdaLR", {"lr_lambda": lambda epoch: epoch + 1}, [1, 2, 3, 4, 5]),
        ("MultiplicativeLR", {"lr_lambda": lambda epoch: epoch}, [1, 1, 2, 6, 24]),
        ("StepLR", {"step_size": 2, "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25]),
        ("MultiStepLR", {"milestones": [1, 3], "gamma": 0.5}, [1, 0.5, 0.5, 0.25, 0.25]),
        ("ConstantLR", {"factor": 0.5, "total_iters": 2}, [0.5, 0.5, 1, 1, 1]),
        ("LinearLR", {"start_factor": 0.5, "total_iters": 2}, [0.5, 0.75, 1, 1, 1]),
        ("ExponentialLR", {"gamma": 0.5}, [1, 0.5, 0.25, 0.125, 0.0625]),
        ("PolynomialLR", {"total_iters": 4, "power": 2}, [1, 0.5625, 0.25, 0.0625, 0]),
        ("CosineAnnealingLR", {"T_max": 2, "eta_min": 0.5}, [1, 0.75, 0.5, 0.75, 1]),
        ("CosineAnnealingWarmRestarts", {"T_0": 2}, [1, 0.5, 1, 0.5, 1]),
        ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 2}, [1, 1, 0.5, 1, 0.5 + 8**-0.5]),
        (
            "OneCycleLR",
            {"max_lr": 1.0, "total_steps": 5, "pct_start": 0.6, "div_factor": 2.0, "final_div_factor": 1.0},
            [0.5, 0.75, 1, 0.75, 0.5],
        ),
    ],
)
def test_by_hand(name, options, expected):
    schedule = getattr(lr_scheduler, name)(optim.SGD([tensor([1.0])], lr=1.0), **options)
    assert rates(schedule, 5) == pytest.approx(expected, abs=1e-12)


def test_plateau_by_hand():
    optimizer = optim.SGD([tensor([1.0])], lr=1.0)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    found = []
    for loss in (3, 2, tensor(2.0), 2, 1, 1, 1):
        schedule.step(loss)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def schedules():
    for name, options in CASES:
        yield lambda o, name=name, options=options: getattr(lr_scheduler, name)(o, **options)
    yield lambda o: sequences(lr_scheduler, o)
    yield lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, cooldown=2, factor=0.5)


@pytest.mark.parametrize("optimizer_name", ["SGD", "Adam"])
@pytest.mark.parametrize("stop", [0, 1, 5, 23])
def test_resumed_schedules_are_bitwise_the_same(stop, optimizer_name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in schedules():
            optimizer = two_groups(optimizer_name)
            schedule = make(optimizer)
            plateau = isinstance(schedule, lr_scheduler.ReduceLROnPlateau)
            values = [(value,) if plateau else () for value in measurements()]
            for value in values[:stop]:
                schedule.step(*value)
            saved, saved_optimizer = json.loads(json.dumps(schedule.state_dict())), optimizer.state_dict()

            resumed_optimizer = two_groups(optimizer_name)
            resumed = make(resumed_optimizer)
            resumed.load_state_dict(saved)
            assert cycled(resumed_optimizer) == cycled(optimizer)  # the schedule alone brings its rates back
            resumed_optimizer.load_state_dict(saved_optimizer)
            assert cycled(resumed_optimizer) == cycled(optimizer)
            for value in values[stop:]:
                schedule.step(*value)
                resumed.step(*value)
                assert cycled(resumed_optimizer) == cycled(optimizer)
                assert resumed.get_last_lr() == schedule.get_last_lr()


def test_state_dict_is_a_copy():
    schedule = lr_scheduler.StepLR(two_groups(), 1)
    state = schedule.state_dict()
    schedule.step()
    assert state["last_epoch"] == 0
    assert state["_last_lr"] == [0.1, 0.02]


def test_starting_late():
    optimizer = two_groups()
    whole = lr_scheduler.StepLR(optimizer, 3)
    for _ in range(5):
        whole.step()
    rest = lr_scheduler.StepLR(optimizer, 3, last_epoch=whole.last_epoch)
    assert rest.last_epoch == 6
    assert rest.get_last_lr() == pytest.approx([1e-3, 2e-4])
    with pytest.raises(ValueError, match="last_epoch=3 needs an initial_lr in parameter group 0"):
        lr_scheduler.StepLR(two_groups(), 3, last_epoch=3)


def test_a_rate_that_was_changed_by_something_else_is_noticed():
    optimizer = two_groups()
    first, second = lr_scheduler.StepLR(optimizer, 1), lr_scheduler.ExponentialLR(optimizer, 0.5)
    first.step()
    with pytest.warns(UserWarning, match="ExponentialLR: the learning rate 0.1 was changed to"):
        second.step()


def test_sequences_within_sequences():
    optimizer = optim.SGD([tensor([1.0])], lr=1.0)

    def inner():
        parts = [lr_scheduler.ConstantLR(optimizer, 0.5, 9), lr_scheduler.ExponentialLR(optimizer, 0.1)]
        return lr_scheduler.SequentialLR(optimizer, parts, [1])

    outer = lr_scheduler.SequentialLR(optimizer, [inner(), inner()], [3])
    assert rates(outer, 7) == pytest.approx([0.5, 1, 0.1, 0.5, 1, 0.1, 0.01])


def test_momentum_that_a_schedule_switches_on():
    # The cycle gives momentum to an optimizer that has none; its buffers begin with the next step.
    param = tensor([1.0], dtype="float64")
    optimizer = optim.SGD([param], lr=0.1)
    param.grad = tensor([1.0], dtype="float64")
    optimizer.step()
    lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    assert optimizer.state_dict()["state"][0]["momentum_buffer"].tolist() == [1.0]


def test_one_cycle_ends():
    optimizer = two_groups()
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3, anneal_strategy="linear")
    for _ in range(3):  # the loop steps after its last batch, too
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 25 / 1e4)
    with pytest.raises(ValueError, match="step 4 is past total_steps=3"):
        schedule.step()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("StepLR", {"step_size": 0}, "StepLR: expected step_size to be a positive integer, got 0"),
        ("StepLR", {"step_size": 2.5}, "positive integer, got 2.5"),
        ("ConstantLR", {"factor": 2}, "expected factor between 0 and 1, got 2"),
        ("ConstantLR", {"total_iters": 0}, "total_iters"),
        ("LinearLR", {"start_factor": 0}, "0 < start_factor <= 1, got 0"),
        ("LinearLR", {"end_factor": -1}, "0 <= end_factor <= 1, got -1"),
        ("PolynomialLR", {"total_iters": 0}, "total_iters"),
        ("CosineAnnealingLR", {"T_max": 0}, "T_max"),
        ("CosineAnnealingWarmRestarts", {"T_0": -1}, "T_0"),
        ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 0}, "T_mult"),
        ("OneCycleLR", {"max_lr": 1}, "give total_steps, or both epochs and steps_per_epoch"),
        ("OneCycleLR", {"max_lr": 1, "total_steps": 0}, "total_steps"),
        ("OneCycleLR", {"max_lr": 1, "total_steps": 5, "pct_start": 2}, "pct_start between 0 and 1, got 2"),
        ("OneCycleLR", {"max_lr": 1, "total_steps": 5, "anneal_strategy": "x"}, "got 'x'"),
        ("OneCycleLR", {"max_lr": [1, 2, 3], "total_steps": 5}, "expected 2 values of max_lr"),
        (
            "LambdaLR",
            {"lr_lambda": [per_epoch]},
            "expected 2 values of lr_lambda, one a parameter group, got 1",
        ),
        ("ReduceLROnPlateau", {"factor": 1}, "factor < 1"),
        ("ReduceLROnPlateau", {"mode": "least"}, "mode"),
        ("ReduceLROnPlateau", {"threshold_mode": "x"}, "threshold_mode"),
        ("ReduceLROnPlateau", {"min_lr": [0]}, "expected 2 values of min_lr"),
    ],
)
def test_options_that_are_not_allowed(name, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        getattr(lr_scheduler, name)(two_groups(), **options)
    assert "\n" not in str(caught.value)


def test_what_else_is_refused():
    optimizer, other = two_groups(), two_groups()
    step = lr_scheduler.StepLR(optimizer, 1)
    for schedules_, milestones, error, message in [
        ([step], [3], ValueError, "1 milestones and 1 schedules"),
        ([step, step, step], [5, 2], ValueError, "increasing milestones"),
        ([step, lr_scheduler.StepLR(other, 1)], [1], ValueError, "belongs to another optimizer"),
        ([step, lr_scheduler.ReduceLROnPlateau(optimizer)], [1], TypeError, "can't run in a row"),
    ]:
        with pytest.raises(error, match=message):
            lr_scheduler.SequentialLR(optimizer, schedules_, milestones)
    for name in ("StepLR", "LambdaLR", "OneCycleLR", "ReduceLROnPlateau"):
        with pytest.raises(TypeError, match=f"{name}: expected an Optimizer, got a int"):
            getattr(lr_scheduler, name)(3, 1)
    with pytest.raises(ValueError, match="Adagrad has no momentum or betas"):
        lr_scheduler.OneCycleLR(two_groups("Adagrad"), 0.1, total_steps=3)
    with pytest.raises(ValueError, match="the state differs in gamma, step_size"):
        lr_scheduler.LambdaLR(optimizer, per_epoch).load_state_dict(step.state_dict())
    single = optim.SGD([tensor([1.0])])
    with pytest.raises(ValueError, match="the state has 2 parameter groups, the optimizer 1"):
        lr_scheduler.StepLR(single, 1).load_state_dict(step.state_dict())
