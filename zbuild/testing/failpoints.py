"""Named points in the daemons at which a test can have one killed as by a power cut.

A point is the moment before or after a method. Arming wraps that method in the one process that is to die, so
a daemon that is not armed runs the code as it is written, and the cores need not know.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zbuild.errors import BadInput

VARIABLE = "ZBUILD_FAILPOINT"
"""``NAME`` or ``NAME:N`` in a daemon's environment: it kills itself when it comes to the point for the N-th time."""


@dataclass(frozen=True)
class Failpoint:
    """One point.

    Attributes:
        name: ``ROLE.WHAT.WHEN``; the role is the process that can be armed, WHEN is before or after.
        method: ``module:Class.method``.
    """

    name: str
    method: str

    @property
    def role(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_after(self) -> bool:
        return self.name.endswith(".after")


FAILPOINTS = {
    name: Failpoint(name, method)
    for name, method in (
        ("broker.submit.before", "zbuild.coordinator.lifecycle:Lifecycle.submit"),
        ("broker.submit.after", "zbuild.coordinator.lifecycle:Lifecycle.submit"),
        ("broker.grant.after", "zbuild.coordinator.lifecycle:Lifecycle.grant"),
        ("broker.claim.before", "zbuild.coordinator.lifecycle:Lifecycle.claim"),
        ("broker.claim.after", "zbuild.coordinator.lifecycle:Lifecycle.claim"),
        ("broker.complete.before", "zbuild.coordinator.lifecycle:Lifecycle.complete"),
        ("broker.complete.after", "zbuild.coordinator.lifecycle:Lifecycle.complete"),
        ("broker.publish.before", "zbuild.coordinator.published_results:PublishedResults.put"),
        ("broker.publish.after", "zbuild.coordinator.published_results:PublishedResults.put"),
        ("broker.commit.before", "zbuild.coordinator.published_results:PublishedResults.commit"),
        ("broker.commit.after", "zbuild.coordinator.published_results:PublishedResults.commit"),
        ("broker.journal.before", "zbuild.coordinator.journal_keeper:JournalKeeper.keep"),
        ("broker.journal.after", "zbuild.coordinator.journal_keeper:JournalKeeper.keep"),
        ("broker.append.before", "zbuild.storage.journal_file:JournalFile.append"),
        ("broker.append.after", "zbuild.storage.journal_file:JournalFile.append"),
        ("broker.restore.after", "zbuild.coordinator.journal_keeper:JournalKeeper.restore"),
        ("broker.bring_back.after", "zbuild.coordinator.lifecycle:Lifecycle.bring_back"),
        ("broker.send.before", "zbuild.transport.router:Router.send"),
        ("broker.send.after", "zbuild.transport.router:Router.send"),
        ("worker.prepare.before", "zbuild.worker.execution:Execution.prepare"),
        ("worker.fetch.before", "zbuild.worker.surroundings:WorkerSurroundings.fetch"),
        ("worker.fetch.after", "zbuild.worker.surroundings:WorkerSurroundings.fetch"),
        ("worker.stage.before", "zbuild.storage.staging:Stage.prepare"),
        ("worker.stage.after", "zbuild.storage.staging:Stage.prepare"),
        ("worker.run.before", "zbuild.worker.execution:Execution.run"),
        ("worker.run.after", "zbuild.worker.execution:Execution.run"),
        ("worker.upload.before", "zbuild.worker.surroundings:WorkerSurroundings.upload"),
        ("worker.upload.after", "zbuild.worker.surroundings:WorkerSurroundings.upload"),
        ("worker.collect.after", "zbuild.worker.execution:Execution.collect"),
        ("worker.finished.after", "zbuild.worker.core:WorkerCore.finished"),
        ("worker.steal_give.after", "zbuild.worker.lease_book:LeaseBook.give"),
        ("worker.steal_reply.after", "zbuild.worker.steal_link:StealLink._reply"),
        ("worker.steal_accepted.after", "zbuild.worker.victim:Victim.accepted"),
        ("worker.steal_revoked.before", "zbuild.worker.core:WorkerCore._revoked"),
        ("worker.steal_ask.after", "zbuild.worker.steal_link:StealLink.ask"),
        ("worker.steal_take.before", "zbuild.worker.stealing:Stealing._take"),
        ("worker.steal_take.after", "zbuild.worker.stealing:Stealing._take"),
        ("store.answer.before", "zbuild.store.core:StoreCore.answer"),
        ("store.answer.after", "zbuild.store.core:StoreCore.answer"),
        ("store.write.before", "zbuild.storage.blob_writer:BlobWriter.write"),
        ("store.write.after", "zbuild.storage.blob_writer:BlobWriter.write"),
        ("store.publish.before", "zbuild.storage.blob_files:BlobFiles.publish"),
        ("store.publish.after", "zbuild.storage.blob_files:BlobFiles.publish"),
        ("store.send.after", "zbuild.transport.router:Router.send"),
    )
}


def arm(role: str, environ: Mapping[str, str]) -> None:
    """Arm the point that the environment names, if it is one of ``role``.

    Raises:
        BadInput: there is no such point.
    """
    name, _, count = environ.get(VARIABLE, "").partition(":")
    if not name:
        return
    if name not in FAILPOINTS or not (count or "1").isdecimal():
        raise BadInput(f"{VARIABLE}={environ[VARIABLE]!r}: expected NAME or NAME:N, a name of {', '.join(FAILPOINTS)}")
    point = FAILPOINTS[name]
    if point.role == role:
        wrap(point.method, _killing(point, int(count or "1")))


Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]


def wrap(method: str, wrapper: Wrapper) -> None:
    """Put ``wrapper(original)`` in the place of ``module:Class.method`` in this process."""
    module, _, path = method.partition(":")
    owner, _, name = path.partition(".")
    target = getattr(importlib.import_module(module), owner)
    setattr(target, name, wrapper(vars(target)[name]))


def _killing(point: Failpoint, passes: int) -> Wrapper:
    left = passes

    def pass_by() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def armed(*arguments: Any, **keywords: Any) -> Any:
            if not point.is_after:
                pass_by()
            result = original(*arguments, **keywords)
            if point.is_after:
                pass_by()
            return result

        return armed

    return wrapper
