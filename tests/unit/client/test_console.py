"""What is printed where: messages of zbuild as text, output of commands byte for byte."""

from __future__ import annotations

import io

import pytest

from zbuild.client.console import Console


class Printed:
    """A console on memory."""

    def __init__(self, *, keeps_color: bool = False, is_quiet: bool = False) -> None:
        self.messages = io.StringIO()
        self.output = io.BytesIO()
        self.console = Console(self.messages, self.output, is_live=False, keeps_color=keeps_color, is_quiet=is_quiet)


def test_output_that_is_not_utf8_passes_unchanged_as_with_ninja() -> None:
    printed = Printed()
    printed.console.command_output(b"caf\xe9\n")
    assert printed.output.getvalue() == b"caf\xe9\n"


def test_output_ends_with_a_newline() -> None:
    printed = Printed()
    printed.console.command_output(b"no end")
    printed.console.command_output(b"")
    assert printed.output.getvalue() == b"no end\n"


@pytest.mark.parametrize(("keeps_color", "expected"), [(True, b"\x1b[1mbold\x1b[0m\n"), (False, b"bold\n")])
def test_colours_are_for_terminals(keeps_color: bool, expected: bytes) -> None:
    printed = Printed(keeps_color=keeps_color)
    printed.console.command_output(b"\x1b[1mbold\x1b[0m\n")
    assert printed.output.getvalue() == expected


def test_what_comes_while_a_console_command_runs_is_printed_behind_it() -> None:
    printed = Printed()
    printed.console.hold()
    printed.console.message("a message")
    printed.console.command_output(b"output\n")
    assert (printed.messages.getvalue(), printed.output.getvalue()) == ("", b"")
    printed.console.release()
    assert (printed.messages.getvalue(), printed.output.getvalue()) == ("a message\n", b"output\n")


def test_what_is_waited_for_is_not_kept_until_a_console_command_has_ended() -> None:
    printed = Printed(is_quiet=True)
    printed.console.hold()
    printed.console.waiting("waiting for 9 s")
    printed.console.release()
    printed.console.waiting("waiting for 18 s")
    assert printed.messages.getvalue() == "waiting for 18 s\n"


def test_quiet_leaves_out_progress_and_remarks_only() -> None:
    printed = Printed(is_quiet=True)
    printed.console.progress("[1/2] CC a.o", 1, 2)
    printed.console.remark("no work to do")
    printed.console.message("an error")
    assert printed.messages.getvalue() == "an error\n"
