"""What a command takes from outside its files: variables by name, and what is already in a file that it appends to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.inputs.build_tree import BuildTree
from zbuild.inputs.analysis import Local, LocalReason, Remote

pytestmark = pytest.mark.needs("gcc")


def test_a_variable_that_the_command_names_is_part_of_the_action(tmp_path: Path) -> None:
    tree = BuildTree(tmp_path, {"PATH": "/usr/bin:/bin", "FEATURE": "on", "OTHER": "unseen"})
    environment = dict(tree.remote("echo ${FEATURE} > o", "o").environment)
    assert environment["FEATURE"] == "on"
    assert "OTHER" not in environment


def test_a_variable_that_is_not_set_stays_unset(tmp_path: Path) -> None:
    tree = BuildTree(tmp_path)
    assert "FEATURE" not in dict(tree.remote("echo $FEATURE > o", "o").environment)


def test_appending_to_a_file_that_exists_stays_local(tmp_path: Path) -> None:
    tree = BuildTree(tmp_path)
    tree.write("build/log", "before\n")
    assert tree.reason("echo more >> log", "log") is LocalReason.APPENDS


@pytest.mark.parametrize(
    "command", ["ar rcs lib.a a.o", "gcc-ar rcs lib.a a.o", "zip -u lib.a a.o", "tar -rf lib.a a.o", "ranlib lib.a"]
)
def test_an_output_that_is_kept_by_its_tool_is_updated_here(tmp_path: Path, command: str) -> None:
    """In an archive that ninja's command updates, members stay whose objects are no longer named."""
    tree = BuildTree(tmp_path)
    tree.write("build/a.o")
    if tree.context.find_program(command.split(maxsplit=1)[0]) is None:
        return
    assert tree.remote(command, "lib.a", inputs=("a.o",))
    tree.write("build/lib.a", "!<arch>\n")
    assert tree.reason(command, "lib.a", inputs=("a.o",)) is LocalReason.APPENDS


@pytest.mark.parametrize(
    "command",
    [
        "rm -f lib.a && ar rcs lib.a a.o && ranlib lib.a",
        "cmake -E rm -f lib.a && ar qc lib.a a.o",
        "echo new > lib.a && echo more >> lib.a",
        "ar t lib2.a > lib.a",
    ],
)
def test_one_that_is_removed_first_is_made_anew_anywhere(tmp_path: Path, command: str) -> None:
    tree = BuildTree(tmp_path)
    tree.write("build/a.o")
    tree.write("build/lib2.a", "!<arch>\n")
    tree.write("build/lib.a", "!<arch>\n")
    assert tree.remote(command, "lib.a", inputs=("a.o",))


def test_appending_to_a_file_that_does_not_exist_makes_it(tmp_path: Path) -> None:
    tree = BuildTree(tmp_path)
    assert [output.path for output in tree.remote("echo more >> log", "log").outputs] == ["/zb/src/zb-build/log"]


@pytest.mark.parametrize(("environment", "is_local"), [({}, False), ({"CTEST_LAUNCH_LOGS": "/tmp/logs"}, True)])
def test_launchers_of_ctest_stay_where_a_dashboard_collects_what_they_write(
    tmp_path: Path, environment: dict[str, str], is_local: bool
) -> None:
    """Projects with CTEST_USE_LAUNCHERS had no remote command at all."""
    tree = BuildTree(tmp_path, {"PATH": "/usr/bin:/bin", **environment})
    tree.write("a.c")
    command = "/usr/bin/ctest --launch --target-name a --output a.o -- cc -c ../a.c -o a.o"
    analysis = tree.analyse(command, "a.o", inputs=("../a.c",))
    if is_local:
        assert isinstance(analysis, Local)
        assert analysis.reason is LocalReason.UNKNOWN_OUTPUTS
    else:
        assert isinstance(analysis, Remote)
        assert analysis.kind == "compile"
