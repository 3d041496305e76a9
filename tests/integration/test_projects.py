"""Unmodified open-source projects, built by ninja and by zbuild: the same bytes, and nothing compiled here.

The larger ones are built in part, as the pattern of each case says.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import projects
from tests.integration.farm import Farm
from tests.integration.tree import Run, Tree

pytestmark = [
    pytest.mark.needs("bubblewrap", "ninja", "gcc", "cmake", "meson", "registry"),
    pytest.mark.timeout(200),
]


@dataclass(frozen=True)
class Case:
    """A project and the part of it that is built.

    Attributes:
        pattern: of the targets to build; empty for the default ones.
        header: one that several of them include, relative to the project's root.
        program: made by the build; ``arguments`` have it print ``printed``.
    """

    name: str
    header: str
    pattern: str = ""
    program: str = ""
    arguments: tuple[str, ...] = ()
    printed: str = ""


CASES = (
    Case("fribidi", "lib/fribidi-types.h", program="bin/fribidi", arguments=("--version",), printed="GNU FriBidi"),
    Case(
        "jsoncpp",
        "include/json/value.h",
        pattern=r"libjsoncpp\.so\.\d+|jsontestrunner",
        program="jsontestrunner",
        printed="Usage:",
    ),
    Case("c-blosc", "blosc/shuffle.h", pattern=r".*blosc_shared.*/(shuffle|bitshuffle|fast|blosc)[^/]*\.o"),
    Case(
        "ninja",
        "src/eval_env.h",
        pattern=r"libninja-re2c|.*/(clparser|edit_distance|eval_env|json|version)\.cc\.o",
    ),
    Case("zstd", "../../lib/common/bitstream.h", pattern=r"lib/.*(decompress|common)_.*\.o"),
)


NEVER_REPEATED = ("ninja",)
"""Optimised at link time: gcc gives the sections of its objects random names."""

REPEATED_IN_PLACE = ("fribidi", "jsoncpp")
"""Whose outputs are all the same when ninja makes them again in the same directory."""


@dataclass(frozen=True)
class Built:
    """One case, built three times at its own place each, two by ninja and one by zbuild.

    Attributes:
        targets: those of the case, as the command line names them.
        run: the zbuild of ``hermetic``.
    """

    case: Case
    targets: list[str]
    directory: Path
    first: Tree
    second: Tree
    hermetic: Tree
    run: Run


def checkout(case: Case, source: Path, build: Path, farm: Farm) -> Tree:
    """A configured build directory of a copy of its own."""
    project = projects.PROJECTS[case.name]
    root = projects.check_out(project, source)
    projects.configure(project, root, build)
    tree = Tree(root, build)
    tree.farm_flags = ["--coordinator", farm.endpoint]
    return tree


def outputs_of(tree: Tree) -> dict[str, str]:
    """Path -> SHA-256 of every file that edges of the manifest have made."""
    found = {}
    for line in tree.ninja("-t", "targets", "all").stdout.splitlines():
        name, _, rule = line.rpartition(": ")
        path = tree.build / name
        if rule != "phony" and name != "build.ninja" and path.is_file() and not os.path.isabs(name):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def remove_outputs(tree: Tree) -> None:
    for name in outputs_of(tree):
        (tree.build / name).unlink()


def targets_of(case: Case, tree: Tree) -> list[str]:
    if not case.pattern:
        return []
    names = [line.rpartition(": ")[0] for line in tree.ninja("-t", "targets", "all").stdout.splitlines()]
    chosen = [name for name in names if re.fullmatch(case.pattern, name)]
    assert len(chosen) > 1
    return chosen


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_farm: Farm) -> Built:
    case: Case = request.param
    directory = tmp_path_factory.mktemp(case.name)
    first, second, hermetic = (
        checkout(case, directory / name / "source", directory / name / "build", shared_farm)
        for name in ("one", "two", "six")
    )
    targets = targets_of(case, first)
    for tree in (first, second):
        assert tree.ninja("-j2", *targets).exit_code == 0
    run = hermetic.zbuild("-j2", *targets)
    assert run.exit_code == 0, run.stdout + run.stderr
    return Built(case, targets, directory, first, second, hermetic, run)


def test_outputs_are_bit_for_bit_ninjas_where_ninja_repeats_itself(built: Built) -> None:
    first, second, ours = (outputs_of(tree) for tree in (built.first, built.second, built.hermetic))
    repeated = {name for name in first if first[name] == second.get(name)}

    assert ours.keys() == first.keys()
    assert repeated or built.case.name in NEVER_REPEATED
    assert {name for name in repeated if ours[name] != first[name]} == set()


def test_no_compile_runs_on_this_machine(built: Built) -> None:
    assert built.run.summary["local"] == 0, built.run.summary["local_reasons"]
    assert built.run.summary["remote"] == built.run.summary["actions"] > 4


def test_ninja_finds_nothing_to_do_afterwards(built: Built) -> None:
    assert "no work to do" in built.hermetic.ninja("-n", *built.targets).stdout


def test_the_program_runs_where_it_was_built(built: Built) -> None:
    if built.case.program:
        command = [str(built.hermetic.build / built.case.program), *built.case.arguments]
        run = built.hermetic.run(command)
        assert built.case.printed in run.stdout + run.stderr


def test_removed_outputs_all_come_from_the_cache(built: Built) -> None:
    before = outputs_of(built.hermetic)
    remove_outputs(built.hermetic)

    run = built.hermetic.zbuild(*built.targets)

    assert run.summary["executed"] == 0
    assert run.summary["cache_hits"] == run.summary["actions"] > 0
    assert outputs_of(built.hermetic) == before
    assert "no work to do" in built.hermetic.ninja("-n", *built.targets).stdout


def test_another_checkout_at_another_place_is_all_hits(built: Built, shared_farm: Farm) -> None:
    """Every path has another length. CMake's build directory lies apart; relative paths, as Meson's, must stay."""
    directory = built.directory / "elsewhere/and/deeper"
    is_meson = projects.PROJECTS[built.case.name].build_system == "meson"
    build = directory / "build" if is_meson else built.directory / "o"
    tree = checkout(built.case, directory / ("source" if is_meson else "checkout"), build, shared_farm)

    run = tree.zbuild(*built.targets)

    assert run.summary["executed"] == 0, run.summary
    assert run.summary["cache_hits"] == built.run.summary["actions"]
    assert "no work to do" in tree.ninja("-n", *built.targets).stdout


def test_an_edited_header_rebuilds_what_ninja_rebuilds(built: Built) -> None:
    comment = f"/* {uuid.uuid4()} */\n"
    for tree in (built.first, built.hermetic):
        with open(tree.root / built.case.header, "a") as file:
            file.write(comment)
    theirs = built.first.ninja("-v", "-d", "keeprsp", *built.targets)
    finished = theirs.stdout.splitlines()[-1]

    ours = built.hermetic.zbuild(*built.targets)

    match = re.match(r"\[(\d+)/\1\]", finished)
    assert match is not None, finished
    assert ours.summary["actions"] == int(match[1]) > 1
    assert ours.all_remote
    assert "no work to do" in built.hermetic.ninja("-n", *built.targets).stdout


def test_with_own_paths_every_output_is_what_ninja_makes_in_that_directory(built: Built) -> None:
    if built.case.name not in REPEATED_IN_PLACE:
        return
    theirs = outputs_of(built.second)
    remove_outputs(built.second)

    run = built.second.zbuild("--own-paths", *built.targets)

    assert run.all_remote
    assert outputs_of(built.second) == theirs
