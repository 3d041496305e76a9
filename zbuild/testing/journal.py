"""The broker's journal in a simulation: real bytes, on a disk that can tear and flip them."""

from __future__ import annotations

from random import Random

from zbuild.coordinator.core import BrokerCore
from zbuild.coordinator.journal import JournalState, encode_record, replay
from zbuild.storage.journal_format import HEADER, first_checksum, framed, unframed


class MemoryJournal:
    """What JournalFile and JournalKeeper are in the real broker. Its synced part survives everything."""

    def __init__(self) -> None:
        self._data = HEADER
        self._checksum = first_checksum()
        self._synced_bytes = len(HEADER)

    def restore(self) -> JournalState:
        """What the journal comes to; from here on it is written anew."""
        state = replay(unframed(self._data).payloads)
        data, self._checksum = framed(map(encode_record, state.standing()), first_checksum())
        self._data = HEADER + data
        self._synced_bytes = len(self._data)
        return state

    def keep(self, core: BrokerCore) -> None:
        """Append what has happened."""
        records = core.take_journal()
        if records:
            data, self._checksum = framed(map(encode_record, records), self._checksum)
            self._data += data

    def state(self) -> JournalState:
        """What a broker that started now would restore."""
        return replay(unframed(self._data).payloads)

    def tear(self, random: Random) -> None:
        """A power cut: some of what was not synced is missing, or is not what was written."""
        unsynced = len(self._data) - self._synced_bytes
        if not unsynced:
            return
        place = self._synced_bytes + random.randrange(unsynced)
        if random.random() < 0.5:
            self._data = self._data[:place]
        else:
            flipped = bytes([self._data[place] ^ 1 << random.randrange(8)])
            self._data = self._data[:place] + flipped + self._data[place + 1 :]
