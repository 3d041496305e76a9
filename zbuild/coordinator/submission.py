"""What the broker requires of an action before it takes it on."""

from __future__ import annotations

import math

from zbuild.errors import BadInput
from zbuild.limits import ACTION_BYTES, ATTEMPTS_BY_PRIORITY, PROPERTY_VALUE_BYTES, QUEUED_ACTIONS
from zbuild.model.action import ActionHeader, action_id_of, decode_header
from zbuild.protocol.messages import Submission


def checked_header(submission: Submission, priority: int, queued: int) -> ActionHeader:
    """The header of a submitted action.

    Args:
        queued: actions that wait already.

    Raises:
        BadInput: its bytes are not what they claim to be, or are beyond a bound.
    """
    name = f"action {submission.action.hex()[:8]}"
    if action_id_of(submission.body) != submission.action:
        raise BadInput(f"{name}: its bytes have another hash")
    if priority not in ATTEMPTS_BY_PRIORITY:
        raise BadInput(f"priority {priority}: expected one of {sorted(ATTEMPTS_BY_PRIORITY)}")
    if not (math.isfinite(submission.weight_s) and math.isfinite(submission.expected_s)):
        raise BadInput(f"{name}: its durations are not numbers")
    if len(submission.body) > ACTION_BYTES:
        raise BadInput(f"{name} has {len(submission.body)} B, more than {ACTION_BYTES}")
    if queued >= QUEUED_ACTIONS:
        raise BadInput(f"the broker's queue is full: {QUEUED_ACTIONS} actions wait")
    header = decode_header(submission.body)
    if any(len(key) + len(value) > PROPERTY_VALUE_BYTES for key, value in header.platform):
        raise BadInput(f"{name} requires a property of more than {PROPERTY_VALUE_BYTES} B")
    return header
