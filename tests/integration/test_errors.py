"""Bad input: a clear error that names the thing, a documented exit code, and nothing half written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.integration.tree import Tree, finish, run_zbuild
from tests.polling import wait_until

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")

MANIFEST_ERRORS = {
    "unknown target": ("build app: phony\n", ["apd"], "unknown target 'apd', did you mean 'app'?"),
    "cycle": ("build a: sh b\nbuild b: sh a\n", ["a"], "dependency cycle: a -> b -> a"),
    "missing source": (
        "build app: sh nowhere.c\n",
        [],
        "'nowhere.c', needed by 'app', missing and no known rule to make it",
    ),
    "two edges, one file": ("build app: sh\nbuild app: sh\n", [], "multiple rules generate app"),
    "unknown rule": ("build app: compile a.c\n", [], "unknown build rule 'compile'"),
    "no default": ("build a: phony b\nbuild b: phony a\n", [], "could not determine root nodes of build graph"),
}


@pytest.mark.parametrize("name", MANIFEST_ERRORS)
def test_a_graph_that_ninja_refuses_is_refused_in_the_same_words(tree: Tree, name: str) -> None:
    text, targets, message = MANIFEST_ERRORS[name]
    tree.manifest(text)
    before = sorted(os.listdir(tree.build))

    run = tree.zbuild_plain(*targets)
    theirs = tree.ninja(*targets)

    assert run.exit_code == theirs.exit_code == 1
    assert message in run.stderr
    assert message in theirs.stdout + theirs.stderr
    assert set(os.listdir(tree.build)) - set(before) <= {".ninja_log", ".ninja_deps"}


def test_a_malformed_manifest_is_shown_with_file_line_and_caret_as_ninja_does(tree: Tree) -> None:
    (tree.build / "build.ninja").write_text("rule cc\n  command = gcc\nbuild a.o cc a.c\n")

    run = tree.zbuild_plain()
    theirs = tree.ninja().stderr

    assert run.exit_code == 1
    shown = theirs.partition("ninja: error: ")[2].strip()
    assert shown.startswith("build.ninja:3:")
    assert shown in run.stderr


def test_no_manifest_names_the_file(tree: Tree) -> None:
    run = tree.zbuild_plain()

    assert run.exit_code == 1
    assert "build.ninja" in run.stderr
    assert os.listdir(tree.build) == []


@pytest.mark.parametrize(
    "flags", [["--no-such-flag"], ["-j", "many"], ["-j", "-1"], ["-k", "x"], ["--local-workers", "x"]]
)
def test_a_wrong_flag_is_a_usage_error(tree: Tree, flags: list[str]) -> None:
    tree.manifest("build a: phony\n")

    run = tree.zbuild_plain(*flags)

    assert run.exit_code == 2
    assert flags[0].lstrip("-") in run.stderr


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(tmp_path: Path) -> None:
    run = run_zbuild("biuld", cwd=tmp_path)

    assert run.exit_code == 2
    assert "'biuld'; did you mean 'build'?" in run.stderr


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    run = run_zbuild("build", "-C", "no-such-dir", cwd=tmp_path)

    assert run.exit_code == 2
    assert "'no-such-dir': No such file or directory" in run.stderr


@pytest.mark.parametrize("command", ["build", "status"])
def test_a_mistyped_key_of_a_configuration_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "client.toml").write_text('cordinator = "http://127.0.0.1:1"\n')

    run = run_zbuild(command, "--config", "client.toml", cwd=tmp_path)

    assert run.exit_code == 2
    assert "client.toml: unknown key 'cordinator'; did you mean 'coordinator'?" in run.stderr


def test_a_value_out_of_range_is_named(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text('priority = "urgent"\n')

    run = run_zbuild("build", "--config", "client.toml", cwd=tmp_path)

    assert run.exit_code == 2
    assert re.search(r"priority must be one of low, normal, high, critical, not 'urgent'", run.stderr)


def test_a_sandbox_level_that_does_not_exist_is_refused_and_not_weakened(tree: Tree) -> None:
    tree.manifest("build a: sh\n  cmd = touch a\n")

    run = tree.zbuild_plain("--sandbox", "airtight")

    assert run.exit_code == 2
    assert "sandbox must be one of hermetic, " in run.stderr
    assert not (tree.build / "a").exists()


def test_two_zbuilds_in_one_directory_keep_out_of_each_others_way(tree: Tree, token: str) -> None:
    tree.manifest(f"build a: sh\n  cmd = sleep 2; echo {token} > a\n")
    first = tree.start()
    wait_until((tree.build / ".ninja_lock").exists, "the first build to begin")

    second = tree.zbuild_plain()

    assert second.exit_code == 9
    assert f"another zbuild is building in {tree.build}" in second.stderr
    assert finish(first).exit_code == 0
    assert tree.text("a") == f"{token}\n"
    assert tree.zbuild_plain().exit_code == 0


def test_a_command_that_does_not_make_all_its_outputs_has_the_last_word_here_as_with_ninja(
    tree: Tree, token: str
) -> None:
    tree.manifest(f"build a b: sh\n  cmd = echo {token} > a\n")

    run = tree.zbuild()

    assert run.exit_code == 0
    assert run.summary["local_reasons"] == {"did not make all its outputs in the sandbox": 1}
    assert tree.text("a") == f"{token}\n"
    assert tree.ninja("-n").stdout.count("echo") == 1


def test_a_build_directory_that_cannot_be_written_to_says_so(tree: Tree, token: str) -> None:
    tree.write({"a/b": "a file where a directory is needed"})
    tree.manifest(f"build a/b/c: sh\n  cmd = echo {token} > a/b/c\n")

    run = tree.zbuild_plain()

    assert run.exit_code not in (0, 37)
    assert "a/b" in run.stdout + run.stderr
    assert "Traceback" not in run.stderr


def test_a_cache_directory_that_cannot_be_used_is_named(embedded_tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    embedded_tree.manifest("build a: sh\n  cmd = touch a\n")

    run = embedded_tree.zbuild_plain("--cache-dir", str(tmp_path / "file"))

    assert run.exit_code == 36
    assert str(tmp_path / "file") in run.stderr
    assert "Traceback" not in run.stderr
