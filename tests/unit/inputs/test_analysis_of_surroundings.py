"""What a command takes from outside its files: variables by name, and what is already in a file that it appends to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.inputs.build_tree import BuildTree
from zbuild.inputs.analysis import LocalReason

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


def test_appending_to_a_file_that_does_not_exist_makes_it(tmp_path: Path) -> None:
    tree = BuildTree(tmp_path)
    assert [output.path for output in tree.remote("echo more >> log", "log").outputs] == ["/zb/src/zb-build/log"]
