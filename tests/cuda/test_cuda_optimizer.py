"""Optimizer steps on the emulator, many arrays in one launch, against the reference in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from cuda.kernel_cases import DTYPES, ORACLE, assert_close, numbers, rounded, wide

import backends
from backends.cuda import array_lists
from backends.cuda.array_lists import chunk_table
from backends.cuda.capture import Recording

SGD = {"lr": 0.1, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False, "first_step": False}
RMSPROP = {"lr": 0.05, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.0, "momentum": 0.0, "maximize": False}
ADAM = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 0.0, "decoupled": False, "step": 3,
        "maximize": False}  # fmt: skip
# name: (primitive, its lists of state where "average" is any number and "square" a positive one, options)
RULES: dict[str, tuple[str, tuple[str | None, ...], dict[str, Any]]] = {
    "sgd": ("sgd_", (None,), SGD | {"momentum": 0.0}),
    "sgd with weight decay, ascending": ("sgd_", (None,), SGD | {"momentum": 0.0, "weight_decay": 0.2, "maximize": True}),
    "momentum": ("sgd_", ("average",), SGD | {"momentum": 0.9, "dampening": 0.3}),
    "momentum, first step": ("sgd_", ("average",), SGD | {"momentum": 0.9, "dampening": 0.3, "first_step": True}),
    "nesterov": ("sgd_", ("average",), SGD | {"momentum": 0.8, "nesterov": True, "weight_decay": 0.2}),
    "adagrad": ("adagrad_", ("square",), {"lr": 0.3, "weight_decay": 0.1, "eps": 1e-4, "maximize": False}),
    "adagrad, ascending": ("adagrad_", ("square",), {"lr": 0.3, "weight_decay": 0.0, "eps": 1e-4, "maximize": True}),
    "rmsprop": ("rmsprop_", ("square", None, None), RMSPROP),
    "rmsprop with momentum": ("rmsprop_", ("square", "average", None), RMSPROP | {"momentum": 0.7, "weight_decay": 0.1}),
    "rmsprop, centered": ("rmsprop_", ("square", None, "average"), RMSPROP | {"maximize": True}),
    "rmsprop, centered, with momentum": ("rmsprop_", ("square", "average", "average"), RMSPROP | {"momentum": 0.7}),
    "adam": ("adam_", ("average", "square", None), ADAM | {"weight_decay": 0.1}),
    "adam, first step": ("adam_", ("average", "square", None), ADAM | {"step": 1, "maximize": True}),
    "adamw": ("adam_", ("average", "square", None), ADAM | {"weight_decay": 0.3, "decoupled": True}),
    "amsgrad": ("adam_", ("average", "square", "square"), ADAM),
}  # fmt: skip
CHUNK = 512
# Nothing, one, around a pack of each dtype, a warp, a block, a chunk and two.
SIZES = (0, 1, 3, 5, 7, 9, 31, 32, 33, 255, 257, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1)
Lists = list[Any]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_lists, "CHUNK", CHUNK)


def lists_for(rule: str, shapes: Any, dtype: str) -> Lists:
    """Parameters, gradients and the lists of state (None where the rule has none), as the primitive takes them."""

    def arrays(kind: str | None, seed: int) -> list[np.ndarray] | None:
        if kind is None:
            return None
        values = [numbers(*np.atleast_1d(shape), seed=seed + i) for i, shape in enumerate(shapes)]
        # Greater than the square of the average, as it is in training: the variance is their difference.
        values = [0.3 * v if kind == "average" else 1 + np.abs(v) if kind == "square" else v for v in values]
        return [rounded(v, dtype) for v in values]

    kinds = ("parameter", "gradient", *RULES[rule][1])
    return [arrays(kind, 100 * i) for i, kind in enumerate(kinds)]


def copied(lists: Lists, convert: Any = np.copy) -> Lists:
    return [None if members is None else [convert(member) for member in members] for members in lists]


def step(backend: Any, rule: str, lists: Lists, **changed: Any) -> None:
    name, _, options = RULES[rule]
    with backend.scope():
        getattr(backend, name)(*lists, **(options | changed))


def assert_lists_close(found: Lists, oracle: Lists, terms: int, what: str) -> None:
    for number, (members, wanted) in enumerate(zip(found, oracle, strict=True)):
        for place, array in enumerate(members or ()):
            assert_close(array, wanted[place], terms=terms, what=f"{what}, list {number}, place {place}")


def compare(backend: Any, rule: str, lists: Lists, what: str = "") -> None:
    """One step in place against the oracle's on the very same numbers."""
    oracle = copied(lists, wide)
    step(ORACLE, rule, oracle)
    step(backend, rule, lists)
    assert_lists_close(lists, oracle, 4, f"{rule} {what}")


@contextmanager
def launches_of(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """What is launched: (kernel, dtype, grid, arguments that are no arrays)."""
    seen: list[tuple[Any, ...]] = []
    launch = type(backend).launch

    def spy(self: Any, file: str, kernel: str, dtype: Any, grid: Any, block: Any, arguments: Any, **more: Any) -> None:
        seen.append((kernel, dtype.name, grid, tuple(a for a in arguments if not hasattr(a, "dtype"))))
        launch(self, file, kernel, dtype, grid, block, arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(type(backend), "launch", spy)
        yield seen


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tails(emulated: Any, rule: str, dtype: str) -> None:
    compare(emulated, rule, lists_for(rule, SIZES, dtype), dtype)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_steps(emulated: Any, rule: str, dtype: str) -> None:
    """The whole way from a fresh state on stays as near to float64 as ten steps of rounding allow, the state too."""
    lists = lists_for(rule, (5, 33, (4, 9)), dtype)
    lists = [*lists[:2], *copied(lists[2:], np.zeros_like)]
    oracle = copied(lists, wide)
    for number in range(1, 11):
        lists[1] = [rounded(numbers(*p.shape, seed=1000 * number), dtype) for p in lists[0]]
        oracle[1] = [wide(gradient) for gradient in lists[1]]
        changed = {"step": number} if "step" in RULES[rule][2] else {"lr": 0.1 / number}
        step(emulated, rule, lists, **changed)
        step(ORACLE, rule, oracle, **changed)
    assert_lists_close(lists, oracle, 10, rule)


@pytest.mark.parametrize("rule", RULES)
def test_float32_is_within_a_few_roundings_of_the_plain_code(emulated: Any, rule: str) -> None:
    lists = lists_for(rule, (257,), "float32")
    plain = copied(lists)
    step(emulated, rule, lists)
    step(backends.get("reference"), rule, plain)
    np.testing.assert_array_max_ulp(lists[0][0] + np.float32(8), plain[0][0] + np.float32(8), maxulp=4)


@pytest.mark.parametrize("rule", ["nesterov", "amsgrad"])
def test_in_every_order(in_every_order: Any, rule: str) -> None:
    compare(in_every_order, rule, lists_for(rule, (1, 300, 1025), "float32"))


@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_it_repeats_bit_for_bit(emulated: Any, rule: str) -> None:
    first = lists_for(rule, (1, 300, 1025), "float16")
    second = copied(first)
    step(emulated, rule, first)
    step(emulated, rule, second)
    for one, other in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one or (), other or (), strict=True))


@pytest.mark.parametrize("rule", ["momentum", "adamw"])
def test_nothing_to_do(emulated: Any, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with launches_of(emulated, monkeypatch) as launches:
        compare(emulated, rule, lists_for(rule, (), "float32"))
        compare(emulated, rule, lists_for(rule, (0, (3, 0)), "float32"))
    assert launches == []


def test_a_thousand_tiny_arrays_and_a_large_one_are_one_launch(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # chunks as they are
    lists = lists_for("sgd", (*(1 + i % 3 for i in range(1000)), 2 * array_lists.CHUNK + 1), "float32")
    with launches_of(emulated, monkeypatch) as launches:
        compare(emulated, "sgd", lists)
    assert [(kernel, grid) for kernel, _, grid, _ in launches] == [("sgd", 1003)]


def test_a_launch_for_each_dtype(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [lists_for("adam", (3, 40), dtype) for dtype in DTYPES]
    lists = [None if part[0] is None else [a for members in part for a in members] for part in zip(*parts, strict=True)]
    with launches_of(emulated, monkeypatch) as launches:
        compare(emulated, "adam", lists)
    assert [dtype for _, dtype, _, _ in launches] == list(DTYPES)


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def with_gaps(array: np.ndarray) -> np.ndarray:
    """An equal array, every other element of a larger one."""
    whole = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    whole[..., ::2] = array
    return whole[..., ::2]


def unaligned(array: np.ndarray) -> np.ndarray:
    whole = np.zeros(array.size + 1, array.dtype)
    whole[1:] = array.reshape(-1)
    return whole[1:].reshape(array.shape)


PLACES = {"as it is": np.copy, "channels last": channels_last, "gaps": with_gaps, "unaligned": unaligned,
          "transposed": lambda a: np.ascontiguousarray(a.T).T}  # fmt: skip


@pytest.mark.parametrize("rule", ["nesterov", "amsgrad"])
@pytest.mark.parametrize("of_parameter", PLACES)
@pytest.mark.parametrize("of_gradient", PLACES)
def test_any_place_in_memory(emulated: Any, rule: str, of_parameter: str, of_gradient: str) -> None:
    """The parameter and its state are changed where they lie, whatever the order of the gradient."""
    lists = lists_for(rule, ((6, 5, 3, 3), (2, 3, 4, 5)), "float32")
    lists = [*copied(lists[:1], PLACES[of_parameter]), *copied(lists[1:2], PLACES[of_gradient]),
             *copied(lists[2:], PLACES[of_parameter])]  # fmt: skip
    compare(emulated, rule, lists)


def test_state_in_another_order_than_its_parameter(emulated: Any) -> None:
    lists = lists_for("adam", ((6, 5, 3, 3),), "float32")
    lists[2] = [channels_last(lists[2][0])]
    compare(emulated, "adam", lists)


def test_what_lies_between_the_elements_of_a_view_is_left_alone(emulated: Any) -> None:
    whole = np.arange(20, dtype="float32")
    lists: Lists = [[whole[::2]], [np.ones(10, "float32")], None]
    step(emulated, "sgd", lists, lr=1.0)
    np.testing.assert_array_equal(whole[1::2], np.arange(1, 20, 2))
    np.testing.assert_array_equal(whole[::2], np.arange(0, 20, 2) - 1)


def test_a_gradient_spread_from_one_number(emulated: Any) -> None:
    lists = lists_for("momentum", ((4, 33),), "float32")
    lists[1] = [np.broadcast_to(np.float32(0.5), (4, 33))]
    compare(emulated, "momentum", lists)


def test_dtypes_that_differ_are_left_to_array_code(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = lists_for("adagrad", (7, 9), "float64")
    lists[1][1] = lists[1][1].astype("float32")
    with launches_of(emulated, monkeypatch) as launches:
        compare(emulated, "adagrad", lists)
    assert len(launches) == 1


def test_nan_and_infinities_go_where_the_rule_takes_them(emulated: Any) -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0], "float32")
    for rule in RULES:
        for which in range(len(RULES[rule][1]) + 2):
            lists = lists_for(rule, (5,), "float32")
            if lists[which] is not None:
                lists[which] = [np.abs(special) if which > 2 else special.copy()]
                with np.errstate(all="ignore"):
                    compare(emulated, rule, lists, f"list {which}")


def test_constants_of_a_launch_do_not_change_from_step_to_step(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded launch keeps its arguments: what a schedule changes has to be in memory."""
    for rule, changes in {
        "nesterov": {"lr": 0.2},
        "adagrad": {"lr": 0.2},
        "rmsprop": {"lr": 0.2},
        "adamw": {"lr": 0.2, "step": 7},
    }.items():
        lists = lists_for(rule, (5,), "float32")
        changed = copied(lists)
        with launches_of(emulated, monkeypatch) as launches:
            step(emulated, rule, lists)
            step(emulated, rule, changed, **changes)
        assert launches[0] == launches[1]
        assert not np.array_equal(lists[0][0], changed[0][0])


def test_a_recorded_step_follows_a_schedule(emulated: Any) -> None:
    lists = lists_for("adamw", (5, 700), "float32")
    oracle = copied(lists, wide)
    recording = Recording(emulated)

    def work() -> None:
        with recording.host_half():
            step(emulated, "adamw", lists)

    recording.capture(work, first_stream=0)
    recording.launch()
    step(ORACLE, "adamw", oracle)
    later = {"lr": 0.5, "step": 4}
    assert recording.refill(lambda: step(emulated, "adamw", lists, **later))
    recording.launch()
    step(ORACLE, "adamw", oracle, **later)
    assert_lists_close(lists, oracle, 8, "recorded")
    assert not recording.refill(lambda: step(emulated, "adamw", lists, beta1=0.5))


def test_tables_are_uploaded_once(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = []
    upload = type(emulated.runtime).pointer_table

    def spy(self: Any, arrays: Any) -> Any:
        uploads.append(len(arrays))
        return upload(self, arrays)

    monkeypatch.setattr(type(emulated.runtime), "pointer_table", spy)
    lists = lists_for("adam", (5, 700), "float32")
    for _ in range(3):
        step(emulated, "adam", lists)
    assert uploads == [8]
    lists[1][1] = lists[1][1].copy()  # a gradient that has moved
    compare(emulated, "adam", lists)
    assert uploads == [8, 8]
    # The same places with other lengths are other tables.
    compare(emulated, "adam", [None if members is None else [a[:4] for a in members] for members in lists])
    for _ in range(array_lists.MOST_TABLES + 2):
        step(emulated, "sgd", lists_for("sgd", (3,), "float32"))
    assert len(emulated._kept_tables) <= array_lists.MOST_TABLES


def test_the_chunks_cover_every_element_once() -> None:
    table = np.reshape(chunk_table(SIZES[1:], 32), (-1, 3))
    covered = [np.zeros(size, int) for size in SIZES[1:]]
    for array, first, count in table:
        assert 1 <= count <= 32
        covered[array][first : first + count] += 1
    assert all((counts == 1).all() for counts in covered)
    assert sum(count for _, _, count in table) == sum(SIZES)
