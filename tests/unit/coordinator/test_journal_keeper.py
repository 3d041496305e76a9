"""What the broker keeps of its decisions on disk, and what it says when not all of it can be read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from zbuild.coordinator.journal import Granted, JournalRecord, JournalState, Over, encode_record, replay
from zbuild.coordinator.journal_keeper import JournalKeeper
from zbuild.log import Log
from zbuild.protocol.messages import LeaseId
from zbuild.storage.journal_file import JournalFile
from zbuild.storage.journal_format import framed

LEASES = [LeaseId(bytes([number]) * 32, 1, 77) for number in range(3)]
RECORDS: list[JournalRecord] = [Granted(lease, 5, 6) for lease in LEASES]


class Decided:
    """A broker core that has decided something."""

    def __init__(self, records: list[JournalRecord]) -> None:
        self._records = records

    def take_journal(self) -> list[JournalRecord]:
        records, self._records = self._records, []
        return records

    def journal_state(self) -> JournalState:
        return replay(map(encode_record, RECORDS))


class Life:
    """One life of a broker's journal, and what it has logged."""

    def __init__(self, path: Path) -> None:
        self._log = io.BytesIO()
        self._keeper = JournalKeeper(JournalFile(str(path)), Log(self._log, lambda: 0.0))
        self.restored = self._keeper.restore()

    @property
    def logged(self) -> str:
        return self._log.getvalue().decode()

    def end(self, *records: JournalRecord) -> None:
        self._keeper.keep(Decided(list(records)))
        self._keeper.close()


def test_the_next_life_restores_what_the_last_one_kept(tmp_path: Path) -> None:
    Life(tmp_path / "journal").end(*RECORDS, Over(LEASES[0].action))

    life = Life(tmp_path / "journal")

    assert set(life.restored.actions) == {lease.action for lease in LEASES[1:]}
    assert "journal_damaged" not in life.logged
    life.end()


@pytest.mark.parametrize("damage", ["torn", "flipped"])
def test_a_damaged_end_is_left_out_and_told_with_its_size(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal"
    Life(path).end(*RECORDS)
    data = path.read_bytes()
    path.write_bytes(data[:-5] if damage == "torn" else data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    record_bytes = len(framed([encode_record(RECORDS[-1])], 0)[0])

    life = Life(path)

    assert set(life.restored.actions) == {lease.action for lease in LEASES[:2]}
    lost_bytes = record_bytes - 5 if damage == "torn" else record_bytes
    assert f"event=journal_damaged lost_bytes={lost_bytes} records_read=2" in life.logged
    life.end()
    assert "journal_damaged" not in Life(path).logged, "it is told once: the journal has been written anew"
