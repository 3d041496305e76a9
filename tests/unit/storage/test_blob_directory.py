"""BlobDirectory: what is stored is whole, verified, and stays as it is. Defect 15: non-atomic, unverified."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zbuild import digest as digests
from zbuild.digest import Digest
from zbuild.errors import BadInput, BlobCorrupt, BlobMissing, StoreFailed
from zbuild.limits import QUARANTINE_FILES
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.blob_files import BLOB_MTIME_NS

DATA = b"int main(void) { return 0; }\n"
DIGEST = digests.of_bytes(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDirectory:
    return BlobDirectory(tmp_path / "blobs", is_durable=False)


def reopened(blobs: BlobDirectory) -> BlobDirectory:
    """As another process sees it: nothing is verified yet."""
    return BlobDirectory(blobs.path, is_durable=False)


def files_below(directory: str) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, names in os.walk(directory)
        for name in names
    )


def test_blob_lies_under_its_hash_with_constant_mode_and_time(blobs: BlobDirectory) -> None:
    assert blobs.put_bytes(DATA) == DIGEST

    name = DIGEST.hash.hex()
    path = Path(blobs.path, name[:1], name)
    status = path.stat()
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(status.st_mode) == 0o444
    assert status.st_mtime_ns == BLOB_MTIME_NS
    assert blobs.path_of(DIGEST) == str(path)
    assert files_below(blobs.path) == [str(path.relative_to(blobs.path))], "no temporary file stays"


def test_bytes_of_another_digest_are_refused(blobs: BlobDirectory) -> None:
    with pytest.raises(BlobCorrupt, match=re.escape(DIGEST.short)):
        blobs.put_bytes(b"other", DIGEST)
    assert files_below(blobs.path) == []


def test_reading_parts(blobs: BlobDirectory) -> None:
    blobs.put_bytes(DATA)
    assert blobs.read(DIGEST) == DATA
    assert blobs.read(DIGEST, 4, 4) == DATA[4:8]
    assert blobs.read(DIGEST, len(DATA) - 2, 100) == DATA[-2:]
    assert blobs.read(DIGEST, len(DATA) + 5, 100) == b""


def test_absent_blob(blobs: BlobDirectory) -> None:
    assert not blobs.contains(DIGEST)
    for attempt in (blobs.read, blobs.path_of, blobs.open):
        with pytest.raises(BlobMissing, match=re.escape(DIGEST.short)):
            attempt(DIGEST)


def test_executable_form_is_another_inode_so_that_modes_are_independent(blobs: BlobDirectory) -> None:
    blobs.put_bytes(DATA)
    plain, executable = blobs.path_of(DIGEST), blobs.path_of(DIGEST, executable=True)

    assert Path(executable).read_bytes() == DATA
    assert os.stat(plain).st_ino != os.stat(executable).st_ino
    assert stat.S_IMODE(os.stat(plain).st_mode) == 0o444
    assert stat.S_IMODE(os.stat(executable).st_mode) == 0o555
    assert os.stat(executable).st_mtime_ns == BLOB_MTIME_NS
    assert blobs.path_of(DIGEST, executable=True) == executable


@pytest.mark.parametrize("executable", [False, True])
def test_corrupt_file_is_quarantined_and_never_served(blobs: BlobDirectory, executable: bool) -> None:
    blobs.put_bytes(DATA)
    path = Path(blobs.path_of(DIGEST, executable))
    path.chmod(0o644)
    path.write_bytes(DATA.replace(b"0", b"1"))
    os.utime(path, ns=(BLOB_MTIME_NS, BLOB_MTIME_NS))

    other = reopened(blobs)
    with pytest.raises(BlobCorrupt, match=re.escape(DIGEST.short)):
        other.path_of(DIGEST, executable)
    assert not path.exists()
    assert len(files_below(os.path.join(blobs.path, "quarantine"))) == 1
    if executable:
        assert Path(other.path_of(DIGEST, executable)).read_bytes() == DATA, "made again from the sound blob"
    else:
        with pytest.raises(BlobMissing):
            other.read(DIGEST)
        assert not other.contains(DIGEST)


def test_change_after_verification_is_noticed(blobs: BlobDirectory) -> None:
    blobs.put_bytes(DATA)
    path = Path(blobs.path_of(DIGEST))
    path.chmod(0o644)
    path.write_bytes(DATA.replace(b"0", b"1"))

    with pytest.raises(BlobCorrupt):
        blobs.read(DIGEST)


def test_truncated_file_does_not_count_as_present_and_can_be_stored_again(blobs: BlobDirectory) -> None:
    blobs.put_bytes(DATA)
    os.chmod(blobs.path_of(DIGEST), 0o644)
    os.truncate(blobs.path_of(DIGEST), 5)

    assert not blobs.contains(DIGEST)
    blobs.put_bytes(DATA)
    assert blobs.read(DIGEST) == DATA


def test_quarantine_is_bounded(blobs: BlobDirectory) -> None:
    for number in range(QUARANTINE_FILES + 3):
        digest = blobs.put_bytes(b"%d" % number)
        path = Path(blobs.path_of(digest))
        path.chmod(0o644)
        path.write_bytes(b"x")
        with pytest.raises(BlobCorrupt):
            blobs.path_of(digest)
    assert len(files_below(os.path.join(blobs.path, "quarantine"))) == QUARANTINE_FILES


class TestPutFile:
    """Files given away and files kept."""

    def test_given_file_is_renamed(self, blobs: BlobDirectory, tmp_path: Path) -> None:
        path = tmp_path / "main.o"
        path.write_bytes(DATA)
        inode = path.stat().st_ino

        assert blobs.put_file(str(path), is_moved=True) == DIGEST
        assert not path.exists()
        assert os.stat(blobs.path_of(DIGEST)).st_ino == inode
        assert stat.S_IMODE(os.stat(blobs.path_of(DIGEST)).st_mode) == 0o444

    def test_kept_file_is_copied(self, blobs: BlobDirectory, tmp_path: Path) -> None:
        path = tmp_path / "main.o"
        path.write_bytes(DATA)

        assert blobs.put_file(str(path), is_moved=False) == DIGEST
        path.write_bytes(b"changed")
        assert blobs.read(DIGEST) == DATA

    def test_file_with_another_link_is_copied_for_it_could_be_written_through_that(
        self, blobs: BlobDirectory, tmp_path: Path
    ) -> None:
        path, other = tmp_path / "a.o", tmp_path / "b.o"
        path.write_bytes(DATA)
        os.link(path, other)

        blobs.put_file(str(path), is_moved=True)
        assert not path.exists()
        other.write_bytes(b"changed")
        assert reopened(blobs).read(DIGEST) == DATA

    def test_present_blob_swallows_the_given_file(self, blobs: BlobDirectory, tmp_path: Path) -> None:
        blobs.put_bytes(DATA)
        path = tmp_path / "main.o"
        path.write_bytes(DATA)
        assert blobs.put_file(str(path), is_moved=True) == DIGEST
        assert not path.exists()

    def test_file_of_another_file_system_is_copied(self, blobs: BlobDirectory) -> None:
        path = Path("/dev/shm", f"zbuild-test-{os.getpid()}")
        if os.stat("/dev/shm").st_dev == blobs.device:
            pytest.skip("/dev/shm is no file system of its own")
        path.write_bytes(DATA)
        try:
            blobs.put_file(str(path), is_moved=True)
            assert blobs.read(DIGEST) == DATA
            assert not path.exists()
        finally:
            path.unlink(missing_ok=True)

    def test_what_is_no_regular_file_is_refused(self, blobs: BlobDirectory, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(BadInput, match="fifo"):
            blobs.put_file(str(tmp_path / "fifo"), is_moved=True)
        os.symlink("/etc/passwd", tmp_path / "link")
        with pytest.raises(OSError, match="symbolic links"):
            blobs.put_file(str(tmp_path / "link"), is_moved=True)


class TestWriter:
    """Blobs that arrive in chunks."""

    def test_chunks_become_a_blob_on_commit_only(self, blobs: BlobDirectory) -> None:
        writer = blobs.writer(DIGEST)
        writer.write(DATA[:7])
        writer.write(DATA[7:])
        assert not blobs.contains(DIGEST)
        assert writer.commit() == DIGEST
        assert blobs.read(DIGEST) == DATA

    def test_leaving_without_commit_leaves_nothing(self, blobs: BlobDirectory) -> None:
        with blobs.writer(DIGEST) as writer:
            writer.write(DATA)
        assert files_below(blobs.path) == []

    def test_wrong_bytes_leave_nothing(self, blobs: BlobDirectory) -> None:
        writer = blobs.writer(DIGEST)
        writer.write(DATA[::-1])
        with pytest.raises(BlobCorrupt, match=re.escape(DIGEST.short)):
            writer.commit()
        assert files_below(blobs.path) == []

    def test_too_many_bytes_are_refused_at_once(self, blobs: BlobDirectory) -> None:
        with blobs.writer(DIGEST) as writer, pytest.raises(BlobCorrupt):
            writer.write(DATA + b"x")

    def test_too_few_bytes_are_refused(self, blobs: BlobDirectory) -> None:
        writer = blobs.writer(DIGEST)
        writer.write(DATA[:-1])
        with pytest.raises(BlobCorrupt):
            writer.commit()


def test_full_disk_is_said_in_bytes(blobs: BlobDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", refuse)
    expected = rf"cannot store blob {re.escape(DIGEST.short)}: disk full \(need {len(DATA)} B, free \d+ B\)"
    with pytest.raises(StoreFailed, match=expected):
        blobs.put_bytes(DATA)
    monkeypatch.undo()
    assert files_below(blobs.path) == []


@pytest.mark.parametrize("is_durable", [False, True])
def test_durable_store_syncs_before_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_durable: bool) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        calls.append("fsync")
        fsync(descriptor)

    def note_rename(source: str, target: str) -> None:
        rename(source, target)
        calls.append("rename")

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    BlobDirectory(tmp_path, is_durable=is_durable).put_bytes(DATA)
    assert calls == (["fsync", "rename"] if is_durable else ["rename"])


WRITE_HALF = """
import sys, os
from zbuild.digest import Digest
from zbuild.storage.blob_directory import BlobDirectory
writer = BlobDirectory(sys.argv[1], is_durable=False).writer(Digest(bytes.fromhex(sys.argv[2]), 1000))
writer.write(b"x" * 500)
print("half", flush=True)
sys.stdin.read()
"""


def test_kill_during_put_leaves_nothing_and_a_living_writer_is_left_alone_as_in_defect_15(blobs: BlobDirectory) -> None:
    digest = digests.of_bytes(b"x" * 1000)
    arguments = [sys.executable, "-c", WRITE_HALF, blobs.path, digest.hash.hex()]
    with subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        reopened(blobs)
        assert len(files_below(blobs.path)) == 1, "its owner lives"
        process.send_signal(signal.SIGKILL)
        process.wait()

    after = reopened(blobs)
    assert files_below(blobs.path) == []
    assert not after.contains(digest)


PUT_MANY = """
import sys
from zbuild.storage.blob_directory import BlobDirectory
blobs = BlobDirectory(sys.argv[1], is_durable=False)
for number in range(300):
    digest = blobs.put_bytes(b"%d" % number * 100)
    assert blobs.read(digest) == b"%d" % number * 100
    blobs.path_of(digest, True)
"""


def test_several_processes_store_the_same_blobs_at_once(blobs: BlobDirectory) -> None:
    root = Path(__file__).parents[3]
    processes = [subprocess.Popen([sys.executable, "-c", PUT_MANY, blobs.path], cwd=root) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    for number in range(300):
        data = b"%d" % number * 100
        assert reopened(blobs).read(digests.of_bytes(data)) == data


def test_directory_restored_with_other_times_is_verified_and_served(blobs: BlobDirectory, tmp_path: Path) -> None:
    blobs.put_bytes(DATA)
    shutil.copytree(blobs.path, tmp_path / "copy", copy_function=shutil.copyfile)
    copy = BlobDirectory(tmp_path / "copy", is_durable=False)
    assert copy.read(DIGEST) == DATA
    assert os.stat(copy.path_of(DIGEST)).st_mtime_ns == BLOB_MTIME_NS


def test_unusable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed, match="file/blobs"):
        BlobDirectory(tmp_path / "file" / "blobs", is_durable=False)


def test_empty_blob(blobs: BlobDirectory) -> None:
    digest = blobs.put_bytes(b"")
    assert digest == Digest(digest.hash, 0)
    assert blobs.read(digest) == b""
