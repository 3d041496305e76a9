"""The real disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zbuild.errors import ManifestError
from zbuild.ninja.disk import RealDisk


def test_times_of_files(tmp_path: Path) -> None:
    disk = RealDisk()
    file = tmp_path / "file"
    file.touch()
    os.utime(file, ns=(5, 123456789012345678))
    assert disk.stat(str(file)) == 123456789012345678
    assert disk.stat(str(tmp_path / "none")) == 0
    assert disk.stat(str(file / "below")) == 0
    os.utime(file, ns=(0, 0))
    assert disk.stat(str(file)) == 1


def test_a_path_that_cannot_be_asked_for_is_named(tmp_path: Path) -> None:
    long = str(tmp_path / ("x" * 300))
    with pytest.raises(ManifestError, match=r"^stat\(.*xxx\): File name too long$"):
        RealDisk().stat(long)
    with pytest.raises(ManifestError, match=r"embedded null byte"):
        RealDisk().stat("a\0b")


def test_files_are_written_appended_to_cut_renamed_and_removed(tmp_path: Path) -> None:
    disk = RealDisk()
    path = str(tmp_path / "a/b/c")
    disk.make_dirs(path)
    disk.make_dirs(path)
    disk.make_dirs("plain")
    disk.write(path, b"123")
    disk.append(path, b"456")
    disk.truncate(path, 5)
    assert disk.read(path) == b"12345"
    disk.replace(path, path + "2")
    with pytest.raises(FileNotFoundError):
        disk.read(path)
    disk.remove(path + "2")
    disk.remove(path + "2")
    assert list((tmp_path / "a/b").iterdir()) == []
    disk.append(path, b"new")
    assert disk.read(path) == b"new"
