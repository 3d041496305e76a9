"""Outputs that are swapped while they are collected: what is outside is neither read, moved, nor changed.

In the sandbox nothing is alive by then; a level without a PID namespace has no such promise.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from blake3 import blake3

from tests.unit.storage.stage_driver import BUILD, StageDriver
from zbuild import digest as digests
from zbuild.errors import OutputMissing, StoreFailed
from zbuild.model.action import OutputSpec
from zbuild.storage.collection import collect

SECRET = b"secret of the host"
ROUNDS = 2000
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100

_libc = ctypes.CDLL(None)


def _exchange(first: str, second: str) -> None:
    _libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)


@contextmanager
def _swapping(make: Callable[[int], None], first: str, second: str) -> Iterator[None]:
    """A process that makes the output and swaps it with something else, as fast as it can."""
    pid = os.fork()
    if pid == 0:
        number = 0
        while os.getppid() != 1:
            number += 1
            with suppress(OSError):
                make(number)
            _exchange(first, second)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("swapped", ["file and symlink", "directory and symlink", "file and FIFO", "file and file"])
def test_swapped_output(tmp_path: Path, swapped: str) -> None:
    driver = StageDriver(tmp_path)
    build = Path(driver.prepare({}, directories=[f"{BUILD}/o"]).location(BUILD))
    plan = driver.prepare({}, directories=[f"{BUILD}/o"])
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "f").write_bytes(SECRET)
    (secret / "f").chmod(0o040)
    before = (secret / "f").stat()
    output, other = build / "o" / "f", build / "other"
    first = output
    match swapped:
        case "file and symlink":
            other.symlink_to(secret / "f")
        case "directory and symlink":
            first = build / "o"
            other.symlink_to(secret)
        case "file and FIFO":
            os.mkfifo(other)
        case "file and file":
            other.write_bytes(b"other")

    def make(number: int) -> None:
        if not os.path.lexists(output):
            # Whoever still has it open could write after it was hashed: those who fetch a blob check it for that.
            made = build / "made"
            made.write_bytes(b"output %d" % (number % 7))
            made.chmod(0o040 if number % 2 else 0o644)
            made.rename(output)

    collected = refused = 0
    with _swapping(make, str(first), str(other)):
        for _ in range(ROUNDS):
            try:
                collected += len(collect(plan, [OutputSpec(f"{BUILD}/o/f")], driver.blobs))
            except (OutputMissing, StoreFailed):
                refused += 1
    assert collected + refused == ROUNDS
    assert (secret / "f").stat() == before
    assert not driver.blobs.contains(digests.of_bytes(SECRET))
    for path in driver.blobs_on_disk():
        assert stat.S_ISREG(path.lstat().st_mode), path
        assert blake3(path.read_bytes()).hexdigest() == path.name.partition(".")[0]


def test_attributes_do_not_get_into_the_store(tmp_path: Path) -> None:
    """No digest covers them, and an input that is linked to the blob would show them to other actions."""
    driver = StageDriver(tmp_path)
    plan = driver.prepare({})
    output = Path(plan.location(f"{BUILD}/f"))
    output.write_bytes(b"data")
    os.setxattr(output, "user.message", b"for the next action")
    (found,) = collect(plan, [OutputSpec(f"{BUILD}/f")], driver.blobs)
    assert os.listxattr(driver.blobs.path_of(found.digest)) == []
    assert not output.exists()
