"""``zbuild-ninja`` in the place of ninja: what CMake and Meson call, and ninja's flags that people and scripts give."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.integration.farm import Farm
from tests.integration.tree import Run, Tree

pytestmark = [pytest.mark.needs("bubblewrap", "ninja", "gcc"), pytest.mark.timeout(200)]


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """An executable that does what bin/zbuild-ninja does, with this interpreter. Its name tells it from ninja."""
    path = tmp_path / "bin/zbuild-ninja"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m zbuild.cli.as_ninja "$@"\n')
    path.chmod(0o755)
    return path


def succeeded(run: Run) -> str:
    assert run.exit_code == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


@pytest.mark.needs("cmake")
def test_cmake_configures_builds_and_cleans_with_it(tree: Tree, wrapper: Path, token: str, shared_farm: Farm) -> None:
    tree.write(
        {
            "CMakeLists.txt": """\
                cmake_minimum_required(VERSION 3.16)
                project(drop_in C)
                add_library(part SHARED part.c)
                add_executable(app main.c)
                target_link_libraries(app part)
                """,
            "part.c": f"int part(void) {{ return 3; }} int t{token};\n",
            "main.c": "int part(void); int main(void) { return part() - 3; }\n",
        }
    )
    build = ["cmake", "--build", "out", "-j2", "-v"]
    farm = ["--", "--coordinator", shared_farm.endpoint]
    succeeded(tree.run(["cmake", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={wrapper}", "-S", ".", "-B", "out"]))

    assert "4 actions, 0 cache hits, 4 remote, 0 local" in succeeded(tree.run([*build, *farm]))

    assert tree.output_of("out/app") == ""
    assert "no work to do" in succeeded(tree.run(["ninja", "-C", "out", "-n"]))
    succeeded(tree.run([*build, "--target", "clean", *farm]))
    assert not (tree.build / "out/app").exists()


@pytest.mark.needs("meson")
def test_meson_configures_and_compiles_with_it(tree: Tree, wrapper: Path, token: str, shared_farm: Farm) -> None:
    tree.write(
        {
            "meson.build": "project('drop-in', 'c')\nexecutable('app', 'main.c')\n",
            "main.c": f"int main(void) {{ return 0; }} int t{token};\n",
        }
    )
    tree.environment["NINJA"] = str(wrapper)
    succeeded(tree.run(["meson", "setup", "out"]))

    text = succeeded(tree.run(["meson", "compile", "-C", "out", f"--ninja-args=--coordinator={shared_farm.endpoint}"]))

    assert "2 actions, 0 cache hits, 2 remote, 0 local" in text
    assert tree.output_of("out/app") == ""


def test_its_version_is_that_of_the_ninja_that_is_installed(tree: Tree) -> None:
    assert tree.zbuild_plain("--version").stdout == tree.ninja("--version").stdout


def test_ninjas_tools_are_ninjas(tree: Tree) -> None:
    tree.manifest("build a b: sh\n  cmd = touch a b\nbuild c: phony a\n")
    assert tree.zbuild_plain("-t", "targets", "all").stdout == tree.ninja("-t", "targets", "all").stdout
    assert tree.zbuild_plain("-tcommands", "c").stdout == "touch a b\n"
    assert tree.zbuild_plain("-t", "no-such-tool").exit_code == 1


def test_a_tool_without_a_ninja_is_refused_by_name(tree: Tree) -> None:
    tree.manifest("build a: sh\n  cmd = touch a\n")
    tree.environment["PATH"] = str(tree.root)
    run = tree.zbuild_plain("-t", "targets")
    assert run.exit_code == 2
    assert "-t targets is a tool of ninja's own, and no ninja is installed" in run.stderr
    assert tree.zbuild_plain("--version").stdout == "1.11.1\n"


def test_a_link_named_ninja_to_the_launcher_is_not_taken_for_ninja(tree: Tree) -> None:
    (tree.root / "zbuild-ninja").write_text("#!/bin/sh\nexit 9\n")
    (tree.root / "zbuild-ninja").chmod(0o755)
    (tree.root / "ninja").symlink_to("zbuild-ninja")
    tree.manifest("build a: sh\n  cmd = touch a\n")
    tree.environment["PATH"] = f"{tree.root}:{os.environ['PATH']}"
    assert tree.zbuild_plain("-t", "targets", "all").stdout == "a: sh\n"


def test_a_load_limit_holds_work_back_and_never_all_of_it(tree: Tree, token: str) -> None:
    tree.manifest("".join(f"build o{n}: sh\n  cmd = echo {token} > o{n}\n" for n in range(3)))
    assert tree.zbuild("-l", "0.000001", "-j4").all_remote


def test_a_phony_cycle_is_an_error_where_that_is_asked_for(tree: Tree) -> None:
    tree.manifest("build a: phony a\nbuild b: phony a\ndefault b\n")
    assert tree.zbuild_plain().exit_code == 0
    ours, theirs = tree.zbuild_plain("-w", "phonycycle=err"), tree.ninja("-w", "phonycycle=err")
    assert (ours.exit_code, theirs.exit_code) == (1, 1)
    assert "dependency cycle: a -> a" in ours.stderr
    assert tree.zbuild_plain("-w", "nonsense").exit_code == 2


def test_all_paths_are_seen_from_the_directory_that_is_changed_to(tmp_path: Path, shared_farm: Farm) -> None:
    """--config was read from where zbuild was started, --cache-dir from -C."""
    tree = Tree(tmp_path)
    inner = Tree(tmp_path / "inner")
    inner.write({"client.toml": f'coordinator = "{shared_farm.endpoint}"\n'})
    inner.manifest("build a: sh\n  cmd = touch a\n")

    run = tree.zbuild("-C", "inner", "--config", "client.toml", "--cache-dir", "cache")

    assert run.all_remote, run.stderr
    assert (inner.build / "cache").is_dir()
    assert inner.is_up_to_date()
