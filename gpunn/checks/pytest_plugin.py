"""A pytest plugin, loaded where gpunn is installed: ``every_device`` runs a test once on every device at hand.

::

    @pytest.mark.every_device
    def test_my_layer(device):                 # "reference", "cpu", and "cuda:0" or "cuda-emulated" where it can be had
        layer = MyLayer().to(device)

    @pytest.mark.every_device("cpu", "cuda")   # these only; one that cannot be had is skipped, with the reason
    def test_on_two(device): ...

A test without the mark is left alone, and so is any fixture of the name ``device``.
"""

from __future__ import annotations

from typing import Any

import pytest

MARK = "every_device"
ARGUMENT = "device"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARK}(*names): run the test, which takes the argument `{ARGUMENT}`, on every gpunn device at hand, or on those named",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker(MARK)
    if mark is None:
        return
    if ARGUMENT not in metafunc.fixturenames:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: a test marked {MARK} takes the name of the device; give it an argument `{ARGUMENT}`"
        )
    metafunc.parametrize(ARGUMENT, _parameters(mark.args))


def _parameters(names: tuple[str, ...]) -> list[Any]:
    import backends  # when a test asks for it, so that other projects' runs do not pay for it

    if not names:
        order = {"reference": 0, "cpu": 1}
        return sorted(backends.available(), key=lambda name: (order.get(name, 2), name))
    parameters = []
    for name in names:
        missing = backends.why_not(name)
        marks = [] if missing is None else [pytest.mark.skip(reason=missing)]
        parameters.append(pytest.param(name, marks=marks))
    return parameters
