"""When an action that keeps failing for want of a worker is given up."""

from __future__ import annotations

from zbuild.coordinator.action_record import ActionRecord
from zbuild.errors import BadInput, BlobMissing, NoEligibleWorker, OutputMissing, WorkerLost
from zbuild.limits import ATTEMPTS_BY_PRIORITY, ONE_WORKER_FACTOR, POISON_LOSSES, POISON_WORKERS

FINAL_CODES = frozenset({BadInput.code, OutputMissing.code})
"""Errors of a worker that lie in the action itself: another worker would report the same."""

BLAMELESS_CODES = FINAL_CODES | {BlobMissing.code, NoEligibleWorker.code}
"""Errors that say nothing against the worker that reports them: they lie in the action, in the store, or in a tool that
has changed since the worker told of it."""


def verdict_on(record: ActionRecord, code: int, text: str, *, has_copy: bool) -> tuple[int, str] | None:
    """The error code and text that end the action after its latest loss; None: it is tried again.

    Args:
        has_copy: another lease of it is still good, and may yet bring a result.
    """
    if code in FINAL_CODES:
        return code, text
    if has_copy:
        return None
    killed = [loss.worker_id for loss in record.losses if loss.code == WorkerLost.code]
    if len(killed) >= POISON_LOSSES and len(set(killed)) >= POISON_WORKERS:
        workers = len(set(killed))
        return code, f"given up: {len(killed)} attempts lost their workers, {workers} different ones; last, {text}"
    if len(record.losses) >= attempts_of(record):
        return code, f"given up after {len(record.losses)} attempts: {text}"
    return None


def attempts_of(record: ActionRecord) -> int:
    """How often it may be lost: more often while all that is known against it comes from one worker."""
    attempts = ATTEMPTS_BY_PRIORITY[record.priority]
    is_one_workers = len({loss.worker_id for loss in record.losses}) == 1
    if is_one_workers and all(loss.code not in BLAMELESS_CODES for loss in record.losses):
        return attempts * ONE_WORKER_FACTOR
    return attempts
