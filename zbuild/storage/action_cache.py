"""The action cache: ActionId to ActionResult, in one SQLite file.

SQLite gives what a cache of results needs: crash safety under kill -9, several processes on one
file, and a batch of writes in one transaction (measured: 3.7 us per insert in a batch against
49 us for a file of its own, written and renamed). There is no fsync per commit: losing the last
results to a power cut costs their re-execution.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from typing import NoReturn

from zbuild.errors import BadInput, StoreFailed
from zbuild.limits import ACTION_CACHE_ENTRIES, ACTION_CACHE_KEEP
from zbuild.model.action import ActionId, ActionResult, decode_result, encode_result

_SCHEMA = """
CREATE TABLE IF NOT EXISTS result
(number INTEGER PRIMARY KEY, action BLOB NOT NULL UNIQUE, value BLOB NOT NULL, used INTEGER NOT NULL)
"""
"""Numbered rows, so that new ones lie side by side and only their keys are scattered. With the rows themselves in
the order of the keys, which are random, each new one rewrites a page: twice the CPU time, three times the wall time."""

_PUT = "INSERT OR IGNORE INTO result (action, value, used) VALUES (?, ?, ?)"

_EVICT = "DELETE FROM result WHERE action IN (SELECT action FROM result ORDER BY used LIMIT ?)"


class ActionCache:
    """One file of results; ``used`` orders them by last use, for eviction.

    Args:
        path: the SQLite file. A damaged one is moved aside to ``<path>.corrupt`` and begun anew.

    Raises:
        StoreFailed: the file can be neither opened nor made.
    """

    def __init__(self, path: str, capacity: int = ACTION_CACHE_ENTRIES) -> None:
        self.was_corrupt = False
        self._path = path
        self._capacity = capacity
        with self._reporting("open"):
            try:
                self._connection = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self.was_corrupt = True
                self._move_aside()
                self._connection = self._open()
            self._entries = int(self._connection.execute("SELECT COUNT(*) FROM result").fetchone()[0])
            self._last_use = int(self._connection.execute("SELECT IFNULL(MAX(used), 0) FROM result").fetchone()[0])

    def get(self, action: ActionId) -> ActionResult | None:
        """The published result, or None. An entry that does not decode is removed and counts as absent."""
        try:
            row = self._connection.execute("SELECT value FROM result WHERE action = ?", (action,)).fetchone()
        except sqlite3.Error as error:
            self._fail("read", error)
        if row is None:
            return None
        try:
            result = decode_result(row[0])
        except BadInput:
            self.remove(action)
            return None
        self._write("UPDATE result SET used = ? WHERE action = ?", (self._next_use(), action))
        return result

    def put(self, action: ActionId, result: ActionResult) -> None:
        """Publish a result; the first one stays if there is one already. It is durable against a crash
        of this process after the next ``commit``.

        Raises:
            StoreFailed: the file refuses.
        """
        row = (action, encode_result(result), self._next_use())
        self._entries += self._write(_PUT, row)

    def remove(self, action: ActionId) -> None:
        self._entries -= self._write("DELETE FROM result WHERE action = ?", (action,))

    def commit(self) -> None:
        """End the batch of changes since the last call.

        Raises:
            StoreFailed: the file refuses; the batch is lost.
        """
        if self._entries > self._capacity:
            surplus = self._entries - int(self._capacity * ACTION_CACHE_KEEP)
            self._entries -= self._write(_EVICT, (surplus,))
        if self._connection.in_transaction:
            with self._reporting("write"):
                self._connection.execute("COMMIT")

    def entries(self) -> int:
        return self._entries

    def close(self) -> None:
        self.commit()
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _move_aside(self) -> None:
        os.replace(self._path, self._path + ".corrupt")
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path + suffix)

    def _next_use(self) -> int:
        self._last_use += 1
        return self._last_use

    def _write(self, statement: str, values: tuple[object, ...]) -> int:
        try:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            return self._connection.execute(statement, values).rowcount
        except sqlite3.Error as error:
            self._fail("write", error)

    @contextlib.contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._fail(what, error)

    def _fail(self, what: str, error: sqlite3.Error) -> NoReturn:
        with contextlib.suppress(sqlite3.Error, AttributeError):
            self._connection.rollback()
        raise StoreFailed(f"cannot {what} the action cache {self._path}: {error}") from error
