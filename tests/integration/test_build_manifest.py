"""The ninja language at work on a farm: what each construct makes run, and that ninja agrees afterwards."""

from __future__ import annotations

import os

import pytest

from tests.integration.tree import Tree

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")


def test_build_ninja_is_made_anew_by_its_generator_and_read_again(tree: Tree, token: str) -> None:
    tree.write(
        {
            "configure.sh": f"""
                cat > build.ninja <<'END'
                rule configure
                  command = sh configure.sh
                  generator = 1
                rule sh
                  command = $cmd
                build build.ninja: configure | configure.sh
                build old-name: sh
                  cmd = echo {token} > old-name
                END
                """
        }
    )
    tree.run(["sh", "configure.sh"])
    first = tree.zbuild()
    assert first.exit_code == 0
    assert (tree.build / "old-name").exists()

    tree.edit("configure.sh", "old-name", "new-name")
    run = tree.zbuild()

    assert run.exit_code == 0
    assert run.summary["local_reasons"] == {"generator": 1}
    assert tree.text("new-name") == f"{token}\n"
    assert tree.is_up_to_date()


def test_minus_n_shows_only_that_the_manifest_would_be_made_anew_as_with_ninja(tree: Tree) -> None:
    """What the new one will say nobody knows."""
    tree.write({"template": ""})
    tree.manifest(
        """
        build build.ninja: sh template
          cmd = touch build.ninja
          generator = 1
        build other: sh
          cmd = touch other
        """
    )
    os.utime(tree.build / "build.ninja", (1, 1))

    theirs, ours = tree.ninja("-n"), tree.zbuild_plain("-n")

    assert (ours.exit_code, ours.stderr) == (theirs.exit_code, theirs.stdout) == (0, "[1/1] touch build.ninja\n")


def test_a_generator_that_fails_ends_the_build(tree: Tree) -> None:
    tree.write({"input": ""})
    tree.manifest(
        "build build.ninja: sh input\n  cmd = echo no luck; exit 1\n  generator = 1\nbuild x: sh\n  cmd = touch x\n"
    )
    (tree.root / "input").touch()
    tree.edit("input", "", "newer")

    run = tree.zbuild_plain("x")

    assert run.exit_code == 1
    assert "no luck" in run.stdout
    assert not (tree.build / "x").exists()


def test_a_command_of_the_console_pool_runs_here_and_alone(tree: Tree) -> None:
    tree.manifest("build shown: sh\n  cmd = echo straight to the terminal; touch shown\n  pool = console\n")

    run = tree.zbuild_plain()

    assert run.stdout == "straight to the terminal\n"
    assert "1 local (1 console)" in run.stderr


def test_restat_prunes_what_depends_on_an_unchanged_output(tree: Tree, token: str) -> None:
    tree.write({"source": f"{token}\nnoise"})
    tree.manifest(
        """
        build head: sh source
          cmd = head -n 1 source > head
          restat = 1
        build late: sh head
          cmd = cp head late
        """
    )
    assert tree.zbuild().summary["actions"] == 2
    tree.edit("source", "noise", "other noise")

    run = tree.zbuild()

    assert run.summary["actions"] == 1
    assert tree.text("late") == f"{token}\n"
    assert tree.is_up_to_date()


def test_dyndep_adds_the_inputs_that_it_names(tree: Tree, token: str) -> None:
    tree.write({"needed.txt": token})
    tree.manifest(
        """
        build deps.dd: sh
          cmd = printf 'ninja_dyndep_version = 1\\nbuild out: dyndep | extra\\n' > deps.dd
        build extra: sh needed.txt
          cmd = cp needed.txt extra
        build out: sh || deps.dd
          cmd = cat extra > out
          dyndep = deps.dd
        """
    )
    run = tree.zbuild("out")

    assert run.exit_code == 0, run.stdout + run.stderr
    assert tree.text("out") == token
    assert tree.is_up_to_date()


def test_validations_are_built_with_what_they_validate(tree: Tree, token: str) -> None:
    tree.write({"source": token})
    tree.manifest(
        """
        build out: sh source |@ check
          cmd = cp source out
        build check: sh source
          cmd = grep -q . source && touch check
        """
    )
    assert tree.zbuild("out").summary["actions"] == 2
    assert (tree.build / "check").exists()


def test_a_pool_bounds_how_many_of_its_commands_run_at_once(tree: Tree) -> None:
    """Each command fails if it meets another one of its pool; as generators, they run here and could."""
    commands = "".join(f"build p{number}: alone\n" for number in range(4))
    tree.manifest(
        f"""
        pool one
          depth = 1
        rule alone
          command = mkdir {tree.build}/held && sleep 0.05 && rmdir {tree.build}/held && touch $out
          pool = one
          generator = 1
        """
    )
    with open(tree.build / "build.ninja", "a") as file:
        file.write(commands)

    assert tree.zbuild("-j4").exit_code == 0


def test_scopes_includes_and_escapes(tree: Tree, token: str) -> None:
    tree.write(
        {
            "common.ninja": "rule copy\n  command = cp $in $out\nname = from include\n",
            "sub.ninja": f"name = {token}\nbuild sub.txt: copy a$ file\n",
            "a file": "spaces\n",
        }
    )
    (tree.build / "build.ninja").write_text(
        "include common.ninja\nsubninja sub.ninja\nrule say\n  command = echo '$name' '$$x' > $out\nbuild said: say\n"
    )
    run = tree.zbuild()

    assert run.exit_code == 0, run.stdout
    assert tree.text("sub.txt") == "spaces\n"
    assert tree.text("said") == "from include $x\n"


def test_implicit_and_several_outputs_all_come_back(tree: Tree, token: str) -> None:
    tree.manifest(f"build a b | c: sh\n  cmd = echo {token} | tee a b > c\n")

    assert tree.zbuild().all_remote
    assert [tree.text(name) for name in "abc"] == [f"{token}\n"] * 3


def test_an_executable_output_stays_executable_and_others_do_not_become_it(tree: Tree, token: str) -> None:
    tree.manifest(f"build run.sh plain: sh\n  cmd = echo 'echo {token}' | tee run.sh > plain; chmod +x run.sh\n")

    assert tree.zbuild().all_remote
    assert (tree.build / "run.sh").stat().st_mode & 0o111
    assert not (tree.build / "plain").stat().st_mode & 0o111


def test_a_symlink_among_the_outputs_stays_one(tree: Tree, token: str) -> None:
    tree.manifest(
        f"""
        build lib.so.1: sh
          cmd = echo {token} > lib.so.1
        build lib.so: sh lib.so.1
          cmd = ln -sf lib.so.1 lib.so
        """
    )
    assert tree.zbuild().exit_code == 0
    assert (tree.build / "lib.so").is_symlink()
    assert tree.text("lib.so") == f"{token}\n"
    assert tree.is_up_to_date()


def test_builddir_keeps_the_logs(tree: Tree, token: str) -> None:
    tree.manifest(f"builddir = logs\nbuild x: sh\n  cmd = echo {token} > x\n")
    tree.zbuild()

    assert (tree.build / "logs/.ninja_log").exists()
    assert not (tree.build / ".ninja_log").exists()
    assert tree.is_up_to_date()


def test_a_changed_command_runs_again_and_an_unchanged_one_does_not(tree: Tree, token: str) -> None:
    tree.manifest(f"build x: sh\n  cmd = echo {token} > x\n")
    tree.zbuild()
    tree.manifest(f"build x: sh\n  cmd = echo {token} again > x\n")

    assert tree.zbuild().summary["actions"] == 1
    assert tree.text("x") == f"{token} again\n"
    assert tree.zbuild().summary["actions"] == 0


def test_a_depfile_of_a_custom_command_brings_the_command_back_when_its_input_changes(tree: Tree, token: str) -> None:
    tree.write({"gen.sh": "cat list.txt > out\necho 'out: list.txt' > out.d\n", "list.txt": token})
    tree.manifest("build out: sh gen.sh\n  cmd = sh gen.sh\n  depfile = out.d\n  deps = gcc\n")
    assert tree.zbuild().exit_code == 0
    tree.edit("list.txt", token, f"{token} more")

    assert tree.zbuild().summary["actions"] == 1
    assert tree.text("out") == f"{token} more"
