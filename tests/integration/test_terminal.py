"""What a build shows on a terminal: progress that moves, colours unless NO_COLOR is set, and its end at Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator

import pytest

from tests.integration.tree import RUN_TIMEOUT_S, Tree
from tests.live_processes import processes_naming
from tests.polling import wait_until

pytestmark = pytest.mark.needs("bubblewrap", "ninja")

_SIZE = struct.pack("HHHH", 24, 100, 0, 0)
"""struct winsize: rows, columns, and two that nobody uses."""

CTRL_C = b"\x03"


class Terminal:
    """A terminal with a ``zbuild build`` in its foreground.

    Attributes:
        screen: every byte that was written to it so far.
    """

    def __init__(self, tree: Tree, *flags: str) -> None:
        self.screen = b""
        command = [sys.executable, "-m", "zbuild.cli.main", "build", *tree.farm_flags, *flags]
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(tree.build)
                os.execve(sys.executable, command, {**tree.environment, "TERM": "xterm"})
            finally:
                os._exit(1)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, _SIZE)
        os.set_blocking(self._descriptor, False)
        self._wait_status: int | None = None

    def wait_for(self, pattern: bytes) -> None:
        """Wait until it shows ``pattern``."""
        wait_until(lambda: self._shows(pattern), f"{pattern!r} on the terminal")

    def press(self, key: bytes) -> None:
        """Type."""
        os.write(self._descriptor, key)

    def finish(self) -> int:
        """Wait for the end of the build; its exit code."""
        wait_until(self._has_ended, "the build to end", RUN_TIMEOUT_S)
        self._shows(b"")
        assert self._wait_status is not None
        return os.waitstatus_to_exitcode(self._wait_status)

    def close(self) -> None:
        """End the build if it still runs."""
        os.close(self._descriptor)
        if self._wait_status is None:
            os.waitpid(self._pid, 0)

    def _shows(self, pattern: bytes) -> bool:
        # EIO is how Linux says that nobody has the terminal open any more.
        with contextlib.suppress(OSError):
            while data := os.read(self._descriptor, 65536):
                self.screen += data
        return re.search(pattern, self.screen) is not None

    def _has_ended(self) -> bool:
        # What is written must be read, or the build waits for that.
        self._shows(b"")
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._wait_status = status
        return pid != 0


@contextlib.contextmanager
def terminal(tree: Tree, *flags: str) -> Iterator[Terminal]:
    """A terminal that is gone afterwards, whatever happens: the build gets SIGHUP."""
    made = Terminal(tree, *flags)
    try:
        yield made
    finally:
        made.close()


def test_what_has_begun_is_shown_before_anything_has_ended_as_with_ninja(tree: Tree, token: str) -> None:
    tree.manifest(f"build a: sh\n  cmd = sleep 600.{token}\n")
    with terminal(tree) as shown:
        shown.wait_for(rb"\[0/1\] sleep 600")
        shown.press(CTRL_C)
        assert shown.finish() == 130
    assert b"interrupted by user" in shown.screen
    wait_until(lambda: not processes_naming(f"sleep 600.{token}"), "the command to end")


def test_progress_moves_in_one_line_and_leaves_the_summary(tree: Tree, token: str) -> None:
    tree.manifest("".join(f"build o{n}: sh\n  cmd = echo {token} > o{n}\n" for n in range(3)))
    with terminal(tree) as shown:
        assert shown.finish() == 0
    assert b"\x1b[2K" in shown.screen, "a line is erased to be drawn anew"
    last = re.split(rb"\x1b\[2K", shown.screen)[-1]
    assert re.fullmatch(rb"zbuild: 3 actions, .*; sandbox hermetic\r\n", last), last


@pytest.mark.parametrize("has_color", [True, False], ids=["colour", "NO_COLOR"])
def test_colours_are_left_out_with_no_color(tree: Tree, token: str, has_color: bool) -> None:
    if not has_color:
        tree.environment["NO_COLOR"] = "1"
    tree.manifest(f"build a: sh\n  cmd = printf '\\033[31m{token}\\033[0m\\n'; touch a\n")
    with terminal(tree) as shown:
        assert shown.finish() == 0
    assert token.encode() in shown.screen
    assert (re.search(rb"\x1b\[[0-9;]*m", shown.screen) is not None) == has_color
