"""What the worker's core asks its shell to do, beyond sending."""

from __future__ import annotations

from dataclasses import dataclass

from zbuild.errors import ZbuildError
from zbuild.protocol.effects import Note, Send
from zbuild.protocol.messages import Grant, LeaseId, Welcome
from zbuild.protocol.steal_messages import StealQuestion


@dataclass(frozen=True, slots=True)
class Prepare:
    """This lease will run soon: fetch and stage its inputs while others run. A Start or a Discard follows.

    ``peer_blobs``: where a peer serves inputs of it, to be asked before the store; empty: nowhere.
    """

    grant: Grant
    peer_blobs: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Run this lease, which now has a slot. ``peer_blobs`` as for Prepare."""

    grant: Grant
    peer_blobs: str = ""


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
class Ask:
    """Send a question to the worker that answers at ``endpoint``. Its answer, however late, is to be handed in."""

    endpoint: str
    message: StealQuestion


@dataclass(frozen=True, slots=True)
class HangUp:
    """The worker at ``endpoint`` has not answered: close the socket, for a REQ without its reply is of no use."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing is left to do; ``error`` says why, when it is not by request."""

    error: ZbuildError | None


WorkerEffect = Send | Note | Prepare | Start | Discard | Kill | Connect | Evaluate | Ask | HangUp | Stop
