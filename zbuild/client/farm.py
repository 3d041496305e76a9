"""The client's side of the control channel: what was asked of the broker, and what it still owes.

Level-triggered: at each interval the client names everything that it awaits, and submits again
what the broker does not know. A lost message, or a restarted broker, costs an interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from zbuild.errors import NoEligibleWorker, ProtocolError, VersionMismatch
from zbuild.limits import KEEPALIVE_INTERVAL_S, REFUSALS_IN_A_ROW, UNSTARTED_REPEAT_S
from zbuild.model.action import ActionId, ActionResult, ResultStatus
from zbuild.protocol.batches import batches
from zbuild.protocol.effects import Send
from zbuild.protocol.messages import (
    UNKNOWN_PEER,
    BuildState,
    Cancel,
    Finished,
    FinishedAction,
    Goodbye,
    Hello,
    Keepalive,
    Refused,
    Submission,
    Submit,
    ToClient,
    Welcome,
)
from zbuild.protocol.status_messages import Status, StatusRequest


class Connected(msgspec.Struct, frozen=True):
    """The broker has accepted us; ``welcome`` names the store."""

    welcome: Welcome


class ActionFinished(msgspec.Struct, frozen=True):
    """An awaited action has its result."""

    finished: FinishedAction


class FarmState(msgspec.Struct, frozen=True):
    """What the broker does for us at the moment."""

    state: BuildState


FarmEvent = Connected | ActionFinished | FarmState | Status


class FarmCore:
    """One build of one client. Methods leave messages to send in ``outgoing``."""

    def __init__(self, hello: Hello, build: int, priority: int, now_s: float) -> None:
        self.is_welcome = False
        self._unanswered_since_s: float | None = None
        self._hello = hello
        self._build = build
        self._priority = priority
        self._awaited: dict[ActionId, Submission] = {}
        self._to_submit: dict[ActionId, Submission] = {}
        self._gives_up_queued = False
        self._outgoing: list[Send] = []
        self._next_beat_s = now_s
        self._refusals = 0

    @property
    def awaited(self) -> int:
        """Actions that have no result yet."""
        return len(self._awaited)

    def submit(self, submission: Submission) -> None:
        """Ask for an action. An ActionFinished will answer."""
        self._awaited[submission.action] = submission
        self._to_submit[submission.action] = submission

    def cancel(self) -> None:
        """Give up everything that is awaited."""
        self._awaited.clear()
        self._to_submit.clear()
        self._send(Cancel(build=self._build))

    def cancel_queued(self) -> list[ActionFinished]:
        """Give up, from now on, what no worker holds.

        What was not sent yet is answered at once, the rest by the broker, each as CANCELLED. An action that the broker
        turns out not to know is not submitted again: it is answered in the same way.
        """
        self._gives_up_queued = True
        self._send(Cancel(build=self._build, is_queued_only=True))
        return self._give_up(list(self._to_submit))

    def _give_up(self, actions: Iterable[ActionId]) -> list[ActionFinished]:
        cancelled = ActionResult(status=ResultStatus.CANCELLED, message="the build gave it up")
        finished = [FinishedAction(action, cancelled, False, 0) for action in actions if action in self._awaited]
        return [event for each in finished for event in self._finished(each)]

    def ask_status(self) -> None:
        """A Status will answer."""
        self._send(StatusRequest())

    def leave(self) -> None:
        self._send(Goodbye())

    def receive(self, message: ToClient, now_s: float) -> list[FarmEvent]:
        """Take in one decoded message.

        Raises:
            VersionMismatch, ProtocolError: the broker refuses us.
        """
        self._unanswered_since_s = None
        match message:
            case Welcome():
                was_welcome, self.is_welcome = self.is_welcome, True
                if was_welcome:
                    return []
                self._next_beat_s = now_s + KEEPALIVE_INTERVAL_S
                if self._gives_up_queued:
                    self._send(Cancel(build=self._build))
                    return [Connected(message), *self._give_up(list(self._awaited))]
                self._to_submit = dict(self._awaited)
                return [Connected(message)]
            case Refused():
                self._refused(message, now_s)
                return []
            case Finished():
                self._refusals = 0
                return [event for each in message.actions for event in self._finished(each)]
            case BuildState() if self._gives_up_queued:
                return [FarmState(message), *self._give_up(message.unknown)]
            case BuildState():
                self._refusals = self._refusals if message.unknown else 0
                for action in message.unknown:
                    submission = self._awaited.get(action)
                    if submission is not None:
                        self._to_submit[action] = submission
                return [FarmState(message)]
            case Status():
                return [message]

    def tick(self, now_s: float) -> None:
        """Introduce ourselves until welcome, then keep alive at the interval."""
        if now_s < self._next_beat_s:
            return
        if self._unanswered_since_s is None:
            self._unanswered_since_s = now_s
        if not self.is_welcome:
            self._next_beat_s = now_s + UNSTARTED_REPEAT_S
            self._send(self._hello)
            return
        self._next_beat_s = now_s + KEEPALIVE_INTERVAL_S
        awaited = tuple(action for action in self._awaited if action not in self._to_submit)
        self._send(Keepalive(build=self._build, awaited=awaited))

    def silence_s(self, now_s: float) -> float:
        """How long the broker has owed us an answer. A client that was itself suspended is owed nothing for that."""
        return 0.0 if self._unanswered_since_s is None else now_s - self._unanswered_since_s

    def next_deadline_s(self) -> float:
        return self._next_beat_s

    def outgoing(self) -> Iterator[Send]:
        """The messages to send now, in order."""
        sends, self._outgoing = self._outgoing, []
        yield from sends
        if self.is_welcome and self._to_submit:
            submissions, self._to_submit = list(self._to_submit.values()), {}
            for batch in batches(submissions, _submission_bytes):
                yield Send(Submit(build=self._build, priority=self._priority, actions=batch))

    def _refused(self, refusal: Refused, now_s: float) -> None:
        if refusal.code == UNKNOWN_PEER:
            self.is_welcome = False
            self._next_beat_s = now_s
            return
        # What was lost with the message comes up with the next keepalive.
        if refusal.code == ProtocolError.code and self._refusals < REFUSALS_IN_A_ROW:
            self._refusals += 1
            return
        kinds = {VersionMismatch.code: VersionMismatch, NoEligibleWorker.code: NoEligibleWorker}
        raise kinds.get(refusal.code, ProtocolError)(f"the broker refuses: {refusal.message}")

    def _finished(self, finished: FinishedAction) -> list[ActionFinished]:
        if self._awaited.pop(finished.action, None) is None:
            return []
        self._to_submit.pop(finished.action, None)
        return [ActionFinished(finished)]

    def _send(self, message: Hello | Cancel | Goodbye | Keepalive | StatusRequest) -> None:
        self._outgoing.append(Send(message))


def _submission_bytes(submission: Submission) -> int:
    return len(submission.body)
