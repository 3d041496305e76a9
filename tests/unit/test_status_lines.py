"""What ``zbuild status`` shows of workers that are not well."""

from __future__ import annotations

from tests.unit.coordinator.driver import Farm, action, broken, grants
from zbuild.cli.status import _as_lines, _as_object
from zbuild.coordinator.snapshot import snapshot
from zbuild.errors import SandboxFailed
from zbuild.limits import FAILURE_THRESHOLD, QUARANTINE_MIN_S


def test_a_worker_in_quarantine_is_shown_with_the_time_that_is_left() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(b"bad", worker_id=1, slots=1)
    waiting = grants(farm.submit(action("a"), priority=200))
    for _ in range(FAILURE_THRESHOLD):
        waiting = grants(farm.complete(waiting[0].lease, broken(SandboxFailed.code), b"bad"))
    farm.add_worker(b"good", worker_id=2, slots=1)

    status = snapshot(farm.core.farm, farm.now_s + 1.0)

    bad, good = _as_object(status)["workers"]
    assert (bad["health"], bad["quarantined_seconds"]) == ("failed", QUARANTINE_MIN_S - 1.0)
    assert (good["health"], good["quarantined_seconds"]) == ("healthy", 0.0)
    (line,) = [line for line in _as_lines(status) if line.startswith("bad ")]
    assert line.endswith(f", failed: in quarantine for {QUARANTINE_MIN_S - 1.0:.0f} s")
    assert "workers_quarantined: 1" in _as_lines(status)
