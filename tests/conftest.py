"""The devices at hand, as the fixture ``device``; and the last line of a run, which says what was tested where."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import backends
from gpunn.random import default_generator

# The oracle first, then what computes like it: a failure on the first of them explains those on the others.
ORDER = {"reference": 0, "cpu": 1}
DEVICES = sorted(backends.available(), key=lambda name: (ORDER.get(name, 2), name))
KINDS = ("reference", "cpu", "cuda", "cuda-emulated")

_tested: set[str] = set()


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """The name of a device; a test that takes it runs on every device at hand."""
    request.node.user_properties.append(("device", request.param))
    return str(request.param)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> Iterator[None]:
    """Every test starts from seed 0, and leaves the default generator as it found it."""
    state = default_generator.get_state()
    default_generator.manual_seed(0)
    yield
    default_generator.set_state(state)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.outcome != "skipped":
        _tested.update(str(value) for name, value in report.user_properties if name == "device")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Pytest's own last line is written when the session finishes; this hook comes after it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not config.option.collectonly:
        reporter.write_line(devices_line(_tested))


def devices_line(tested: set[str]) -> str:
    """Which devices were tested, which were not, and why, in one line."""
    names = [name for name in DEVICES if name in tested]
    parts = [f"devices tested: {', '.join(names) or 'none (no test of this run asks for one)'}"]
    unused = [name for name in DEVICES if name not in tested]
    if unused and names:
        parts.append(f"not asked for: {', '.join(unused)}")
    missing = [
        (kind, backends.why_not(kind)) for kind in KINDS if not any(d.partition(":")[0] == kind for d in DEVICES)
    ]
    if missing:
        parts.append("not there: " + ", ".join(f"{kind} ({reason})" for kind, reason in missing))
    return "; ".join(parts)
