"""Platform properties of a worker."""

from __future__ import annotations

from zbuild.inputs.toolchain import Toolchain
from zbuild.transport.green import Wakeup
from zbuild.worker.platform import Platform


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
