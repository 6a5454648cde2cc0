"""The list of planted bugs fits the kernels and the tests as they stand, and the page that the script wrote has all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda.planted_bugs import BUGS, Bug

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_fits(bug: Bug) -> None:
    assert bug.text() != ""
    file, _, test = bug.test.partition("::")
    assert f"def {test.partition('[')[0]}(" in (FOLDER / file).read_text(encoding="utf-8")


def test_a_name_is_one_bugs_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS)


def test_the_page_has_them_all() -> None:
    page = (FOLDER / "PLANTED_BUGS.md").read_text(encoding="utf-8")
    assert len(BUGS) >= 30
    for bug in BUGS:
        assert f"| {bug.name} | {bug.file} | `{bug.test}` |" in page, "run python scripts/replay_planted_bugs.py"
