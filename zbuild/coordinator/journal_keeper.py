"""Writes down what the core has decided, and reads it back for the next life."""

from __future__ import annotations

from typing import Protocol

from zbuild.coordinator.journal import JournalRecord, JournalState, encode_record, replay
from zbuild.errors import ProtocolError, StoreFailed
from zbuild.log import Log
from zbuild.storage.journal_file import JournalFile


class JournalSource(Protocol):
    """Where the records come from: a BrokerCore."""

    def take_journal(self) -> list[JournalRecord]: ...

    def journal_state(self) -> JournalState: ...


class JournalKeeper:
    """One journal file and the log that its troubles go to."""

    def __init__(self, file: JournalFile, log: Log) -> None:
        self._file = file
        self._log = log
        self._has_complained = False

    def restore(self) -> JournalState:
        """Where the last life ended; a torn or corrupt end is left out, and told.

        Raises:
            StoreFailed: the disk refuses.
        """
        content = self._file.read()
        if content.lost_bytes:
            self._log.error("journal_damaged", lost_bytes=content.lost_bytes, records_read=len(content.payloads))
        try:
            state = replay(content.payloads)
        except ProtocolError as error:
            self._log.error("journal_of_another_version", error=str(error))
            state = JournalState()
        self._file.rewrite(map(encode_record, state.standing()))
        self._log.info("journal_read", records=len(content.payloads), actions=len(state.actions))
        return state

    def keep(self, core: JournalSource) -> None:
        """Write down what has happened since the last call. A disk that refuses is told of once, and tried again."""
        records = core.take_journal()
        if not records and not self._file.is_due:
            return
        try:
            if self._file.is_due:
                self._file.rewrite(map(encode_record, core.journal_state().standing()))
            else:
                self._file.append(map(encode_record, records))
        except StoreFailed as error:
            if not self._has_complained:
                self._log.warning("journal_write_failed", error=str(error))
            self._has_complained = True
        else:
            self._has_complained = False

    def close(self) -> None:
        self._file.close()
