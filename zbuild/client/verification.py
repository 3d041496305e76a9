"""Runs actions twice, on different workers, and says which came out differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from zbuild.client.remote_job import RemoteOutcome, RemoteRequest
from zbuild.digest import Digest
from zbuild.errors import NoEligibleWorker, WorkerLost
from zbuild.inputs.analysis import Remote
from zbuild.model.action import ActionResult, OutputFile, OutputKind, ResultStatus
from zbuild.protocol.status_messages import WorkerStatus

RUNS = 2
"""Of each action."""

ELSEWHERE_CODES = frozenset({NoEligibleWorker.code, WorkerLost.code})
"""Errors that say something of the worker and nothing of the action: another one is tried."""


class Mismatch(NamedTuple):
    """One thing in which two runs of an action differ.

    Attributes:
        path: of the output in the sandbox; ``stdout`` and ``stderr`` for what was printed, ``exit code``.
        what: ``content``, ``kind``, ``mode``, ``target``, ``presence`` or ``exit code``.
        first, second: for content the digests.
        shown: for everything else, what each run has.
    """

    path: str
    what: str
    first: Digest | None = None
    second: Digest | None = None
    shown: tuple[str, str] = ("", "")


@dataclass
class VerifiedAction:
    """One action on its way through its runs.

    Attributes:
        untried: workers that it has not been sent to yet, the next first.
        results: by worker name, as they came.
    """

    key: int
    analysis: Remote
    expected_s: float
    untried: list[WorkerStatus]
    results: list[tuple[str, ActionResult]] = field(default_factory=list)
    running: dict[int, WorkerStatus] = field(default_factory=dict)
    refusal: str = ""

    @property
    def is_over(self) -> bool:
        """Whether both runs have ended, or cannot both be had."""
        return not self.running

    def mismatches(self) -> list[Mismatch]:
        """In what the two runs differ; empty when there are not two."""
        if len(self.results) < RUNS:
            return []
        return differing(self.results[0][1], self.results[1][1])

    @property
    def reason_unverified(self) -> str:
        """Why two runs that agree, or fewer runs, say nothing; empty when they say something."""
        if len(self.results) < RUNS:
            return self.refusal or "fewer than two workers can run it"
        if all(result.status is not ResultStatus.SUCCESS for _, result in self.results):
            return "fails on both workers"
        return ""


class Verification:
    """Chooses where actions run. Feed it with outcomes; it holds no socket.

    Args:
        workers: at least RUNS of them.
    """

    def __init__(self, workers: Sequence[WorkerStatus]) -> None:
        self._workers = list(workers)
        self._actions: dict[int, VerifiedAction] = {}
        self._next_key = 0
        self._started = 0

    def __len__(self) -> int:
        return len({id(action) for action in self._actions.values()})

    def begin(self, key: int, analysis: Remote, expected_s: float) -> list[tuple[int, RemoteRequest]]:
        """The requests with which the runs of an action begin, each on a worker of its own; (request key, request).

        Args:
            key: the caller's own, of the VerifiedAction that ``ended`` will give back.
        """
        first = self._started % len(self._workers)
        self._started += 1
        action = VerifiedAction(key, analysis, expected_s, [*self._workers[first:], *self._workers[:first]])
        return [self._next_run(action) for _ in range(RUNS)]

    def ended(self, outcome: RemoteOutcome) -> tuple[VerifiedAction | None, list[tuple[int, RemoteRequest]]]:
        """Take in the end of one run: the action if it is over now, and the runs to begin in place of this one."""
        action = self._actions.pop(outcome.key)
        worker = action.running.pop(outcome.key)
        result = outcome.result
        if outcome.error_code in ELSEWHERE_CODES:
            action.refusal = f"{worker.name} cannot run it: {outcome.error}"
            if action.untried:
                return None, [self._next_run(action)]
        elif outcome.error_code or result is None:
            action.refusal = outcome.error
        else:
            action.analysis = outcome.analysis
            action.results.append((worker.name, result))
        return (action if action.is_over else None), []

    def _next_run(self, action: VerifiedAction) -> tuple[int, RemoteRequest]:
        self._next_key += 1
        worker = action.untried.pop(0)
        action.running[self._next_key] = worker
        self._actions[self._next_key] = action
        request = RemoteRequest(action.analysis, 0.0, action.expected_s, worker_id=worker.worker_id)
        return self._next_key, request


def differing(first: ActionResult, second: ActionResult) -> list[Mismatch]:
    """In what two results differ, as far as it is the command's doing: what they cost is not compared."""
    if first.exit_code != second.exit_code or first.status is not second.status:
        return [Mismatch("exit code", "exit code", shown=(_ending(first), _ending(second)))]
    found = [
        Mismatch(name, "content", left, right)
        for name, left, right in (("stdout", first.stdout, second.stdout), ("stderr", first.stderr, second.stderr))
        if left != right
    ]
    one, other = ({output.path: output for output in result.outputs} for result in (first, second))
    for path in sorted(one.keys() | other.keys()):
        mismatch = _mismatch(path, one.get(path), other.get(path))
        if mismatch is not None:
            found.append(mismatch)
    return found


def _mismatch(path: str, first: OutputFile | None, second: OutputFile | None) -> Mismatch | None:
    if first is None or second is None:
        return Mismatch(path, "presence", shown=("made", "absent") if second is None else ("absent", "made"))
    if first.kind is not second.kind:
        return Mismatch(path, "kind", shown=(first.kind.name.lower(), second.kind.name.lower()))
    if first.kind is OutputKind.SYMLINK:
        return Mismatch(path, "target", shown=(first.target, second.target)) if first.target != second.target else None
    if first.digest != second.digest:
        return Mismatch(path, "content", first.digest, second.digest)
    if first.executable != second.executable:
        modes = ("executable", "not executable")
        return Mismatch(path, "mode", shown=modes if first.executable else (modes[1], modes[0]))
    return None


def _ending(result: ActionResult) -> str:
    return result.message or f"exit code {result.exit_code}"
