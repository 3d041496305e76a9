"""Removing what an action has left behind, whatever it made of it."""

from __future__ import annotations

import os
from pathlib import Path

from zbuild.storage.tree_removal import remove_with_trash


def test_chain_deeper_than_a_recursion_or_a_path_goes(tmp_path: Path) -> None:
    home = tmp_path / "private"
    home.mkdir()
    (home / "file").touch(0o000)
    descriptor = os.open(home, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.fchmod(descriptor, 0o000)
    os.close(descriptor)
    remove_with_trash(str(home))
    assert list(tmp_path.iterdir()) == []


def test_what_a_symlink_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "link").symlink_to("../kept")
    remove_with_trash(str(tmp_path / "private"))
    assert (tmp_path / "kept" / "file").exists()
