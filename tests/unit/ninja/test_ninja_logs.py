"""``.ninja_log`` and ``.ninja_deps``."""

from __future__ import annotations

import pytest

from tests.unit.ninja.driver import MemoryDisk
from zbuild.errors import ManifestError
from zbuild.ninja.build_log import BuildLog
from zbuild.ninja.command_hash import command_hash
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.graph import Graph
from zbuild.ninja.manifest import load_manifest

_MANIFEST = (
    "rule r\n  command = make $out\nrule c\n  command = cc $out\n  deps = gcc\n  depfile = $out.d\n"
    "build a | b: r\nbuild o: c s\nbuild p: c s\n"
)


def _disk(**files: str) -> MemoryDisk:
    return MemoryDisk({"build.ninja": _MANIFEST, **{f".ninja_{name}": text for name, text in files.items()}})


def _graph(disk: MemoryDisk) -> Graph:
    return load_manifest(disk, "build.ninja", print)


def _log(disk: MemoryDisk, new_log_version: int = 5) -> BuildLog:
    return BuildLog(disk, ".ninja_log", new_log_version)


def _deps(disk: MemoryDisk) -> tuple[Graph, DepsLog]:
    graph = _graph(disk)
    return graph, DepsLog(disk, ".ninja_deps", graph)


@pytest.mark.parametrize("version", [5, 6, 7])
def test_what_was_recorded_is_read_again(version: int) -> None:
    disk = _disk()
    edge = _graph(disk).edges[0]
    _log(disk, version).record(edge, 10, 30, 12345)
    hashed = command_hash("make a", version)
    expected = f"# ninja log v{version}\n10\t30\t12345\ta\t{hashed:x}\n10\t30\t12345\tb\t{hashed:x}\n"
    assert disk.files[".ninja_log"].decode() == expected
    log = _log(disk, 5)
    assert log.version == version
    assert log.entries["a"] == log.entries["b"] == (10, 30, 12345, hashed)
    assert log.duration_ms(edge) == 20


@pytest.mark.parametrize("version", ["4", "8", "x", "-5", "5.1", ""])
def test_a_log_of_another_version_is_started_over(version: str) -> None:
    disk = _disk(log=f"# ninja log v{version}\n1\t2\t3\ta\tff\n")
    log = _log(disk, 6)
    assert "starting over" in log.warning
    assert not log.entries
    log.create()
    assert disk.files[".ninja_log"] == b"# ninja log v6\n"


def test_later_lines_win_and_bad_lines_are_passed_over() -> None:
    log = _log(
        _disk(log="# ninja log v5\n1\t2\t3\ta\tff\nx\n1\t2\t3\tb\n1\tx\t3\tc\tff\n4\t5\t6\ta\tee\n7\t8\t9\td\tdd")
    )
    assert log.entries == {"a": (4, 5, 6, 0xEE)}
    assert log.warning == ""


def test_a_line_after_a_torn_one_is_whole() -> None:
    disk = _disk(log="# ninja log v5\n7\t8\t9\td\tdd")
    _log(disk).record(_graph(disk).edges[0], 1, 2, 3)
    assert set(_log(disk).entries) == {"d", "a", "b"}


def test_a_build_log_is_recompacted_when_most_of_it_is_old() -> None:
    lines = "".join(f"1\t2\t{number}\tout{number % 30}\tff\n" for number in range(101))
    disk = _disk(log="# ninja log v6\n" + lines)
    log = _log(disk)
    assert log.is_recompaction_due
    log.recompact(lambda output: output == "out3")
    again = _log(disk)
    assert not again.is_recompaction_due
    assert again.entries == log.entries
    assert len(again.entries) == 29
    assert again.version == 6
    assert again.entries["out10"].mtime_ns == 100
    few = "".join(f"1\t2\t{number}\tout{number % 30}\tff\n" for number in range(90))
    assert not _log(_disk(log="# ninja log v6\n" + few)).is_recompaction_due


def test_unreadable_logs_are_errors() -> None:
    class _Refusing(MemoryDisk):
        def read(self, path: str) -> bytes:
            if path.startswith(".ninja"):
                raise PermissionError(13, "Permission denied", path)
            return super().read(path)

    disk = _Refusing({"build.ninja": _MANIFEST})
    with pytest.raises(ManifestError, match=r"loading build log .ninja_log: Permission denied"):
        _log(disk)
    with pytest.raises(ManifestError, match=r"loading deps log .ninja_deps: Permission denied"):
        _deps(disk)


_GOLDEN_DEPS = (
    b"# ninjadeps\n\x04\0\0\0"
    b"\x08\0\0\0o\0\0\0\xff\xff\xff\xff"
    b"\x08\0\0\0s\0\0\0\xfe\xff\xff\xff"
    b"\x0c\0\0\0long.h\0\0\xfd\xff\xff\xff"
    b"\x14\0\0\x80\0\0\0\0\x06\0\0\0\x05\0\0\0\x01\0\0\0\x02\0\0\0"
)


def test_deps_are_written_byte_for_byte_as_ninja_writes_them() -> None:
    disk = _disk()
    graph, log = _deps(disk)
    log.record(graph.node("o"), (5 << 32) + 6, [graph.node("s"), graph.node("long.h")])
    assert disk.files[".ninja_deps"] == _GOLDEN_DEPS
    log.record(graph.node("o"), (5 << 32) + 6, [graph.node("s"), graph.node("long.h")])
    assert disk.files[".ninja_deps"] == _GOLDEN_DEPS
    graph, log = _deps(disk)
    deps = log.deps(graph.node("o"))
    assert deps is not None
    assert deps.mtime_ns == (5 << 32) + 6
    assert list(deps) == [graph.node("s"), graph.node("long.h")]
    assert (len(deps), deps[1], deps[-2:]) == (2, graph.node("long.h"), list(deps))
    assert log.deps(graph.node("s")) is None
    assert log.first_user(graph.node("long.h")) is graph.node("o")
    assert log.first_user(graph.node("a")) is None


@pytest.mark.parametrize("cut", range(len(_GOLDEN_DEPS)))
def test_a_deps_log_cut_anywhere_is_repaired(cut: int) -> None:
    disk = _disk()
    disk.files[".ninja_deps"] = _GOLDEN_DEPS[:cut]
    graph, log = _deps(disk)
    whole = (0, 16, 28, 40, 56)
    assert (log.warning == "") == (cut in whole)
    log.record(graph.node("p"), 7, [graph.node("new.h")])
    graph, log = _deps(disk)
    assert log.warning == ""
    assert log.deps(graph.node("o")) is None
    deps = log.deps(graph.node("p"))
    assert deps is not None
    assert [node.path for node in deps] == ["new.h"]


@pytest.mark.parametrize(
    "record",
    [
        b"\x08\0\0\0aa\0\0\xff\xff\xff\xff",  # the number of another path
        b"\x08\0\0\0o\0\0\0\xfc\xff\xff\xff",  # a path that has a number
        b"\x04\0\0\0\xfc\xff\xff\xff",  # no path
        b"\x0c\0\0\x80\x09\0\0\0\0\0\0\0\0\0\0\0",  # an output that has no number
        b"\x10\0\0\x80\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0",  # an input that has no number
        b"\x08\0\0\x80\0\0\0\0\0\0\0\0",  # too short
        b"\x06\0\0\0aa\xfc\xff\xff\xff\0\0",  # not of whole words
        b"\0\0\x10\0" + bytes(1 << 20),  # too long
        b"\xff\xff\xff\x7f",
    ],
)
def test_a_bad_record_ends_the_deps_log(record: bytes) -> None:
    disk = _disk()
    disk.files[".ninja_deps"] = _GOLDEN_DEPS + record
    graph, log = _deps(disk)
    assert log.warning == "premature end of file; recovering"
    assert disk.files[".ninja_deps"] == _GOLDEN_DEPS
    assert log.deps(graph.node("o")) is not None


@pytest.mark.parametrize("data", [b"# ninjadeps\n\x03\0\0\0", b"# ninjadeps", b"\0", b"# ninja log v5\n\x04\0\0\0"])
def test_another_deps_log_is_started_over(data: bytes) -> None:
    disk = _disk()
    disk.files[".ninja_deps"] = data
    _, log = _deps(disk)
    assert log.warning == "bad deps log signature or version; starting over"
    log.create()
    assert disk.files[".ninja_deps"] == b"# ninjadeps\n\x04\0\0\0"


def test_a_deps_log_is_recompacted_to_what_still_has_an_edge() -> None:
    disk = _disk()
    graph, log = _deps(disk)
    for number in range(1001):
        log.record(graph.node("o"), number, [graph.node("s"), graph.node(f"h{number % 2}")])
    log.record(graph.node("gone"), 1, [graph.node("only.h")])
    log.record(graph.node("a"), 1, [graph.node("s")])
    graph, log = _deps(disk)
    assert log.is_recompaction_due
    log.recompact()
    size = len(disk.files[".ninja_deps"])
    log.record(graph.node("p"), 5, [graph.node("h0")])
    graph, log = _deps(disk)
    assert size < 100
    assert not log.is_recompaction_due
    assert [log.deps(graph.node(path)) is not None for path in ("o", "p", "gone", "a")] == [True, True, False, False]
    assert "only.h" not in graph.nodes
    deps = log.deps(graph.node("p"))
    assert deps is not None
    assert [node.path for node in deps] == ["h0"]


def test_what_the_format_cannot_hold_is_refused_by_name() -> None:
    graph, log = _deps(_disk())
    with pytest.raises(ManifestError, match="o: 140000 inputs are too many"):
        log.record(graph.node("o"), 1, [graph.node("s")] * 140_000)
    with pytest.raises(ManifestError, match=r"^xxx.*this path is too long"):
        log.record(graph.node("o"), 1, [graph.node("x" * (1 << 19))])
