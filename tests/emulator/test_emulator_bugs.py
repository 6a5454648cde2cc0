"""Each kind of bug is found, and the error's one line says what, where, who, and in which argument."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from emulator.broken_kernels import CASES, Case

from backends.emulator.error import EmulatorError
from backends.emulator.module import Module

FINE = 'extern "C" __global__ void fine(int* out) { __syncthreads(); out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1); }'


def launch(case: Case, order: int) -> str:
    module = Module(case.source, "bug.cu", order=order)
    with pytest.raises(EmulatorError) as caught:
        module.get_function("broken")(case.grid, case.block, case.arguments(), shared_mem=case.shared)
    return str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_error_tells_all(case: Case) -> None:
    message = launch(case, order=0)
    assert message.startswith("broken: ")
    assert "\n" not in message
    for part in case.expected():
        assert part in message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_found_in_every_order(case: Case) -> None:
    for order in (1, 2, 7):
        assert launch(case, order).startswith("broken: ")


def test_the_machine_works_after_an_error() -> None:
    fine = Module(FINE, "fine.cu").get_function("fine")
    for case in CASES:
        launch(case, order=0)
        out = np.zeros(64, np.int32)
        fine((1,), (64,), (out,))
        assert out.all(), f"after {case.name}"


def test_the_same_error_every_time() -> None:
    for order in (0, 1, 5):
        for case in CASES[::5]:
            assert launch(case, order) == launch(case, order)


CRASHES = {
    "a wild pointer": ("*(volatile int*)12345678901 = *x;", "crash: access to memory at address 0x2dfdc1c35"),
    "division by zero": ("*x = 77 / *x;", "crash: division by zero"),
    "endless recursion": ("*x = deep(*x);", "crash: a thread's local variables and calls need too much memory"),
}


@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_in_fast_mode(name: str) -> None:
    if name == "division by zero" and platform.machine() != "x86_64":
        pytest.skip("this processor's division by zero is 0")
    text, says = CRASHES[name]
    deep = "__device__ __noinline__ int deep(int n) { volatile char here[99]; here[n % 99] = 1; return deep(n + 1) + here[0]; }"
    source = f'{deep}\nextern "C" __global__ void broken(int* x) {{\n__syncthreads(); {text}\n}}'
    out = np.zeros(1, np.int32)
    broken = Module(source, "crash.cu", checked=False).get_function("broken")
    for _ in range(3):  # with all of the machine's stacks in use
        with pytest.raises(EmulatorError) as caught:
            broken((1,), (1024,), (out,))
        assert says in str(caught.value)
        assert f"crash.cu:{1 if 'deep' in text else 3}" in str(caught.value)
        assert "block (0,0,0) thread (0,0,0)" in str(caught.value)


def test_barriers_are_watched_in_fast_mode() -> None:
    found = 0
    for case in CASES:
        if any("barrier" in said or "shuffle" in said or "mask" in said for said in case.says):
            module = Module(case.source, "bug.cu", checked=False)
            with pytest.raises(EmulatorError, match=r"bug\.cu:\d+"):
                module.get_function("broken")(case.grid, case.block, case.arguments(), shared_mem=case.shared)
            found += 1
    assert found > 5
