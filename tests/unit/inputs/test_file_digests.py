"""Digests remembered by what stat says, and never trusted when stat could not tell."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.unit.inputs.file_clock import wait_for_tick
from zbuild import digest, limits
from zbuild.inputs import file_digests
from zbuild.inputs.file_digests import FileDigests

OLD_NS = 1_500_000_000_123_456_789


def write_old(path: Path, content: str) -> str:
    """A file whose times are long past, so that its entry is not racy."""
    path.write_text(content)
    os.utime(path, ns=(OLD_NS, OLD_NS))
    return str(path)


@pytest.fixture(autouse=True)
def _only_mtime_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """ctime cannot be set back, so the tests let files age at once."""
    monkeypatch.setattr(file_digests, "is_racy", lambda status, now_ns: status.st_mtime_ns > now_ns - 10**9)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads: list[str] = []
    real = file_digests._of_small_file

    def counted(path: str) -> digest.Digest:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(file_digests, "_of_small_file", counted)
    return reads


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_old(tmp_path / "a", "x")
    reads = count_reads(monkeypatch)
    digests = FileDigests()
    assert digests.digest(path) == digest.of_bytes(b"x") == digests.digest(path)
    assert reads == [path]


def test_an_edit_that_keeps_size_and_mtime_is_seen_by_its_ctime(tmp_path: Path) -> None:
    path = write_old(tmp_path / "a", "x")
    digests = FileDigests()
    digests.digest(path)
    wait_for_tick(tmp_path)
    write_old(tmp_path / "a", "y")
    assert digests.digest(path) == digest.of_bytes(b"y")


def test_a_fresh_file_is_read_again_until_it_has_aged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a")
    Path(path).write_text("x")
    reads = count_reads(monkeypatch)
    digests = FileDigests(str(tmp_path / "cache"))
    digests.digest(path)
    digests.digest(path)
    assert len(reads) == 2
    digests.save()
    FileDigests(str(tmp_path / "cache")).digest(path)
    assert len(reads) == 3


def test_entries_live_on_in_the_cache_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_old(tmp_path / "a", "x")
    os.chmod(path, 0o755)
    digests = FileDigests(str(tmp_path / "d/cache"))
    digests.digest(path)
    digests.save()
    reads = count_reads(monkeypatch)
    assert FileDigests(str(tmp_path / "d/cache")).examine(path) == (digest.of_bytes(b"x"), True)
    assert reads == []


@pytest.mark.parametrize("damage", [b"", b"zbuild-file-digests-1\n", b"garbage" * 100])
def test_a_damaged_cache_file_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    path = write_old(tmp_path / "a", "x")
    (tmp_path / "cache").write_bytes(damage)
    digests = FileDigests(str(tmp_path / "cache"))
    assert digests.digest(path) == digest.of_bytes(b"x")
    digests.save()
    assert FileDigests(str(tmp_path / "cache")).snapshot([path]) != {}


def test_a_flipped_bit_in_the_cache_file_is_noticed(tmp_path: Path) -> None:
    """A wrong digest would be a wrong cache hit."""
    path = write_old(tmp_path / "a", "x")
    digests = FileDigests(str(tmp_path / "cache"))
    digests.digest(path)
    digests.save()
    for position in range(30, (tmp_path / "cache").stat().st_size, 7):
        data = bytearray((tmp_path / "cache").read_bytes())
        data[position] ^= 4
        (tmp_path / "flipped").write_bytes(data)
        assert FileDigests(str(tmp_path / "flipped")).digest(path) == digest.of_bytes(b"x")


def test_a_seeded_digest_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a")
    Path(path).write_text("x")
    reads = count_reads(monkeypatch)
    digests = FileDigests()
    digests.seed(path, digest.of_bytes(b"x"))
    assert digests.digest(path) == digest.of_bytes(b"x")
    assert reads == []


def test_a_seed_of_another_size_is_not_believed(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    Path(path).write_text("xy")
    digests = FileDigests()
    digests.seed(path, digest.of_bytes(b"x"))
    assert digests.digest(path) == digest.of_bytes(b"xy")


def test_forgetting_reads_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_old(tmp_path / "a", "x")
    reads = count_reads(monkeypatch)
    digests = FileDigests()
    digests.digest(path)
    digests.forget(path)
    digests.digest(path)
    assert len(reads) == 2


def test_headers_edited_during_the_compile_are_named(tmp_path: Path) -> None:
    """Table: header edited during compile. distcc assumes that it never happens."""
    paths = [write_old(tmp_path / name, name) for name in "abcd"]
    digests = FileDigests()
    for path in paths:
        digests.digest(path)
    snapshot = digests.snapshot(paths)
    assert digests.changed_since(snapshot) == []
    wait_for_tick(tmp_path)
    write_old(tmp_path / "b", "B")
    os.unlink(paths[2])
    os.replace(write_old(tmp_path / "new", "d"), paths[3])
    assert digests.changed_since(snapshot) == paths[1:]


def test_directories_and_absent_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        FileDigests().digest(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        FileDigests().digest(str(tmp_path / "none"))


def test_the_cache_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FILE_DIGESTS", 3)
    cache = str(tmp_path / "cache")
    first = FileDigests(cache)
    for name in "abc":
        first.digest(write_old(tmp_path / name, name))
    first.save()
    second = FileDigests(cache)
    second.digest(str(tmp_path / "a"))
    second.digest(write_old(tmp_path / "d", "d"))
    second.save()
    assert {os.path.basename(path) for path in FileDigests(cache)._entries} == {"a", "d", "c"}


def test_large_files_are_streamed(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    content = b"x" * (digest.READ_BYTES * 2 + 1)
    Path(path).write_bytes(content)
    assert FileDigests().digest(path) == digest.of_bytes(content)


def test_what_is_racy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = tmp_path / "a"
    path.write_text("x")
    status = path.stat()
    newest_ns = max(status.st_mtime_ns, status.st_ctime_ns)
    assert file_digests.is_racy(status, newest_ns + file_digests.RACY_WINDOW_NS - 1)
    assert not file_digests.is_racy(status, newest_ns + file_digests.COARSE_RACY_WINDOW_NS + 1)
    whole_second_ns = time.time_ns() // 10**9 * 10**9
    os.utime(path, ns=(whole_second_ns, whole_second_ns))
    assert file_digests.is_racy(path.stat(), path.stat().st_ctime_ns + file_digests.RACY_WINDOW_NS + 1)
