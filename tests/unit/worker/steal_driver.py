"""Workers of a steal without processes: their tables, and short names for what they say to each other."""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.unit.coordinator.driver import action
from zbuild.model.action import Action, ActionId, InputSpec, OutputSpec, encode_action
from zbuild.model.capabilities import DEFAULT
from zbuild.protocol.messages import PROTOCOL_VERSION, Grant, Hello, LeaseId, Role
from zbuild.protocol.steal_messages import PeerAnnounce, PeerEntry, StealRequest, StealResponse
from zbuild.worker.lease_book import LeaseBook
from zbuild.worker.steal_settings import StealSettings
from zbuild.worker.steal_telemetry import StealTelemetry
from zbuild.worker.stealing import Stealing
from zbuild.worker.victim import Victim

EPOCH = 77
VICTIM = 1
THIEF = 2
NOBODY = ""
HELD_AT_MOST = 256


def endpoint(worker_id: int) -> str:
    return f"tcp://10.0.0.{worker_id}:9100"


def hello(worker_id: int = VICTIM, slots: int = 1, platform: dict[str, str] | None = None) -> Hello:
    return Hello(
        protocol_version=PROTOCOL_VERSION,
        role=Role.WORKER,
        name=f"w{worker_id}",
        incarnation=100 + worker_id,
        worker_id=worker_id,
        slots=slots,
        queue_limit=HELD_AT_MOST,
        sandbox="hermetic",
        platform=tuple(sorted((platform or {"os": "linux"}).items())),
        steal_endpoint=endpoint(worker_id),
    )


def grant(
    name: str,
    *,
    priority: int = 50,
    weight_s: float = 1.0,
    expected_s: float = 0.1,
    hops: int = 0,
    platform: dict[str, str] | None = None,
    attempt: int = 1,
) -> Grant:
    """A lease of an action that differs from those of other names."""
    action_id, body = action(name, platform)
    return Grant(LeaseId(action_id, attempt, EPOCH), body, priority, weight_s, expected_s, hops)


def grant_with_inputs(name: str, inputs: tuple[InputSpec, ...], *, priority: int = 50) -> Grant:
    """A lease of an action that reads these files."""
    action_id, body = encode_action(
        Action(
            platform=(("os", "linux"),),
            sandbox="hermetic",
            capabilities=DEFAULT,
            is_cacheable=True,
            arguments=("/bin/sh", "-c", name),
            environment=(),
            working_directory="/zb/build",
            writable_root="/zb/build",
            inputs=inputs,
            directories=(),
            outputs=(OutputSpec("/zb/build/o"),),
        )
    )
    return Grant(LeaseId(action_id, 1, EPOCH), body, priority, 1.0, 0.1)


def grants(*names: str, **options: float) -> list[Grant]:
    return [grant(name, **options) for name in names]  # type: ignore[arg-type]  # options are grant's


def request(
    *, thief: int = THIEF, incarnation: int = 1, victim: int = VICTIM, min_priority: int = 0, room: int = 100,
    inputs: bytes = b"",
) -> StealRequest:  # fmt: skip  # one line of defaults says more
    return StealRequest(
        thief=thief, incarnation=incarnation, victim=victim, min_priority=min_priority, room=room, inputs=inputs
    )


def response(*given: Grant, transfer: int = 1, thief: int = THIEF, victim: int = VICTIM) -> StealResponse:
    """What a victim answers that gives these away, with a long queue left."""
    return StealResponse(
        victim=victim, thief=thief, transfer=transfer, grants=given, queue_depth=9, load_factor=0.5, backlog_s=60.0
    )


def announcement(*worker_ids: int, queue_depth: int = 9) -> PeerAnnounce:
    entries = (PeerEntry(worker_id, endpoint(worker_id), queue_depth, 0.5) for worker_id in worker_ids)
    return PeerAnnounce(epoch=EPOCH, peers=tuple(entries))


def action_ids(found: list[Grant] | tuple[Grant, ...]) -> list[ActionId]:
    return [each.lease.action for each in found]


class GivingWorker:
    """A victim whose slots are taken, so that whatever it is given beyond them waits."""

    def __init__(self, *queue: Grant, slots: int = 1, usual_s: float = 0.1, settings: StealSettings | None = None):
        self.counters: Counter[str] = Counter()
        self.book = LeaseBook(slots, HELD_AT_MOST)
        self.victim = Victim(
            hello(slots=slots),
            self.book,
            settings or StealSettings(),
            StealTelemetry(self.counters),
            lambda: usual_s,
            "tcp://blobs",
        )
        for number in range(2 * slots):
            self.book.add(grant(f"busy {number}", priority=200))
        self.book.start_next()
        for each in queue:
            self.book.add(each)

    def give(self, asked: StealRequest | None = None, now_s: float = 0.0) -> StealResponse:
        return self.victim.answer(asked or request(), now_s)[0]


class TakingWorker:
    """A worker that steals, fed by hand. ``platform``: what it knows of itself."""

    def __init__(self, *, slots: int = 1, settings: StealSettings | None = None, seed: int = 0) -> None:
        self.counters: Counter[str] = Counter()
        self.book = LeaseBook(slots, HELD_AT_MOST)
        self.platform = {"os": "linux"}
        self.stealing = Stealing(
            hello(THIEF, slots),
            self.book,
            self.platform,
            settings or StealSettings(),
            Random(seed),
            self.counters,
            "tcp://blobs",
        )
