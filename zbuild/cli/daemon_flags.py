"""What the two daemons have in common on the command line."""

from __future__ import annotations

import argparse
import sys
import time

import zbuild
from zbuild.log import Log, LogFormat


def daemon_parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser with the flags of every daemon."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"{program} {zbuild.__version__}")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings; flags override it")
    parser.add_argument("--cache-dir", metavar="DIR", help="where blobs, results and stages are kept")
    parser.add_argument("--cache-bytes", type=int, metavar="N", help="size at which the oldest blobs are evicted")
    parser.add_argument("--log-format", choices=[each.value for each in LogFormat], default=LogFormat.LOGFMT.value)
    parser.add_argument("--lifeline", type=int, metavar="FD", help="end when this inherited descriptor is closed")
    return parser


def daemon_log(arguments: argparse.Namespace) -> Log:
    return Log(sys.stderr.buffer, time.time, LogFormat(arguments.log_format))
