"""Which undeclared files of a result the build directory may get. Their names come from a worker: it may be hostile."""

from __future__ import annotations

import pytest

from zbuild.client.kept_leftovers import unfit_for_farm, with_leftovers
from zbuild.inputs.analysis import Remote
from zbuild.inputs.roots import Roots
from zbuild.limits import LEFTOVER_FILES
from zbuild.model.action import ActionResult, OutputSpec, ResultStatus

ROOTS = Roots("/home/u/p", "/home/u/out")
BUILD = ROOTS.canonical_build

ANALYSIS = Remote(
    arguments=("/bin/sh", "-c", "true"),
    environment=(),
    working_directory=BUILD,
    writable_root=BUILD,
    inputs={"/home/u/out/input": f"{BUILD}/input"},
    inline_inputs=((f"{BUILD}/inline", b""),),
    directories=(),
    outputs=(OutputSpec(f"{BUILD}/stamp"),),
    properties=(),
    is_cacheable=True,
    uncacheable_reason="",
    unsure=(),
    kind="tool",
    search_directories=(),
    has_own_paths=False,
    has_tool=True,
)


def kept(*leftovers: str) -> list[OutputSpec]:
    result = ActionResult(status=ResultStatus.SUCCESS, leftovers=leftovers)
    return list(with_leftovers(ANALYSIS, result, ROOTS, lambda path: path == "sub/other.o").outputs)


def test_they_become_optional_outputs() -> None:
    assert kept(f"{BUILD}/a.h", f"{BUILD}/z/b.h") == [
        OutputSpec(f"{BUILD}/a.h", True),
        OutputSpec(f"{BUILD}/stamp"),
        OutputSpec(f"{BUILD}/z/b.h", True),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a.h",
        BUILD,
        f"{BUILD}/../x",
        f"{BUILD}//x",
        f"{BUILD}/a\0b",
        f"{BUILD}/{'x' * 300}",
        "/etc/passwd",
        f"{BUILD}-beside/a.h",
        f"{BUILD}/stamp",
        f"{BUILD}/input",
        f"{BUILD}/inline",
        f"{BUILD}/sub/other.o",
        f"{BUILD}/.ninja_log",
        f"{BUILD}/sub/.ninja_deps",
        f"{BUILD}/build.ninja",
        f"{BUILD}/CMakeFiles/rules.ninja",
        f"{BUILD}/__pycache__/m.pyc",
    ],
)
def test_others_are_not_wanted(path: str) -> None:
    result = ActionResult(status=ResultStatus.SUCCESS, leftovers=(path,))
    assert with_leftovers(ANALYSIS, result, ROOTS, lambda path: path == "sub/other.o") is ANALYSIS


@pytest.mark.parametrize(
    ("leftovers", "reason"),
    [
        ((), ""),
        ((f"{BUILD}/a.h",), ""),
        ((f"{BUILD}/input",), "changes a file that it reads"),
        ((f"{BUILD}/inline",), "changes a file that it reads"),
        ((f"{BUILD}/new/",), "makes an empty directory"),
        ((f"{BUILD}/a\0b/",), "makes an empty directory"),
        (tuple(f"{BUILD}/{n:04}" for n in range(LEFTOVER_FILES - 1)), ""),
        (tuple(f"{BUILD}/{n:04}" for n in range(LEFTOVER_FILES)), "makes more files than the farm names"),
    ],
    ids=range(8),
)
def test_what_no_output_can_be_has_the_command_run_here(leftovers: tuple[str, ...], reason: str) -> None:
    result = ActionResult(status=ResultStatus.SUCCESS, leftovers=leftovers)
    assert unfit_for_farm(ANALYSIS, result, ROOTS) == reason
