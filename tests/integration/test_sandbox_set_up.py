"""What a sandbox must be before its command runs: defect 14 of the original, as far as it is about setting up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.held_sandboxes import wait_until_set_up
from tests.integration.sandbox_driver import BUILD, Slot
from tests.live_processes import processes_below
from zbuild.sandbox.spawn_protocol import Kill
from zbuild.sandbox.spawner import Spawner

pytestmark = pytest.mark.needs("bubblewrap")

SLOTS = 8
ROUNDS = 5

WHO = "id -u; id -g; stat -c %u:%g . ../a; cat /proc/self/uid_map"
"""Before there is a map the user is 65534, and so is the owner of every file."""

CHROOT = "import os, sys; os.chroot(sys.argv[1]); print(*os.listdir('/'), flush=True); sys.stdin.read()"


def test_no_command_runs_before_its_user_is_mapped_as_in_defect_14(spawner: Spawner, tmp_path: Path) -> None:
    """The parent writes the map of the child's namespace: a child that does not wait is nobody, if the parent is late.

    Many at once on few processors make parents late.
    """
    first = Slot(spawner, tmp_path / "0")
    others = [
        Slot(spawner, tmp_path / str(number), number=number + 1, exits_of=first, system=first.system)
        for number in range(1, SLOTS)
    ]
    said: set[bytes] = set()
    for _ in range(ROUNDS):
        started = [(slot, slot.start(WHO, files={"/zb/src/a": b""})) for slot in (first, *others)]
        said.update(slot.wait(spawn_id).stdout.data for slot, spawn_id in started)
    assert len(said) == 1, said
    words = said.pop().decode().split()
    assert words[:4] == ["1000", "1000", "1000:1000", "1000:1000"]
    assert (words[4], words[6:]) == ("1000", ["1"]), "one user, and no other of the worker's"


@pytest.mark.needs("namespaces")
def test_the_root_is_pivoted_to_and_no_mere_chroot_as_in_defect_14(spawner: Spawner, tmp_path: Path) -> None:
    """A chroot hides the worker's files from those who do not climb out. Gone are they only with their mounts.

    Whoever enters the namespace of mounts anew is at its true root, below which everything is that can be reached.
    """
    slot = Slot(spawner, tmp_path / "slot")
    spawn_id = slot.start("true", is_held=True)
    wait_until_set_up(spawner.pid, BUILD)
    inside = true_root(processes_below(spawner.pid)[-1])
    spawner.send(Kill(id=spawn_id))
    assert slot.wait(spawn_id).is_killed
    assert inside - {"lib32", "lib64", "libx32"} == {"bin", "dev", "etc", "lib", "proc", "sbin", "tmp", "usr", "zb"}

    with subprocess.Popen(
        [sys.executable, "-c", CHROOT, slot.plan.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as chrooted:
        assert chrooted.stdout is not None
        assert chrooted.stdout.readline() == b"zb\n"
        assert true_root(chrooted.pid) == set(os.listdir("/")), "this is how a mere chroot is found out"
        chrooted.communicate()


def true_root(pid: int) -> set[str]:
    """What lies in the topmost directory of the namespace of mounts that a process is in."""
    command = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "/bin/ls", "-A", "/"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
