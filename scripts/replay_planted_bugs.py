"""Plant bugs in the CUDA kernels, one at a time, and see that the tests catch each: writes tests/cuda/PLANTED_BUGS.md.

    python scripts/replay_planted_bugs.py [WORD ...]

With words, only the bugs whose name or file has one of them, and nothing is written. Exit code 1 if a bug went unnoticed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cuda.planted_bugs import BUGS, Bug  # noqa: E402

ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
HEAD = """# Bugs that were planted in the kernels, and what caught them

Each of these was put into the kernels alone, and the test beside it failed as shown. `python scripts/replay_planted_bugs.py`
plants them all again and writes this page; the bugs themselves are in [planted_bugs.py](planted_bugs.py).

| bug | in | caught by | saying |
| --- | --- | --- | --- |
"""


def replay(bug: Bug) -> tuple[Bug, str | None]:
    """The message with which the bug's test fails; None if it passes."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/cuda/{bug.test}"],
        cwd=ROOT,
        env={**os.environ, "GPUNN_PLANTED_BUG": bug.name, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{bug.name}: pytest could not run {bug.test}:\n{done.stdout}{done.stderr}")
    # An address is another in each run, and would be a change of the page.
    lines = [ADDRESS.sub("0x...", line[1:].strip()) for line in done.stdout.splitlines() if line.startswith("E  ")]
    return bug, None if done.returncode == 0 else summary(lines)


def summary(lines: list[str]) -> str:
    """Of an emulator's error its one line; of wrong values what was compared, and how far off they are."""
    for line in lines:
        if "EmulatorError: " in line:
            return line.partition("EmulatorError: ")[2]
    told = [line.removeprefix("AssertionError: ") for line in lines if line not in ("", "AssertionError:")]
    telling = ("Mismatched", "Max absolute difference", "nan location", "inf location")
    return "; ".join([*told[:2], *(line for line in told[2:] if line.startswith(telling))])


def main(words: list[str]) -> int:
    bugs = [bug for bug in BUGS if not words or any(word in f"{bug.name} {bug.file}" for word in words)]
    rows, unnoticed = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for bug, message in pool.map(replay, bugs):
            print(
                f"{'caught' if message else 'UNNOTICED':9}  {bug.file}: {bug.name}: {message or bug.test}", flush=True
            )
            if message is None:
                unnoticed.append(bug)
            cell = (message or "").replace("|", "\\|").replace("<", "&lt;")
            rows.append(f"| {bug.name} | {bug.file} | `{bug.test}` | {cell} |\n")
    print(f"{len(bugs) - len(unnoticed)} of {len(bugs)} caught")
    if not words and not unnoticed:
        (ROOT / "tests" / "cuda" / "PLANTED_BUGS.md").write_text(HEAD + "".join(rows), encoding="utf-8")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
