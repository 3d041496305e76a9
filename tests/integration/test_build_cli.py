"""``zbuild build`` as a drop-in for ninja: its flags, what it prints and where, and its exit codes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.integration.tree import Tree, run_zbuild

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")

SUMMARY_KEYS = {
    "actions",
    "executed",
    "cache_hits",
    "remote",
    "local",
    "local_reasons",
    "failed",
    "retried",
    "stolen",
    "wall_seconds",
    "sandbox",
}


@pytest.fixture
def program(tree: Tree, token: str) -> Tree:
    """Two sources, a header, a program."""
    tree.write(
        {
            "main.c": f'#include <stdio.h>\n#include "part.h"\nint main(void) {{ printf("%d {token}\\n", part()); }}\n',
            "part.c": f'#include "part.h"\nint part(void) {{ return PART; }} /* {token} */\n',
            "part.h": "#define PART 41\nint part(void);\n",
        }
    )
    tree.manifest(
        """
        build main.o: cc main.c
        build part.o: cc part.c
        build app: link main.o part.o
        build all: phony app
        default all
        """
    )
    return tree


@pytest.fixture
def steps(tree: Tree, token: str) -> Tree:
    """Three commands in a row; the second fails as long as there is no file that lets it pass."""
    tree.write({"source.txt": token})
    tree.manifest(
        """
        build one: sh source.txt
          cmd = cp source.txt one
          description = MAKE one
        build two: sh one
          cmd = echo 'this is two' && test -n "$$(grep -v 7 one source.txt)" && exit 3
        build three: sh two
          cmd = cp two three
        build other: sh source.txt
          cmd = cp source.txt other
        """
    )
    return tree


def failing(tree: Tree, count: int) -> None:
    """Commands that all fail, each with its own text."""
    lines = [f"build f{number}: sh\n  cmd = echo says{number}; exit {number + 1}\n" for number in range(count)]
    tree.manifest("".join(lines))


def test_a_program_is_built_and_ninja_has_nothing_to_add(program: Tree, token: str) -> None:
    run = program.zbuild()

    assert run.all_remote
    assert (run.summary["executed"], run.summary["cache_hits"], run.summary["remote"]) == (3, 0, 3)
    assert program.output_of("app") == f"41 {token}\n"
    assert program.is_up_to_date()


def test_json_is_all_of_stdout_and_has_the_documented_keys(program: Tree) -> None:
    run = program.zbuild("-v")

    assert set(json.loads(run.stdout)) >= SUMMARY_KEYS
    assert run.stdout.count("\n") == 1
    assert run.summary["sandbox"] == "hermetic"
    assert 0 < run.summary["wall_seconds"] < 50


def test_progress_and_summary_go_to_stderr(program: Tree) -> None:
    run = program.zbuild_plain()

    assert run.stdout == ""
    assert re.search(r"^\[3/3\] gcc main.o part.o -o app", run.stderr, re.MULTILINE)
    assert re.search(
        r"^zbuild: 3 actions, \d cache hits, \d remote, 0 local, 0 retried; .* sandbox hermetic$", run.stderr, re.M
    )


def test_a_second_build_has_nothing_to_do_and_starts_no_farm(program: Tree, tmp_path: Path) -> None:
    program.zbuild()

    run = program.zbuild("--cache-dir", str(tmp_path / "untouched"))

    assert run.exit_code == 0
    assert "no work to do" in run.stderr
    assert run.summary["actions"] == 0
    assert not (tmp_path / "untouched").exists()


def test_zbuild_has_nothing_to_do_after_ninja(program: Tree) -> None:
    assert program.ninja().exit_code == 0

    assert "no work to do" in program.zbuild().stderr


def test_removed_outputs_are_built_again_from_the_cache_as_in_defect_17(program: Tree) -> None:
    program.zbuild()
    first = (program.build / "app").read_bytes()
    for name in ("app", "main.o", "part.o"):
        (program.build / name).unlink()

    run = program.zbuild()

    assert (run.summary["executed"], run.summary["cache_hits"]) == (0, 3)
    assert (program.build / "app").read_bytes() == first
    assert program.is_up_to_date()


def test_minus_n_shows_what_would_run_and_touches_nothing(program: Tree) -> None:
    before = sorted(os.listdir(program.build))

    run = program.zbuild_plain("-n")

    assert run.exit_code == 0
    assert re.findall(r"^\[(\d/3)\]", run.stderr, re.MULTILINE) == ["1/3", "2/3", "3/3"]
    assert sorted(os.listdir(program.build)) == before


def test_minus_v_shows_commands_where_descriptions_would_be(program: Tree) -> None:
    assert "gcc  -MD -MF part.o.d -c part.c -o part.o" in program.zbuild("-v", "part.o").stderr
    (program.build / "part.o").unlink()

    assert "] CC part.o\n" in program.zbuild("part.o").stderr


def test_minus_d_explain_says_why(program: Tree) -> None:
    program.zbuild()
    program.edit("part.h", "41", "42")

    run = program.zbuild("-d", "explain")

    assert re.search(r"part\.h", "\n".join(line for line in run.stderr.splitlines() if "explain" in line))
    assert run.summary["actions"] == 3


def test_an_unknown_debug_mode_is_refused_by_name(program: Tree) -> None:
    run = program.zbuild_plain("-d", "explian")

    assert run.exit_code == 2
    assert "unknown debug mode 'explian'" in run.stderr


@pytest.mark.parametrize("flags", [["-j1"], ["-j", "1"], ["-j1", "-k0"]])
def test_minus_j_one_runs_one_after_the_other(tree: Tree, token: str, flags: list[str]) -> None:
    """Each command fails if another one is at work in the same moment: they are local, so they can see each other."""
    tree.manifest(
        f"""
        rule alone
          command = mkdir {tree.build}/held && sleep 0.05 && rmdir {tree.build}/held && touch $out
          generator = 1
        build a: alone
        build b: alone
        build c: alone
        """
    )
    run = tree.zbuild(*flags)

    assert run.exit_code == 0, run.stderr
    assert run.summary["local"] == 3


def test_minus_j_zero_puts_no_bound_on_commands(program: Tree) -> None:
    assert program.zbuild("-j0").exit_code == 0


def test_ninja_status_is_honoured(program: Tree) -> None:
    program.environment["NINJA_STATUS"] = "<%f of %t> "

    assert "<3 of 3> gcc" in program.zbuild().stderr


def test_escape_sequences_of_commands_are_dropped_where_there_is_no_terminal(tree: Tree, token: str) -> None:
    tree.manifest(f"build out: sh\n  cmd = printf '\\033[31mred {token}\\033[0m\\n'; touch out\n")

    assert tree.zbuild_plain().stdout == f"red {token}\n"


def test_minus_c_changes_the_directory_first_and_says_so(program: Tree) -> None:
    run = run_zbuild("build", "-C", str(program.build), cwd=program.build.parent, env=program.environment)

    assert run.exit_code == 0
    assert f"Entering directory '{program.build}'" in run.stderr
    assert (program.build / "app").exists()


def test_minus_f_names_the_manifest(program: Tree) -> None:
    (program.build / "build.ninja").rename(program.build / "other.ninja")

    assert program.zbuild("-f", "other.ninja").exit_code == 0
    assert (program.build / "app").exists()


def test_only_the_targets_that_are_named_are_built(program: Tree) -> None:
    run = program.zbuild("part.o")

    assert run.summary["actions"] == 1
    assert not (program.build / "main.o").exists()


def test_a_source_and_a_caret_name_its_first_output(program: Tree) -> None:
    program.zbuild("main.c^")

    assert (program.build / "main.o").exists()


def test_a_failing_command_is_shown_with_its_output_and_ends_the_build(tree: Tree) -> None:
    failing(tree, 1)

    run = tree.zbuild_plain()

    assert run.exit_code == 1
    assert "FAILED: f0\necho says0; exit 1\nsays0\n" in run.stdout
    assert "zbuild: build stopped: subcommand failed." in run.stderr
    assert "1 failed" in run.stderr


def test_after_a_failure_no_new_work_is_begun(steps: Tree) -> None:
    run = steps.zbuild_plain("-j1", "three")

    assert run.exit_code == 1
    assert "this is two" in run.stdout
    assert (steps.build / "one").exists()
    assert not (steps.build / "three").exists()


def test_minus_k_goes_on_until_so_many_have_failed(tree: Tree) -> None:
    failing(tree, 5)

    assert tree.zbuild("-j1").summary["failed"] == 1
    assert tree.zbuild("-j1", "-k2").summary["failed"] == 2
    everything = tree.zbuild("-j1", "-k0")
    assert everything.summary["failed"] == 5
    assert everything.exit_code == 1
    assert "cannot make progress due to previous errors" in everything.stderr


def test_with_minus_k_what_does_not_depend_on_the_failure_is_built(steps: Tree) -> None:
    run = steps.zbuild("-k0")

    assert run.exit_code == 1
    assert (steps.build / "other").exists()
    assert not (steps.build / "three").exists()


def test_a_failing_compile_prints_the_users_own_paths_as_ninja_does(program: Tree) -> None:
    program.edit("part.c", "PART;", f"{program.root}_oops;")
    mine = program.zbuild_plain("part.o").stdout
    theirs = program.ninja("part.o").stdout

    assert "part.c:2:" in mine
    assert "/zb/" not in mine
    assert mine.partition("\n")[2] in theirs


def test_quiet_shows_failures_only(tree: Tree) -> None:
    failing(tree, 1)

    run = tree.zbuild_plain("--quiet")

    assert "says0" in run.stdout
    assert "[" not in run.stderr
