"""Commands that run here, outside any sandbox: console, generators, and what cannot be remote."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from zbuild.limits import LOCAL_STOP_S, PIPE_READ_BYTES

if TYPE_CHECKING:
    import subprocess


class LocalOutcome(NamedTuple):
    """The end of a local command. ``output``: stdout and stderr in the order of writing."""

    key: int
    exit_code: int
    output: bytes


class LocalProcesses:
    """The local commands that run now, each in a process group of its own, as ninja runs them.

    A console command stays in ours and keeps the terminal.
    """

    def __init__(self) -> None:
        self._running: dict[int, _Running] = {}
        self._by_descriptor: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, key: int, command: str, *, is_console: bool) -> int:
        """Start ``/bin/sh -c command``; the descriptor becomes readable when there is output, or the end.

        Raises:
            OSError: it cannot be started.
        """
        # Most builds run nothing here, and this import takes 3 ms.
        import subprocess

        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=None if is_console else subprocess.DEVNULL,
                stdout=None if is_console else write_end,
                stderr=None if is_console else write_end,
                pass_fds=(write_end,) if is_console else (),
                process_group=None if is_console else 0,
            )
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        os.set_blocking(read_end, False)
        self._running[key] = _Running(process, read_end, is_console)
        self._by_descriptor[read_end] = key
        return read_end

    def descriptors(self) -> Iterator[int]:
        yield from self._by_descriptor

    def read(self, descriptor: int) -> LocalOutcome | None:
        """Take what is there; the outcome once the command has closed its output and ended."""
        key = self._by_descriptor[descriptor]
        running = self._running[key]
        while True:
            try:
                data = os.read(descriptor, PIPE_READ_BYTES)
            except BlockingIOError:
                return None
            if not data:
                return self._ended(key, running)
            running.output.append(data)

    def stop(self) -> None:
        """End all and wait for them: SIGINT as from ninja, on which compilers remove their temporary files."""
        for running in self._running.values():
            running.signal(signal.SIGINT)
        waiting = select.poll()
        for descriptor in self._by_descriptor:
            waiting.register(descriptor, select.POLLIN)
        deadline_s = time.monotonic() + LOCAL_STOP_S
        while self._running and (remaining_s := deadline_s - time.monotonic()) > 0:
            for descriptor, _ in waiting.poll(remaining_s * 1000):
                if self.read(descriptor) is not None:
                    waiting.unregister(descriptor)
        self.kill()

    def kill(self) -> None:
        """End all at once and wait for them."""
        for key, running in list(self._running.items()):
            running.signal(signal.SIGKILL)
            self._ended(key, running)

    def _ended(self, key: int, running: _Running) -> LocalOutcome:
        code = running.process.wait()
        os.close(running.descriptor)
        del self._running[key]
        del self._by_descriptor[running.descriptor]
        return LocalOutcome(key, code if code >= 0 else 128 - code, b"".join(running.output))


class _Running:
    def __init__(self, process: subprocess.Popen[bytes], descriptor: int, is_console: bool) -> None:
        self.process = process
        self.descriptor = descriptor
        self.is_console = is_console
        self.output: list[bytes] = []

    def signal(self, number: int) -> None:
        """To the whole group; a console command has had the terminal's own signal already."""
        try:
            if self.is_console:
                self.process.send_signal(number)
            else:
                os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return
