"""``zbuild build``: what ninja does with a build.ninja, on a farm.

Nothing of the farm is imported before there is something to run: a build that is up to date ends
within the time that reading the manifest and asking the disk takes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from zbuild.cli.build_lock import locked_directory
from zbuild.cli.farm_flags import CONFIG_KEYS, FALLBACK_KEYS, add_fallback_flag, add_farm_flags
from zbuild.cli.real_ninja import ninja_version, run_ninja
from zbuild.client.console import Console
from zbuild.client.summary import Summary
from zbuild.config import ClientConfig
from zbuild.errors import BadInput, ExitCode, ZbuildError

_VALUE_FLAGS = ("-C", "-f", "-j", "-k", "-l", "-d", "-w")
_EXPLAIN = "explain"
_WARNING_FLAGS = ("phonycycle=warn", "phonycycle=err")
_FORMER_WARNING_FLAGS = ("dupbuild=err", "depfilemulti=err", "depfilemulti=warn")
"""Given up by ninja, which since 1.11 does what they say, and takes them still."""

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
    made.add_argument("-C", dest="directory", metavar="DIR", help="change to DIR before anything else is read")
    made.add_argument("-f", dest="file", default="build.ninja", metavar="FILE", help="the manifest [build.ninja]")
    made.add_argument(
        "-j", dest="jobs", type=_jobs, metavar="N", help="commands at once [the number of processors + 2]"
    )
    made.add_argument("-k", dest="failures", type=int, default=1, metavar="N", help="go on until N fail; 0: never stop")
    made.add_argument("-n", dest="is_dry_run", action="store_true", help="show what would be run, and run nothing")
    made.add_argument("-v", "--verbose", dest="is_verbose", action="store_true", help="show whole commands")
    made.add_argument("--quiet", dest="is_quiet", action="store_true", help="no progress, only failures")
    made.add_argument("-d", dest="debug", action="append", default=[], metavar="MODE", help=", ".join(_DEBUG_MODES))
    made.add_argument(
        "-l", dest="max_load", type=float, default=0.0, metavar="N", help="start nothing while the load is above N"
    )
    made.add_argument(
        "-w", dest="warnings", action="append", default=[], metavar="FLAG", help=", ".join(_WARNING_FLAGS)
    )
    made.add_argument(
        *("-t", "--tool"), dest="tool", metavar="TOOL", help="run a tool of ninja's own; all that follows is for it"
    )
    made.add_argument("--version", action="store_true", help="print the version of ninja that this stands in for")
    made.add_argument("--trace", metavar="FILE", help="write what ran where and when, for Perfetto and the like")
    made.add_argument("--json", dest="is_json", action="store_true", help="print the summary on stdout as JSON")
    add_farm_flags(made)
    add_fallback_flag(made)
    return made


def main(arguments: list[str]) -> int:
    """Build; the exit code."""
    flags = _parsed(arguments)
    if flags.version:
        print(ninja_version())
        return int(ExitCode.OK)
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


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """As ninja, ``-t TOOL`` ends the flags: what follows is the tool's."""
    for position, word in enumerate(arguments):
        if word == "--":
            break
        if word.startswith("-t") and (position == 0 or arguments[position - 1] not in _VALUE_FLAGS):
            end = position + 1 + (word == "-t")
            flags = parser().parse_args(arguments[:end])
            flags.targets = arguments[end:]
            return flags
    return parser().parse_args(arguments)


def _build(flags: argparse.Namespace, console: Console, summary: Summary, began_s: float) -> int:
    for mode in flags.debug:
        if mode not in _DEBUG_MODES:
            raise BadInput(f"unknown debug mode {mode!r}: expected {', '.join(_DEBUG_MODES)}")
    flags.warnings = [flag for flag in flags.warnings if flag not in _FORMER_WARNING_FLAGS]
    for flag in flags.warnings:
        if flag not in _WARNING_FLAGS:
            raise BadInput(f"unknown warning flag {flag!r}: expected {', '.join(_WARNING_FLAGS)}")
    if flags.directory is not None:
        try:
            os.chdir(flags.directory)
        except OSError as error:
            raise BadInput(f"cannot change to {flags.directory!r}: {error.strerror}") from error
        console.remark(f"zbuild: Entering directory '{flags.directory}'")
    if flags.tool is not None:
        run_ninja(["-f", flags.file, "-t", flags.tool, *flags.targets], f"-t {flags.tool}")
    config = ClientConfig.load(flags.config, {key: getattr(flags, key) for key in CONFIG_KEYS + FALLBACK_KEYS})
    summary.sandbox = config.sandbox
    from zbuild.cli.ninja_build import NinjaBuild

    with locked_directory(lambda text: console.message(f"zbuild: warning: {text}")):
        return NinjaBuild(flags, config, console, summary, began_s).run()


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, not {text!r}")
    return int(text)
