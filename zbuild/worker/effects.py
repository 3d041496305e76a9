"""What the worker's core asks its shell to do, beyond sending."""

from __future__ import annotations

from dataclasses import dataclass

from zbuild.errors import ZbuildError
from zbuild.protocol.effects import Note, Send
from zbuild.protocol.messages import Grant, LeaseId, Welcome


@dataclass(frozen=True, slots=True)
class Prepare:
    """This lease will run soon: fetch and stage its inputs while others run. A Start or a Discard follows."""

    grant: Grant


@dataclass(frozen=True, slots=True)
class Start:
    """Run this lease, which now has a slot."""

    grant: Grant


@dataclass(frozen=True, slots=True)
class Discard:
    """This lease will not run after all: undo its Prepare."""

    lease: LeaseId


@dataclass(frozen=True, slots=True)
class Kill:
    """End the run of this lease; its ``finished`` follows."""

    lease: LeaseId


@dataclass(frozen=True, slots=True)
class Connect:
    """The broker has accepted us: connect to the channels it names."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Find the values of these properties on this machine."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing is left to do; ``error`` says why, when it is not by request."""

    error: ZbuildError | None


WorkerEffect = Send | Note | Prepare | Start | Discard | Kill | Connect | Evaluate | Stop
