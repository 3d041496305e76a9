"""Disks that are full, fail, or lose half of a write."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

from chaos.arena import Arena
from chaos.history import wait_until
from chaos.scenario import scenario
from chaos.workload import shell_actions
from tests.live_processes import is_alive

SOURCE = Path(__file__).resolve().parents[1] / "disk_faults.c"

TMPFS_BYTES = 4 * 1024 * 1024


class BadDisk:
    """A library that is loaded into daemons, and the file that switches its faults on."""

    def __init__(self, arena: Arena) -> None:
        library = arena.directory / "disk_faults.so"
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        self._control = arena.directory / "disk_faults"
        self._arena = arena
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_DISK_FAULTS": str(self._control)}

    def fail(self, number: int, percent: int, directory: Path) -> None:
        """From now on so many percent of the calls below ``directory`` fail with that errno; 0 tears a write."""
        self._arena.fault(f"{errno.errorcode.get(number, 'torn write')} for {percent}% below {directory.name}")
        scratch = self._control.with_suffix(".new")
        scratch.write_text(f"{number} {percent} {directory}\n")
        scratch.rename(self._control)

    def heal(self) -> float:
        """No more faults; the instant."""
        self._control.unlink(missing_ok=True)
        return self._arena.history.write("healed")


@scenario("DiskFull", "namespaces")
def disk_full(arena: Arena) -> None:
    """The tmpfs below a worker's cache, and then the one below the store, is full for a while in mid-build."""
    store, worker = arena.directory / "store-disk", arena.directory / "worker-disk"
    for mount in (store, worker):
        mount.mkdir()
        options = f"size={4 * TMPFS_BYTES if mount == store else TMPFS_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(mount)], check=True)
    farm = arena.start(workers=1, broker_directory=store / "broker")
    farm.start_worker("worker-2", cache=worker / "cache")
    farm.await_workers(2)
    build = arena.begin(arena.tree(shell_actions(arena.random, 120, seconds=0.1, size_bytes=2000)))
    arena.progress(10)
    for directory in (worker, store):
        arena.fault(f"no space below {directory.name}")
        hog = directory / "hog"
        with open(hog, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        arena.pause(arena.random.uniform(0.3, 1.0) if directory == store else 2.0)
        hog.unlink()
        arena.recovered(arena.history.write("space again"))
    arena.end(build)
    arena.check()


@scenario("DiskIOError", "gcc")
def disk_io_error(arena: Arena) -> None:
    """Reads and writes of a worker's cache fail with EIO, some of them and then all; then some of the store's."""
    disk = BadDisk(arena)
    farm = arena.start(workers=0)
    farm.worker_environment = disk.environment
    farm.start_worker("worker-1")
    farm.worker_environment = {}
    farm.start_worker("worker-2")
    farm.await_workers(2)
    build = arena.begin(arena.tree(shell_actions(arena.random, 100, seconds=0.1, size_bytes=300)))
    arena.progress(5)
    for percent in (10, 100):
        disk.fail(errno.EIO, percent, farm.directory / "worker-1" / "blobs")
        arena.pause(1.5)
        arena.recovered(disk.heal())
    arena.end(build)
    arena.check()


@scenario("StoreIOError", "gcc")
def store_io_error(arena: Arena) -> None:
    """A tenth of the store's and the broker's reads and writes fail with EIO for a while."""
    disk = BadDisk(arena)
    farm = arena.start(workers=2, broker_environment=disk.environment)
    build = arena.begin(arena.tree(shell_actions(arena.random, 60, seconds=0.1, size_bytes=300)))
    arena.progress(5)
    disk.fail(errno.EIO, 5, farm.broker_directory)
    arena.pause(1.5)
    arena.recovered(disk.heal())
    arena.end(build)
    arena.check(is_cache_whole=False)


@scenario("PartialWrite", "gcc")
def partial_write(arena: Arena) -> None:
    """The store is killed with half of a blob written, again and again; no partial blob is ever visible."""
    disk = BadDisk(arena)
    farm = arena.start(workers=2, broker_environment=disk.environment)
    build = arena.begin(arena.tree(shell_actions(arena.random, 80, seconds=0.1, size_bytes=3000)))
    for round_number in range(6 if arena.is_full else 3):
        arena.progress(5 + 10 * round_number)
        store = farm.store_pid()
        disk.fail(0, 100, farm.broker_directory / "blobs")
        wait_until(lambda pid=store: not is_alive(pid), "the store to die in the middle of a write")  # type: ignore[misc]  # mypy cannot type a lambda with a default
        at_s = disk.heal()
        assert farm.broker is not None
        farm.broker.process.wait(20)
        farm.start_broker()
        arena.recovered(at_s)
    arena.end(build)
    arena.check()
    left = list((farm.broker_directory / "blobs/tmp").glob("*/*"))
    if left:
        arena.outcome.violations.append(f"{len(left)} partial files are still there after the restart")
