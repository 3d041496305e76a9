"""Platform properties of a worker."""

from __future__ import annotations

from pathlib import Path

import gevent

from zbuild.inputs.toolchain import Toolchain
from zbuild.transport.green import Wakeup
from zbuild.worker.platform import Platform

DEADLINE_S = 30.0


def test_what_is_the_workers_own_survives_a_new_look_at_its_tools() -> None:
    """A lost value would refuse every action that names this worker."""
    wakeup = Wakeup()
    platform = Platform(Toolchain(None), wakeup, {"worker": "2a"})
    try:
        for _ in range(2):
            platform.evaluate(("worker", "os", "tool:/nonexistent"))
            assert (platform.values["worker"], platform.values["os"]) == ("2a", "linux")
            assert platform.values["tool:/nonexistent"] == ""
    finally:
        platform.close()
        wakeup.close()


def test_a_worker_knows_at_once_what_it_knew_in_its_last_life(tmp_path: Path) -> None:
    name = "tool:/bin/sh"
    for is_new in (True, False):
        wakeup = Wakeup()
        platform = Platform(Toolchain(str(tmp_path / "toolchain")), wakeup, {})
        try:
            platform.recall()
            if not is_new:
                with gevent.Timeout(DEADLINE_S):
                    while name not in platform.news:
                        wakeup.wait(DEADLINE_S)
            assert (name in platform.news) is not is_new
            platform.evaluate((name,))
            assert platform.values[name]
        finally:
            platform.close()
            wakeup.close()
