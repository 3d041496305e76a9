"""Stored files that rot, vanish or turn into something else, in the store and in the action cache."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from chaos.arena import Arena
from chaos.scenario import scenario
from chaos.workload import Tree, c_program, shell_actions

Spoil = Callable[[Path], None]


def blobs_of(directory: Path) -> list[Path]:
    """All blobs below a cache directory, in a fixed order."""
    return sorted(path for path in (directory / "blobs").glob("?/*") if path.is_file() and not path.is_symlink())


def spoil_blobs(arena: Arena, what: str, spoil: Spoil, share: float = 0.4) -> None:
    """Break a share of the store's blobs twice: while a build runs, and before one that is served from the cache.

    Neither build may see a wrong byte. What was broken is found, put aside and made again.
    """
    farm = arena.start(workers=2)
    workload = shell_actions(arena.random, 40, seconds=0.05, size_bytes=200)
    tree = arena.tree(workload)
    build = arena.begin(tree)
    arena.progress(8)
    _spoil_some(arena, what, spoil, share)
    arena.recovered(arena.history.write("spoilt"))
    arena.end(build)
    tree.clear()
    _spoil_some(arena, what, spoil, share)
    arena.end(arena.begin(tree, client="client-2"))
    tree.clear()
    summary = arena.end(arena.begin(tree, client="client-3"))
    if summary["executed"]:
        arena.outcome.violations.append(f"{summary['executed']} actions were not in the cache when all was mended")
    arena.check(is_store_whole=False)
    _check_no_output_is_broken(arena, tree)
    arena.outcome.figures["quarantined"] = len(list((farm.broker_directory / "blobs/quarantine").iterdir()))


def _check_no_output_is_broken(arena: Arena, tree: Tree) -> None:
    """After all of it the store serves what a build makes, whole."""
    tree.clear()
    arena.end(arena.begin(tree, client="client-4"))


def _spoil_some(arena: Arena, what: str, spoil: Spoil, share: float) -> None:
    blobs = blobs_of(arena.farm.broker_directory)
    for path in arena.random.sample(blobs, max(1, int(len(blobs) * share))):
        arena.fault(f"{what}: {path.name[:12]}")
        try:
            spoil(path)
        except FileNotFoundError:
            continue


@scenario("FileCorruption")
def file_corruption(arena: Arena) -> None:
    """One bit of each of many stored blobs is flipped in place; size and times stay."""

    def flip(path: Path) -> None:
        """In place: inode, size and times vouch for the file as they do when a disk decays."""
        times = path.stat()
        path.chmod(0o600)
        with open(path, "r+b") as file:
            data = bytearray(file.read())
            data[arena.random.randrange(len(data))] ^= 1 << arena.random.randrange(8)
            file.seek(0)
            file.write(data)
        path.chmod(0o444)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    spoil_blobs(arena, "bit flip", flip)


@scenario("FileTruncation")
def file_truncation(arena: Arena) -> None:
    """Stored blobs lose their end."""

    def truncate(path: Path) -> None:
        os.chmod(path, 0o600)
        os.truncate(path, arena.random.randrange(path.stat().st_size) if path.stat().st_size else 0)

    spoil_blobs(arena, "truncation", truncate)


@scenario("FileDeletion")
def file_deletion(arena: Arena) -> None:
    """Stored blobs vanish."""
    spoil_blobs(arena, "deletion", Path.unlink)


@scenario("SymlinkBreak")
def symlink_break(arena: Arena) -> None:
    """Stored blobs become symlinks: dangling, in a circle, or to a file of the system."""

    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(arena.random.choice(("/nonexistent/blob", path.name, "/etc/hostname")))

    spoil_blobs(arena, "symlink", link)


@scenario("DirectoryDeletion")
def directory_deletion(arena: Arena) -> None:
    """Directories of the store vanish: of blobs, of temporary files, of quarantine, and once all of it."""
    farm = arena.start(workers=2)
    tree = arena.tree(shell_actions(arena.random, 60, seconds=0.1, size_bytes=200))
    build = arena.begin(tree)
    blobs = farm.broker_directory / "blobs"
    for count, victim in ((5, "shards"), (10, "tmp"), (15, "quarantine"), (20, ".")):
        arena.progress(count)
        arena.fault(f"rm -r {victim}")
        if victim == "shards":
            for path in arena.random.sample(sorted(blobs.glob("?")), 2):
                shutil.rmtree(path, ignore_errors=True)
        else:
            shutil.rmtree(blobs / victim, ignore_errors=True)
    arena.recovered(arena.history.write("deleted"))
    arena.end(build)
    tree.clear()
    arena.end(arena.begin(tree, client="client-2"))
    arena.check()


@scenario("WrongPermissions")
def wrong_permissions(arena: Arena) -> None:
    """Blobs and a directory of the store have mode 0; as root the broker runs without the capability to override it."""
    drop: tuple[str, ...] = ()
    if os.geteuid() == 0:
        drop = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all")
    farm = arena.start(workers=2, broker_prefix=drop)
    tree = arena.tree(shell_actions(arena.random, 40, seconds=0.05, size_bytes=200))
    build = arena.begin(tree)
    arena.progress(8)
    _spoil_some(arena, "mode 0", lambda path: path.chmod(0), 0.4)
    arena.end(build)
    tree.clear()
    _spoil_some(arena, "mode 0", lambda path: path.chmod(0), 0.4)
    arena.end(arena.begin(tree, client="client-2"))
    tree.clear()
    shards = arena.random.sample(sorted((farm.broker_directory / "blobs").glob("?")), 2)
    for shard in shards:
        arena.fault(f"mode 0: {shard.name}")
        shard.chmod(0)
    build = arena.begin(tree, client="client-3")
    arena.history.wait_for("answer", 5, since_s=build.began_s)
    for shard in shards:
        shard.chmod(0o700)
    arena.recovered(arena.history.write("mended"))
    arena.end(build)
    arena.check(is_store_whole=False)


@scenario("CacheCorruption")
def cache_corruption(arena: Arena) -> None:
    """Pages of the action cache's database are overwritten, under a running broker and then before a start."""
    farm = arena.start(workers=2)
    tree = arena.tree(shell_actions(arena.random, 60, seconds=0.05))
    build = arena.begin(tree)
    arena.progress(10)
    database = farm.broker_directory / "results.sqlite"
    for _ in range(3):
        arena.fault("garbage in results.sqlite")
        _overwrite(arena, database)
        _overwrite(arena, Path(f"{database}-wal"))
        arena.pause(0.2)
    arena.end(build)
    for where in (0, None):
        arena.fault("garbage in results.sqlite of a broker that is down")
        farm.kill_broker()
        _overwrite(arena, database, where)
        farm.start_broker()
        farm.await_workers(2)
        tree.clear()
        arena.end(arena.begin(tree, client="client-2"))
    tree.clear()
    summary = arena.end(arena.begin(tree, client="client-3"))
    if summary["executed"]:
        arena.outcome.violations.append(f"{summary['executed']} actions were not in the cache that was begun anew")
    arena.check(is_cache_whole=False)


@scenario("MetadataCorruption")
def metadata_corruption(arena: Arena) -> None:
    """Rows of the action cache hold garbage or half a result; the client's own caches hold garbage."""
    farm = arena.start(workers=2)
    tree = arena.tree(c_program(arena.random, 10))
    arena.end(arena.begin(tree))
    tree.clear()
    database = sqlite3.connect(farm.broker_directory / "results.sqlite", timeout=10)
    rows = database.execute("SELECT action, value FROM result").fetchall()
    for action, value in arena.random.sample(rows, len(rows) // 2):
        arena.fault(f"row {action.hex()[:8]}")
        garbage = arena.random.choice((arena.random.randbytes(40), value[: len(value) // 2], b"", b"\x90"))
        database.execute("UPDATE result SET value = ? WHERE action = ?", (garbage, action))
    database.commit()
    database.close()
    for path in sorted((arena.directory / "client").rglob("*")):
        if path.is_file() and not path.name.endswith(".log"):
            arena.fault(f"client's {path.name}")
            _overwrite(arena, path)
    arena.end(arena.begin(tree))
    tree.clear()
    summary = arena.end(arena.begin(tree))
    if summary["executed"]:
        arena.outcome.violations.append(f"{summary['executed']} actions were not in the cache when all was mended")
    arena.check()


@scenario("WorkerBlobs")
def worker_blobs(arena: Arena) -> None:
    """The blobs that workers keep are corrupted, cut, and deleted under them, and their stages with them."""
    farm = arena.start(workers=2)
    tree = arena.tree(c_program(arena.random, 24))
    build = arena.begin(tree)
    for count in (6, 12, 18):
        arena.progress(count)
        directory = farm.directory / arena.draw_worker()
        blobs = blobs_of(directory)
        for path in arena.random.sample(blobs, len(blobs) // 2):
            arena.fault(f"worker's blob {path.name[:12]}")
            match arena.random.randrange(3):
                case 0:
                    path.unlink(missing_ok=True)
                case 1:
                    _replace(path, b"rotten".ljust(path.stat().st_size)[: path.stat().st_size])
                case 2:
                    _replace(path, b"")
    arena.recovered(arena.history.write("spoilt"))
    arena.end(build)
    arena.check()


def _replace(path: Path, data: bytes) -> None:
    """Other bytes under the name of a blob, in a file of its own."""
    scratch = path.with_name(path.name + ".spoilt")
    scratch.write_bytes(data)
    scratch.chmod(0o444)
    scratch.rename(path)


def _overwrite(arena: Arena, path: Path, where: int | None = None) -> None:
    """Garbage over up to a page of a file."""
    if not path.exists() or not (size_bytes := path.stat().st_size):
        return
    with open(path, "r+b") as file:
        file.seek(arena.random.randrange(size_bytes) if where is None else where)
        file.write(arena.random.randbytes(min(4096, size_bytes)))
