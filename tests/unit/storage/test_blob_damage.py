"""What becomes of stored blobs by other hands than ours: each is found before use, and can be stored again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from zbuild import digest as digests
from zbuild.errors import BlobCorrupt, BlobMissing
from zbuild.storage.blob_directory import BlobDirectory

DATA = b"int main(void) { return 0; }\n" * 100
DIGEST = digests.of_bytes(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDirectory:
    """A store with one blob, which it has verified."""
    made = BlobDirectory(tmp_path / "blobs", is_durable=False)
    made.put_bytes(DATA)
    assert made.read(DIGEST) == DATA
    return made


def path_of(blobs: BlobDirectory) -> Path:
    return Path(blobs.path, DIGEST.hash.hex()[:1], DIGEST.hash.hex())


@pytest.mark.parametrize("length", [None, 1000], ids=["whole", "in parts"])
def test_a_bit_that_flips_on_a_decaying_disk_is_not_served(blobs: BlobDirectory, length: int | None) -> None:
    """Inode, size and times still vouch for the file."""
    path = path_of(blobs)
    status = path.stat()
    path.chmod(0o600)
    with open(path, "r+b") as file:
        file.seek(1500)
        file.write(b"?")
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    with pytest.raises(BlobCorrupt):
        blobs.read(DIGEST, 0, length)
    assert not blobs.contains(DIGEST)
    blobs.put_bytes(DATA)
    assert blobs.read(DIGEST) == DATA


@pytest.mark.parametrize("target", ["/nonexistent", "itself", "/etc/hostname"])
def test_a_symlink_is_no_blob(blobs: BlobDirectory, target: str) -> None:
    path = path_of(blobs)
    path.unlink()
    path.symlink_to(path.name if target == "itself" else target)

    assert not blobs.contains(DIGEST)
    with pytest.raises(BlobCorrupt):
        blobs.read(DIGEST)
    with pytest.raises(BlobMissing):
        blobs.read(DIGEST)
    path.symlink_to("/nonexistent")
    blobs.put_bytes(DATA)
    assert blobs.read(DIGEST) == DATA
    assert not path.is_symlink()


@pytest.mark.parametrize("name", ["tmp", "quarantine", "."])
def test_a_directory_that_was_removed_is_made_again(blobs: BlobDirectory, name: str) -> None:
    shutil.rmtree(Path(blobs.path, name))
    other = b"another blob"
    stored = blobs.put_bytes(other)
    path = Path(blobs.path, stored.hash.hex()[:1], stored.hash.hex())
    path.chmod(0o600)
    path.write_bytes(b"rotten blob!")

    with pytest.raises(BlobCorrupt):
        blobs.read(stored)
    assert len(os.listdir(Path(blobs.path, "quarantine"))) == 1


def test_modes_that_are_in_the_way_are_set_right(blobs: BlobDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root nothing is in the way, so the refusal is played."""
    path = path_of(blobs)
    path.chmod(0)
    path.parent.chmod(0)
    real_lstat, real_open = os.lstat, os.open

    def lstat(target: str) -> os.stat_result:
        if target == str(path) and not real_lstat(path.parent).st_mode & 0o100:
            raise PermissionError(13, "Permission denied", target)
        return real_lstat(target)

    def opened(target: str, flags: int, mode: int = 0o777) -> int:
        if target == str(path) and not lstat(target).st_mode & 0o400:
            raise PermissionError(13, "Permission denied", target)
        return real_open(target, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", lstat)
        patch.setattr(os, "open", opened)
        try:
            data = blobs.read(DIGEST)
        finally:
            path.parent.chmod(0o700)

    assert data == DATA
