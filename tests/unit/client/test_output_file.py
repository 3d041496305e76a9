"""What comes home: whole or not at all, under any name, and thousands at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from zbuild.client.output_file import PARTIAL_SUFFIX, FileSink, make_symlink, partial_path
from zbuild.digest import EMPTY, of_bytes
from zbuild.errors import BlobCorrupt
from zbuild.limits import FILE_NAME_BYTES

DATA = b"\x7fELF and so on"


def test_a_file_has_its_name_only_when_it_is_published(tmp_path: Path) -> None:
    path = tmp_path / "below" / "out"
    sink = FileSink(of_bytes(DATA), str(path), is_executable=True)
    sink.write(DATA[:4])
    sink.write(DATA[4:])
    sink.commit()
    assert not path.exists()
    sink.publish()
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o777 & ~_umask()
    assert os.listdir(path.parent) == ["out"]


def test_an_empty_file_is_made_too(tmp_path: Path) -> None:
    sink = FileSink(EMPTY, str(tmp_path / "out"), is_executable=False)
    sink.commit()
    sink.publish()
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.parametrize("data", [b"other", b""])
def test_wrong_bytes_are_refused_and_leave_nothing(tmp_path: Path, data: bytes) -> None:
    sink = FileSink(of_bytes(DATA), str(tmp_path / "out"), is_executable=False)
    sink.write(data)
    with pytest.raises(BlobCorrupt):
        sink.commit()
    sink.abort()
    assert os.listdir(tmp_path) == []


def test_files_that_wait_for_their_bytes_hold_no_descriptor(tmp_path: Path) -> None:
    """A warm build of more than 1,024 edges ended with "Too many open files"."""
    before = len(os.listdir("/proc/self/fd"))
    sinks = [FileSink(of_bytes(DATA), str(tmp_path / str(number)), is_executable=False) for number in range(100)]
    assert len(os.listdir("/proc/self/fd")) < before + 10
    for sink in sinks:
        sink.abort()


def test_an_output_may_have_the_longest_name_there_is(tmp_path: Path) -> None:
    path = tmp_path / ("a" * FILE_NAME_BYTES)
    sink = FileSink(of_bytes(DATA), str(path), is_executable=False)
    sink.write(DATA)
    sink.commit()
    sink.publish()
    assert path.read_bytes() == DATA
    link = tmp_path / ("b" * FILE_NAME_BYTES)
    make_symlink("target", str(link))
    assert os.readlink(link) == "target"
    assert len(os.listdir(tmp_path)) == 2


def test_partial_names_of_long_names_with_one_beginning_differ() -> None:
    first, second = ("dir/" + "a" * (FILE_NAME_BYTES - 1) + end for end in "xy")
    assert partial_path(first) != partial_path(second)
    assert partial_path("dir/short") == f"dir/short{PARTIAL_SUFFIX}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
