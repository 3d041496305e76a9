"""Commands that want too much, in the real sandbox: each is ended, nothing of it is left, and the limit is named.

Each test is bounded by itself, too: where a limit fails to hold, it fails and leaves the machine as it was.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sandbox_driver import BUILD, Slot
from tests.live_processes import processes_below
from tests.polling import wait_until
from zbuild.limits import MIB
from zbuild.model.capabilities import Capabilities
from zbuild.sandbox.control_group import establish, look
from zbuild.sandbox.limit_mechanism import LimitMechanism
from zbuild.sandbox.spawn_protocol import Confine, Exited, Kill
from zbuild.sandbox.spawner import Spawner, start_spawner
from zbuild.sandbox.spec import SandboxLevel, StandingLimits

pytestmark = pytest.mark.needs("bubblewrap")

STANDING = StandingLimits(processes=48, disk_bytes=16 * MIB)
MEMORY = Capabilities(max_memory_bytes=64 * MIB)
NAP = f"3600.{os.getpid()}"
"""Seconds for ``sleep``, by which this run's processes are known."""

HOG = "python3 -c 'kept = bytearray(200 << 20)'; sleep 60"
BOMB = f"i=0; while [ $i -lt 400 ]; do sleep {NAP} & i=$((i+1)); done; wait"
FILLER = "for i in 1 2 3 4 5 6; do head -c 5M /dev/zero > big$i; done; sleep 60"
HIDDEN_FILLER = "exec 9> big; rm big; for i in 1 2 3 4 5 6; do head -c 5M /dev/zero >&9; done; sleep 60"
TMP_FILLER = "head -c 40M /dev/zero > /tmp/big; sleep 60"
SHARING_HOG = "python3 -c 'import mmap; kept = mmap.mmap(-1, 200 << 20); kept.write(bytes(200 << 20))'; sleep 60"
FLOOD = "head -c 300M /dev/zero; sleep 60"
NEST = b"""
if [ $1 -gt 0 ]; then sh ../nest $(($1-1)); else touch ready; sleep 0.5; echo nested; fi; :
"""
NESTED_PROCESSES = "sh ../nest 1100"
NESTED_DIRECTORIES = """python3 -c '
import os, time
for _ in range(2500):
    os.mkdir("d")
    os.chdir("d")
with open("big", "wb") as file:
    file.write(bytes(4 << 20))
'; touch ready; sleep 0.5; echo nested"""
STUBBORN = f"trap '' TERM; sleep {NAP} & while :; do wait; done"
DAEMON = f"setsid sh -c 'setsid sleep {NAP} & sleep {NAP}' & sleep {NAP}"


@pytest.fixture(scope="module", params=["kernel", "watch"])
def spawner(request: pytest.FixtureRequest) -> Iterator[Spawner]:
    """With the strongest mechanism of this machine, and with the one that every machine has."""
    spawner = start_spawner()
    if request.param == "kernel":
        own = {os.getpid(), spawner.pid}
        choice = establish(look(own), own)
        if choice.mechanism is not LimitMechanism.WATCH:
            spawner.send(Confine(mechanism=choice.mechanism, directories=choice.directories))
    yield spawner
    spawner.close()


def survivors() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if NAP.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
    return found


def ended(slot: Slot, command: str, **fields: object) -> Exited:
    """The report of a command that must end long before its own minute is over."""
    exited = slot.run(command, **({"standing": STANDING, "capabilities": MEMORY} | fields))
    assert not exited.error, exited
    return exited


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (HOG, r"memory limit 64 MiB exceeded, peak \d+ MiB"),
        (SHARING_HOG, r"memory limit 64 MiB exceeded, peak \d+ MiB"),
        (BOMB, "process limit 48 exceeded"),
        (FILLER, r"disk limit 16 MiB exceeded, \d+ MiB written"),
        (HIDDEN_FILLER, r"disk limit 16 MiB exceeded, \d+ MiB written"),
        (TMP_FILLER, "disk limit 16 MiB exceeded in /tmp"),
        (FLOOD, "output limit 64 MiB exceeded on stdout"),
    ],
    ids=["memory", "shared memory", "processes", "files", "removed files", "tmp", "output"],
)
def test_what_wants_too_much_is_ended_and_the_limit_is_named(
    slot: Slot, spawner: Spawner, tmp_path: Path, command: str, limit: str
) -> None:
    (tmp_path / "beside").mkdir()
    beside = Slot(spawner, tmp_path / "beside", number=2, exits_of=slot)
    neighbour = beside.start("touch ready; sleep 60", standing=STANDING, capabilities=MEMORY)
    wait_until(Path(f"{beside.plan.root}{BUILD}/ready").exists)
    exited = ended(slot, command)
    assert (exited.is_killed, exited.is_timed_out) == (True, False)
    assert re.fullmatch(limit, exited.limit), exited.limit
    assert exited.exit_code != 0
    assert not survivors()
    spawner.send(Kill(id=neighbour))
    exited = beside.wait(neighbour)
    assert (exited.is_killed, exited.limit) == (True, ""), "it ran on until it was told to end"


@pytest.mark.parametrize("command", [STUBBORN, DAEMON, "kill -STOP $$"], ids=["ignores SIGTERM", "daemon", "stopped"])
def test_what_takes_too_long_is_ended_whatever_it_does(slot: Slot, command: str) -> None:
    exited = ended(slot, command, timeout_s=0.4)
    assert (exited.is_timed_out, exited.limit) == (True, "")
    assert not survivors()


@pytest.mark.parametrize("command", [HOG, BOMB, FILLER], ids=["memory", "processes", "files"])
def test_the_limits_hold_at_level_process(slot: Slot, command: str) -> None:
    exited = ended(slot, command, level=SandboxLevel.PROCESS)
    assert "exceeded" in exited.limit
    wait_until(lambda: not survivors())


def test_pages_that_processes_share_count_once(slot: Slot) -> None:
    program = "import mmap, os, time; kept = mmap.mmap(-1, 20 << 20); kept.write(bytes(20 << 20))\n"
    program += "for _ in range(3): os.fork()\ntime.sleep(0.5); kept.read()"
    exited = ended(slot, f"exec python3 -c '{program}'", capabilities=Capabilities(max_memory_bytes=96 * MIB))
    assert (exited.exit_code, exited.limit) == (0, "")


@pytest.mark.parametrize("make", [NESTED_PROCESSES, NESTED_DIRECTORIES], ids=["processes", "directories"])
def test_what_is_nested_deeper_than_a_recursion_goes_ends_nobody(slot: Slot, spawner: Spawner, make: str) -> None:
    """Looking at them by recursion ended the spawner, and with it every command of the worker."""
    standing = StandingLimits(processes=2000, disk_bytes=16 * MIB)
    exited = ended(slot, make, standing=standing, files={"/zb/src/nest": NEST}, capabilities=Capabilities())
    assert (exited.exit_code, exited.limit, exited.stdout.data) == (0, "", b"nested\n")
    killed = slot.start(f"{make}; sleep 60", standing=standing, files={"/zb/src/nest": NEST})
    wait_until(Path(f"{slot.plan.root}{BUILD}/ready").exists)
    spawner.send(Kill(id=killed))
    assert slot.wait(killed).is_killed
    slot.stage.remove()


def test_what_stays_below_its_limits_is_let_alone(slot: Slot) -> None:
    exited = ended(slot, "python3 -c 'kept = bytearray(20 << 20)'; head -c 5M /dev/zero | tee big > /tmp/x; sleep 0.3")
    assert (exited.exit_code, exited.limit) == (0, "")


def test_a_command_that_survives_the_loss_of_a_process_has_failed_nevertheless(slot: Slot) -> None:
    """The kernel kills the one process that is too large; the shell around it would end with success."""
    exited = ended(slot, "python3 -c 'kept = bytearray(200 << 20)'; exit 0")
    assert exited.limit.startswith("memory limit 64 MiB exceeded") or exited.peak_memory_bytes > 64 * MIB


def test_the_next_command_starts_with_nothing_against_it(slot: Slot) -> None:
    assert ended(slot, HOG).limit
    exited = ended(slot, "echo fresh; sleep 0.3")
    assert (exited.exit_code, exited.limit, exited.stdout.data) == (0, "", b"fresh\n")


def test_one_processor(slot: Slot) -> None:
    assert slot.text("nproc", capabilities=Capabilities(max_cpu=1)) == "1\n"
    assert slot.text("nproc") == f"{len(os.sched_getaffinity(0))}\n", "the bound is gone with its command"


def test_groups_are_gone_with_their_spawner(tmp_path: Path) -> None:
    spawner = start_spawner()
    own = {os.getpid(), spawner.pid}
    choice = establish(look(own), own)
    spawner.send(Confine(mechanism=choice.mechanism, directories=choice.directories))
    slot = Slot(spawner, tmp_path)
    assert ended(slot, "true").exit_code == 0
    groups = [Path(directory, f"zbuild-{spawner.pid}-1") for directory in choice.directories.values()]
    assert all(group.is_dir() for group in groups)
    spawner.close()
    assert not any(group.exists() for group in groups)


def test_every_process_of_a_command_is_in_its_control_group_as_in_defect_14(tmp_path: Path) -> None:
    """From its first instruction: what it has started meanwhile is there, too. The spawner is not."""
    with contextlib.closing(start_spawner()) as spawner:
        own = {os.getpid(), spawner.pid}
        choice = establish(look(own), own)
        spawner.send(Confine(mechanism=choice.mechanism, directories=choice.directories))
        slot = Slot(spawner, tmp_path)
        slot.start(f"setsid sleep {NAP} & sleep {NAP} & wait")
        wait_until(lambda: len(processes_below(spawner.pid)) == 5, "bubblewrap twice, the shell, and two that sleep")
        for controller in choice.directories.keys() - {"cpuset"}:  # left out for who may use every processor
            group = Path(choice.directories[controller], f"zbuild-{spawner.pid}-1", "cgroup.procs")
            assert {*map(int, group.read_text().split())} == {*processes_below(spawner.pid)}, controller


class TestUsage:
    """What is told of each command's consumption."""

    def test_memory_is_the_commands_own(self, slot: Slot) -> None:
        assert 0 < slot.run("true").peak_memory_bytes < 8 * MIB, "not the spawner's"
        used = slot.run("python3 -c 'kept = bytearray(50 << 20)'").peak_memory_bytes
        assert 50 * MIB < used < 80 * MIB

    def test_processor_time_of_children_counts(self, slot: Slot) -> None:
        command = "python3 -c 'import time\nwhile time.process_time() < 0.2: pass'; true"
        exited = slot.run(command)
        assert exited.user_s + exited.system_s >= 0.2

    def test_processor_time_of_what_was_killed_counts(self, slot: Slot) -> None:
        """The sandbox's PID 1 dies before it can wait for what the kernel ends with it."""
        exited = slot.run("while :; do :; done", timeout_s=1.0)
        assert exited.is_timed_out
        assert exited.user_s + exited.system_s > 0.02

    def test_bytes_read_and_written(self, slot: Slot) -> None:
        """bubblewrap's own set-up is some 35 KB."""
        exited = slot.run("head -c 3M /dev/zero > big; head -c 2M big > /dev/null")
        assert 5 * MIB <= exited.read_bytes < 6 * MIB
        assert 5 * MIB <= exited.written_bytes < 6 * MIB
