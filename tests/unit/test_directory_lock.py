"""Two builds in one directory: refused wherever the file system can lock anything."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from zbuild.cli.build import main as build
from zbuild.directory_lock import LOCK_NAME, lock_directory
from zbuild.storage.scratch_directory import ScratchDirectory

REAL_FLOCK = fcntl.flock


def nfs_flock(descriptor: int, operation: int) -> None:
    """NFS makes a byte-range lock of it, and an exclusive one needs a file that is open for writing."""
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    REAL_FLOCK(descriptor, operation)


def no_flock(_descriptor: int, _operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_the_second_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    first = lock_directory(str(tmp_path), waits=False)
    with pytest.raises(BlockingIOError):
        lock_directory(str(tmp_path), waits=False)
    os.close(first)
    os.close(lock_directory(str(tmp_path), waits=False))
    assert os.listdir(tmp_path) == []


def test_where_directories_cannot_be_locked_a_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fcntl, "flock", nfs_flock)
    first = lock_directory(str(tmp_path), waits=False)
    with pytest.raises(BlockingIOError):
        lock_directory(str(tmp_path), waits=False)
    os.close(first)
    assert os.listdir(tmp_path) == [LOCK_NAME]


def test_without_any_locks_a_build_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_flock)
    (tmp_path / "build.ninja").write_text("build a: phony\nbuild b: phony a\n")
    monkeypatch.chdir(tmp_path)
    assert build(["-n"]) == 0
    said = capsys.readouterr().err
    assert f"cannot lock {tmp_path}" in said
    assert "no work to do" in said


def test_a_scratch_directory_needs_no_lock_on_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", nfs_flock)
    first = ScratchDirectory(str(tmp_path))
    abandoned = tmp_path / "0123456789abcdef"
    abandoned.mkdir(0o700)
    (abandoned / "blob").write_text("half")
    second = ScratchDirectory(str(tmp_path))

    assert os.path.isdir(first.path)
    assert not abandoned.exists()
    first.close()
    second.close()
    assert [name for name in os.listdir(tmp_path) if (tmp_path / name).is_dir()] == []
