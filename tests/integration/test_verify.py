"""``zbuild verify`` on farms of real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.farm import Farm, running_farm
from tests.integration.tree import Run, Tree, run_zbuild

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")

MANIFEST = """
    build constant: sh in.txt
      cmd = cat in.txt > constant
    build chance: sh constant
      cmd = cat constant /proc/sys/kernel/random/uuid > chance
    build a.o: cc a.c
    build late.a: sh a.o
      cmd = rm -f late.a && ar qcD late.a a.o && cat /proc/sys/kernel/random/uuid > note && ar qD late.a note
    build other: sh late.a
      cmd = test -s late.a && echo > other
    """


def verify(tree: Tree, *arguments: str) -> Run:
    return run_zbuild("verify", *tree.farm_flags, *arguments, cwd=tree.build, env=tree.environment)


@pytest.fixture
def built(tree: Tree, token: str) -> Tree:
    """A built tree, two of whose five commands are left to chance."""
    tree.write({"in.txt": f"first\n{token} ", "a.c": f"int t{token};\n"})
    tree.manifest(MANIFEST)
    run = tree.zbuild()
    assert run.exit_code == 0, run.stderr
    return tree


def test_differences_are_found_and_named(built: Tree, shared_farm: Farm, token: str) -> None:
    before = {path: path.read_bytes() for path in built.build.iterdir()}
    entries = shared_farm.status()["cache_entries"]
    run = verify(built, "--json")

    assert run.exit_code == 1, run.stderr
    report = run.summary
    assert (report["actions"], report["identical"], report["different"]) == (5, 3, 2)
    assert sorted(report["workers"]) == ["worker-1", "worker-2"]
    chance, late = sorted(report["differences"], key=lambda each: str(each["output"]))
    assert (chance["path"], chance["what"], chance["place"]) == ("chance", "content", "line 2")
    assert chance["offset"] >= len(f"first\n{token} ")
    assert set(chance["runs"]) == {"worker-1", "worker-2"}
    assert all(text.startswith(f"{token} ") for text in chance["runs"].values())
    assert (late["path"], late["place"]) == ("late.a", "member note")
    assert {path: path.read_bytes() for path in built.build.iterdir()} == before, "the build directory is as it was"
    assert shared_farm.status()["cache_entries"] == entries, "nothing was published"


def test_what_is_constant_is_said_to_be(built: Tree, shared_farm: Farm) -> None:
    """Its result is in the cache, and is not taken from there."""
    executed = shared_farm.status()["counters"]["executed"]
    run = verify(built, "constant", "a.o")

    assert (run.exit_code, run.stdout) == (0, "")
    assert "2 actions, 2 identical, 0 different; on 2 workers" in run.stderr
    assert shared_farm.status()["counters"]["executed"] == executed + 4


def test_a_difference_is_shown_to_people(built: Tree) -> None:
    run = verify(built, "chance")

    assert run.exit_code == 1
    assert (
        "DIFFERENT: chance\n  cat constant /proc/sys/kernel/random/uuid > chance\n  chance differs from" in run.stdout
    )
    assert "\n  worker-1  " in run.stdout
    assert "\n  worker-2  " in run.stdout


def test_what_cannot_run_on_workers_is_counted(built: Tree, token: str) -> None:
    built.manifest(
        f"""
        rule here
          command = $cmd
          pool = console
        build c: here
          cmd = echo {token} > c
        build fails: sh
          cmd = exit 3
        """
    )
    (built.build / "fails").write_text("")
    run = verify(built, "--json")

    assert run.exit_code == 0
    assert run.summary["unverified_reasons"] == {"console": 1, "fails on both workers": 1}


def test_one_worker_is_not_enough_and_that_is_said(short_path: Path, tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    tree.manifest("build a: sh\n  cmd = echo > a\n")
    with running_farm(short_path / "f", workers=1) as farm:
        tree.farm_flags = ["--coordinator", farm.endpoint]
        run = verify(tree)

    assert run.exit_code == 32
    assert "on 2 workers, and the farm has 1" in run.stderr


def test_a_tree_that_is_not_built_is_refused(built: Tree) -> None:
    (built.build / "a.o").unlink()
    run = verify(built)

    assert run.exit_code == 2
    assert "late.a needs a.o, which is not there: run zbuild build first" in run.stderr


def test_a_farm_of_its_own_has_two_workers(embedded_tree: Tree, token: str) -> None:
    embedded_tree.manifest(f"build a: sh\n  cmd = echo {token} > a\n")
    run = verify(embedded_tree, "--json")

    assert run.exit_code == 0, run.stderr
    assert (run.summary["identical"], sorted(run.summary["workers"])) == (1, ["local-1", "local-2"])
