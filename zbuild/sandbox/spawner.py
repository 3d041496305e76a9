"""The worker's handle on its spawner, and the spawner's entry point.

``start_spawner`` must come before gevent or zmq are used: it forks, and neither survives that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess

from zbuild.errors import SandboxFailed
from zbuild.limits import SPAWNER_RECEIVE_BYTES, SPAWNER_STOP_S
from zbuild.module_process import ForkedProcess, fork
from zbuild.sandbox.child_processes import children
from zbuild.sandbox.spawn_protocol import Decoder, Exited, Request, encode

_COMMAND_DESCRIPTORS = 9
"""The last of the descriptors below which commands get theirs."""


class Spawner:
    """A started spawner. It ends, with everything it runs, when this object is closed or its process dies."""

    def __init__(self, control: socket.socket, process: ForkedProcess) -> None:
        self._control = control
        self._process = process
        self._decoder = Decoder[Exited](Exited)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """What to wait on: it is readable when receive() has something to return."""
        return self._control.fileno()

    def send(self, message: Request) -> None:
        """Pass a request on. It blocks for no longer than the spawner takes to read, which it always does.

        Raises:
            SandboxFailed: the spawner has ended.
            ProtocolError: the message is too long.
        """
        data = encode(message)
        try:
            self._control.sendall(data)
        except ConnectionError as error:
            raise SandboxFailed(f"the spawner (process {self.pid}) has ended: {error.strerror}") from error

    def receive(self) -> list[Exited]:
        """What has arrived, without blocking.

        Raises:
            SandboxFailed: the spawner has ended, and with it everything it ran.
        """
        try:
            data = self._control.recv(SPAWNER_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        if not data:
            raise SandboxFailed(f"the spawner (process {self.pid}) has ended")
        return self._decoder.feed(data)

    def close(self) -> None:
        """End the spawner and everything it runs, and wait for that. Closing twice is harmless."""
        self._control.close()
        try:
            self._process.wait(SPAWNER_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end_orphans()

    def _end_orphans(self) -> None:
        """Kill what a spawner that was killed has left to this process, the subreaper above it.

        A command dies with its sandbox, but a bubblewrap that sets one up, or waits for its Release, dies with nobody
        (its PR_SET_PDEATHSIG comes last). Such a process is still in the session of the spawner.
        """
        while orphans := [pid for pid in children() if _session_of(pid) == self.pid]:
            # The children of an orphan become orphans.
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def start_spawner() -> Spawner:
    """Start a spawner process; it gets ready in the background.

    It has a session of its own, so that Ctrl-C at a terminal reaches the worker alone. This process should be a
    subreaper (prctl(2)), so that what a killed spawner leaves becomes its child and is ended by close().
    """
    ours, theirs = socket.socketpair()
    with theirs:
        descriptor, parent_pid = theirs.fileno(), os.getpid()
        process = fork(lambda: main(descriptor, parent_pid), kept=[descriptor])
    return Spawner(ours, process)


def main(descriptor: int, parent_pid: int) -> int:
    """Be the spawner: serve the socket ``descriptor`` for the process ``parent_pid``."""
    import prctl

    from zbuild.sandbox.spawn_loop import protected_loop

    _occupy_low_descriptors()
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    with contextlib.suppress(PermissionError):
        # Only root can give up supplementary groups. A command must neither use nor show those of the worker.
        os.setgroups([])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop = protected_loop(socket.socket(fileno=descriptor))
    prctl.set_name("zbuild-spawner")
    prctl.set_child_subreaper(1)
    prctl.set_pdeathsig(signal.SIGTERM)
    if os.getppid() == parent_pid:
        loop.run()
    return 0


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _occupy_low_descriptors() -> None:
    """Keep those that commands get free of pipes of ours: one set up for a command would close another's source."""
    while (descriptor := os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)) <= _COMMAND_DESCRIPTORS:
        pass
    os.close(descriptor)
