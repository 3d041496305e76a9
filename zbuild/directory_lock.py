"""A kernel lock on a directory, which ends with its process."""

from __future__ import annotations

import errno
import fcntl
import os

LOCK_NAME = ".zbuild_lock"
"""Only where the directory itself cannot be locked. It stays: whoever removed it could remove another's."""

_UNSUPPORTED = (errno.EBADF, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK)
"""NFS locks only what is open for writing, which no directory is: flock(2), NFS details."""


def lock_directory(path: str, *, waits: bool) -> int:
    """The descriptor that holds the lock. It is on the directory itself, where that can be, so that no file is left.

    Raises:
        BlockingIOError: another process has it, and ``waits`` is false.
        OSError: there is no such directory, or its file system has no locks: ENOLCK.
    """
    operation = fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB)
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return _locked(os.open(path, os.O_RDONLY | os.O_DIRECTORY | flags), operation)
    except OSError as problem:
        if problem.errno not in _UNSUPPORTED:
            raise
    return _locked(os.open(os.path.join(path, LOCK_NAME), os.O_RDWR | os.O_CREAT | flags, 0o666), operation)


def _locked(descriptor: int, operation: int) -> int:
    try:
        fcntl.flock(descriptor, operation)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
