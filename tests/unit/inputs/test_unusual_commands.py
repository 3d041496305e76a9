"""Commands that are not text, or that ask the clock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.inputs.build_tree import BuildTree
from zbuild.inputs import cache_file
from zbuild.inputs.analysis import LocalReason

NAME = os.fsdecode(b"caf\xe9.txt")


@pytest.fixture
def tree(tmp_path: Path) -> BuildTree:
    return BuildTree(tmp_path)


def test_a_file_name_that_is_not_utf8_stays_local(tree: BuildTree) -> None:
    """It ended the build with a traceback: no message can carry it."""
    tree.write(f"build/{NAME}", "text")
    assert tree.reason(f"cp {NAME} out", "out", inputs=(NAME,)) is LocalReason.NOT_UNICODE


def test_an_argument_that_is_not_utf8_stays_local(tree: BuildTree) -> None:
    assert tree.reason(os.fsdecode(b"printf '\xe9' > out"), "out") is LocalReason.NOT_UNICODE


def test_a_cache_keeps_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = str(tmp_path / "cache")
    cache_file.write(path, "test-1", {NAME: 1})
    assert cache_file.read(path, "test-1") == {NAME: 1}


@pytest.mark.parametrize("command", ["date > out", "date +%s > out", "/usr/bin/date > out; touch out"])
def test_what_prints_the_time_is_never_cached(tree: BuildTree, command: str) -> None:
    """The second build got the date of the first."""
    remote = tree.remote(command, "out")
    assert not remote.is_cacheable
    assert "date" in remote.uncacheable_reason
