"""Every error zbuild raises or sends: its wire code and the exit code it ends in.

Exit codes follow Bazel's where one exists (https://bazel.build/run/scripts#exit-codes); they are
documented for users in README.md. A message says what was tried and names the thing.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class ExitCode(enum.IntEnum):
    """What the command-line programs exit with."""

    OK = 0
    ACTION_FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    """128 + SIGINT: what ninja exits with, and what a shell expects of an interrupted program."""
    LOCK_HELD = 9
    FARM = 32
    """The farm could not be reached, refused us, or can never run the action."""
    LOCAL_ENVIRONMENT = 36
    """This machine lacks something: bubblewrap, user namespaces, disk space."""
    INTERNAL = 37


class ZbuildError(Exception):
    """The base of all errors that are reported to a user rather than to a developer."""

    code: ClassVar[int] = 1
    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL


class BadInput(ZbuildError):
    """A flag, a path, a digest or a message that cannot be what it claims to be."""

    code = 2
    exit_code = ExitCode.USAGE


class ConfigError(BadInput):
    """A configuration file with an unknown key or a value of the wrong type."""

    code = 3


class ManifestError(BadInput):
    """A build.ninja, dyndep file or log that ninja would refuse too.

    ninja exits with 1 for these, and scripts written for ninja test for that.
    """

    code = 4
    exit_code = ExitCode.ACTION_FAILED


class ProtocolError(ZbuildError):
    """A peer sent bytes that no message of this protocol version decodes to."""

    code = 5
    exit_code = ExitCode.FARM


class VersionMismatch(ProtocolError):
    """The peer speaks another protocol version."""

    code = 6


class FarmUnreachable(ZbuildError):
    """No broker answered at any of the addresses that were tried."""

    code = 7
    exit_code = ExitCode.FARM


class NoWorkers(FarmUnreachable):
    """The broker answers, but no worker has been connected to it for as long as a client waits that need not."""

    code = 18


class NoEligibleWorker(ZbuildError):
    """No worker of the farm has, or can ever have, a property that the action requires."""

    code = 8
    exit_code = ExitCode.FARM


class WorkerLost(ZbuildError):
    """The worker that held the lease went away before it reported a result."""

    code = 9
    exit_code = ExitCode.FARM


class BlobMissing(ZbuildError):
    """A blob that an action refers to is not in the store."""

    code = 10
    exit_code = ExitCode.FARM


class BlobCorrupt(ZbuildError):
    """Bytes whose hash is not the digest that they were stored or sent under."""

    code = 11
    exit_code = ExitCode.FARM


class StoreFailed(ZbuildError):
    """The disk under a store refused: full, read-only, or broken."""

    code = 12
    exit_code = ExitCode.LOCAL_ENVIRONMENT


class SandboxUnavailable(ZbuildError):
    """The sandbox level that was asked for cannot be had here; it is never weakened silently."""

    code = 13
    exit_code = ExitCode.LOCAL_ENVIRONMENT


class SandboxFailed(ZbuildError):
    """The sandbox could not be set up for one action, though the level is available."""

    code = 14
    exit_code = ExitCode.LOCAL_ENVIRONMENT


class OutputMissing(ZbuildError):
    """The command succeeded without making an output that it declares."""

    code = 15
    exit_code = ExitCode.ACTION_FAILED


class LockHeld(ZbuildError):
    """Another zbuild is at work in the same build directory."""

    code = 16
    exit_code = ExitCode.LOCK_HELD


class WorkerIdTaken(ZbuildError):
    """Another process with the same worker id is connected to the broker, and alive."""

    code = 17
    exit_code = ExitCode.LOCK_HELD


class IllegalTransition(Exception):
    """A state machine was driven along an edge its table lacks. Always a bug of zbuild itself."""


def exit_code_of(code: int) -> ExitCode:
    """The exit code that goes with a wire code. 0, or one that this version does not know: the action failed."""
    for kind in ZbuildError.__subclasses__():
        for each in (kind, *kind.__subclasses__()):
            if each.code == code:
                return each.exit_code
    return ExitCode.ACTION_FAILED
