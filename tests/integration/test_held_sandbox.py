"""Sandboxes that are set up before their command may run: they wait, run it once, and leave nothing."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import prctl
import pytest

from tests.held_sandboxes import wait_until_set_up
from tests.integration.sandbox_driver import BUILD, Slot
from tests.live_processes import is_alive, processes_below
from tests.polling import wait_until
from zbuild.limits import SANDBOXES_HELD
from zbuild.sandbox.launch import to_spawn
from zbuild.sandbox.spawn_protocol import Kill, Release
from zbuild.sandbox.spawner import Spawner, start_spawner

pytestmark = pytest.mark.needs("bubblewrap")


def held(slot: Slot, command: str, **fields: object) -> int:
    """The id of a held command whose sandbox is there, with every mount."""
    assert slot.spawner is not None
    spawn_id = slot.start(command, is_held=True, **fields)
    wait_until_set_up(slot.spawner.pid, BUILD)
    return spawn_id


def made(slot: Slot, name: str) -> bool:
    return os.path.exists(slot.plan.location(f"{BUILD}/{name}"))


def test_waits_with_all_its_walls_up_and_runs_once_when_released(slot: Slot, spawner: Spawner) -> None:
    spawn_id = held(slot, "echo x >> ran; cat ../a; ls /proc/self/fd", files={"/zb/src/a": b"input\n"})
    assert not made(slot, "ran")
    for _ in range(2):
        spawner.send(Release(id=spawn_id))
    exited = slot.wait(spawn_id)
    assert (exited.exit_code, exited.error) == (0, "")
    assert exited.stdout.data.split() == [b"input", b"0", b"1", b"2", b"3"], "3 is the directory that ls reads"
    assert Path(slot.plan.location(f"{BUILD}/ran")).read_text() == "x\n"
    spawner.send(Release(id=spawn_id))
    assert slot.text("echo next") == "next\n", "a Release that comes too late is ignored"


def test_time_is_counted_from_the_release(slot: Slot, spawner: Spawner) -> None:
    spawn_id = held(slot, "sleep 60", timeout_s=0.1)
    assert not select.select([spawner], [], [], 0.3)[0], "it has not begun, so it cannot have taken too long"
    spawner.send(Release(id=spawn_id))
    exited = slot.wait(spawn_id)
    assert exited.is_timed_out
    assert exited.wall_s >= 0.1


def test_discarded_before_its_turn_it_never_runs(slot: Slot, spawner: Spawner) -> None:
    spawn_id = held(slot, "echo > ran")
    spawner.send(Kill(id=spawn_id))
    exited = slot.wait(spawn_id)
    assert (exited.is_killed, exited.error) == (True, "")
    assert processes_below(spawner.pid) == []
    assert not made(slot, "ran")


def test_discarded_at_any_moment_it_leaves_nothing(slot: Slot, spawner: Spawner) -> None:
    slot.text("true")
    descriptors = len(os.listdir(f"/proc/{spawner.pid}/fd"))
    for step in range(30):
        spawn_id = slot.start("echo > ran", is_held=True)
        time.sleep(step * 0.0003)
        spawner.send(Kill(id=spawn_id))
        assert slot.wait(spawn_id).is_killed
    wait_until(lambda: processes_below(spawner.pid) == [])
    wait_until(lambda: len(os.listdir(f"/proc/{spawner.pid}/fd")) == descriptors)
    assert not made(slot, "ran")


def test_sandboxes_beyond_the_bound_are_set_up_in_their_turn(slot: Slot, spawner: Spawner) -> None:
    spec = slot.specify("echo x >> ran")
    for spawn_id in range(100, 102 + SANDBOXES_HELD):
        spawner.send(to_spawn(spec, spawn_id, is_held=True))
    spawner.send(Kill(id=100 + SANDBOXES_HELD))
    assert slot.wait(100 + SANDBOXES_HELD).is_killed, "it has been read, and so have those before it"
    children = Path(f"/proc/{spawner.pid}/task/{spawner.pid}/children").read_text().split()
    assert len(children) == SANDBOXES_HELD
    spawner.send(Release(id=101 + SANDBOXES_HELD))
    assert slot.wait(101 + SANDBOXES_HELD).exit_code == 0
    assert Path(slot.plan.location(f"{BUILD}/ran")).read_text() == "x\n"


def test_set_up_that_fails_is_reported_without_a_release(slot: Slot, spawner: Spawner) -> None:
    spec = slot.specify("echo > ran")
    shutil.rmtree(spec.stage_root)
    spawner.send(to_spawn(spec, 100, is_held=True))
    assert slot.wait(100).error.startswith("the sandbox could not be set up: bwrap: Can't find source path")
    spawner.send(Release(id=100))
    slot = Slot(spawner, slot.directory / "second")
    assert slot.text("echo next") == "next\n"


@pytest.fixture
def subreaper() -> Iterator[None]:
    """This process becomes the parent of orphans, as a worker does."""
    prctl.set_child_subreaper(1)
    yield
    prctl.set_child_subreaper(0)


@pytest.mark.usefixtures("subreaper")
def test_death_of_the_spawner_releases_nothing(tmp_path: Path) -> None:
    """A pipe would become readable when its other end is gone, and the command would run unwatched."""
    spawner = start_spawner()
    slot = Slot(spawner, tmp_path)
    held(slot, "while :; do echo >> ran; done")
    pids = processes_below(spawner.pid)
    os.kill(spawner.pid, signal.SIGKILL)
    assert len(pids) == 2
    spawner.close()
    wait_until(lambda: not any(map(is_alive, pids)))
    assert not made(slot, "ran")
