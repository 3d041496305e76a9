"""Stage: the tree of an action is exactly what it asks for, whatever was there before."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.storage.stage_driver import BUILD, StageDriver
from zbuild import digest as digests
from zbuild.errors import BadInput, BlobCorrupt, BlobMissing, StoreFailed
from zbuild.limits import ACTION_INPUTS, NAMES_IN_MESSAGE
from zbuild.model.action import InputSpec, OutputSpec
from zbuild.sandbox.spec import RESERVED_PATHS, SHARED_PATHS
from zbuild.storage.blob_files import BLOB_MTIME_NS
from zbuild.storage.staging import Stage


@pytest.fixture
def driver(tmp_path: Path) -> StageDriver:
    return StageDriver(tmp_path)


def test_tree_holds_inputs_parents_of_outputs_and_directories(driver: StageDriver) -> None:
    plan = driver.prepare(
        {"/zb/src/main.c": b"main", f"{BUILD}/gen/config.h": b"config"},
        directories=["/zb/src/empty", f"{BUILD}/more"],
        outputs=[f"{BUILD}/objects/main.o"],
    )
    assert driver.files() == {"/zb/src/main.c": b"main", f"{BUILD}/gen/config.h": b"config"}
    assert driver.directories() == {
        *("/zb", "/zb/src", "/zb/src/empty"),
        *(BUILD, f"{BUILD}/gen", f"{BUILD}/more", f"{BUILD}/objects"),
    }
    assert plan.read_only_paths == ("/zb",)
    assert (plan.writable_root, plan.working_directory) == (BUILD, BUILD)
    assert plan.location("/zb/src/main.c") == f"{driver.path}/root/zb/src/main.c"


def test_read_only_inputs_are_links_and_writable_ones_are_copies(driver: StageDriver) -> None:
    plan = driver.prepare({"/zb/src/a.h": b"same", f"{BUILD}/a.h": b"same"})
    blob = os.stat(driver.blobs.path_of(digests.of_bytes(b"same")))
    outside, inside = os.stat(plan.location("/zb/src/a.h")), os.stat(plan.location(f"{BUILD}/a.h"))

    assert outside.st_ino == blob.st_ino
    assert inside.st_ino != blob.st_ino
    assert stat.S_IMODE(inside.st_mode) == 0o644
    assert outside.st_mtime_ns == inside.st_mtime_ns == BLOB_MTIME_NS


def test_executable_inputs_can_be_executed(driver: StageDriver) -> None:
    inputs = [driver.input(path, b"#!/bin/sh\n", executable=True) for path in ("/zb/src/run", f"{BUILD}/run")]
    inputs.append(driver.input("/zb/src/read", b"#!/bin/sh\n"))
    plan = driver.stage.prepare(inputs=inputs, directories=(), outputs=(), writable_root=BUILD, working_directory=BUILD)
    modes = [stat.S_IMODE(os.stat(plan.location(entry.path)).st_mode) for entry in inputs]
    assert modes == [0o555, 0o755, 0o444]


def test_only_the_difference_to_the_action_before_is_touched(driver: StageDriver) -> None:
    plan = driver.prepare({"/zb/src/kept.h": b"kept", "/zb/src/old/a.c": b"a", "/zb/src/changed.h": b"1"})
    kept_ctime_ns = os.stat(plan.location("/zb/src/kept.h")).st_ctime_ns
    driver.prepare({"/zb/src/kept.h": b"kept", "/zb/src/new/b.c": b"b", "/zb/src/changed.h": b"2"})

    assert driver.files() == {
        "/zb/src/kept.h": b"kept",
        "/zb/src/new/b.c": b"b",
        "/zb/src/changed.h": b"2",
    }
    assert "/zb/src/old" not in driver.directories()
    assert os.stat(plan.location("/zb/src/kept.h")).st_ctime_ns == kept_ctime_ns, "neither linked nor unlinked"


def test_a_file_takes_the_place_of_a_directory_and_back(driver: StageDriver) -> None:
    driver.prepare({"/zb/src/x/y": b"below"})
    driver.prepare({"/zb/src/x": b"file"})
    assert driver.files() == {"/zb/src/x": b"file"}
    driver.prepare({"/zb/src/x/y": b"below"})
    assert driver.files() == {"/zb/src/x/y": b"below"}


def test_writable_root_is_new_for_each_action(driver: StageDriver) -> None:
    plan = driver.prepare({f"{BUILD}/in.txt": b"in"}, outputs=[f"{BUILD}/o/a"])
    build = Path(plan.location(BUILD))
    (build / "in.txt").write_bytes(b"changed")
    (build / "left").write_bytes(b"left")
    (build / "o" / "left").mkdir()
    (build / "o" / "left" / "link").symlink_to("/etc/passwd")

    driver.prepare({f"{BUILD}/in.txt": b"in"}, outputs=[f"{BUILD}/o/a"])
    assert driver.files() == {f"{BUILD}/in.txt": b"in"}
    assert driver.directories() == {"/zb", "/zb/src", BUILD, f"{BUILD}/o"}


def test_modes_and_attributes_that_an_action_gave_directories_do_not_last(driver: StageDriver) -> None:
    plan = driver.prepare({}, outputs=[f"{BUILD}/o/a", f"{BUILD}/p/a"])
    build = plan.location(BUILD)
    os.chmod(f"{build}/o", 0o700)
    os.setxattr(f"{build}/p", "user.mark", b"1")
    os.mkdir(f"{build}/locked")
    os.mkdir(f"{build}/locked/deeper")
    os.chmod(f"{build}/locked/deeper", 0)
    os.chmod(f"{build}/locked", 0)

    for mode in (0o755, 0o500):
        os.chmod(build, mode)
        driver.prepare({}, outputs=[f"{BUILD}/o/a", f"{BUILD}/p/a"])
        assert driver.directories() == {"/zb", "/zb/src", BUILD, f"{BUILD}/o", f"{BUILD}/p"}
        for path in (build, f"{build}/o", f"{build}/p"):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o755
            assert os.listxattr(path) == []


def put_in_place(path: Path, make: Callable[[], object]) -> None:
    """Replace a file."""
    path.unlink()
    make()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"longer than before"),
        lambda path: path.chmod(0o400),
        lambda path: path.chmod(0o4755),
        lambda path: os.setxattr(path, "user.mark", b"1"),
        lambda path: os.link(path, path.with_name("second")),
        lambda path: put_in_place(path, lambda: path.symlink_to("/dev/shm/zbuild-test-target")),
        lambda path: put_in_place(path, lambda: os.mkfifo(path)),
        lambda path: put_in_place(path, path.mkdir),
    ],
)
def test_copies_are_as_new_whatever_an_action_did_to_them(driver: StageDriver, spoil: Callable[[Path], object]) -> None:
    path = Path(driver.prepare({f"{BUILD}/o/in": b"good"}).location(f"{BUILD}/o/in"))
    spoil(path)
    driver.prepare({f"{BUILD}/o/in": b"good"})
    status = path.lstat()
    assert driver.files() == {f"{BUILD}/o/in": b"good"}
    assert (status.st_mode, status.st_nlink) == (stat.S_IFREG | 0o644, 1)
    assert status.st_mtime_ns == BLOB_MTIME_NS
    assert os.listxattr(path) == []
    assert not os.path.lexists("/dev/shm/zbuild-test-target")


def test_a_tree_deeper_than_path_max_is_removed(driver: StageDriver) -> None:
    plan = driver.prepare({})
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(plan.location(BUILD))
        for _ in range(100):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
    finally:
        os.fchdir(before)
        os.close(before)
    driver.prepare({})
    assert driver.directories() == {"/zb", "/zb/src", BUILD}


def test_writable_root_may_move(driver: StageDriver) -> None:
    driver.prepare({"/zb/src/b/x/in": b"1", f"{BUILD}/in": b"2"})
    plan = driver.prepare({"/zb/src/b/x/in": b"1", f"{BUILD}/in": b"2"}, writable_root="/zb/src/b")
    assert driver.files() == {"/zb/src/b/x/in": b"1", f"{BUILD}/in": b"2"}
    blob = driver.blobs.path_of(digests.of_bytes(b"1"))
    assert not os.path.samefile(plan.location("/zb/src/b/x/in"), blob)
    driver.prepare({"/zb/src/b/x/in": b"1", f"{BUILD}/in": b"2"})
    assert os.path.samefile(plan.location("/zb/src/b/x/in"), blob)


def test_writable_root_may_move_outwards_and_back(driver: StageDriver) -> None:
    for writable_root in (BUILD, "/zb/src", BUILD):
        driver.prepare({f"{BUILD}/x/in": b"1", "/zb/src/a": b"2"}, writable_root=writable_root)
        assert driver.files() == {f"{BUILD}/x/in": b"1", "/zb/src/a": b"2"}


def test_mounts_cover_every_top_and_spare_shared_directories(driver: StageDriver) -> None:
    plan = driver.prepare({"/zb/src/a": b"", "/home/u/lib/b.h": b"", "/tmp/other/c.h": b"", "/tmp/d": b"", "/e": b""})
    assert plan.read_only_paths == ("/e", "/home", "/tmp/d", "/tmp/other", "/zb")
    plan = driver.prepare({"/zb/src/a": b""}, writable_root="/out", working_directory="/tmp")
    assert plan.read_only_paths == ("/zb",)


BAD_PATHS = {
    "": "not absolute",
    "src/a.c": "not absolute",
    "/": "the root itself",
    "/zb//a": "not normalised",
    "/zb/./a": "not normalised",
    "/zb/a/": "not normalised",
    "/zb/a/.": "not normalised",
    "//zb/a": "not normalised",
    "/zb/../etc/passwd": "contains '..'",
    "/..": "contains '..'",
    "/zb/src/..": "contains '..'",
    "/zb/\0a": "contains a NUL",
    "/zb/\ud800": "not Unicode",
    "/zb/" + "x" * 256: "component is longer than 255 B",
    "/zb/" + "\u00e9" * 128: "component is longer than 255 B",
    "/zb" + "/xxxxxxx" * 400: "longer than 3072 B",
    "/usr/include/stdio.h": "the worker's own",
    "/etc/passwd": "the worker's own",
    "/proc/1/mem": "the worker's own",
    "/usr": "the worker's own",
}


@pytest.mark.parametrize(("path", "reason"), BAD_PATHS.items())
def test_hostile_paths_are_refused_by_name_wherever_they_stand(driver: StageDriver, path: str, reason: str) -> None:
    driver.prepare({"/zb/src/a": b"kept"})
    for role in ("input", "directory", "output", "writable root", "working directory"):
        if path == "/" and role == "working directory":
            continue
        with pytest.raises(BadInput, match=re.escape(reason)) as caught:
            driver.stage.prepare(
                inputs=[driver.input(path, b"")] if role == "input" else [],
                directories=[path] if role == "directory" else [],
                outputs=[OutputSpec(path)] if role == "output" else [],
                writable_root=path if role == "writable root" else BUILD,
                working_directory=path if role == "working directory" else BUILD,
            )
        assert str(caught.value).startswith(role)
    assert driver.files() == {"/zb/src/a": b"kept"}, "a refused action changes nothing"


def test_names_that_look_odd_and_are_fine(driver: StageDriver) -> None:
    paths = ("/zb/..a", "/zb/a..", "/zb/...", "/usrlocal/a", "/zb/a\nb", "/zb/ ", "/zb/\u00e9")
    files = dict.fromkeys(paths, b"x")
    driver.prepare(files)
    assert driver.files() == files


@pytest.mark.parametrize(
    ("files", "directories", "named"),
    [
        (["/zb/a", "/zb/a/b"], [], "/zb/a"),
        (["/zb/a/b/c", "/zb/a"], [], "/zb/a"),
        (["/zb/a"], ["/zb/a"], "/zb/a"),
        (["/zb/a"], ["/zb/a/b"], "/zb/a"),
        ([BUILD], [], BUILD),
        ([f"{BUILD}/o"], [f"{BUILD}/o/p"], f"{BUILD}/o"),
        (["/tmp"], [], "/tmp"),
    ],
)
def test_a_path_is_a_file_or_a_directory(
    driver: StageDriver, files: list[str], directories: list[str], named: str
) -> None:
    with pytest.raises(BadInput, match=f"'{named}'.*directory"):
        driver.prepare(dict.fromkeys(files, b""), directories=directories)


def test_duplicates_are_refused(driver: StageDriver) -> None:
    twice = [driver.input("/zb/src/a", b"1"), driver.input("/zb/src/a", b"2")]
    with pytest.raises(BadInput, match="'/zb/src/a': named twice"):
        driver.stage.prepare(inputs=twice, directories=(), outputs=(), writable_root=BUILD, working_directory=BUILD)
    with pytest.raises(BadInput, match=f"output '{BUILD}/o': named twice"):
        driver.prepare({}, outputs=[f"{BUILD}/o", f"{BUILD}/o"])


def test_outputs_lie_below_the_writable_root(driver: StageDriver) -> None:
    for path in ("/zb/src/o", BUILD, f"{BUILD}2/o"):
        with pytest.raises(BadInput, match="not below the writable root"):
            driver.prepare({}, outputs=[path])


def test_too_many_inputs_are_refused(driver: StageDriver) -> None:
    entry = driver.input("/zb/src/a", b"")
    with pytest.raises(BadInput, match=str(ACTION_INPUTS)):
        driver.stage.prepare(
            inputs=[entry] * (ACTION_INPUTS + 1),
            directories=(),
            outputs=(),
            writable_root=BUILD,
            working_directory=BUILD,
        )


def test_missing_blobs_are_all_named_and_nothing_is_changed(driver: StageDriver) -> None:
    driver.prepare({"/zb/src/a": b"kept"})
    absent = [InputSpec(f"/zb/src/x{n:02}", digests.of_bytes(b"absent %d" % n)) for n in range(NAMES_IN_MESSAGE + 2)]
    with pytest.raises(BlobMissing, match=re.escape("/zb/src/x00 (")) as caught:
        driver.stage.prepare(inputs=absent, directories=(), outputs=(), writable_root=BUILD, working_directory=BUILD)
    assert absent[1].digest.short in str(caught.value)
    assert str(caught.value).endswith("and 2 more")
    assert driver.files() == {"/zb/src/a": b"kept"}


def test_corrupt_blob_is_not_staged(driver: StageDriver) -> None:
    entry = driver.input("/zb/src/a", b"good")
    path = Path(driver.blobs.path_of(entry.digest))
    path.chmod(0o644)
    path.write_bytes(b"evil")
    with pytest.raises(BlobCorrupt):
        driver.prepare({"/zb/src/a": b"good"})


def test_stage_recovers_from_a_disk_that_refused(driver: StageDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.prepare({"/zb/src/a": b"a"})

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device", "/zb/src/c")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with pytest.raises(StoreFailed, match="No space left"):
            driver.prepare({"/zb/src/b/b": b"b", "/zb/src/c": b"c"})
    driver.prepare({"/zb/src/b/b": b"b", "/zb/src/c": b"c"})
    assert driver.files() == {"/zb/src/b/b": b"b", "/zb/src/c": b"c"}


def test_new_stage_removes_what_a_dead_worker_left(driver: StageDriver) -> None:
    plan = driver.prepare({"/zb/src/a": b"a"})
    Path(plan.location(BUILD), "left").write_bytes(b"")
    Stage(driver.path, driver.blobs, reserved_paths=RESERVED_PATHS, shared_paths=SHARED_PATHS)
    assert driver.files() == {}
    assert driver.directories() == set()


def test_without_isolation_inputs_are_copies_and_changes_do_not_last(tmp_path: Path) -> None:
    driver = StageDriver(tmp_path, is_isolated=False)
    plan = driver.prepare({"/zb/src/a": b"a"})
    path = Path(plan.location("/zb/src/a"))
    path.chmod(0o644)
    path.write_bytes(b"evil")
    driver.prepare({"/zb/src/a": b"a"})
    assert driver.files() == {"/zb/src/a": b"a"}
    assert driver.blobs.read(digests.of_bytes(b"a")) == b"a"


def test_remove_leaves_nothing(driver: StageDriver) -> None:
    driver.prepare({"/zb/src/a": b"a", f"{BUILD}/b": b"b"})
    driver.stage.remove()
    assert not driver.path.exists()


def test_stage_on_another_file_system_than_the_blobs_is_refused(driver: StageDriver) -> None:
    if os.stat("/dev/shm").st_dev == driver.blobs.device:
        pytest.skip("/dev/shm is no file system of its own")
    path = f"/dev/shm/zbuild-test-{os.getpid()}"
    try:
        with pytest.raises(StoreFailed, match="different file systems"):
            Stage(path, driver.blobs, reserved_paths=(), shared_paths=())
    finally:
        shutil.rmtree(path)
