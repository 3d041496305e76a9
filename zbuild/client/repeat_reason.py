"""Whether what failed on the farm is tried again on this machine."""

from __future__ import annotations

from zbuild.client.remote_job import RemoteOutcome
from zbuild.errors import (
    FarmUnreachable,
    NoEligibleWorker,
    NoWorkers,
    OutputMissing,
    ProtocolError,
    VersionMismatch,
)
from zbuild.model.action import ResultStatus

_FALLBACK_REASONS = {
    FarmUnreachable.code: "no broker answered",
    NoWorkers.code: "the farm had no workers",
    NoEligibleWorker.code: "no worker could run it",
    VersionMismatch.code: "the broker speaks another version",
    ProtocolError.code: "the broker did not speak as it should",
}


def fallback_reason(error_code: int) -> str:
    """Why --local-fallback runs here what ended with this error of the farm; empty when it does not.

    Not what has cost its workers: it might cost this machine as well.
    """
    return _FALLBACK_REASONS.get(error_code, "")


def reason_to_repeat_here(outcome: RemoteOutcome) -> str:
    """Why a command that failed in the sandbox is run again where it has all files; empty when its verdict is final.

    The inputs of a tool are guessed from its command line, and those of a compile can be guessed wrong. And ninja
    minds neither an output that is not made nor a link that takes an hour.
    """
    if outcome.unfit:
        return outcome.unfit
    if outcome.result is not None and outcome.result.status is ResultStatus.TIMEOUT:
        return "ran longer than the farm allows"
    if outcome.error_code == OutputMissing.code:
        return "did not make all its outputs in the sandbox"
    if not outcome.exit_code or outcome.error_code:
        return ""
    if outcome.analysis.has_tool:
        return "failed in the sandbox, perhaps for want of an undeclared input"
    # Compiling its patterns takes 20 ms: for a failure only.
    from zbuild.inputs.missing_inputs import names_full_disk, names_missing_file

    if names_full_disk(outcome.stdout + outcome.stderr):
        return "found no space on the worker's disk"
    if names_missing_file(outcome.stdout + outcome.stderr):
        return "found no such file in the sandbox"
    return ""
