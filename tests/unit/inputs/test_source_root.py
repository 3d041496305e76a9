"""Finding the source root of a build directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zbuild.inputs.source_root import find_source_root


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "p/build").mkdir(parents=True)
    return tmp_path


def test_cmake_records_it(work: Path) -> None:
    (work / "b").mkdir()
    (work / "b/CMakeCache.txt").write_text(f"X:STRING=1\nCMAKE_HOME_DIRECTORY:INTERNAL={work}/p\n")
    assert find_source_root(str(work / "b"), [f"{work}/p/a.c", "/usr/include/x.h"]) == f"{work}/p"


def test_cmake_lists_in_a_subdirectory_are_widened_to_the_sources(work: Path) -> None:
    """lz4 and zstd keep CMakeLists.txt in build/cmake and compile ../../lib."""
    (work / "p/build/cmake/out").mkdir(parents=True)
    (work / "p/build/cmake/out/CMakeCache.txt").write_text(f"CMAKE_HOME_DIRECTORY:INTERNAL={work}/p/build/cmake\n")
    assert find_source_root(f"{work}/p/build/cmake/out", [f"{work}/p/lib/lz4.c"]) == f"{work}/p"


def test_meson_records_it(work: Path) -> None:
    (work / "b/meson-info").mkdir(parents=True)
    info = {"directories": {"source": f"{work}/p", "build": f"{work}/b"}}
    (work / "b/meson-info/meson-info.json").write_text(json.dumps(info))
    assert find_source_root(f"{work}/b", ["../p/a.c"]) == f"{work}/p"


def test_gn_records_it(work: Path) -> None:
    (work / "p/out/x").mkdir(parents=True)
    (work / "p/out/x/args.gn").write_text("")
    (work / "p/out/x/build.ninja").write_text("rule gn\n  command = gn --root=../.. -q gen .\n")
    assert find_source_root(f"{work}/p/out/x", []) == f"{work}/p"


def test_a_checkout_is_taken_whole(work: Path) -> None:
    (work / "p/.git").mkdir()
    assert find_source_root(f"{work}/p/build", [f"{work}/p/src/a.c"]) == f"{work}/p"


def test_otherwise_it_is_the_common_ancestor_of_the_sources(work: Path) -> None:
    assert find_source_root(f"{work}/p/build", ["../src/a.c", "../include/a.h", "/usr/bin/cc"]) == f"{work}/p"


def test_the_home_directory_is_never_guessed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when it is a checkout, as of those who version their dot files."""
    (work / ".git").mkdir()
    (work / "b").mkdir()
    monkeypatch.setenv("HOME", str(work))
    assert find_source_root(f"{work}/b", [f"{work}/x.c"]) == f"{work}/b"
    assert find_source_root(f"{work}/b", [f"{work}/p/a.c", f"{work}/p/b.c"]) == f"{work}/p"


def test_a_stray_source_outside_does_not_widen_to_a_shared_directory(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(work))
    (work / "p/build/CMakeCache.txt").write_text(f"CMAKE_HOME_DIRECTORY:INTERNAL={work}/p\n")
    assert find_source_root(f"{work}/p/build", [f"{work}/other/x.c", "/opt/sdk/y.c"]) == f"{work}/p"


def test_nothing_to_go_by_is_the_build_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert find_source_root(str(tmp_path), []) == str(tmp_path)


def test_a_damaged_record_is_no_record(work: Path) -> None:
    (work / "p/build/meson-info").mkdir()
    (work / "p/build/meson-info/meson-info.json").write_text("{")
    (work / "p/build/CMakeCache.txt").write_text("CMAKE_HOME_DIRECTORY:INTERNAL=/does/not/exist\n")
    assert find_source_root(f"{work}/p/build", ["../src/a.c"]) == f"{work}/p"
