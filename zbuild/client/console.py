"""What the user sees: progress on stderr, what commands print on stdout.

On a terminal the progress is a line that moves; elsewhere each finished edge gets a line. While a
console command owns the terminal, everything else waits.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, BinaryIO, TextIO

if TYPE_CHECKING:
    from zbuild.client.live_progress import LiveProgress

_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Console:
    """Where everything that is printed goes through, in order.

    Args:
        messages: where progress and errors go, stderr.
        output: where the output of commands goes, byte for byte: stdout, or stderr when stdout carries JSON.
        is_live: whether ``messages`` is a terminal, on which progress is a line that moves.
        keeps_color: whether colours of commands are passed on.
        is_quiet: no progress at all.

    Attributes:
        shown_s: when something was shown last, progress that is left out included.
    """

    def __init__(
        self, messages: TextIO, output: BinaryIO, *, is_live: bool, keeps_color: bool, is_quiet: bool = False
    ) -> None:
        self.shown_s = time.monotonic()
        self._messages = messages
        self._output = output
        self.is_live = is_live
        self._keeps_color = keeps_color
        self._is_quiet = is_quiet
        self._live: LiveProgress | None = None
        self._held: list[str | bytes] | None = None

    def progress(self, text: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` edges have ended; ``text`` is about the last that has begun or ended."""
        self.shown_s = time.monotonic()
        if self._is_quiet or self._held is not None:
            return
        if not self.is_live:
            self._write(text + "\n")
            return
        if self._live is None:
            from zbuild.client.live_progress import LiveProgress

            self._live = LiveProgress(self._messages)
        self._live.show(text.replace("\n", " "), done, total)

    def remark(self, text: str) -> None:
        """A line that is of no interest when all is well; left out when quiet."""
        if not self._is_quiet:
            self.message(text)

    def message(self, text: str) -> None:
        """A line that stays."""
        self._hide_progress()
        self._write(text + "\n")

    def waiting(self, text: str) -> None:
        """What is waited for. Left out while a console command has the terminal: it would be old when it is shown."""
        self.shown_s = time.monotonic()
        if self._held is None:
            self.message(text)

    def command_output(self, data: bytes) -> None:
        """What a command printed."""
        if not data:
            return
        self._hide_progress()
        if not self._keeps_color:
            data = _ESCAPES.sub(b"", data)
        self._write(data if data.endswith(b"\n") else data + b"\n")

    def hold(self) -> None:
        """A console command takes the terminal."""
        self._hide_progress()
        self._held = []

    def release(self) -> None:
        """It is ours again."""
        held, self._held = self._held or [], None
        for data in held:
            self._write(data)

    def close(self) -> None:
        """Give the terminal back."""
        self.release()
        self._hide_progress()

    def _hide_progress(self) -> None:
        if self._live is not None:
            self._live.hide()

    def _write(self, data: str | bytes) -> None:
        """Text is a message of ours, bytes are a command's."""
        self.shown_s = time.monotonic()
        if self._held is not None:
            self._held.append(data)
        elif isinstance(data, str):
            self._messages.write(data)
            self._messages.flush()
        else:
            self._output.write(data)
            self._output.flush()
