"""Read-only mounts over the files of the host that a sandbox's processes hold open, in the spawner's own namespace.

The devices come from the host's own mounts, and stdin and /dev/null lead back to them. To the kernel an action of
root's worker owns root's files: without capabilities it could still change the mode of /dev/null for the whole machine
(the shape of CVE-2019-5736, which did that to a program). No mount option of bubblewrap covers these, so the spawner
makes them read-only for itself and all that it starts; the host's mounts stay as they are. An ordinary user's worker
owns none of them and needs nothing.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from zbuild.errors import SandboxUnavailable

_CLONE_NEWNS = 0x0002_0000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 1, 1 << 5, 1 << 12, 1 << 14, 1 << 19
"""linux/sched.h, linux/mount.h."""

_KEPT_FLAGS = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC
"""Their values are those of MS_NOSUID and so on."""


def protect(paths: Iterable[str]) -> None:
    """Make these files read-only for this process and its children, from now on. Only root can and must.

    The process needs to have one thread. Mounts that the host makes later still appear.

    Raises:
        SandboxUnavailable: the kernel refuses, as it does in a container without CAP_SYS_ADMIN.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(path: str, flags: int) -> None:
        if libc.mount(os.fsencode(path), os.fsencode(path), None, flags, None) != 0:
            raise _refusal(path)

    if libc.unshare(_CLONE_NEWNS) != 0:
        raise _refusal("/")
    mount("/", _MS_REC | _MS_SLAVE)
    for path in paths:
        mount(path, _MS_BIND)
        mount(path, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | os.statvfs(path).f_flag & _KEPT_FLAGS)


def _refusal(path: str) -> SandboxUnavailable:
    reason = os.strerror(ctypes.get_errno())
    return SandboxUnavailable(
        f"the hermetic sandbox of a worker that runs as root cannot protect {path}: {reason};"
        " run the worker as an ordinary user, or give it CAP_SYS_ADMIN"
    )
