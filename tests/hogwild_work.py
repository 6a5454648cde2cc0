"""What the processes of the tests of `hogwild` do: in a module of its own, since they import it."""

from __future__ import annotations

import numpy as np

import gpunn
from gpunn import functional as F
from gpunn import optim

TURNS = 300


def count(shared, number):
    """Add to elements that no other process writes to."""
    counts, draws = shared
    for _ in range(TURNS):
        counts.data[number::3] += 1
    draws.data[number] = gpunn.rand(4).numpy()


def fail(shared, number):
    if number == 1:
        raise KeyError("of process 1")


def sparse_rows(examples=300, features=50, active=5):
    """Each example has a few features; labels of a logistic model: (indices, values, labels)."""
    numbers = np.random.default_rng(1)
    indices = np.stack([numbers.choice(features, active, replace=False) for _ in range(examples)])
    values = numbers.standard_normal((examples, active))
    weights = 2 * numbers.standard_normal(features)
    labels = (weights[indices] * values).sum(axis=1) + numbers.logistic(size=examples) > 0
    return indices, values, labels.astype(float)


def sparse_descent(shared, number, processes, epochs):
    """Logistic regression, an example at a time; each step writes to the few weights of its example alone."""
    (weights,) = shared
    indices, values, labels = sparse_rows()
    numbers = np.random.default_rng([number, 7])
    for _ in range(epochs * len(labels) // processes):
        row = numbers.integers(len(labels))
        margin = (1 - 2 * labels[row]) * (weights.data[indices[row]] @ values[row])
        slope = (1 - 2 * labels[row]) / (1 + np.exp(-margin)) * values[row]
        weights.data[indices[row]] -= 0.1 * (slope + 0.01 * weights.data[indices[row]])


def dense_descent(shared, number):
    """With an optimizer of gpunn, on a loss of gpunn."""
    weights, bias = shared
    optimizer = optim.SGD(shared, lr=0.1, momentum=0.5)
    inputs = np.random.default_rng(3).standard_normal((20, 3))
    x, y = (gpunn.tensor(v, device=bias.device) for v in (inputs, (inputs[:, 0] > 0.2).astype(float)))
    for start in range(0, 20, 5):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(x[start : start + 5] @ weights + bias, y[start : start + 5]).backward()
        optimizer.step()
