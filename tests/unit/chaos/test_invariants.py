"""Each invariant over a real history can be violated, and is then found."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from chaos.invariants import check_decisions, check_store, differences, runs_again, tree_of
from zbuild.model.action import ActionResult, OutputFile, OutputKind, ResultStatus
from zbuild.storage.action_cache import ActionCache
from zbuild.storage.blob_directory import BlobDirectory

A = "aa" * 32
Events = list[dict[str, Any]]


def broker(
    *steps: tuple[str, dict[str, Any]], pid: int = 7, leases: tuple[tuple[str, int, int, int], ...] = ()
) -> Events:
    life = {"role": "broker", "pid": pid, "event": "life", "epoch": pid, "leases": leases}
    return [life, *({"role": "broker", "pid": pid, "event": name, **fields} for name, fields in steps)]


def grant(worker: str = "w1", attempt: int = 1, epoch: int = 7) -> tuple[str, dict[str, Any]]:
    return "grant", {
        "action": A, "worker": worker, "worker_id": int(worker[1:]), "attempt": attempt, "epoch": epoch,
    }  # fmt: skip  # one field per line says no more


def claim(worker: str = "w2", attempt: int = 1, epoch: int = 7) -> tuple[str, dict[str, Any]]:
    return "claim", grant(worker, attempt, epoch)[1]


def complete(
    worker: str = "w1", attempt: int = 1, status: str = "SUCCESS", epoch: int = 7
) -> tuple[str, dict[str, Any]]:
    return "complete", {"action": A, "worker": worker, "attempt": attempt, "epoch": epoch, "status": status}


PUBLISH = ("publish", {"action": A})
FORGET = ("forget", {"action": A})
REQUEUE = ("requeue", {"action": A})
ENDED = ("ended", {"action": A, "epoch": 7, "attempt": 2})
COMMITTED = ("committed", {"actions": [A]})
REMOVE = ("remove", {"action": A})


@pytest.mark.parametrize(
    "events",
    [
        broker(grant(), complete(), PUBLISH, FORGET, COMMITTED),
        broker(grant(), grant("w2", 2), complete("w2", 2), ENDED, PUBLISH, FORGET, COMMITTED),
        broker(grant()) + broker(complete(), PUBLISH, FORGET, COMMITTED, pid=8, leases=((A, 7, 1, 1),)),
        broker(grant(), complete(), ("ended", {"action": A, "epoch": 7, "attempt": 1}), PUBLISH, FORGET)
        + broker(complete(), PUBLISH, FORGET, COMMITTED, pid=8, leases=((A, 7, 1, 1),)),
        broker(grant(), REQUEUE, grant("w2", 2), complete("w2", 2), PUBLISH, FORGET, COMMITTED),
        broker(grant(), complete(), PUBLISH, FORGET)
        + broker(grant(epoch=8), complete(epoch=8), PUBLISH, FORGET, COMMITTED, pid=8),
        broker(grant(), claim(), complete("w2"), PUBLISH, FORGET, COMMITTED),
        broker(grant(), claim(), claim("w3"), complete("w3"), PUBLISH, FORGET, COMMITTED),
        broker(grant(), complete("w2"), claim(), PUBLISH, FORGET, COMMITTED),
        broker(grant(), claim()) + broker(complete("w2"), PUBLISH, FORGET, COMMITTED, pid=8, leases=((A, 7, 1, 2),)),
        broker(grant(), claim()) + broker(complete("w1"), PUBLISH, FORGET, COMMITTED, pid=8, leases=((A, 7, 1, 1),)),
        broker(
            grant(), complete(), PUBLISH, FORGET, COMMITTED, REMOVE, grant(), complete(), PUBLISH, FORGET, COMMITTED
        ),
    ],
    ids=[
        "in order",
        "of a copy",
        "under a lease of the life before",
        "under a lease whose end the life before did not journal",
        "after a loss",
        "the first life died before the commit",
        "of a thief",
        "of a thief of a thief",
        "of a thief whose result was its claim",
        "of a thief in another life",
        "of a victim whose thief's claim was not journalled",
        "after the result was removed",
    ],
)
def test_a_good_history_is_accepted(events: Events) -> None:
    assert list(check_decisions(events)) == []


@pytest.mark.parametrize(
    ("events", "what"),
    [
        (broker(grant(), grant("w2", 2), grant("w3", 3)), "at once"),
        (broker(grant(), grant("w1", 2)), "at once"),
        (broker(grant()) + broker(complete(), PUBLISH, pid=8), "without a success"),
        (broker(grant(), REQUEUE, grant("w2", 2), complete("w1", 1), PUBLISH), "without a success under its current"),
        (broker(grant(), complete(status="FAILURE"), PUBLISH), "without a success"),
        (broker(grant(), complete(epoch=6), PUBLISH), "without a success"),
        (
            broker(grant(), complete(), PUBLISH, FORGET, COMMITTED)
            + broker(grant(epoch=8), complete(epoch=8), PUBLISH, FORGET, pid=8),
            "twice",
        ),
        (broker(grant(), complete(), PUBLISH, FORGET, COMMITTED, grant("w2", 2)), "leased again after its result"),
        (broker(leases=((A, 7, 1, 1),)), "never granted"),
        (broker(grant(), claim(), complete("w1"), PUBLISH), "without a success"),
        (broker(grant(), REQUEUE, claim()), "nobody holds"),
        (broker(grant(), grant("w2", 2), claim("w2", 1)), "has another lease"),
    ],
    ids=[
        "three holders",
        "one holder twice",
        "lease that was not journalled",
        "late result",
        "failure",
        "lease of another life",
        "twice",
        "made again",
        "restored from nowhere",
        "of a victim after the claim",
        "claimed after its loss",
        "claimed by the holder of a copy",
    ],
)
def test_a_bad_history_is_found(events: Events, what: str) -> None:
    assert what in "; ".join(check_decisions(events))


def test_runs_beyond_the_first_are_counted() -> None:
    run = {"role": "worker", "pid": 1, "event": "run", "action": A}

    assert runs_again([run, run, run]) == 2


def test_a_tree_that_differs_is_described(tmp_path: Path) -> None:
    for name in ("good", "bad", "lost"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("good")
    expected = tree_of(tmp_path)
    (tmp_path / "bad").chmod(0o700)
    (tmp_path / "lost").rename(tmp_path / "left")

    assert [line.split(" is ")[0] for line in differences(expected, tree_of(tmp_path))] == [
        "wrong output: bad",
        "left over: left",
        "lost: lost",
    ]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    cache = ActionCache(str(tmp_path / "results.sqlite"))
    output = OutputFile(path="o", kind=OutputKind.FILE, digest=blobs.put_bytes(b"output"))
    cache.put(bytes.fromhex(A), ActionResult(status=ResultStatus.SUCCESS, outputs=(output,)))
    cache.close()
    blobs.close()
    return tmp_path


def test_a_whole_store_is_accepted(store: Path) -> None:
    assert list(check_store(store)) == []


def test_a_blob_that_is_partial_or_missing_is_found(store: Path) -> None:
    (blob,) = (path for path in (store / "blobs").glob("?/*"))
    blob.chmod(0o600)
    blob.write_bytes(b"out")
    assert len(list(check_store(store))) == 2
    blob.unlink()
    assert "is not whole" in "; ".join(check_store(store))


def test_a_result_that_does_not_decode_is_found(store: Path) -> None:
    database = sqlite3.connect(store / "results.sqlite")
    database.execute("UPDATE result SET value = ?", (b"garbage",))
    database.commit()
    database.close()

    assert "does not decode" in "; ".join(check_store(store))
