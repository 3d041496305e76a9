"""``zbuild``: the commands of a client. Each command's module is imported only when it is asked for."""

from __future__ import annotations

import gc
import importlib
import os
import sys

import zbuild
from zbuild.absent_modules import forgo_typing_extensions
from zbuild.errors import ExitCode
from zbuild.limits import GARBAGE_OBJECTS

COMMANDS = {
    "build": ("zbuild.cli.build", "build targets of a build.ninja on a farm; takes ninja's flags"),
    "exec": ("zbuild.cli.execute", "run one command on a farm"),
    "doctor": ("zbuild.cli.doctor", "see whether zbuild can work on this machine"),
    "verify": ("zbuild.cli.verify", "run the commands of targets twice, on different workers, and compare"),
    "status": ("zbuild.cli.status", "show a farm's workers, queue and cache"),
}
"""Command -> (module with a ``main(arguments) -> exit code``, what it does)."""


def main(arguments: list[str] | None = None) -> int:
    """Hand over to a command."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in COMMANDS:
        module = importlib.import_module(COMMANDS[given[0]][0])
        return int(module.main(given[1:]))
    if given and given[0] in ("-h", "--help"):
        print(_usage())
        return int(ExitCode.OK)
    if given and given[0] == "--version":
        print(f"zbuild {zbuild.__version__}")
        return int(ExitCode.OK)
    if given:
        print(f"zbuild: unknown command {given[0]!r}{_suggestion(given[0])}", file=sys.stderr)
    print(_usage(), file=sys.stderr)
    return int(ExitCode.USAGE)


def run() -> int:
    """``main`` as a process: it ends here, without taking the interpreter apart, which costs a build 20 ms.

    By then a command has closed what it opened. When its last words cannot be written, the interpreter says so.
    """
    gc.set_threshold(GARBAGE_OBJECTS)
    forgo_typing_extensions()
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return code
    os._exit(code)


def _usage() -> str:
    lines = [f"  zbuild {name:8}{purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "usage: zbuild COMMAND ...\n\n" + "\n".join(lines) + "\n\nzbuild COMMAND --help explains a command."


def _suggestion(word: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


if __name__ == "__main__":
    sys.exit(run())
