"""The house rules: who may import whom, what stays lazy, where names may not stand, what is documented."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gpunn import functional, nn, optim

ROOT = Path(__file__).parents[1]

# The floors, from the ground up. Packages that stand in one entry may import each other; those that share a floor in two
# entries may not.
FLOORS: list[list[set[str]]] = [
    [{"backends"}],
    [{f"gpunn.{name}" for name in ("version", "errors", "dtypes", "random", "device", "tape", "mixed_precision",
                                   "promotion", "operators", "tensor", "graph", "graph_drawing",
                                   "creation", "functional", "init")}],
    [{"gpunn.nn"}, {"gpunn.optim"}, {"gpunn.data"}],
    [{"gpunn"}],  # the package itself: the shelf from which the user takes floors 2 and 3; the upper ones it loads lazily
    [{"gpunn.models"}, {"gpunn.classic"}, {"gpunn.training"}, {"gpunn.checks"}],
    [{"gpunn.cli", "gpunn.__main__"}],
]  # fmt: skip
# What `import gpunn` leaves alone: each is imported by the function that needs it.
LAZY = [
    "PIL",
    "safetensors",
    "tqdm",
    "pooch",
    "matplotlib",
    "cupy",
    "cudnn",
    "numba",
    "llvmlite",
    "ml_dtypes",
    "torch",
    "tomli_w",
    "pynvml",
    "asyncio",
    "urllib.request",
]


def sources() -> list[Path]:
    return sorted(path for package in ("backends", "gpunn") for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sources()}


def statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports, those within functions too; not those for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        yield from statements(node)


@cache
def imports(name: str) -> frozenset[str]:
    """The modules that module ``name`` imports: a submodule rather than its package where one is meant."""
    path, found = modules()[name], set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = node.module or ""
        if node.level:
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            found.add(submodule if submodule in modules() else base)
    return frozenset(found)


def place(name: str) -> tuple[int, int]:
    """The floor of a module, and which entry there: that of the longest name that it belongs to."""
    entries = [
        (len(member), floor, number)
        for floor, rooms in enumerate(FLOORS)
        for number, room in enumerate(rooms)
        for member in room
        if name == member or (name.startswith(f"{member}.") and member != "gpunn")
    ]
    assert entries, f"{name} stands on no floor; add it to FLOORS"
    return max(entries)[1:]


@pytest.mark.parametrize("name", modules())
def test_imports_point_down_the_floors(name: str) -> None:
    floor, room = place(name)
    for imported in imports(name):
        if imported.split(".")[0] in ("backends", "gpunn"):
            assert imported in modules(), f"{name} imports {imported}, which is not there"
            other_floor, other_room = place(imported)
            allowed = other_floor < floor or (other_floor, other_room) == (floor, room)
            assert allowed, f"{name} (floor {floor + 1}) imports {imported} (floor {other_floor + 1})"


def test_no_circles() -> None:
    finished: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in finished:
            for imported in sorted(imports(name) & modules().keys()):
                visit(imported, [*way, name])
            finished.add(name)

    for name in modules():
        visit(name, [])


def outside(name: str) -> set[str]:
    """The packages from elsewhere that a module imports."""
    return {imported.split(".")[0] for imported in imports(name)}


def test_cupy_is_imported_in_one_place() -> None:
    assert [name for name in modules() if "cupy" in outside(name)] == ["backends.cuda.probe"]


def test_layers_do_not_name_an_array_module() -> None:
    """They speak to the backend of the arrays they are given."""
    for name in modules():
        if name.startswith(("gpunn.nn", "gpunn.functional", "gpunn.optim")):
            assert not outside(name) & {"numpy", "cupy", "numba", "scipy"}, name


def test_the_ground_floor_knows_nothing_of_networks() -> None:
    for name in modules():
        if name.startswith("backends"):
            assert "gpunn" not in outside(name), name


def test_only_declared_packages_are_imported() -> None:
    declared = {"numpy", "PIL", "pooch", "safetensors", "tomli_w", "tqdm", "matplotlib", "ml_dtypes", "cupy", "cudnn"}
    declared |= {"numba", "llvmlite", "pynvml", "pytest"}  # pytest imports the plugin
    known = declared | {"backends", "gpunn"} | set(sys.stdlib_module_names)
    for name in modules():
        assert outside(name) <= known, f"{name} imports {outside(name) - known}"


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_gpunn_loads_only_numpy() -> None:
    loaded = run(f"import sys, gpunn; print([name for name in {LAZY!r} if name in sys.modules])")
    assert loaded == "[]"
    upper = run("import sys, gpunn; print(sorted(n for n in sys.modules if n.startswith(('gpunn.data', 'gpunn.models', "
                "'gpunn.classic', 'gpunn.training', 'gpunn.checks', 'gpunn.cli'))))")  # fmt: skip
    assert upper == "[]"
    assert (
        run("import gpunn; print(gpunn.models.__name__, gpunn.checks.gradcheck.__name__)") == "gpunn.models gradcheck"
    )


def test_import_gpunn_is_quick() -> None:
    """At most 0.2 s of processor time beyond `import numpy`: the best of three, since the first may compile."""
    program = "import time, numpy; start = time.process_time(); import gpunn; print(time.process_time() - start)"
    assert min(float(run(program)) for _ in range(3)) < 0.2


def test_no_drawer_for_odds_and_ends() -> None:
    names = [
        path.name
        for folder in ("backends", "gpunn", "tests", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert not {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"} & set(names)


def public() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for package in (functional, nn, optim, optim.lr_scheduler):
        for name in package.__all__:
            thing = getattr(package, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                found.append((f"{package.__name__}.{name}", thing))
    return found


@pytest.mark.parametrize(("name", "thing"), public(), ids=[name for name, _ in public()])
def test_the_public_is_documented(name: str, thing: object) -> None:
    """By a docstring of its own, not one that was inherited."""
    own = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert own, f"{name} has no docstring"
    assert own.strip()


@pytest.mark.parametrize("name", modules())
def test_every_file_says_what_it_is_about(name: str) -> None:
    assert (
        ast.get_docstring(ast.parse(modules()[name].read_text(encoding="utf-8"))) or modules()[name].stat().st_size == 0
    )


def test_the_last_line_of_a_run_names_the_devices() -> None:
    """Behind pytest's own last line: what was tested, what was not there, and why."""
    test = "tests/backends/test_contract.py::test_arrays"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    *_, summary, last = done.stdout.strip().splitlines()
    assert " passed" in summary
    assert last.startswith("devices tested: reference, cpu")
    if "cuda" not in last.split(";")[0]:
        assert "not there: cuda (" in last
