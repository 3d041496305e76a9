"""One command that the spawner has started: its processes, its output, its end."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
from dataclasses import dataclass, field

from zbuild.errors import SandboxFailed
from zbuild.limits import COMMAND_WATCH_S, KIB, MIB, SPAWN_OUTPUT_BYTES, SPAWN_TERM_GRACE_S
from zbuild.sandbox.bubblewrap import FILTER_DESCRIPTOR, RELEASE_DESCRIPTOR, STATUS_DESCRIPTOR
from zbuild.sandbox.command_watch import processor_time_s
from zbuild.sandbox.confinement import Bounds
from zbuild.sandbox.output_capture import OutputCapture
from zbuild.sandbox.reaped_process import ReapedProcess
from zbuild.sandbox.seccomp import filter_path
from zbuild.sandbox.spawn_protocol import Captured, Exited, Spawn
from zbuild.sandbox.verdict import output_exceeded

_STATUS_BYTES = 4 * KIB
"""Two lines of JSON, 250 B."""

_CHILD_PID_MS = 1000
"""How long a kill waits for bubblewrap to name its child. It takes 1 ms."""

_EXIT_NOT_FOUND = 127
_EXIT_NOT_EXECUTABLE = 126
"""POSIX, Shell Command Language, 2.8.2."""

_DEFAULT_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""What an interpreter or a daemon ignores, SIGPIPE above all, must not be ignored by commands."""


@dataclass(slots=True)
class RunningCommand:
    """The state of one started command.

    Attributes:
        pid: the process started; for a sandboxed command bubblewrap's outer process.
        init_pid: the sandbox's PID 1 as seen from here, 0 while unknown. When it is gone, so is the whole sandbox.
        bounds: what it is under.
        killed_at_s: the CPU time of all its processes when it was ended: what is killed is not counted by who waits.
        next_look_s: when to hold it against its limits next.
        release_descriptor: what a held sandbox waits at; -1 when it waits no longer.
        next_signal_s: when to act next: at the deadline, then at the end of the grace; infinite when nothing is left,
            and while the command is held.
    """

    spawn: Spawn
    pid: int
    captures: list[OutputCapture]
    status_descriptor: int
    release_descriptor: int
    started_s: float
    next_signal_s: float
    init_pid: int = 0
    bounds: Bounds | None = None
    next_look_s: float = float("inf")
    is_timed_out: bool = False
    is_killed: bool = False
    was_asked_to_end: bool = False
    limit: str = ""
    killed_at_s: float = 0.0
    wait_status: int | None = None
    user_s: float = 0.0
    system_s: float = 0.0
    peak_memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    _status: bytes = field(default=b"", repr=False)

    def account(self, reaped: ReapedProcess) -> None:
        """Add what a reaped process of the command has used, and those that it waited for."""
        usage = reaped.usage
        self.user_s += usage.ru_utime
        self.system_s += usage.ru_stime
        self.read_bytes += reaped.read_bytes
        self.written_bytes += reaped.written_bytes
        if reaped.pid != self.pid or usage.ru_maxrss > _own_peak_kib():
            self.peak_memory_bytes = max(self.peak_memory_bytes, usage.ru_maxrss * KIB)

    def look(self, now_s: float) -> None:
        """Hold the command against its limits, and end it if it exceeds one."""
        self.next_look_s = now_s + COMMAND_WATCH_S
        if self.bounds is None or self.wait_status is not None:
            return
        if self.spawn.is_sandboxed and not self.init_pid:
            self.read_status()
        verdict = self.bounds.watch.look(self.pid, self.init_pid)
        if verdict and not self.is_killed:
            self.limit = self.limit or verdict
            self.is_killed = True
            self.was_asked_to_end = True
            self.end(now_s)

    def release(self, now_s: float) -> None:
        """Let a held command run. Its time begins now."""
        if self.release_descriptor < 0:
            return
        # A sandbox that could not be set up is gone; its end will be reported.
        with contextlib.suppress(ConnectionError):
            os.write(self.release_descriptor, b"\0")
        self._close_release()
        self.started_s = now_s
        self.next_signal_s = now_s + self.spawn.timeout_s
        self.next_look_s = now_s + COMMAND_WATCH_S

    def end(self, now_s: float) -> None:
        """Make the command end: at once in a sandbox, which dies with bubblewrap; else first with SIGTERM."""
        self.next_signal_s = float("inf")
        if self.wait_status is not None:
            return
        self.killed_at_s = processor_time_s(self.pid)
        if self.spawn.is_sandboxed:
            # Only once its child is known can the child be found again after bubblewrap's death.
            self._await_child_pid()
            os.kill(self.pid, signal.SIGKILL)
        elif self.was_asked_to_end:
            self._signal_group(signal.SIGKILL)
        else:
            self.was_asked_to_end = True
            self._signal_group(signal.SIGTERM)
            self.next_signal_s = now_s + SPAWN_TERM_GRACE_S

    def end_group(self) -> None:
        """Kill what the reaped leader of an unsandboxed command has left behind in its process and control group."""
        self._signal_group(signal.SIGKILL)
        if self.bounds is not None and self.bounds.group is not None and not self.spawn.is_sandboxed:
            for pid in self.bounds.group.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def read_status(self) -> None:
        """Take what bubblewrap has reported so far."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.status_descriptor, _STATUS_BYTES):
                self._status += data
        self.init_pid = self._reported("child-pid") or 0

    def exited(self, now_s: float) -> Exited:
        """The report of a command all of whose processes are gone. Closes every descriptor."""
        if self.bounds is not None:
            verdict = self.bounds.watch.last_look()
            self.is_killed = self.is_killed or bool(verdict)
            self.limit = self.limit or verdict
            self.peak_memory_bytes = max(self.peak_memory_bytes, self.bounds.watch.peak_memory_bytes)
        assert self.wait_status is not None, "a command is reported after it was reaped"
        code = os.waitstatus_to_exitcode(self.wait_status)
        exit_code = code if code >= 0 else 128 - code
        outputs = [capture.finish() for capture in self.captures]
        error = next((capture.error for capture in self.captures if capture.error), "")
        if self.spawn.is_sandboxed:
            self.read_status()
            os.close(self.status_descriptor)
            self._close_release()
            reported = self._reported("exit-code")
            if reported is not None:
                exit_code = reported
            elif not (self.is_killed or self.is_timed_out):
                if code < 0:
                    # Nothing in a sandbox can signal the bubblewrap outside.
                    error = error or f"bubblewrap was ended by {signal.Signals(-code).name}"
                exit_code, failure = _unstarted(outputs[-1], exit_code)
                error = error or failure
        return Exited(
            id=self.spawn.id,
            exit_code=exit_code,
            is_timed_out=self.is_timed_out,
            is_killed=self.is_killed,
            user_s=max(self.user_s, self.killed_at_s - self.system_s),
            system_s=self.system_s,
            peak_memory_bytes=self.peak_memory_bytes,
            read_bytes=self.read_bytes,
            written_bytes=self.written_bytes,
            wall_s=now_s - self.started_s,
            limit=self.limit,
            error=error,
            stdout=outputs[0],
            stderr=outputs[1] if len(outputs) > 1 else Captured(),
        )

    def check_output(self, capture: OutputCapture, now_s: float) -> None:
        """End a command that has written too much, or whose output cannot be kept."""
        if capture.is_over_limit and not self.limit:
            name = "stderr" if self.captures.index(capture) else "stdout"
            self.limit = output_exceeded(SPAWN_OUTPUT_BYTES, name)
        elif not capture.error:
            return
        if not self.is_killed:
            self.is_killed = True
            self.end(now_s)

    def _close_release(self) -> None:
        if self.release_descriptor >= 0:
            os.close(self.release_descriptor)
            self.release_descriptor = -1

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _await_child_pid(self) -> None:
        poller = select.poll()
        poller.register(self.status_descriptor, select.POLLIN)
        # bubblewrap writes the line in several pieces. It closes the pipe when it fails before.
        while b"\n" not in self._status and (events := poller.poll(_CHILD_PID_MS)):
            self.read_status()
            if not events[0][1] & select.POLLIN:
                return

    def _reported(self, key: str) -> int | None:
        for line in self._status.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                value = json.loads(line).get(key)
                if isinstance(value, int):
                    return value
        return None


def _own_peak_kib() -> int:
    """What the kernel counts for every process that this one starts: its own pages, until the exec.

    It adds up pages in batches for each processor, so two readings of one number may differ by some.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + MIB // KIB


def start(spawn: Spawn, now_s: float) -> RunningCommand:
    """Start a command in a process group of its own; a held one waits in its sandbox for ``release``.

    Raises:
        OSError: it could not be started; nothing is left open.
        SandboxFailed: its words are none that the kernel could take, likewise.
    """
    paths = [spawn.stdout_path] if spawn.stderr_path is None else [spawn.stdout_path, spawn.stderr_path]
    is_held = spawn.is_held and spawn.is_sandboxed
    argv = spawn.argv
    pipes: list[tuple[int, int]] = []
    try:
        pipes += (os.pipe() for _ in paths)
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, pipes[0][1], 1),
            (os.POSIX_SPAWN_DUP2, pipes[-1][1], 2),
        ]
        if spawn.is_sandboxed:
            pipes.append(os.pipe())
            actions.append((os.POSIX_SPAWN_DUP2, pipes[-1][1], STATUS_DESCRIPTOR))
            actions.append((os.POSIX_SPAWN_OPEN, FILTER_DESCRIPTOR, filter_path(), os.O_RDONLY, 0))
        if is_held:
            pipes.append(_release_pair())
            actions.append((os.POSIX_SPAWN_DUP2, pipes[-1][1], RELEASE_DESCRIPTOR))
            argv = (argv[0], "--block-fd", str(RELEASE_DESCRIPTOR), *argv[1:])
        # posix_spawn knows no working directory. This process has one thread, and needs none of its own.
        os.chdir(spawn.working_directory)
        try:
            pid = os.posix_spawn(
                argv[0],
                argv,
                dict(spawn.environment),
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        except ValueError as error:
            raise SandboxFailed(f"cannot start {spawn.argv[0]!r}: {error}") from error
        finally:
            os.chdir("/")
    except BaseException:
        for reader, _ in pipes:
            os.close(reader)
        raise
    finally:
        for _, writer in pipes:
            os.close(writer)
    release_descriptor = pipes.pop()[0] if is_held else -1
    status_descriptor = -1
    if spawn.is_sandboxed:
        status_descriptor = pipes.pop()[0]
        os.set_blocking(status_descriptor, False)
    captures = [OutputCapture(reader, path) for (reader, _), path in zip(pipes, paths, strict=True)]
    end_s = float("inf") if is_held else now_s + spawn.timeout_s
    return RunningCommand(spawn, pid, captures, status_descriptor, release_descriptor, now_s, end_s)


def _release_pair() -> tuple[int, int]:
    """Datagram sockets: unlike a pipe they do not become readable when this process dies, which must start nothing."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return ours.detach(), theirs.detach()


def unstartable(spawn: Spawn, error: OSError | SandboxFailed) -> Exited:
    """The report of a command that start() has refused, or that could not be put under its limits."""
    if isinstance(error, SandboxFailed):
        return Exited(id=spawn.id, error=str(error))
    message = f"cannot start {spawn.argv[0]}: {error.strerror}"
    is_about_command = error.filename == spawn.argv[0] and isinstance(error, FileNotFoundError | PermissionError)
    is_too_long = error.errno == errno.E2BIG
    if not is_too_long and (spawn.is_sandboxed or not is_about_command):
        return Exited(id=spawn.id, error=message)
    exit_code = _EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else _EXIT_NOT_EXECUTABLE
    text = (message + "\n").encode(errors="replace")
    return Exited(id=spawn.id, exit_code=exit_code, stdout=Captured(data=text, size_bytes=len(text)))


def _unstarted(output: Captured, exit_code: int) -> tuple[int, str]:
    """(exit code, error) of a sandbox that ended without having run its command."""
    said = output.data.decode(errors="replace").strip()
    last_line = said.rpartition("\n")[2]
    if last_line.startswith("bwrap: execvp "):
        is_absent = last_line.endswith("No such file or directory")
        return (_EXIT_NOT_FOUND if is_absent else _EXIT_NOT_EXECUTABLE), ""
    return exit_code, f"the sandbox could not be set up: {last_line or f'exit code {exit_code}'}"
