"""What was absent when it was first looked for, and is there once an edge has made it."""

from __future__ import annotations

from pathlib import Path

from zbuild.inputs.file_digests import FileDigests
from zbuild.inputs.source_tree import Disk, SourceTree


def test_a_link_that_led_nowhere_is_a_file_once_its_target_is_made(tmp_path: Path) -> None:
    """Meson's aliases of shared libraries are there before the library is linked."""
    (tmp_path / "libx.so.1").symlink_to("libx.so.1.2")
    tree = SourceTree(Disk(FileDigests()))
    assert not tree.has_file(f"{tmp_path}/libx.so.1")
    (tmp_path / "libx.so.1.2").write_text("")

    assert tree.note_made(f"{tmp_path}/libx.so.1.2") == (True, False)

    assert tree.has_file(f"{tmp_path}/libx.so.1")
    assert tree.note_made(f"{tmp_path}/libx.so.1.2") == (False, False)


def test_what_an_edge_makes_is_seen_without_looking_again(tmp_path: Path) -> None:
    tree = SourceTree(Disk(FileDigests()))
    assert not tree.has_file(f"{tmp_path}/a/b")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_text("")
    tree.note_made(f"{tmp_path}/a/b")
    assert tree.has_file(f"{tmp_path}/a/b")
