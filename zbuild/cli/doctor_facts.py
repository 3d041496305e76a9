"""Finds out what ``zbuild doctor`` judges."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.metadata
import os
import resource
import shutil
import subprocess
import sys
import tempfile

from zbuild.cli.doctor_checks import Facts
from zbuild.errors import SandboxUnavailable, ZbuildError
from zbuild.limits import SANDBOX_PROBE_S
from zbuild.sandbox.bubblewrap import SYSCTLS, find_bubblewrap, probe
from zbuild.sandbox.control_group import look
from zbuild.sandbox.launch import find_confinement
from zbuild.sandbox.limit_mechanism import choices
from zbuild.sandbox.system import SystemTree
from zbuild.transport.libzmq import libzmq_version

_PACKAGES = ("gevent", "pyzmq", "msgpack", "msgspec", "blake3", "python-prctl", "rich")

_TOOLS = ("cc", "c++", "ld", "ar", "ninja")

_FICLONE = 0x40049409
"""ioctl_ficlone(2): let two files share their blocks."""


def gather(cache_dir: str, broker: str) -> Facts:
    """The facts of this machine. Nothing of it is changed. ``broker``: an endpoint, or "" for none."""
    facts = _CacheFacts(cache_dir)
    return Facts(
        python=sys.version_info[:3],
        packages={name: _installed(name) for name in _PACKAGES},
        libzmq=libzmq_version(),
        bubblewrap=_bubblewrap_version(),
        sandbox_error=_sandbox_error(),
        sysctls={path.removeprefix("/proc/sys/").replace("/", "."): _first_line(path) for path in SYSCTLS},
        has_seccomp=os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
        process_error=_process_error(),
        limits=choices(look({os.getpid(), os.getppid()}))[0],
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        cache_dir=cache_dir,
        cache_error=facts.error,
        free_bytes=facts.free_bytes,
        inodes=facts.inodes,
        free_inodes=facts.free_inodes,
        has_hard_links=facts.has_hard_links,
        has_reflinks=facts.has_reflinks,
        broker=broker,
        broker_error=_broker_error(broker),
        tools={name: shutil.which(name) or "" for name in _TOOLS},
    )


class _CacheFacts:
    """What the file system of the cache can do, tried in a directory that is gone afterwards."""

    def __init__(self, directory: str) -> None:
        self.error = ""
        self.free_bytes = self.inodes = self.free_inodes = 0
        self.has_hard_links = self.has_reflinks = False
        existing = directory
        while not os.path.isdir(existing):
            existing = os.path.dirname(existing)
        try:
            space = os.statvfs(existing)
            self.free_bytes = space.f_bavail * space.f_frsize
            self.inodes, self.free_inodes = space.f_files, space.f_favail
            with tempfile.TemporaryDirectory(prefix=".zbuild-doctor-", dir=existing) as place:
                self._try_links(place)
        except OSError as error:
            self.error = f"{existing} cannot be used: {error.strerror}"

    def _try_links(self, place: str) -> None:
        first = f"{place}/first"
        with open(first, "wb") as source, open(f"{place}/second", "wb") as target:
            source.write(b"x")
            source.flush()
            with contextlib.suppress(OSError):
                fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
                self.has_reflinks = True
        try:
            os.link(first, f"{place}/third")
            self.has_hard_links = True
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _bubblewrap_version() -> str:
    try:
        command = [find_bubblewrap(), "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SANDBOX_PROBE_S, check=False)
    except (SandboxUnavailable, OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _sandbox_error() -> str:
    with tempfile.TemporaryDirectory(prefix="zbuild-doctor-") as place:
        try:
            probe(SystemTree(f"{place}/system").paths(), place)
        except SandboxUnavailable as error:
            return str(error)
    return ""


def _process_error() -> str:
    try:
        find_confinement()
    except SandboxUnavailable as error:
        return str(error)
    return ""


def _broker_error(broker: str) -> str:
    if broker:
        from zbuild.client.status_query import query_status

        try:
            query_status(broker)
        except ZbuildError as error:
            return str(error)
    return ""


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.readline().strip()
    except OSError:
        return ""
