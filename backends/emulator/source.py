"""What the text of kernels tells: their names and parameters. And the one thing in it that C++ cannot be taught."""

from __future__ import annotations

import re
from typing import NamedTuple

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
NESTED = r"(?:[^()]|\([^()]*\))*"
KERNEL = re.compile(
    r"""extern\s+"C"\s+
        (?:__launch_bounds__\s*\((?P<before>{nested})\)\s*)?
        __global__\s+
        (?:__launch_bounds__\s*\((?P<between>{nested})\)\s*)?
        void\s+
        (?:__launch_bounds__\s*\((?P<after>{nested})\)\s*)?
        (?P<name>\w+)\s*\((?P<parameters>[^()]*)\)""".replace("{nested}", NESTED),
    re.VERBOSE,
)
DYNAMIC = re.compile(
    r"extern\s+__shared__\s+(?:(?:__align__|alignas)\s*\([^)]*\)\s*)?(?P<type>[\w:<> ]+?)\s*(?P<name>\w+)\s*\[\s*\]\s*;"
)


class KernelText(NamedTuple):
    """A kernel as its text declares it: ``bounds`` is what stands in the brackets of __launch_bounds__, or "0"."""

    name: str
    parameters: tuple[str, ...]
    bounds: str


def kernels(text: str) -> dict[str, KernelText]:
    """The kernels (extern "C" __global__) of a text, by name."""
    found = {}
    for match in KERNEL.finditer(COMMENT.sub(" ", text)):
        bounds = match["before"] or match["between"] or match["after"] or "0"
        listed = [part.strip() for part in match["parameters"].split(",")]
        names = tuple(re.findall(r"\w+", part)[-1] for part in listed if part not in ("", "void"))
        found[match["name"]] = KernelText(match["name"], names, bounds.strip())
    return found


def translation_unit(text: str, name: str) -> str:
    """The text as a C++ file in the dialect, with an entry for each of its kernels.

    ``extern __shared__ float x[];`` becomes a pointer: in C++ it would be a variable of another file. Lines keep their numbers.
    """
    # An extern array of a type aligns its elements by itself; the memory for all of them is one.
    body = DYNAMIC.sub(r"\g<type>* const \g<name> = (\g<type>*)emulator_dynamic_shared;", text)
    exports = [f"EMULATOR_EXPORT({kernel.name}, {kernel.bounds})" for kernel in kernels(text).values()]
    return "\n".join(['#include "cuda.h"', f'#line 1 "{name}"', body, '#include "entry.h"', *exports, ""])
