"""TreeSize: whatever a command makes of its tree, measuring it ends, and holds nobody up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zbuild.limits import BRANCHING_DEPTH
from zbuild.sandbox.tree_size import TreeSize

KIB = 1024


def measured(path: Path) -> TreeSize:
    tree = TreeSize(str(path))
    tree.begin()
    tree.advance(60)
    assert not tree.is_measuring
    return tree


def write(path: Path, size_bytes: int) -> int:
    """The bytes that the file system takes for it."""
    path.write_bytes(b"x" * size_bytes)
    return os.stat(path).st_blocks * 512


def chain(path: Path, depth: int) -> int:
    """A descriptor of the innermost of ``depth`` directories."""
    descriptor = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    return descriptor


def remove_chain(path: Path) -> None:
    """pytest's own removal follows a chain by recursion."""
    parent = os.fspath(path)
    while os.path.isdir(f"{parent}/d"):
        os.rename(f"{parent}/d", f"{parent}/e")
        if os.path.isdir(f"{parent}/e/d"):
            os.rename(f"{parent}/e/d", f"{parent}/d")
        for name in os.listdir(f"{parent}/e"):
            os.unlink(f"{parent}/e/{name}")
        os.rmdir(f"{parent}/e")


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_all_files_count_wherever_they_are(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    directories = sum(os.stat(tmp_path / name).st_blocks * 512 for name in ("a", "a/b", "c"))
    files = [write(tmp_path / name, 40 * KIB) for name in ("x", "a/x", "a/b/x", "c/x")]
    (tmp_path / "link").symlink_to("/usr")
    tree = measured(tmp_path)
    assert (tree.size_bytes, tree.entries) == (sum(files) + directories, 8)
    assert not tree.is_too_deep


def test_holes_take_no_room(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    assert measured(tmp_path).size_bytes < 64 * KIB


def test_chain_that_no_path_and_no_recursion_reaches_the_end_of(tmp_path: Path) -> None:
    innermost = chain(tmp_path, 3000)
    try:
        file = os.open("x", os.O_WRONLY | os.O_CREAT, dir_fd=innermost)
        os.write(file, b"x" * (300 * KIB))
        os.close(file)
        before = open_descriptors()
        tree = measured(tmp_path)
        assert open_descriptors() == before
        assert tree.size_bytes >= 300 * KIB
        assert (tree.entries, tree.is_too_deep) == (3001, False)
    finally:
        os.close(innermost)
        remove_chain(tmp_path)


@pytest.mark.parametrize(("depth", "is_too_deep"), [(BRANCHING_DEPTH - 1, False), (BRANCHING_DEPTH + 40, True)])
def test_what_would_take_too_many_descriptors_is_told(tmp_path: Path, depth: int, is_too_deep: bool) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        for name in ("d", "d1", "d2"):
            os.mkdir(name, dir_fd=descriptor)
        descriptor, above = os.open("d", os.O_RDONLY, dir_fd=descriptor), descriptor
        os.close(above)
    os.close(descriptor)
    before = open_descriptors()
    tree = measured(tmp_path)
    assert open_descriptors() == before
    assert tree.is_too_deep == is_too_deep
    if not is_too_deep:
        assert tree.entries == 3 * depth


def test_it_stops_when_its_time_is_over_and_goes_on_from_there(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number:04}").touch()
    tree = TreeSize(str(tmp_path))
    tree.begin()
    tree.advance(0)
    assert 0 < tree.entries < 1000
    steps = 1
    while tree.is_measuring:
        tree.advance(0)
        steps += 1
    assert (tree.entries, steps > 10) == (1000, True)


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Path]:
    """An overlay of two file systems."""
    upper, merged = tmp_path / "upper", tmp_path / "merged"
    for path in (tmp_path / "lower", upper, merged):
        path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "zbuild-test", upper], check=True)
    try:
        for name in ("files", "work"):
            (upper / name).mkdir()
        options = f"lowerdir={tmp_path}/lower,upperdir={upper}/files,workdir={upper}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "zbuild-test", merged], check=True)
        try:
            yield merged
        finally:
            subprocess.run(["umount", merged], check=True)
    finally:
        subprocess.run(["umount", upper], check=True)


def test_files_without_a_name_count_while_they_are_open(tmp_path: Path) -> None:
    check_files_without_a_name(tmp_path)


@pytest.mark.needs("root")
def test_files_without_a_name_count_where_a_file_has_another_device_than_its_directory(overlay: Path) -> None:
    check_files_without_a_name(overlay)


def check_files_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    size = write(tmp_path / "d" / "x", 100 * KIB)
    program = "import sys; kept = open('x'), open('x'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path / "d",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (tmp_path / "d" / "x").unlink()
        (tmp_path / "d").rmdir()
        tree = TreeSize(str(tmp_path))
        tree.begin([process.pid, process.pid, 1 << 30])
        tree.advance(60)
        assert (tree.size_bytes, tree.entries) == (size, 1)
        process.kill()
    tree.begin([process.pid])
    tree.advance(60)
    assert (tree.size_bytes, tree.entries) == (0, 0)


def test_the_last_measurement_counts_until_the_next_exceeds_it(tmp_path: Path) -> None:
    size = write(tmp_path / "x", 100 * KIB)
    tree = measured(tmp_path)
    (tmp_path / "x").unlink()
    tree.begin()
    assert tree.size_bytes == size
    tree.advance(60)
    assert tree.size_bytes == 0


def test_descriptors_of_what_is_given_up_are_closed(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}").mkdir()
    before = open_descriptors()
    tree = TreeSize(str(tmp_path))
    tree.begin()
    tree.advance(0)
    assert open_descriptors() != before
    tree.close()
    assert open_descriptors() == before


def test_what_is_gone_or_no_directory_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent", tmp_path / "file"):
        tree = measured(path)
        assert (tree.size_bytes, tree.entries) == (0, 0)
