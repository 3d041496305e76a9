"""``zbuild build``: what ninja does with a build.ninja, on a farm.

Nothing of the farm is imported before there is something to run: a build that is up to date ends
within the time that reading the manifest and asking the disk takes.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator

from zbuild.cli.farm_flags import CONFIG_KEYS, add_farm_flags
from zbuild.client.console import Console
from zbuild.client.summary import Summary
from zbuild.config import ClientConfig
from zbuild.errors import BadInput, ExitCode, LockHeld, ZbuildError

_EXPLAIN = "explain"
_DEBUG_MODES = {
    _EXPLAIN: "say why each command is run",
    "keepdepfile": "do not delete depfiles after they are read",
    "keeprsp": "do not delete response files after they are used",
}


def parser() -> argparse.ArgumentParser:
    """The flags of ``zbuild build``."""
    made = argparse.ArgumentParser(
        prog="zbuild build",
        description="Build targets of a build.ninja on a farm. Without a farm, one is started for this build.",
        epilog="example: cmake -G Ninja -S . -B out && zbuild build -C out",
    )
    made.add_argument("targets", nargs="*", metavar="TARGET", help="default: the manifest's defaults")
    made.add_argument("-C", dest="directory", metavar="DIR", help="change to DIR first")
    made.add_argument("-f", dest="file", default="build.ninja", metavar="FILE", help="the manifest [build.ninja]")
    made.add_argument(
        "-j", dest="jobs", type=_jobs, metavar="N", help="commands at once [the number of processors + 2]"
    )
    made.add_argument("-k", dest="failures", type=int, default=1, metavar="N", help="go on until N fail; 0: never stop")
    made.add_argument("-n", dest="is_dry_run", action="store_true", help="show what would be run, and run nothing")
    made.add_argument("-v", "--verbose", dest="is_verbose", action="store_true", help="show whole commands")
    made.add_argument("--quiet", dest="is_quiet", action="store_true", help="no progress, only failures")
    made.add_argument("-d", dest="debug", action="append", default=[], metavar="MODE", help=", ".join(_DEBUG_MODES))
    made.add_argument("--json", dest="is_json", action="store_true", help="print the summary on stdout as JSON")
    add_farm_flags(made)
    return made


def main(arguments: list[str]) -> int:
    """Build; the exit code."""
    flags = parser().parse_args(arguments)
    console = Console(
        sys.stderr,
        sys.stderr.buffer if flags.is_json else sys.stdout.buffer,
        is_live=sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not flags.is_verbose,
        keeps_color=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
        is_quiet=flags.is_quiet,
    )
    began_s = time.monotonic()
    summary = Summary(sandbox="hermetic")
    try:
        code = _build(flags, console, summary, began_s)
    except (ZbuildError, OSError) as error:
        console.close()
        console.message(f"zbuild: error: {error}")
        code = int(error.exit_code) if isinstance(error, ZbuildError) else int(ExitCode.LOCAL_ENVIRONMENT)
    console.close()
    summary.wall_seconds = time.monotonic() - began_s
    if not flags.is_dry_run:
        console.message(summary.line())
    if flags.is_json:
        print(summary.to_json(), flush=True)
    return code


def _build(flags: argparse.Namespace, console: Console, summary: Summary, began_s: float) -> int:
    for mode in flags.debug:
        if mode not in _DEBUG_MODES:
            raise BadInput(f"unknown debug mode {mode!r}: expected {', '.join(_DEBUG_MODES)}")
    config = ClientConfig.load(flags.config, {key: getattr(flags, key) for key in CONFIG_KEYS})
    summary.sandbox = config.sandbox
    if flags.directory is not None:
        try:
            os.chdir(flags.directory)
        except OSError as error:
            raise BadInput(f"cannot change to {flags.directory!r}: {error.strerror}") from error
        console.remark(f"zbuild: Entering directory '{flags.directory}'")
    from zbuild.cli.ninja_build import NinjaBuild

    with locked_directory():
        return NinjaBuild(flags, config, console, summary, began_s).run()


@contextlib.contextmanager
def locked_directory() -> Iterator[None]:
    """Keep a second zbuild out of the working directory. The lock is on the directory itself: no file is left.

    Raises:
        LockHeld: another zbuild builds here.
    """
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld(f"another zbuild is building in {os.getcwd()}") from None
        yield
    finally:
        os.close(descriptor)


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, not {text!r}")
    return int(text)
