"""Which worker runs what when actions are verified, and what counts as a difference."""

from __future__ import annotations

import pytest

from zbuild.client.remote_job import RemoteOutcome, RemoteRequest
from zbuild.client.verification import Mismatch, Verification, VerifiedAction, differing
from zbuild.digest import EMPTY, of_bytes
from zbuild.errors import NoEligibleWorker, OutputMissing
from zbuild.inputs.analysis import Remote
from zbuild.model.action import ActionResult, OutputFile, OutputKind, ResultStatus
from zbuild.protocol.status_messages import WorkerStatus

REMOTE = Remote(**dict.fromkeys(Remote._fields, ()))  # type: ignore[arg-type]  # nothing looks into it
ONE, TWO = of_bytes(b"1"), of_bytes(b"2")


def worker(number: int) -> WorkerStatus:
    return WorkerStatus(
        worker_id=number,
        name=f"w{number}",
        slots=1,
        held=0,
        running=0,
        sandbox="hermetic",
        is_draining=False,
        report_age_s=0.0,
        health="healthy",
        quarantined_s=0.0,
        cpu_usage=0.0,
        memory_usage=0.0,
        disk_usage=0.0,
        limits="",
        platform=(),
        properties=0,
    )


def made(*outputs: OutputFile, status: ResultStatus = ResultStatus.SUCCESS, exit_code: int = 0) -> ActionResult:
    return ActionResult(status=status, exit_code=exit_code, outputs=outputs)


def file(path: str = "/o", digest: object = ONE, executable: bool = False) -> OutputFile:
    return OutputFile(path, OutputKind.FILE, digest, executable)  # type: ignore[arg-type]  # one of ONE and TWO


def outcome(key: int, result: ActionResult | None, error_code: int = 0) -> RemoteOutcome:
    fields = dict.fromkeys(RemoteOutcome.__struct_fields__)
    given = {"key": key, "result": result, "error_code": error_code, "error": "why" if error_code else ""}
    return RemoteOutcome(**fields | given | {"analysis": REMOTE})  # type: ignore[arg-type]  # no other field is read


class Runs:
    """Drives one action through a Verification on workers 1, 2, ... ."""

    def __init__(self, workers: int) -> None:
        self.verification = Verification([worker(number) for number in range(1, workers + 1)])
        self.open = dict(self.verification.begin(7, REMOTE, 1.0))

    def end(self, worker_id: int, result: ActionResult | None, error_code: int = 0) -> VerifiedAction | None:
        key = next(key for key, request in self.open.items() if request.worker_id == worker_id)
        del self.open[key]
        action, again = self.verification.ended(outcome(key, result, error_code))
        self.open.update(again)
        return action

    @property
    def workers(self) -> set[int]:
        return {request.worker_id for request in self.open.values()}


def test_an_action_runs_on_two_workers_and_is_over_when_both_have_ended() -> None:
    runs = Runs(2)
    assert runs.workers == {1, 2}
    assert runs.end(2, made(file())) is None
    action = runs.end(1, made(file()))
    assert action is not None
    assert (action.key, action.mismatches(), action.reason_unverified) == (7, [], "")
    assert not len(runs.verification)


def test_actions_go_round_the_workers() -> None:
    verification = Verification([worker(number) for number in (1, 2, 3)])

    def workers_of(requests: list[tuple[int, RemoteRequest]]) -> list[int]:
        return [request.worker_id for _, request in requests]

    assert [workers_of(verification.begin(key, REMOTE, 1.0)) for key in range(3)] == [[1, 2], [2, 3], [3, 1]]


def test_a_worker_that_cannot_run_it_is_replaced() -> None:
    runs = Runs(3)
    assert runs.end(1, None, NoEligibleWorker.code) is None
    assert runs.workers == {2, 3}
    assert runs.end(2, made(file())) is None
    action = runs.end(3, made(file(digest=TWO)))
    assert action is not None
    assert action.mismatches() == [Mismatch("/o", "content", ONE, TWO)]


def test_one_run_alone_says_nothing() -> None:
    runs = Runs(2)
    assert runs.end(1, None, NoEligibleWorker.code) is None
    action = runs.end(2, made(file()))
    assert action is not None
    assert action.mismatches() == []
    assert action.reason_unverified == "w1 cannot run it: why"


def test_an_error_of_the_action_is_not_tried_elsewhere() -> None:
    runs = Runs(3)
    assert runs.end(1, None, OutputMissing.code) is None
    assert runs.workers == {2}


def test_failures_are_compared_and_prove_nothing_when_they_agree() -> None:
    failed = made(status=ResultStatus.FAILURE, exit_code=3)
    runs = Runs(2)
    runs.end(1, failed)
    action = runs.end(2, failed)
    assert action is not None
    assert (action.mismatches(), action.reason_unverified) == ([], "fails on both workers")
    (mismatch,) = differing(failed, made())
    assert (mismatch.what, mismatch.shown) == ("exit code", ("exit code 3", "exit code 0"))


LINK = OutputFile("/o", OutputKind.SYMLINK, EMPTY, False, "a")


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        (made(file()), made(file(digest=TWO)), "content"),
        (made(file()), made(file(executable=True)), "mode"),
        (made(file()), made(), "presence"),
        (made(), made(file()), "presence"),
        (made(file()), made(LINK), "kind"),
        (made(LINK), made(OutputFile("/o", OutputKind.SYMLINK, EMPTY, False, "b")), "target"),
        (ActionResult(status=ResultStatus.SUCCESS, stdout=ONE), made(), "content"),
        (ActionResult(status=ResultStatus.SUCCESS, stderr=ONE), made(), "content"),
    ],
)
def test_every_thing_that_a_command_makes_is_compared(first: ActionResult, second: ActionResult, what: str) -> None:
    assert [mismatch.what for mismatch in differing(first, second)] == [what]


def test_what_a_run_cost_is_not_compared() -> None:
    first, second = ActionResult(status=ResultStatus.SUCCESS, worker="a"), made()
    assert differing(first, second) == []
