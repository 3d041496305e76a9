"""Logs that go back and forth between zbuild.ninja and the real ninja."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.ninja.driver import Build, prepare, run_command
from zbuild.ninja.edge import Edge
from zbuild.ninja.regenerate import is_manifest_remade, plan_manifest
from zbuild.ninja.version import build_log_version

pytestmark = pytest.mark.needs("ninja")

_NO_WORK = "ninja: no work to do.\n"

_PROJECT = """\
rule compile
  command = cat $in > $out; echo "$out: $in $$(sed -n 's/^include //p' $in)" > $out.d
  depfile = $out.d
  deps = gcc
rule link
  command = cat @$out.rsp $in > $out 2> /dev/null || cat $in > $out
  rspfile = $out.rsp
  rspfile_content = $in_newline -lz
rule copy
  command = cp $in $out
rule stamp
  command = test -f $out || touch $out
  restat = 1
build out.o: compile in.c
build app: link out.o | version
build version: stamp in.c
build copied: copy version
"""


@pytest.fixture(autouse=True)
def _in_build_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("build.ninja").write_text(_PROJECT)
    Path("in.c").write_text("include a.h\n")
    Path("a.h").touch()
    Path("b.h").touch()


def _ninja(*arguments: str) -> str:
    result = subprocess.run(["ninja", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result
    return result.stdout


def _log_version() -> int:
    return build_log_version(_ninja("--version"))


def _build(runner: Callable[[Edge], tuple[bool, bytes]] = run_command) -> Build:
    build = prepare(new_log_version=_log_version())
    build.run(runner)
    assert not build.failed, build.output
    return build


def _make_newer(*names: str) -> None:
    """Touch files and make sure that the clock of the file system has moved."""
    newest_ns = max(path.stat().st_mtime_ns for path in Path().iterdir())
    for name in names:
        while Path(name).stat().st_mtime_ns <= newest_ns:
            Path(name).touch()


def test_ninja_has_no_work_after_us_and_we_have_none_after_ninja() -> None:
    assert sorted(_build().ran_outputs) == ["app", "copied", "out.o", "version"]
    assert _ninja() == _NO_WORK
    for name in ("out.o", "copied"):
        Path(name).unlink()
    assert "[3/3]" in _ninja()
    assert not prepare().plan.has_more_to_do
    assert _build().ran == []
    assert not Path(".ninja_lock").exists()


def test_a_new_log_has_the_version_of_the_ninja_in_use() -> None:
    _build()
    assert Path(".ninja_log").read_bytes().startswith(b"# ninja log v%d\n" % _log_version())
    ours = Path(".ninja_log").read_bytes().splitlines()[1:]
    Path(".ninja_log").unlink()
    _ninja()
    theirs = Path(".ninja_log").read_bytes().splitlines()[1:]
    assert sorted(line.split(b"\t")[3:] for line in ours) == sorted(line.split(b"\t")[3:] for line in theirs)


def test_discovered_inputs_are_known_on_both_sides() -> None:
    _build()
    assert "a.h" in _ninja("-t", "deps", "out.o")
    _make_newer("a.h")
    assert "out.o" in _ninja("-n", "-v")
    assert _build().ran_outputs == ["out.o", "app"]
    Path("in.c").write_text("include b.h\n")
    _ninja()
    build = prepare()
    edge = build.graph.nodes["out.o"].in_edge
    assert edge is not None
    assert [node.path for node in edge.discovered] == ["in.c", "b.h"]
    _make_newer("b.h")
    assert prepare().plan.has_more_to_do


def test_deps_of_many_outputs_survive_both_recompactions() -> None:
    _build()
    for _ in range(3):
        _make_newer("in.c")
        _build()
    build = prepare()
    before = Path(".ninja_deps").stat().st_size
    build.deps_log.recompact()
    build.build_log.recompact(lambda output: False)
    assert Path(".ninja_deps").stat().st_size < before
    assert _ninja() == _NO_WORK
    _ninja("-t", "recompact")
    assert not prepare().plan.has_more_to_do
    assert _ninja() == _NO_WORK


def test_a_header_that_changes_during_the_compile_leaves_the_output_dirty() -> None:
    def runner(edge: Edge) -> tuple[bool, bytes]:
        if edge.outputs[0].path == "out.o":
            _make_newer("a.h")
        return run_command(edge)

    _build(runner)
    assert Path("out.o").stat().st_mtime_ns > Path("a.h").stat().st_mtime_ns
    assert "recorded mtime of out.o older than most recent input a.h" in "".join(prepare().explanations)
    assert "out.o" in _ninja("-n", "-v")


def test_an_unchanged_output_of_a_restat_edge_stops_the_build_there() -> None:
    _build()
    _make_newer("in.c")
    build = _build()
    assert sorted(build.ran_outputs) == ["app", "out.o", "version"]
    assert build.plan.command_edge_count == 3
    assert _ninja() == _NO_WORK


def test_a_torn_build_log_loses_only_its_last_line() -> None:
    _build()
    os.truncate(".ninja_log", Path(".ninja_log").stat().st_size - 3)
    assert len(_build().ran) == 1
    assert len(prepare().build_log.entries) == 4
    assert _ninja() == _NO_WORK


@pytest.mark.parametrize("bytes_off", range(1, 48))
def test_a_torn_deps_log_is_repaired(bytes_off: int) -> None:
    _build()
    _make_newer("in.c")
    _build()
    os.truncate(".ninja_deps", Path(".ninja_deps").stat().st_size - bytes_off)
    build = _build()
    # What is lost with the last record is the second run's deps; the first run's are too old.
    assert build.ran_outputs[:1] == ["out.o"]
    assert _ninja() == _NO_WORK


def test_logs_are_where_builddir_says() -> None:
    Path("build.ninja").write_text("builddir = logs\n" + _PROJECT)
    _build()
    assert sorted(path.name for path in Path("logs").iterdir()) == [".ninja_deps", ".ninja_log"]
    assert _ninja() == _NO_WORK


def test_a_manifest_with_an_edge_of_its_own_is_remade_first() -> None:
    generator = "rule generate\n  command = cp $in $out\n  generator = 1\nbuild build.ninja: generate build.in\n"
    Path("build.in").write_text(_PROJECT + generator)
    Path("build.ninja").write_text(_PROJECT + generator)
    _make_newer("build.in")
    build = prepare(new_log_version=_log_version())
    plan = plan_manifest(build.scan, "./build.ninja")
    assert plan is not None
    build.plan = plan
    build.run(run_command)
    assert build.ran_outputs == ["build.ninja"]
    assert is_manifest_remade(build.scan, "build.ninja")
    assert plan_manifest(prepare().scan, "build.ninja") is None
    _build()
    assert _ninja() == _NO_WORK


def test_dyndep_files_made_by_the_build_are_obeyed() -> None:
    Path("build.ninja").write_text(
        "rule scan\n  command = cp $in $out\nrule copy\n  command = touch $out $extra\n"
        "build module.dd: scan module.dd.in\n"
        "build first: copy in.c || module.dd\n  dyndep = module.dd\n  extra = first.mod\n"
        "build second: copy in.c || module.dd\n  dyndep = module.dd\n  extra =\n"
    )
    Path("module.dd.in").write_text(
        "ninja_dyndep_version = 1\nbuild first | first.mod: dyndep\nbuild second: dyndep | first.mod\n"
    )
    assert _build().ran_outputs == ["module.dd", "first", "second"]
    assert _ninja() == _NO_WORK
    _make_newer("first.mod")
    assert "second" in _ninja("-n", "-v")
    assert _build().ran_outputs == ["second"]
    Path("second").unlink()
    _ninja()
    assert not prepare().plan.has_more_to_do
