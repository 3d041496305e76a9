"""One example of each message, with the plain msgpack value that its bytes must be."""

from __future__ import annotations

from zbuild.digest import EMPTY, Digest
from zbuild.model.action import ActionResult, OutputFile, OutputKind, ResourceUsage, ResultStatus
from zbuild.model.capabilities import Capabilities
from zbuild.protocol.blob_messages import (
    BlobFailure,
    BlobPart,
    FindMissing,
    FromStore,
    Get,
    Missing,
    Parts,
    Put,
    Stored,
    ToStore,
)
from zbuild.protocol.codec import Encodable
from zbuild.protocol.messages import (
    Acknowledge,
    BuildState,
    Cancel,
    Claim,
    Complete,
    Finished,
    FinishedAction,
    Goodbye,
    Grant,
    HeartBeat,
    Hello,
    Keepalive,
    Lease,
    LeaseId,
    Outcome,
    Properties,
    QueryProperties,
    Refused,
    Report,
    Revoke,
    Role,
    Shutdown,
    StolenLease,
    Submission,
    Submit,
    Welcome,
    WorkerState,
)
from zbuild.protocol.status_messages import Status, StatusRequest, WorkerStatus
from zbuild.protocol.steal_messages import (
    PeerAnnounce,
    PeerEntry,
    PeerLoad,
    PeerMetrics,
    StealAccept,
    StealNoted,
    StealRequest,
    StealResponse,
)

ACTION = bytes(range(32))
DIGEST = Digest(bytes(32), 5)
LEASE = LeaseId(ACTION, 2, 2**63)
RESULT = ActionResult(
    status=ResultStatus.SUCCESS,
    outputs=(OutputFile("/zb/build/o", OutputKind.FILE, DIGEST, True),),
    stdout=DIGEST,
    resources=ResourceUsage(user_s=0.5, peak_memory_bytes=7),
    worker="w",
)

_EMPTY = [EMPTY.hash, 0]
_DIGEST = [bytes(32), 5]
_LEASE = [ACTION, 2, 2**63]
_GRANT = [_LEASE, b"body", 50, 1.5, 0.5, 0]
_RESULT = [
    0, 0, [["/zb/build/o", 0, _DIGEST, True, ""]], _DIGEST, _EMPTY, "", 0, [],
    [0.5, 0.0, 7, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0], "w", [],
]  # fmt: skip  # one line per group of fields

EXAMPLES: list[tuple[Encodable, list[object]]] = [
    (
        Hello(
            protocol_version=1,
            role=Role.WORKER,
            name="w",
            incarnation=3,
            worker_id=4,
            slots=8,
            queue_limit=256,
            sandbox="hermetic",
            platform=(("os", "linux"),),
            ceiling=Capabilities(max_cpu=2, timeout_s=9.0),
            limits="cgroup v2",
            steal_endpoint="tcp://10.0.0.4:9100",
        ),
        [
            0, 1, 2, "w", 3, 4, 8, 256, "hermetic", [["os", "linux"]], [False, False, True, [], [], 2, 0, 9.0],
            "cgroup v2", "tcp://10.0.0.4:9100",
        ],
    ),
    (
        Submit(build=5, priority=50, actions=(Submission(ACTION, b"body", 1.5, 0.5),)),
        [1, 5, 50, [[ACTION, b"body", 1.5, 0.5]]],
    ),
    (Complete(outcomes=(Outcome(LEASE, RESULT),)), [2, [[_LEASE, _RESULT, 0]]]),
    (
        HeartBeat(
            worker_id=1,
            incarnation=2,
            sequence=3,
            state=WorkerState.DRAINING,
            queue_depth=4,
            active_actions=5,
            cpu_usage=0.25,
            memory_usage=0.5,
            disk_usage=0.75,
        ),
        [3, 1, 2, 3, 5, 4, 5, 0.25, 0.5, 0.75, 0.0],
    ),
    (Shutdown(reason="the broker stops"), [6, "the broker stops"]),
    (
        Report(sequence=1, held=(LEASE,), running=1, is_draining=False, counters=(("refused", 2),)),
        [7, 1, [_LEASE], 1, False, [["refused", 2]]],
    ),
    (
        Welcome(
            protocol_version=1,
            epoch=9,
            blob_endpoint="tcp://*:9003",
            heartbeat_endpoint="tcp://*:9001",
            heartbeat_interval_s=5.0,
            announcement_endpoint="tcp://*:9002",
        ),
        [16, 1, 9, "tcp://*:9003", "tcp://*:9001", 5.0, "tcp://*:9002"],
    ),
    (Refused(code=0, message="introduce yourself"), [17, 0, "introduce yourself"]),
    (Lease(sequence=1, grants=(Grant(LEASE, b"body", 50, 1.5, 0.5),)), [18, 1, [_GRANT]]),
    (Revoke(leases=(LEASE,)), [19, [_LEASE]]),
    (Acknowledge(leases=(LEASE,), sequence=3), [20, [_LEASE], 3]),
    (QueryProperties(names=("tool:/usr/bin/cc",)), [21, ["tool:/usr/bin/cc"]]),
    (Properties(values=(("tool:/usr/bin/cc", ""),)), [22, [["tool:/usr/bin/cc", ""]]]),
    (Finished(build=5, actions=(FinishedAction(ACTION, RESULT, True, 0),)), [23, 5, [[ACTION, _RESULT, True, 0, ""]]]),
    (Cancel(build=5), [24, 5, False]),
    (Keepalive(build=5, awaited=(ACTION,)), [25, 5, [ACTION]]),
    (BuildState(build=5, unknown=(ACTION,), running=1, queued=2, workers=3), [26, 5, [ACTION], 1, 2, 3]),
    (StatusRequest(), [27]),
    (
        Status(
            epoch=9,
            uptime_s=1.5,
            workers=(
                WorkerStatus(
                    worker_id=1,
                    name="w",
                    slots=8,
                    held=2,
                    running=1,
                    sandbox="hermetic",
                    limits="cgroup v2",
                    is_draining=False,
                    report_age_s=0.5,
                    health="failed",
                    quarantined_s=5.0,
                    cpu_usage=-1.0,
                    memory_usage=-1.0,
                    disk_usage=-1.0,
                    platform=(("os", "linux"),),
                    properties=1,
                ),
            ),
            clients=1,
            queued=2,
            leased=3,
            cache_entries=4,
            store_free_bytes=5,
            counters=(("executed", 6),),
        ),
        [
            28, 9, 1.5,
            [[
                1, "w", 8, 2, 1, "hermetic", "cgroup v2", False, 0.5, "failed", 5.0,
                -1.0, -1.0, -1.0, [["os", "linux"]], 1, 0, 0,
            ]],
            1, 2, 3, 4, 5, [["executed", 6]],
        ],
    ),
    (Goodbye(), [29]),
    (Claim(leases=(StolenLease(LEASE, 1),)), [30, [[_LEASE, 1]]]),
    (
        StealRequest(thief=1, incarnation=2, victim=3, min_priority=50, room=4, inputs=b"mask"),
        [4, 1, 2, 3, 50, 4, b"mask"],
    ),
    (
        StealResponse(
            victim=3,
            thief=1,
            transfer=7,
            grants=(Grant(LEASE, b"body", 50, 1.5, 0.5),),
            queue_depth=2,
            load_factor=0.5,
            backlog_s=1.5,
            blob_endpoint="tcp://10.0.0.3:9101",
        ),
        [5, 3, 1, 7, [_GRANT], 0, 2, 0.5, 1.5, "tcp://10.0.0.3:9101"],
    ),
    (
        StealAccept(thief=1, incarnation=2, victim=3, transfer=7, declined=(LEASE,), returned=(LEASE,)),
        [31, 1, 2, 3, 7, [_LEASE], [_LEASE]],
    ),
    (StealNoted(victim=3), [32, 3]),
    (
        PeerAnnounce(epoch=9, peers=(PeerEntry(3, "tcp://10.0.0.3:9100", 2, 0.5),)),
        [9, 9, [[3, "tcp://10.0.0.3:9100", 2, 0.5]]],
    ),
    (PeerMetrics(epoch=9, loads=(PeerLoad(3, 2, 0.5),)), [10, 9, [[3, 2, 0.5]]]),
]  # fmt: skip  # each message beside its value
"""Every message that is not about blobs."""

TO_STORE: list[tuple[ToStore, list[bytes], list[object]]] = [
    (FindMissing(1, (DIGEST,)), [], [0, 1, [_DIGEST]]),
    (Put(2, (BlobPart(DIGEST, 0, 5),)), [b"bytes"], [2, 2, [[_DIGEST, 0, 5]]]),
    (Get(3, (BlobPart(DIGEST, 1, 4),)), [], [4, 3, [[_DIGEST, 1, 4]]]),
]
"""Every request of the blob channel, with its data frames."""

FROM_STORE: list[tuple[FromStore, list[bytes], list[object]]] = [
    (Missing(1, (DIGEST,)), [], [1, 1, [_DIGEST]]),
    (Stored(2, (BlobFailure(DIGEST, 12, "disk full"),)), [], [3, 2, [[_DIGEST, 12, "disk full"]]]),
    (Parts(3, (BlobPart(DIGEST, 1, 4),), ()), [b"ytes"], [5, 3, [[_DIGEST, 1, 4]], []]),
]
"""Every reply of the blob channel, with its data frames."""
