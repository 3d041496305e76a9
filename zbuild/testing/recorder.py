"""Writes down what a real broker and real workers decide, as JSON lines, for checks after the fact.

One line is one write with O_APPEND, so the lines of all processes of a farm lie in one file in the order in which
they were written; those of one process are in the order of its decisions.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from zbuild.digest import of_bytes
from zbuild.model.action import encode_result
from zbuild.testing.failpoints import wrap

VARIABLE = "ZBUILD_HISTORY"
"""The path of the file, in the environment of a daemon."""

Fields = dict[str, object]
Describe = Callable[..., Fields | None]
"""What to write of a call, from its arguments; None writes nothing."""


class Recorder:
    """Appends lines to the file at ``path``."""

    def __init__(self, path: str, role: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._role = role

    def write(self, event: str, fields: Fields) -> None:
        line = {"t": round(time.monotonic(), 6), "role": self._role, "pid": os.getpid(), "event": event, **fields}
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")

    def before(self, method: str, event: str, describe: Describe) -> None:
        """Write ``event`` whenever ``method`` is about to be called."""
        self._wrap(method, event, describe, is_after=False)

    def after(self, method: str, event: str, describe: Describe) -> None:
        """Write ``event`` whenever ``method`` has returned."""
        self._wrap(method, event, describe, is_after=True)

    def _wrap(self, method: str, event: str, describe: Describe, *, is_after: bool) -> None:
        def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def recorded(*arguments: Any, **keywords: Any) -> Any:
                if not is_after:
                    self._write_if_any(event, describe(*arguments, **keywords))
                result = original(*arguments, **keywords)
                if is_after:
                    self._write_if_any(event, describe(*arguments, **keywords))
                return result

            return recorded

        wrap(method, wrapper)

    def _write_if_any(self, event: str, fields: Fields | None) -> None:
        if fields is not None:
            self.write(event, fields)


def record(role: str, environ: Mapping[str, str]) -> None:
    """Begin to write down what this process decides, if the environment names a file for it."""
    path = environ.get(VARIABLE)
    if path:
        {"broker": _record_broker, "worker": _record_worker}[role](Recorder(path, role))


def _record_broker(recorder: Recorder) -> None:
    lifecycle = "zbuild.coordinator.lifecycle:Lifecycle"
    results = "zbuild.coordinator.published_results:PublishedResults"
    uncommitted: list[str] = []

    def life(self: Any, *_arguments: Any, **_keywords: Any) -> Fields:
        journaled = [each for action in self.journal_state().actions.values() for each in action.leases.values()]
        leases = [(each.lease.action.hex(), each.lease.epoch, each.lease.attempt, each.worker_id) for each in journaled]
        return {"epoch": self.farm.epoch, "leases": leases}

    def grant(_self: Any, record: Any, worker: Any) -> Fields:
        return {
            "action": record.action.hex(),
            "attempt": record.attempt,
            "epoch": _self._farm.epoch,
            "worker": worker.name,
            "worker_id": worker.worker_id,
        }

    def complete(_self: Any, worker: Any, outcome: Any) -> Fields:
        lease = outcome.lease
        return {
            "action": lease.action.hex(),
            "attempt": lease.attempt,
            "epoch": lease.epoch,
            "worker": worker.name,
            "status": outcome.result.status.name,
        }

    def publish(_self: Any, action: bytes, result: Any) -> Fields:
        uncommitted.append(action.hex())
        return {"action": action.hex(), "result": of_bytes(encode_result(result)).hash.hex()[:16]}

    def committed(_self: Any) -> Fields | None:
        if not uncommitted:
            return None
        actions = list(uncommitted)
        uncommitted.clear()
        return {"actions": actions}

    def claim(self: Any, worker: Any, stolen: Any) -> Fields | None:
        """Of a claim that has been accepted, or is repeated."""
        lease = stolen.lease
        record = self._farm.actions.get(lease.action)
        if record is None:
            is_good = self._farm.recovery.is_kept(lease, worker)
        else:
            is_good = record.held_under(lease, worker.peer) is not None
        if not is_good:
            return None
        return {
            "action": lease.action.hex(),
            "attempt": lease.attempt,
            "epoch": lease.epoch,
            "worker": worker.name,
            "worker_id": worker.worker_id,
        }

    def answer(_self: Any, _waiter: Any, finished: Any) -> Fields:
        return {
            "action": finished.action.hex(),
            "status": finished.result.status.name,
            "is_cached": finished.is_cached,
            "attempts": finished.attempts,
            "stolen_from": finished.stolen_from,
            "message": finished.result.message[:200],
        }

    def rolled_back(*_arguments: Any) -> Fields | None:
        uncommitted.clear()
        return {}

    def ended(_self: Any, record: Any, holding: Any, _loss: Any) -> Fields:
        return {"action": record.action.hex(), "attempt": holding.lease.attempt, "epoch": holding.lease.epoch}

    def forget(_self: Any, record: Any, event: Any) -> Fields:
        return {"action": record.action.hex(), "how": event.value}

    def of_record(_self: Any, record: Any, *_more: Any) -> Fields:
        return {"action": record.action.hex()}

    recorder.after("zbuild.coordinator.core:BrokerCore.__init__", "life", life)
    recorder.after(f"{lifecycle}.grant", "grant", grant)
    recorder.after(f"{lifecycle}.claim", "claim", claim)
    recorder.before(f"{lifecycle}.complete", "complete", complete)
    recorder.before(f"{lifecycle}._end", "ended", ended)
    recorder.before(f"{lifecycle}._requeue", "requeue", of_record)
    recorder.before(f"{lifecycle}._forget", "forget", forget)
    recorder.before(f"{lifecycle}._answer", "answer", answer)
    recorder.after(f"{results}.put", "publish", publish)
    recorder.before("zbuild.storage.action_cache:ActionCache._fail", "rolled_back", rolled_back)
    recorder.after(f"{results}.commit", "committed", committed)
    recorder.before(
        "zbuild.storage.action_cache:ActionCache.remove", "remove", lambda _self, action: {"action": action.hex()}
    )


def _record_worker(recorder: Recorder) -> None:
    execution = "zbuild.worker.execution:Execution"

    def run(self: Any, _started: Any) -> Fields:
        return {"action": self._action_id.hex()}

    recorder.before(f"{execution}.run", "run", run)
    recorder.after(f"{execution}.run", "ran", run)
