"""Hogwild: processes without locks on shared parameters."""

from __future__ import annotations

import multiprocessing
import os

import hogwild_work
import numpy as np
import pytest

import backends
import gpunn
from gpunn import optim
from gpunn.tensor import tensor


def leaf(values, dtype="float64", device="cpu"):
    return tensor(np.asarray(values), dtype=dtype, device=device, requires_grad=True)


def test_every_write_arrives_and_every_process_draws_its_own_numbers():
    """Where no two processes write to the same element, nothing is lost; threads of the parent stay as they were."""
    counts, draws = leaf(np.full(10, 0.5)), leaf(np.zeros((3, 4)), "float32")
    before = dict(os.environ)
    optim.hogwild(hogwild_work.count, [counts, draws], processes=3, seed=5)
    assert dict(os.environ) == before
    np.testing.assert_array_equal(counts.numpy(), 0.5 + hogwild_work.TURNS)
    assert len(set(draws.numpy().reshape(-1))) == 12
    gpunn.manual_seed(5)
    np.testing.assert_array_equal(draws.numpy()[0], gpunn.rand(4).numpy())


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_one_process_is_a_loop_bit_for_bit(device):
    alone = [leaf([0.5, -1.0, 2.0], device=device), leaf(0.25, device=device)]
    shared = [leaf([0.5, -1.0, 2.0], device=device), leaf(0.25, device=device)]
    hogwild_work.dense_descent(alone, 0)
    optim.hogwild(hogwild_work.dense_descent, shared, processes=1)
    assert alone[0].tolist() != [0.5, -1.0, 2.0]
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_sparse_logistic_regression_comes_near_its_minimum():
    """The loss of two processes, each with half of the steps, against that of Newton's method; steps of a constant size
    stop at their noise, which is a few percent here with one process as well."""
    indices, values, labels = hogwild_work.sparse_rows()
    inputs = np.zeros((len(labels), 50))
    np.put_along_axis(inputs, indices, values, axis=1)

    def loss(w):
        margins = (2 * labels - 1) * (inputs @ w)
        # Each step shrinks the weights of its example: each weight by 0.01 times its share of the examples.
        penalty = 0.01 * (w**2 * (inputs != 0).mean(axis=0)).sum() / 2
        return np.logaddexp(0, -margins).mean() + penalty

    best = np.zeros(50)
    decay = np.diag(0.01 * (inputs != 0).mean(axis=0))
    for _ in range(20):
        p = 1 / (1 + np.exp(-inputs @ best))
        curvature = inputs.T @ ((p * (1 - p))[:, None] * inputs) / len(labels) + decay
        best -= np.linalg.solve(curvature, inputs.T @ (p - labels) / len(labels) + decay @ best)
    weights = leaf(np.zeros(50))
    optim.hogwild(hogwild_work.sparse_descent, [weights], processes=2, arguments=(2, 60))
    assert loss(best) < loss(weights.numpy()) < 1.15 * loss(best)
    assert loss(weights.numpy()) < 0.6 * loss(np.zeros(50))


def test_a_process_that_fails_is_named_and_nothing_changes(capfd):
    weights = leaf([1.0])
    with pytest.raises(RuntimeError, match="hogwild: process 1 ended with exit code 1; its error stands"):
        optim.hogwild(hogwild_work.fail, [weights], processes=2)
    assert "KeyError: 'of process 1'" in capfd.readouterr().err
    assert weights.tolist() == [1.0]


def test_a_process_that_fails_between_two_looks_is_not_overlooked(monkeypatch):
    class Process:
        """Number 0 has ended well; number 1 still runs at the first look, and has failed at the second."""

        sentinel = None

        def __init__(self, target, args, daemon):
            self.looks = [0] if args[1] == 0 else [None, 1]

        def start(self):
            pass

        def is_alive(self):
            return False

        @property
        def exitcode(self):
            return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    monkeypatch.setattr(multiprocessing.context.SpawnContext, "Process", Process)
    monkeypatch.setattr("multiprocessing.connection.wait", lambda sentinels: None)
    with pytest.raises(RuntimeError, match="hogwild: process 1 ended with exit code 1"):
        optim.hogwild(hogwild_work.fail, [leaf([1.0])], processes=2)


def test_what_is_refused():
    weights = leaf([1.0])
    for arguments, error, message in [
        ((hogwild_work.fail, []), ValueError, "got no parameters"),
        ((hogwild_work.fail, [weights], 0), ValueError, "expected processes to be a positive integer, got 0"),
        ((lambda shared, number: None, [weights]), TypeError, "expected work to be a function of a module"),
        ((3, [weights]), TypeError, "got 3"),
    ]:
        with pytest.raises(error, match=message):
            optim.hogwild(*arguments)


def test_parameters_on_another_device_are_refused():
    if why := backends.why_not("cuda-emulated"):
        pytest.skip(why)
    with pytest.raises(ValueError, match=r"parameters on the host, got one on 'cuda-emulated'; use .to\('cpu'\)"):
        optim.hogwild(hogwild_work.fail, [leaf([1.0], device="cuda-emulated")])
