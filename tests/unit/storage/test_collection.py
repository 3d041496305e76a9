"""collect(): declared outputs become blobs; nothing outside the tree is ever read through one. Defect 12."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.unit.storage.stage_driver import BUILD, StageDriver
from zbuild import digest as digests
from zbuild.digest import EMPTY
from zbuild.errors import OutputMissing
from zbuild.limits import COLLECTED_DEPTH, NAMES_IN_MESSAGE, STAGED_PATH_BYTES
from zbuild.model.action import OutputFile, OutputKind, OutputSpec
from zbuild.storage import collection
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.collection import collect
from zbuild.storage.staging import StagePlan

SECRET = b"secret of the host"


class Collector:
    """A prepared stage in which a test plays the action."""

    def __init__(self, directory: Path) -> None:
        self.driver = StageDriver(directory)
        self.blobs = self.driver.blobs
        self.plan: StagePlan = self.driver.prepare({}, directories=[f"{BUILD}/o"])
        self.build = Path(self.plan.location(BUILD))
        self.secret = directory / "secret"
        self.secret.mkdir()
        (self.secret / "file").write_bytes(SECRET)

    def collect(self, *names: str, optional: bool = False) -> tuple[OutputFile, ...]:
        return collect(self.plan, [OutputSpec(f"{BUILD}/{name}", optional) for name in names], self.blobs)

    def has_secret(self) -> bool:
        return self.blobs.contains(digests.of_bytes(SECRET))


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    return Collector(tmp_path)


def file(name: str, data: bytes, executable: bool = False) -> OutputFile:
    return OutputFile(f"{BUILD}/{name}", OutputKind.FILE, digests.of_bytes(data), executable)


def test_files_are_moved_into_the_blobs_in_the_order_declared(collector: Collector) -> None:
    (collector.build / "o" / "b.o").write_bytes(b"b")
    (collector.build / "a").write_bytes(b"a")
    (collector.build / "a").chmod(0o755)
    inode = (collector.build / "a").stat().st_ino

    assert collector.collect("o/b.o", "a") == (file("o/b.o", b"b"), file("a", b"a", executable=True))
    assert collector.blobs.read(digests.of_bytes(b"b")) == b"b"
    assert os.stat(collector.blobs.path_of(digests.of_bytes(b"a"))).st_ino == inode
    assert list(collector.build.iterdir()) == [collector.build / "o"]


def test_undeclared_files_are_left(collector: Collector) -> None:
    (collector.build / "a").write_bytes(b"a")
    (collector.build / "junk").write_bytes(b"junk")
    assert collector.collect("a") == (file("a", b"a"),)
    assert not collector.blobs.contains(digests.of_bytes(b"junk"))


def test_all_missing_outputs_are_named(collector: Collector) -> None:
    (collector.build / "made").write_bytes(b"")
    with pytest.raises(OutputMissing) as caught:
        collector.collect("one", "made", "no/such/two")
    assert str(caught.value) == f"the command did not make {BUILD}/one, {BUILD}/no/such/two"


def test_the_list_of_missing_outputs_is_bounded(collector: Collector) -> None:
    with pytest.raises(OutputMissing, match="and 5 more"):
        collector.collect(*(f"x{number}" for number in range(NAMES_IN_MESSAGE + 5)))


def test_optional_outputs_may_be_missing(collector: Collector) -> None:
    assert collector.collect("one", optional=True) == ()


def test_symlinks_are_recorded_not_followed(collector: Collector) -> None:
    (collector.build / "lib.so").symlink_to("lib.so.1")
    (collector.build / "out").symlink_to(collector.secret / "file")
    assert collector.collect("lib.so", "out") == (
        OutputFile(f"{BUILD}/lib.so", OutputKind.SYMLINK, EMPTY, target="lib.so.1"),
        OutputFile(f"{BUILD}/out", OutputKind.SYMLINK, EMPTY, target=str(collector.secret / "file")),
    )
    assert not collector.has_secret()


@pytest.mark.parametrize("target", ["{secret}", "../../../../../../secret"])
def test_output_behind_a_symlink_is_refused(collector: Collector, target: str) -> None:
    """The shape of GHSA-g3g9-5vj6-r3gj: a parent directory of an output is a symlink to the host."""
    (collector.build / "o").rmdir()
    (collector.build / "o").symlink_to(target.format(secret=collector.secret))
    with pytest.raises(OutputMissing, match=f"{BUILD}/o/file .o on its way is a symlink"):
        collector.collect("o/file")
    assert not collector.has_secret()
    assert (collector.secret / "file").exists()


def test_output_below_a_file_is_refused(collector: Collector) -> None:
    (collector.build / "f").write_bytes(b"")
    with pytest.raises(OutputMissing, match="f on its way is a symlink or a file"):
        collector.collect("f/g")


def test_special_files_are_refused_by_name(collector: Collector) -> None:
    os.mkfifo(collector.build / "fifo")
    (collector.build / "suid").write_bytes(b"")
    (collector.build / "suid").chmod(0o4755)
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.getcwd()
        os.chdir(collector.build)
        try:
            listener.bind("socket")
        finally:
            os.chdir(before)
    with pytest.raises(OutputMissing) as caught:
        collector.collect("fifo", "socket", "suid")
    assert str(caught.value) == (
        f"refused as outputs: {BUILD}/fifo (a FIFO), {BUILD}/socket (a socket),"
        f" {BUILD}/suid (set-user-id or set-group-id)"
    )


@pytest.mark.needs("root")
def test_devices_are_refused(collector: Collector) -> None:
    os.mknod(collector.build / "disk", 0o600 | 0o020000, os.makedev(1, 3))
    with pytest.raises(OutputMissing, match="a character device"):
        collector.collect("disk")


def test_name_that_is_no_text_is_refused(collector: Collector) -> None:
    (collector.build / "l").symlink_to(os.fsdecode(b"\xff"))
    with pytest.raises(OutputMissing, match="not UTF-8"):
        collector.collect("l")


def test_directory_stands_for_what_is_below_it(collector: Collector) -> None:
    html = collector.build / "html"
    (html / "css").mkdir(parents=True)
    (html / "index.html").write_bytes(b"index")
    (html / "css" / "a.css").write_bytes(b"css")
    (html / "up").symlink_to("..")
    assert collector.collect("html") == (
        file("html/css/a.css", b"css"),
        file("html/index.html", b"index"),
        OutputFile(f"{BUILD}/html/up", OutputKind.SYMLINK, EMPTY, target=".."),
    )


def test_empty_directory_is_refused(collector: Collector) -> None:
    with pytest.raises(OutputMissing, match=rf"{BUILD}/o \(an empty directory\)"):
        collector.collect("o")


def test_number_of_files_is_bounded(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "COLLECTED_FILES", 3)
    for number in range(4):
        (collector.build / "o" / str(number)).write_bytes(b"")
    with pytest.raises(OutputMissing, match="more than 3 files"):
        collector.collect("o")


def test_file_without_permissions_is_collected(collector: Collector) -> None:
    (collector.build / "a").write_bytes(b"a")
    (collector.build / "a").chmod(0)
    assert collector.collect("a") == (file("a", b"a"),)


def test_two_names_of_one_file(collector: Collector) -> None:
    (collector.build / "a").write_bytes(b"same")
    os.link(collector.build / "a", collector.build / "b")
    assert collector.collect("a", "b") == (file("a", b"same"), file("b", b"same"))
    assert collector.blobs.read(digests.of_bytes(b"same")) == b"same"


def test_descriptors_are_closed(collector: Collector) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        (collector.build / "o" / f"d{number}").mkdir()
        (collector.build / "o" / f"d{number}" / "f").write_bytes(b"")
    collector.collect(*(f"o/d{number}/f" for number in range(20)))
    with pytest.raises(OutputMissing):
        collector.collect("o/d1/f/g/h", "o/d2/f")
    assert len(os.listdir("/proc/self/fd")) == before


def test_holes_count_against_what_outputs_may_hold(collector: Collector) -> None:
    """A file of 16 TiB that takes no room would be hashed for hours, in which the worker does nothing else."""
    (collector.build / "small").write_bytes(b"x")
    with open(collector.build / "sparse", "wb") as file:
        file.truncate(1 << 43)
    outputs = [OutputSpec(f"{BUILD}/{name}") for name in ("small", "sparse")]
    with pytest.raises(OutputMissing, match=rf"{BUILD}/sparse \(its {1 << 43} B make more than 1000 B of outputs\)"):
        collect(collector.plan, outputs, collector.blobs, max_bytes=1000)


def test_outputs_count_together(collector: Collector) -> None:
    for name in ("a", "b"):
        (collector.build / name).write_bytes(name.encode() * 600)
    outputs = [OutputSpec(f"{BUILD}/{name}") for name in ("a", "b")]
    with pytest.raises(OutputMissing, match=f"{BUILD}/b "):
        collect(collector.plan, outputs, collector.blobs, max_bytes=1000)


def test_others_are_served_while_a_large_output_is_read(tmp_path: Path) -> None:
    pauses: list[None] = []
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False, pause=lambda: pauses.append(None))
    for links in (1, 2):
        pauses.clear()
        (tmp_path / "large").write_bytes(bytes([links]) * (3 << 20))
        if links == 2:
            os.link(tmp_path / "large", tmp_path / "link")
        blobs.put_file(str(tmp_path / "large"), is_moved=True)
        assert len(pauses) == 3


def test_descriptor_that_the_action_has_passed_on_changes_no_blob(collector: Collector) -> None:
    """The shape of CVE-2024-27297: a process outside keeps an output open, and writes when it is a blob."""
    (collector.build / "o" / "a").write_bytes(b"good")
    with open(collector.build / "o" / "a", "r+b", buffering=0) as passed_on:
        (found,) = collect(collector.plan, [OutputSpec(f"{BUILD}/o/a")], collector.blobs, is_moved=False)
        passed_on.write(b"evil")
        assert Path(collector.blobs.path_of(found.digest)).read_bytes() == b"good"


def test_descriptor_that_the_action_has_passed_on_leads_into_no_later_stage(tmp_path: Path) -> None:
    driver = StageDriver(tmp_path)
    name = f"{BUILD}/o/a"
    plan = driver.prepare({name: b"first"})
    with open(plan.location(name), "r+b", buffering=0) as passed_on:
        directory = os.open(plan.location(f"{BUILD}/o"), os.O_RDONLY)
        driver.stage.distrust()
        plan = driver.prepare({name: b"second"})
        passed_on.write(b"evil")
        with pytest.raises(FileNotFoundError):
            os.open("planted", os.O_WRONLY | os.O_CREAT, dir_fd=directory)
        os.close(directory)
    assert Path(plan.location(name)).read_bytes() == b"second"
    assert os.listdir(plan.location(f"{BUILD}/o")) == ["a"]


class TestDirectoriesThatGoOn:
    """Trees that would take for ever, or more memory than there is."""

    def nest(self, collector: Collector, depth: int) -> None:
        descriptor = os.open(collector.build / "o", os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=descriptor)
            inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
        os.close(descriptor)

    def test_deep_ones_are_collected_up_to_a_bound(self, collector: Collector) -> None:
        self.nest(collector, COLLECTED_DEPTH - 1)
        (found,) = collector.collect("o")
        assert found.path == f"{BUILD}/o" + "/d" * (COLLECTED_DEPTH - 1) + "/f"

    @pytest.mark.parametrize("depth", [COLLECTED_DEPTH, 5000])
    def test_deeper_ones_are_refused(self, collector: Collector, depth: int) -> None:
        self.nest(collector, depth)
        with pytest.raises(OutputMissing, match=f"{BUILD}/o/d/.*more than {COLLECTED_DEPTH} directories inside one"):
            collector.collect("o")
        collector.driver.stage.remove()

    def test_many_are_refused(self, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collection, "COLLECTED_FILES", 3)
        for number in range(4):
            (collector.build / "o" / f"d{number}").mkdir()
        with pytest.raises(OutputMissing, match="more than 3 directories"):
            collector.collect("o")

    def test_long_names_are_refused(self, collector: Collector) -> None:
        directory = os.open(collector.build / "o", os.O_RDONLY)
        for _ in range(15):
            os.mkdir("n" * 255, dir_fd=directory)
            inner = os.open("n" * 255, os.O_RDONLY, dir_fd=directory)
            os.close(directory)
            directory = inner
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=directory))
        os.close(directory)
        with pytest.raises(OutputMissing, match=f"a path of more than {STAGED_PATH_BYTES} B"):
            collector.collect("o")
        collector.driver.stage.remove()
