"""Samplers: classes in balance, large errors first and what outliers make of that; and the loader that asks them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import functional as F
from gpunn import nn, optim
from gpunn.data import BalancedSampler, DataLoader, Dataset, LargestErrorSampler

LABELS = np.array([0] * 50 + [1] * 7 + [2] * 3)


def dataset(labels: np.ndarray = LABELS) -> Dataset:
    """Image i shows the number i."""
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    return Dataset(images, labels, [str(label) for label in range(labels.max() + 1)])


# Classes in balance


def test_every_round_has_each_class_once() -> None:
    sampler = BalancedSampler(LABELS)
    order = sampler(0, 0)
    assert order.dtype == np.int64
    assert len(order) == len(sampler) == 50 * 3
    np.testing.assert_array_equal(np.sort(LABELS[order].reshape(-1, 3), axis=1), np.tile([0, 1, 2], (50, 1)))
    assert len({tuple(row) for row in LABELS[order].reshape(-1, 3)}) == 6  # in all orders
    assert set(order) == set(range(60))  # each example is seen


@pytest.mark.parametrize("batch_size", [3, 12, 5, 7, 10])
def test_balanced_batches(batch_size: int) -> None:
    loader = DataLoader(dataset(), batch_size, sampler=BalancedSampler(LABELS), drop_last=True)
    for _, labels in loader:
        counts = np.bincount(labels, minlength=3)
        assert counts.max() - counts.min() <= (0 if batch_size % 3 == 0 else 2)


def test_an_example_comes_again_only_when_all_of_its_class_came() -> None:
    """Also from one epoch to the next."""
    sampler = BalancedSampler(LABELS, rounds=5)
    assert len(sampler) == 15
    order = np.concatenate([sampler(3, epoch) for epoch in range(21)])  # 105 of each class
    for label, count in ((0, 50), (1, 7), (2, 3)):
        own = order[LABELS[order] == label]
        members = set(np.flatnonzero(np.equal(LABELS, label)))
        for first in range(0, len(own) - count + 1, count):
            assert set(own[first : first + count]) == members
    passes = order[LABELS[order] == 1].reshape(-1, 7)
    assert len({tuple(row) for row in passes}) == 15  # each pass in an order of its own


def test_balanced_order_depends_on_seed_and_epoch_alone() -> None:
    sampler, again = BalancedSampler(LABELS), BalancedSampler(LABELS)
    later = sampler(1, 4)
    np.testing.assert_array_equal(again(1, 4), later)
    assert (sampler(2, 4) != later).any()
    assert (sampler(1, 5) != later).any()


def test_labels_need_not_count_from_zero() -> None:
    labels = np.array([7, 7, -2, 7])
    assert np.bincount(labels[BalancedSampler(labels)(0, 0)] == 7).tolist() == [3, 3]


# Large errors first


def test_the_largest_errors_by_hand() -> None:
    sampler = LargestErrorSampler(6)
    assert len(sampler) == 3
    sampler.update(np.array([0.1, 3.0, 0.0, 2.0, np.inf, 1.0]))
    orders = {tuple(sampler(0, epoch)) for epoch in range(40)}
    assert {frozenset(order) for order in orders} == {frozenset({1, 3, 4})}
    assert len(orders) == 6  # in random order
    sampler.update(np.array([9.0, 0, 0, 0, 0, 8.0]))
    chosen = [set(sampler(0, epoch)) for epoch in range(40)]
    assert all({0, 5} < each for each in chosen)
    assert set().union(*chosen) == set(range(6))  # of equal losses chance takes one


def test_before_it_knows_losses_it_shuffles() -> None:
    whole, half = LargestErrorSampler(40, share=1.0), LargestErrorSampler(40, share=0.5)
    np.testing.assert_array_equal(np.sort(whole(0, 0)), np.arange(40))
    assert len(np.unique(half(0, 0))) == 20
    assert (whole(0, 0) != whole(0, 1)).any()
    assert len(LargestErrorSampler(10, share=0.01)) == 1


def with_wrong_labels(device: str, count: int = 300, wrong: int = 30) -> tuple[gpunn.Tensor, np.ndarray, np.ndarray]:
    """Two clouds with a gap between them; the labels of the first examples are wrong."""
    numbers = np.random.default_rng(5)
    truth = numbers.integers(0, 2, count)
    x = numbers.normal(size=(count, 2)) * 0.4 + np.where(truth, 1.0, -1.0)[:, np.newaxis]
    given = truth.copy()
    given[:wrong] = 1 - given[:wrong]
    return gpunn.tensor(x.astype(np.float32), device=device), truth, given


def learn(x: gpunn.Tensor, labels: np.ndarray, sampler: LargestErrorSampler, epochs: int) -> np.ndarray:
    """Logistic regression, one step an epoch on what the sampler shows; returns the scores of all examples."""
    net = nn.Linear(2, 2).to(x.device)
    optimizer = optim.SGD(net.parameters(), lr=0.5)
    for epoch in range(epochs):
        with gpunn.no_grad():
            sampler.update(F.cross_entropy(net(x), labels, reduction="none").numpy())
        chosen = sampler(0, epoch)
        optimizer.zero_grad()
        F.cross_entropy(net(x[chosen]), labels[chosen]).backward()
        optimizer.step()
    with gpunn.no_grad():
        return net(x).numpy()


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_the_danger_of_outliers(device: str) -> None:
    """A tenth of the labels is wrong: with all examples the others are learned well, with the worst tenth they are not."""
    x, truth, given = with_wrong_labels(device)
    everything, worst = LargestErrorSampler(300, share=1.0), LargestErrorSampler(300, share=0.1)
    right_of_all = (learn(x, given, everything, 60).argmax(1) == truth).mean()
    right_of_worst = (learn(x, given, worst, 60).argmax(1) == truth).mean()
    assert right_of_all > 0.97
    assert right_of_worst < right_of_all - 0.1
    # Of what has the largest errors after a fit that is good nearly all is wrong.
    assert everything.losses is not None
    worst.update(everything.losses)
    assert (worst(0, 0) < 30).mean() > 0.9


# The loader


def test_the_loader_shows_what_the_sampler_chooses() -> None:
    class Backwards(LargestErrorSampler):
        def __call__(self, seed: int, epoch: int) -> np.ndarray:
            return np.arange(seed, seed + 4)[::-1] + epoch

    loader = DataLoader(dataset(), 3, seed=10, sampler=Backwards(4, share=1.0))
    assert len(loader) == 2
    epochs = [[images.reshape(-1).tolist() for images, _ in loader] for _ in range(2)]
    assert epochs == [[[13, 12, 11], [10]], [[14, 13, 12], [11]]]
    assert len(DataLoader(dataset(), 3, sampler=Backwards(4, share=1.0), drop_last=True)) == 1


def samplers() -> list[Any]:
    known = LargestErrorSampler(60, share=0.5)
    known.update(np.random.default_rng(0).exponential(size=60))
    return [BalancedSampler(LABELS), LargestErrorSampler(60, share=0.5), known]


@pytest.mark.parametrize("number", range(3))
def test_resumed_in_the_middle_of_an_epoch(number: int) -> None:
    whole = DataLoader(dataset(), 4, sampler=samplers()[number])
    for _ in whole:
        pass
    batches = iter(whole)
    for _ in range(3):
        next(batches)
    state = json.loads(json.dumps(whole.state_dict()))
    rest = [images.tolist() for images, _ in batches]
    fresh = [BalancedSampler(LABELS), LargestErrorSampler(60, share=0.5), LargestErrorSampler(60, share=0.5)][number]
    resumed = DataLoader(dataset(), 4, sampler=fresh)
    resumed.load_state_dict(state)
    assert [images.tolist() for images, _ in resumed] == rest


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BalancedSampler(np.zeros((2, 2), int)), r"integer labels \(N,\), N >= 1, got int64 of shape \(2, 2\)"),
        (lambda: BalancedSampler(np.zeros(0, int)), r"N >= 1, got int64 of shape \(0,\)"),
        (lambda: BalancedSampler(np.zeros(3)), "integer labels .* got float64"),
        (lambda: BalancedSampler(LABELS, rounds=0), "rounds >= 1, got 0"),
        (lambda: BalancedSampler(LABELS, rounds=1.5), "rounds >= 1, got 1.5"),
        (lambda: LargestErrorSampler(3).update(["a", "b", "c"]), "losses as real numbers, got <U1"),
        (lambda: DataLoader(dataset(), sampler="balanced"), "a sampler such as BalancedSampler, got 'balanced'"),
        (
            lambda: next(iter(DataLoader(dataset().subset(np.arange(3)), sampler=LargestErrorSampler(60)))),
            "the sampler chose image .* of 3; make it for this data set",
        ),
        (lambda: LargestErrorSampler(0), "count >= 1, got 0"),
        (lambda: LargestErrorSampler(3, share=0.0), "0 < share <= 1, got 0.0"),
        (lambda: LargestErrorSampler(3).update(np.zeros(2)), r"losses of shape \(3,\) without NaN, got shape \(2,\)"),
        (lambda: LargestErrorSampler(1).update(np.array([np.nan])), r"got shape \(1,\), with NaN"),
        (
            lambda: DataLoader(dataset(), shuffle=True, sampler=BalancedSampler(LABELS)),
            "shuffle or a sampler, got both",
        ),
        (
            lambda: DataLoader(dataset(), 8, drop_last=True, sampler=LargestErrorSampler(60, 0.1)),
            "6 images make no batch of 8",
        ),
        (
            lambda: DataLoader(dataset(), 8, sampler=BalancedSampler(LABELS)).load_state_dict(
                DataLoader(dataset(), 8, sampler=BalancedSampler(LABELS, rounds=4)).state_dict()
            ),
            "the state has rounds=4, this sampler rounds=50",
        ),
        (
            lambda: DataLoader(dataset(), 8, sampler=BalancedSampler(LABELS)).load_state_dict(
                DataLoader(dataset(), 8).state_dict()
            ),
            "the state lacks sampler",
        ),
        (
            lambda: DataLoader(dataset(), 8).load_state_dict(
                DataLoader(dataset(), 8, sampler=BalancedSampler(LABELS)).state_dict()
            ),
            "of a loader with a sampler, this one has none",
        ),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
