"""What a worker and its spawner say to each other, over one socket pair.

A message is a length (4 bytes, little endian) and a msgpack-encoded struct. The codec does no I/O.
"""

from __future__ import annotations

import struct
from typing import Any, Generic, TypeVar

import msgspec

from zbuild.errors import ProtocolError
from zbuild.limits import SPAWN_MESSAGE_BYTES
from zbuild.sandbox.limit_mechanism import LimitMechanism

_LENGTH = struct.Struct("<I")


class Limits(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a command is ended for. 0 sets no bound.

    Attributes:
        memory_bytes: of all its processes together.
        processes: processes and threads at once.
        disk_bytes: files below ``disk_path``, a directory on this machine; inputs there count.
        private_bytes: the size of each file system that the sandbox has in memory.
        processors: processors that it may use.
    """

    memory_bytes: int = 0
    processes: int = 0
    disk_bytes: int = 0
    disk_path: str = ""
    private_bytes: int = 0
    processors: int = 0


class Confine(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="confine"):
    """Worker -> spawner, once, before the first Spawn: how to enforce limits. Without it there is only the watch."""

    mechanism: LimitMechanism
    directories: dict[str, str]


class Spawn(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="spawn"):
    """Worker -> spawner: start a command. Answered by exactly one Exited with the same id.

    Attributes:
        argv: the first element is a path, which is not searched for.
        environment: the whole of it.
        working_directory: on this machine.
        stdout_path: a file for output beyond SPAWN_INLINE_OUTPUT_BYTES; made only then.
        stderr_path: None joins stderr with stdout, in the order of writing.
        timeout_s: wall-clock bound from the start of the command.
        limits: what it is ended for besides.
        is_sandboxed: the command is bubblewrap with ``--json-status-fd 3``.
        is_held: make everything ready, and run the command only on Release. The time bound begins there, too.
    """

    id: int
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str
    stdout_path: str
    stderr_path: str | None
    timeout_s: float
    is_sandboxed: bool
    limits: Limits = Limits()
    is_held: bool = False


class Release(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="release"):
    """Worker -> spawner: run a held command now. Ignored when nothing is held under the id: its set-up has failed."""

    id: int


class Kill(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="kill"):
    """Worker -> spawner: end a command, held or running, and all its processes.

    Ignored when nothing is there under the id: it has ended.
    """

    id: int


class Captured(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a command wrote to one stream: inline in ``data``, or whole in the file ``path`` when that is set."""

    data: bytes = b""
    path: str = ""
    size_bytes: int = 0


class Exited(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="exited"):
    """Spawner -> worker: a command has ended, and with it all its processes.

    Attributes:
        exit_code: the command's, or 128 + signal number.
        is_timed_out: it ran into timeout_s.
        is_killed: it was ended by Kill or by a limit.
        user_s, system_s: CPU time of the command and the processes it waited for.
        peak_memory_bytes: the largest resident set among them, 0 when it is not known. (For a command outside a
            sandbox the kernel counts from before the exec, so that less than the spawner's own 17 MB cannot be told.)
        read_bytes, written_bytes: what they passed through read(2), write(2) and their like; not what they mapped.
        limit: empty, or the limit that the command was killed for: ``output limit 64 MiB exceeded on stdout``.
        error: empty, or why this is no result of the command: its sandbox could not be set up, its output not be kept.
    """

    id: int
    exit_code: int = 0
    is_timed_out: bool = False
    is_killed: bool = False
    user_s: float = 0.0
    system_s: float = 0.0
    peak_memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    wall_s: float = 0.0
    limit: str = ""
    error: str = ""
    stdout: Captured = Captured()
    stderr: Captured = Captured()


Request = Confine | Spawn | Release | Kill

_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()


def encode(message: Request | Exited) -> bytes:
    """One message as it travels.

    Raises:
        ProtocolError: it is longer than SPAWN_MESSAGE_BYTES.
    """
    body = _encoder.encode(message)
    if len(body) > SPAWN_MESSAGE_BYTES:
        raise ProtocolError(f"a message to the spawner of {len(body)} B: more than {SPAWN_MESSAGE_BYTES} B")
    return _LENGTH.pack(len(body)) + body


class Decoder(Generic[_T]):
    """Cuts a byte stream into messages: ``Decoder[Request](Request)`` or ``Decoder[Exited](Exited)``."""

    def __init__(self, message_type: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[_T] = msgspec.msgpack.Decoder(message_type)
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[_T]:
        """The messages that ``data`` completes.

        Raises:
            ProtocolError: the stream holds something else. It cannot be used any further.
        """
        self._pending += data
        messages: list[_T] = []
        start = 0
        while len(self._pending) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending, start)
            if length > SPAWN_MESSAGE_BYTES:
                raise ProtocolError(f"a spawner message of {length} B: more than {SPAWN_MESSAGE_BYTES} B")
            end = start + _LENGTH.size + length
            if end > len(self._pending):
                break
            try:
                messages.append(self._decoder.decode(bytes(self._pending[start + _LENGTH.size : end])))
            except msgspec.MsgspecError as error:
                raise ProtocolError(f"a spawner message that does not decode: {error}") from error
            start = end
        del self._pending[:start]
        return messages
