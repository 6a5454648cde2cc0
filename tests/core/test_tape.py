"""The tape: sums of gradients, shared tensors, modes, what is kept and what is let go."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import Tensor
from gpunn import functional as F
from gpunn.tape import Node
from gpunn.tensor import record


def leaf(*values: float, device: str = "cpu") -> Any:
    return gpunn.tensor(list(values), dtype="float64", device=device, requires_grad=True)


def test_a_tensor_used_twice_sums_its_gradients(device: str) -> None:
    x = leaf(2.0, 3.0, device=device)
    (x * x + x).sum().backward()
    assert x.grad.tolist() == [5, 7]
    y = leaf(2.0, device=device)
    (y + y + y).backward()
    assert y.grad.tolist() == [3]


def test_diamond(device: str) -> None:
    """Two ways to the same node: it is passed once, when both gradients have arrived."""
    x = leaf(0.5, device=device)
    shared = x.exp()
    a, b = shared * 3, shared * shared
    visits: list[Any] = []
    watched = record("watch", a.data, (a,), lambda dout: (visits.append(dout), (dout,))[1])
    (watched + b + shared * watched).backward()
    e = np.exp(0.5)
    assert len(visits) == 1
    np.testing.assert_allclose(x.grad.numpy(), [3 * e + 2 * e**2 + 6 * e**2])


def test_each_node_is_used_once_however_many_ways_lead_to_it() -> None:
    """Forty doublings: 2**40 ways through the graph."""
    x = leaf(1.0)
    y = x
    for _ in range(40):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**40


def test_deep_chain() -> None:
    """No recursion: neither backward nor the release of the graph is limited by its depth."""
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y + 0.001
    y.backward()
    assert x.grad.item() == 1
    y = x
    for _ in range(50_000):
        y = y * 1.0
    del y
    gc.collect()


def test_backward_of_a_used_graph() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(
        RuntimeError, match=r"backward: the graph behind 'mul' was used already; .*retain_graph=True"
    ) as caught:
        y.backward()
    assert "\n" not in str(caught.value)
    assert x.grad.tolist() == [4], "a failed backward adds nothing"


def test_retain_graph() -> None:
    x = leaf(2.0)
    y = x**3
    for total in (12, 24):
        y.backward(retain_graph=True)
        assert x.grad.tolist() == [total]
    y.backward()
    assert x.grad.tolist() == [36]
    with pytest.raises(RuntimeError, match="used already"):
        y.backward()


def test_two_results_of_a_shared_part() -> None:
    x = leaf(2.0)
    shared = x * x
    one, two = shared * 3, shared * 5
    one.backward(retain_graph=True)
    two.backward()
    assert x.grad.tolist() == [32]


def test_gradients_accumulate_until_they_are_reset() -> None:
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    first = x.grad.numpy().copy()
    (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), first + 3)
    x.grad = None
    x.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_no_two_gradients_share_memory(device: str) -> None:
    """Clipping or scaling one leaf's gradient in place must not change another's, nor what the user passed."""
    a, b, c = leaf(1.0, 2.0, device=device), leaf(3.0, 4.0, device=device), leaf(5.0, 6.0, device=device)
    weights = np.array([1.0, 10.0])
    (a + b - c.reshape(2)).backward(weights)
    for tensor in (a, b, c):
        tensor.grad.data *= 2
    assert a.grad.tolist() == [2, 20]
    assert b.grad.tolist() == [2, 20]
    assert c.grad.tolist() == [-2, -20]
    assert weights.tolist() == [1, 10]


@pytest.mark.parametrize(
    "function",
    [Tensor.mean, Tensor.sum, lambda x: x.expand(3, 2).sum(), lambda x: x[0:2].sum(), lambda x: x.T.sum(),
     lambda x: F.cat([x, x]).sum(),
     lambda x: x.clone().sum(), lambda x: x.reshape(1, 2).mean(), lambda x: F.linear(x, gpunn.ones(3, 2, dtype="float64")).sum()],
)  # fmt: skip
def test_gradients_can_be_written_to(function: Any) -> None:
    """As clipping does."""
    x = leaf(1.0, 2.0)
    function(x).backward()
    before = x.grad.numpy().copy()
    x.grad.data *= 2
    np.testing.assert_array_equal(x.grad.numpy(), 2 * before)


def test_the_graph_is_let_go_after_backward() -> None:
    x = leaf(1.0, 2.0)
    y = x.exp()
    kept = weakref.ref(y)
    loss = (y * y).sum()
    node = loss.node
    del y
    loss.backward()
    del loss
    assert node.backward is None, "what it had saved is released at once"
    del node
    assert kept() is None
    assert x.grad is not None


def test_intermediate_tensors_get_no_gradient() -> None:
    x = leaf(1.0)
    y = x * 2
    (y * 3).backward()
    assert y.grad is None
    assert x.grad is not None
    assert x.is_leaf
    assert not y.is_leaf


def test_no_grad_as_a_context_and_as_a_decorator() -> None:
    x = leaf(1.0)
    assert gpunn.is_grad_enabled()
    with gpunn.no_grad():
        assert not gpunn.is_grad_enabled()
        y = x * 2
        with gpunn.enable_grad():
            z = x * 2
        with gpunn.set_grad_enabled(True):
            assert gpunn.is_grad_enabled()
        assert not gpunn.is_grad_enabled()
    assert not y.requires_grad
    assert y.node is None
    assert z.requires_grad

    @gpunn.no_grad()
    def double(tensor: Tensor) -> Tensor:
        """Twice."""
        return tensor * 2

    for _ in range(2):  # a decorator serves more than once
        assert not double(x).requires_grad
    assert double.__doc__ == "Twice."
    assert gpunn.is_grad_enabled()


def test_no_grad_ends_with_an_exception_and_belongs_to_a_thread() -> None:
    with pytest.raises(KeyError), gpunn.no_grad():
        raise KeyError
    assert gpunn.is_grad_enabled()
    found: list[bool] = []
    with gpunn.no_grad():
        other = threading.Thread(target=lambda: found.append(gpunn.is_grad_enabled()))
        other.start()
        other.join()
    assert found == [True]


def test_detach_cuts_the_tape_and_shares_the_array() -> None:
    x = leaf(2.0)
    y = x * x
    cut = y.detach()
    assert not cut.requires_grad
    assert cut.data is y.data
    (cut * x).backward()
    assert x.grad.tolist() == [4], "only the factor that was not cut"


def test_only_what_requires_gradients_is_on_the_tape() -> None:
    a, b = gpunn.tensor([1.0]), gpunn.tensor([2.0])
    assert (a * b).node is None
    b.requires_grad_()
    assert isinstance((a * b).node, Node)
    (a * b).backward()
    assert a.grad is None
    assert b.grad.tolist() == [1]


def test_what_cannot_be_differentiated() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="this tensor does not require gradients"):
        gpunn.tensor([1.0]).backward()
    with pytest.raises(RuntimeError, match=r"expected a tensor of one element, got shape \(2,\); pass gradient="):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"expected a gradient of shape \(2,\), got \(3,\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(TypeError, match="only floating-point tensors can require gradients, got int64"):
        gpunn.tensor([1]).requires_grad_()
    with pytest.raises(RuntimeError, match="requires_grad_\\(False\\) is for leaves"):
        (x * 2).requires_grad_(False)
    assert not (x > 1).requires_grad
    assert not x.argmax().requires_grad
    assert not x.long().requires_grad


def test_backward_of_a_leaf() -> None:
    x = leaf(3.0)
    x.backward()
    x.backward(gpunn.tensor([2.0]))
    assert x.grad.tolist() == [3]


def test_frozen_and_thawed() -> None:
    x = leaf(1.0).requires_grad_(False)
    assert not (x * 2).requires_grad
    assert (x.requires_grad_() * 2).requires_grad


def test_gradients_have_the_dtype_of_their_tensor() -> None:
    single = gpunn.tensor([1.0, 2.0], requires_grad=True)
    (single * gpunn.tensor([2.0, 3.0], dtype="float64")).sum().backward()
    assert single.grad.dtype == "float32"
    single.grad = None
    single.double().sum().backward()
    assert single.grad.dtype == "float32"


def test_an_error_in_backward_names_nothing_half_done() -> None:
    """A gradient that nobody passes on stops there, and the others go on."""
    x, y = leaf(1.0), leaf(2.0)
    blocked = record("stop", x.data * 2, (x,), lambda dout: (None,))
    (blocked + y).backward()
    assert x.grad is None
    assert y.grad.tolist() == [1]


def test_repr_of_a_node() -> None:
    assert "mul" in repr((leaf(1.0) * 2).node)
