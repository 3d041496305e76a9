"""Trees are compared in another process with the same outcome as here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.inputs.file_clock import wait_for_tick
from tests.unit.inputs.test_toolchain import Machine
from zbuild.inputs import tree_check, tree_digest
from zbuild.inputs.toolchain import Toolchain
from zbuild.inputs.tree_check import TreeCheck
from zbuild.inputs.tree_digest import TreeDigest, digest_of_trees

Trees = dict[tuple[str, ...], TreeDigest]


@pytest.fixture
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trees:
    """Three directories with a file each, none of which counts as just written."""
    monkeypatch.setattr(tree_digest, "COARSE_RACY_WINDOW_NS", 0)
    found: Trees = {}
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.h").write_text(name)
        wait_for_tick(tmp_path)
        tree = digest_of_trees([str(tmp_path / name)])
        assert tree is not None
        found[str(tmp_path / name),] = tree
    return found


def test_it_finds_what_has_changed(trees: Trees, tmp_path: Path) -> None:
    (tmp_path / "b/file.h").write_text("x")
    assert TreeCheck(trees).current() == {(f"{tmp_path}/a",), (f"{tmp_path}/c",)}
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_process_that_ends_too_soon_vouches_for_nothing_more(trees: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_only(compared: tuple[TreeDigest, ...], report: int) -> int:
        assert compared
        os.write(report, b"+")
        return 1

    monkeypatch.setattr(tree_check, "_compare", one_only)
    assert TreeCheck(trees).current() == {next(iter(trees))}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A compiler whose fingerprint is in ``cache``."""
    monkeypatch.setattr(tree_digest, "COARSE_RACY_WINDOW_NS", 0)
    made = Machine(tmp_path / "machine")
    wait_for_tick(tmp_path)
    toolchain = Toolchain(str(tmp_path / "cache"), made.run)
    made.value(toolchain)
    toolchain.save()
    return made


def test_a_tool_that_was_checked_ahead_is_not_looked_at_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = machine.value(Toolchain(str(tmp_path / "cache"), machine.run))
    toolchain = Toolchain(str(tmp_path / "cache"), machine.run)
    toolchain.check_ahead({"gcc", "/usr/bin/unknown"})
    monkeypatch.setattr(TreeDigest, "is_current", lambda _: pytest.fail("looked at here"))
    assert machine.value(toolchain) == expected


def test_a_change_is_seen_ahead_and_when_values_are_checked_again(machine: Machine, tmp_path: Path) -> None:
    before = machine.value(Toolchain(str(tmp_path / "cache"), machine.run))
    (machine.root / "include/stdio.h").write_text("changed")
    toolchain = Toolchain(str(tmp_path / "cache"), machine.run)
    toolchain.check_ahead({machine.compiler})
    first = machine.value(toolchain)
    assert first != before
    (machine.root / "include/stdio.h").write_text("changed once more")
    toolchain.check_ahead({machine.compiler})
    toolchain.revalidate()
    assert machine.value(toolchain) not in (before, first)


def test_tools_that_are_not_known_are_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_check, "fork", lambda *_args, **_kept: pytest.fail("a process for nothing"))
    Toolchain(str(tmp_path / "cache")).check_ahead({"gcc"})
