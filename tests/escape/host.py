"""What there is to be reached outside a sandbox: secrets, sockets, a process, all of the user who runs the worker."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

_NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
_IPC_CREAT, _IPC_EXCL, _IPC_RMID = 0o1000, 0o2000, 0
_HANDLE_BYTES = 128
"""MAX_HANDLE_SZ of linux/fcntl.h."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p


class _FileHandle(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("data", ctypes.c_ubyte * _HANDLE_BYTES),
    )


@contextlib.contextmanager
def targets(directory: Path, program: Path, other_stage: str, spawner_pid: int) -> Iterator[dict[str, str]]:
    """The environment that tells probes where everything is.

    Args:
        spawner_pid: its namespaces are those of an action that has none of its own.
        directory: empty, of this user.
        program: the probes, executable; it is started as the process to be attacked.
        other_stage: a directory that belongs to another slot of the worker.
    """
    token, mark = os.urandom(16).hex(), os.urandom(8).hex()
    secret = directory / "secret"
    secret.write_text(token)
    secret.chmod(0o600)
    with contextlib.ExitStack() as stack:
        found = {
            "HOST_TOKEN": token,
            "HOST_MARK": mark,
            "HOST_SECRET": str(secret),
            "HOST_DIRECTORY": str(directory),
            "HOST_OTHER_STAGE": other_stage,
            "HOST_HANDLE": _handle(secret),
            "HOST_NAMESPACES": " ".join(
                os.readlink(f"/proc/{pid}/ns/{kind}") for kind in _NAMESPACES for pid in ("self", spawner_pid)
            ),
            "HOST_SESSION": str(os.getsid(0)),
        }
        found |= stack.enter_context(_sockets(directory, mark))
        found |= stack.enter_context(_process(program, token, mark))
        found |= stack.enter_context(_shared(token, mark))
        yield found


@contextlib.contextmanager
def _sockets(directory: Path, mark: str) -> Iterator[dict[str, str]]:
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port6 = 0
        with contextlib.suppress(OSError):
            port6 = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6)).getsockname()[1]
        for name in (str(directory / "socket"), f"\0zbuild-{mark}"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(name)
            listener.listen()
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_echo, args=(udp,))
        thread.start()
        try:
            yield {
                "HOST_TCP_PORT": str(tcp.getsockname()[1]),
                "HOST_TCP6_PORT": str(port6),
                "HOST_UDP_PORT": str(udp.getsockname()[1]),
                "HOST_SOCKET": str(directory / "socket"),
                "HOST_ABSTRACT": f"zbuild-{mark}",
            }
        finally:
            udp.sendto(b"end", udp.getsockname())
            thread.join()


def _echo(udp: socket.socket) -> None:
    while True:
        data, sender = udp.recvfrom(16)
        if data == b"end":
            return
        udp.sendto(data, sender)


@contextlib.contextmanager
def _process(program: Path, token: str, mark: str) -> Iterator[dict[str, str]]:
    command = [str(program), "canary", f"canary-{mark}"]
    with subprocess.Popen(command, env={"HOST_TOKEN": token}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield {"HOST_PID": str(process.pid), "HOST_ADDRESS": process.stdout.readline().strip()}
        finally:
            process.kill()


@contextlib.contextmanager
def _shared(token: str, mark: str) -> Iterator[dict[str, str]]:
    """A shared memory segment, a semaphore set and a message queue of System V, and a message queue of POSIX."""
    key = int.from_bytes(os.urandom(3), "big") | 0x5A000000
    flags = _IPC_CREAT | _IPC_EXCL | 0o600
    data = token.encode() + b"\0"
    segment = _checked(_libc.shmget(key, len(data), flags))
    try:
        address = ctypes.c_void_p(_libc.shmat(segment, None, 0))
        ctypes.memmove(address, data, len(data))
        _checked(_libc.shmdt(address))
        semaphores = _checked(_libc.semget(key, 1, flags))
        try:
            messages = _checked(_libc.msgget(key, flags))
            queue = f"/zbuild-{mark}"
            posix = _libc.mq_open(queue.encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
            try:
                yield {"HOST_KEY": str(key), "HOST_QUEUE": queue}
            finally:
                _libc.msgctl(messages, _IPC_RMID, None)
                if posix >= 0:
                    os.close(posix)
                    _libc.mq_unlink(queue.encode())
        finally:
            _libc.semctl(semaphores, 0, _IPC_RMID)
    finally:
        _libc.shmctl(segment, _IPC_RMID, None)


def _handle(path: Path) -> str:
    """``TYPE:HEX`` of name_to_handle_at(2); empty handle where the file system has none."""
    handle = _FileHandle(size=_HANDLE_BYTES)
    mount = ctypes.c_int()
    if _libc.name_to_handle_at(-100, bytes(path), ctypes.byref(handle), ctypes.byref(mount), 0) != 0:
        return "0:"
    return f"{handle.type}:{bytes(handle.data[: handle.size]).hex()}"


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
