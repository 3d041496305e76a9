"""The sandbox's PID 1 is bubblewrap's. It holds the worker's /proc open for an instant while the command already runs.

Here that instant is 4 s long: a library that is loaded into bubblewrap alone makes its PID 1 wait between giving up
its capabilities, before which nobody may touch it, and closing its descriptors.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.integration.sandbox_driver import Slot
from zbuild.sandbox.bubblewrap import FIRST_PROCESS_MASK
from zbuild.sandbox.launch import to_spawn
from zbuild.sandbox.spawner import Spawner

pytestmark = pytest.mark.needs("bubblewrap", "gcc")

WAITING = r"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

static int has_forked;

int fork(void)
{
    int child = syscall(SYS_fork);
    has_forked = child > 0;
    return child;
}

int capset(void *header, const void *data)
{
    int result = syscall(SYS_capset, header, data);
    if (result == 0 && has_forked && getpid() == 1)
        sleep(4);
    return result;
}
"""

TABLES = ["/proc/1/fd", "/proc/1/task/1/fd", "/proc/self/../1/fd"]

ATTACK = f"""python3 -c '
import contextlib, ctypes, os, time
libc = ctypes.CDLL(None)
found = set()
end_s = time.monotonic() + 2
while time.monotonic() < end_s:
    for table in {json.dumps(TABLES)}:
        with contextlib.suppress(OSError):
            for name in os.listdir(table):
                if os.path.isdir(table + "/" + name):
                    found.add(table)
    with contextlib.suppress(OSError):
        os.close(os.open("/proc/1/mem", os.O_RDONLY))
        found.add("/proc/1/mem")
    if libc.ptrace(0x4206, 1, None, None) == 0:
        found.add("all of it")
for each in sorted(found):
    print(each)
'"""
"""0x4206 is PTRACE_SEIZE."""


@pytest.fixture
def library(tmp_path: Path) -> str:
    path = tmp_path / "waiting.so"
    command = ["gcc", "-shared", "-fPIC", "-w", "-o", str(path), "-xc", "-"]
    subprocess.run(command, input=WAITING, text=True, check=True)
    return str(path)


@pytest.mark.parametrize("is_masked", [True, False], ids=["masked", "bare"])
def test_nothing_of_the_first_process_is_within_reach(
    spawner: Spawner, slot: Slot, library: str, is_masked: bool
) -> None:
    """Without the mask it is: what the test does is an attack."""
    spawn = to_spawn(slot.specify(ATTACK), 1)
    argv = spawn.argv if is_masked else without(FIRST_PROCESS_MASK, spawn.argv)
    spawner.send(msgspec.structs.replace(spawn, argv=argv, environment=(("LD_PRELOAD", library),)))
    exited = slot.wait(1)
    # The command has a loader that tells of the library, which it cannot see.
    found = [line for line in exited.stdout.data.decode().splitlines() if "preload" not in line]
    assert exited.exit_code == 0, exited
    assert found == ([] if is_masked else sorted([*TABLES, "/proc/1/mem"])), exited


def without(words: tuple[str, ...], argv: tuple[str, ...]) -> tuple[str, ...]:
    at = next(start for start in range(len(argv)) if argv[start : start + len(words)] == words)
    return argv[:at] + argv[at + len(words) :]
