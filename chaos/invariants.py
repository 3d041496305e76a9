"""What must hold over the history of a real farm: the simulator's invariants (zbuild/testing/checkers.py)."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from chaos.history import Event
from zbuild.digest import Digest, of_file
from zbuild.errors import BadInput
from zbuild.model.action import decode_result
from zbuild.storage.blob_files import EXECUTABLE_SUFFIX

Lease = tuple[int, int]
"""(epoch, attempt)."""


def check_decisions(events: Iterable[Event], *, is_cache_whole: bool = True) -> Iterator[str]:
    """Leases and publications: one holder and at most one copy, one publication, only under a current lease.

    A lease outlives the broker that granted it, if its journal hands it to the next.

    Args:
        is_cache_whole: False where published results were destroyed, which are then made and published again.
    """
    leases = _Leases()
    published: set[str] = set()
    for event in events:
        if event["role"] != "broker":
            continue
        action = event.get("action", "")
        yield from leases.take(event)
        match event["event"]:
            case "grant" if action in published and is_cache_whole:
                yield f"{action[:8]} was leased again after its result was kept"
            case "publish" if action in published and is_cache_whole:
                yield f"{action[:8]} was published twice"
            case "committed":
                published.update(event["actions"])
            case "remove":
                published.discard(action)


class _Leases:
    """Who holds what, and for which actions a success has come under a current lease."""

    def __init__(self) -> None:
        self._granted: set[tuple[str, int, int]] = set()
        self._names: dict[int, str] = {}
        self._leased: dict[str, dict[Lease, str]] = {}
        self._succeeded: set[str] = set()
        self._unclaimed: tuple[str, Lease, str] | None = None

    def take(self, event: Event) -> Iterator[str]:
        """Take in one event of the broker; what is wrong with it."""
        action = event.get("action", "")
        match event["event"]:
            case "life":
                yield from self._restore(event["leases"])
            case "grant":
                self._names[event["worker_id"]] = event["worker"]
                yield from self._grant(action, (event["epoch"], event["attempt"]), event["worker"])
            case "claim":
                self._names[event["worker_id"]] = event["worker"]
                yield from self._claim(action, (event["epoch"], event["attempt"]), event["worker"])
            case "complete":
                lease = (event["epoch"], event["attempt"])
                held = self._leased.get(action, {}).get(lease)
                self._unclaimed = None
                if held == event["worker"] and event["status"] == "SUCCESS":
                    self._succeeded.add(action)
                elif event["status"] == "SUCCESS":
                    self._unclaimed = (action, lease, event["worker"])
            case "ended":
                self._leased.get(action, {}).pop((event["epoch"], event["attempt"]), None)
            case "requeue" | "forget":
                self._leased.pop(action, None)
            case "publish" if action not in self._succeeded:
                yield f"{action[:8]} was published without a success under its current lease"

    def _restore(self, leases: Iterable[tuple[str, int, int, int]]) -> Iterator[str]:
        self._succeeded.clear()
        self._leased.clear()
        for action, epoch, attempt, worker_id in leases:
            if (action, epoch, attempt) not in self._granted:
                yield f"{action[:8]} was restored under a lease that was never granted"
            else:
                self._leased.setdefault(action, {})[epoch, attempt] = self._names[worker_id]

    def _claim(self, action: str, lease: Lease, worker: str) -> Iterator[str]:
        """A lease has gone from one worker to another. The result of one that is stolen can be its first claim."""
        holders = self._leased.get(action, {})
        if lease not in holders:
            yield f"{action[:8]} was claimed by {worker} under a lease that nobody holds"
        elif worker in (holder for other, holder in holders.items() if other != lease):
            yield f"{action[:8]} was claimed by {worker}, which has another lease of it"
        else:
            holders[lease] = worker
            if self._unclaimed == (action, lease, worker):
                self._succeeded.add(action)

    def _grant(self, action: str, lease: Lease, worker: str) -> Iterator[str]:
        holders = self._leased.setdefault(action, {})
        if worker in holders.values() or len(holders) > 1:
            yield f"{action[:8]} is leased to {worker} and to {', '.join(sorted(holders.values()))} at once"
        holders[lease] = worker
        self._granted.add((action, *lease))


def runs_again(events: Iterable[Event]) -> int:
    """How many runs were begun beyond the first of each action."""
    runs = Counter(event["action"] for event in events if event["event"] == "run")
    return runs.total() - len(runs)


def check_store(directory: Path) -> Iterator[str]:
    """No blob is visible that is not whole, and no result is kept whose blobs are not all there."""
    blobs = directory / "blobs"
    for path in sorted(blobs.glob("?/*")):
        name = path.name.removesuffix(EXECUTABLE_SUFFIX)
        if of_file(str(path)).hash.hex() != name:
            yield f"the store shows a blob of other bytes: {path.relative_to(directory)}"
    for action, value in _results(directory / "results.sqlite"):
        try:
            digests: list[Digest] = decode_result(value).blobs()
        except BadInput as error:
            yield f"the kept result of {action.hex()[:8]} does not decode: {error}"
            continue
        for digest in digests:
            name = digest.hash.hex()
            path = blobs / name[:1] / name
            if not path.is_file() or path.stat().st_size != digest.size_bytes:
                yield f"the result of {action.hex()[:8]} is kept and its blob {digest.short} is not whole"


def _results(path: Path) -> list[tuple[bytes, bytes]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT action, value FROM result").fetchall()
    finally:
        connection.close()


IGNORED = (".ninja_log", ".ninja_deps", ".ninja_lock")


def tree_of(directory: Path, ignored: Iterable[str] = IGNORED) -> dict[str, str]:
    """Relative path -> mode and hash of every file below ``directory``, ninja's own logs left out."""
    found = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            if name in ignored:
                continue
            mode = "x" if os.access(path, os.X_OK) else "-"
            content = f"-> {os.readlink(path)}" if path.is_symlink() else of_file(str(path)).hash.hex()
            found[str(path.relative_to(directory))] = f"{mode} {content}"
    return found


def differences(expected: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    """Where an output tree is not the one of a build without faults."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"lost: {name}"
        elif name not in expected:
            yield f"left over: {name}"
        elif expected[name] != found[name]:
            yield f"wrong output: {name} is {found[name][:18]}, not {expected[name][:18]}"
