"""Platform properties: equal where the packages are equal, and different as soon as anything that matters is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.inputs.file_clock import wait_for_tick
from zbuild import limits
from zbuild.inputs import tree_digest
from zbuild.inputs.toolchain import Toolchain
from zbuild.inputs.tree_digest import digest_of_trees


class Machine:
    """A directory with a compiler, and the answers it would give."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.questions: list[Sequence[str]] = []
        files = {
            "include/stdio.h": "int printf();",
            "include/sys/types.h": "",
            "gcc/12/libgcc.a": "a",
            "gcc/12/cc1": "compiler",
            "gcc/12/include/stddef.h": "",
            "lib/crt1.o": "crt",
        }
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (root / "bin").mkdir(exist_ok=True)
        shutil.copy("/bin/true", root / "bin/gcc")
        self.compiler = f"{root}/bin/gcc"
        self.property = f"tool:{self.compiler}"

    def run(self, argv: Sequence[str]) -> tuple[int, str, str]:
        self.questions.append(argv)
        question = argv[1] if len(argv) == 2 else ""
        if question == "-print-libgcc-file-name":
            return 0, f"{self.root}/gcc/12/libgcc.a\n", ""
        if question == "-print-prog-name=cc1":
            return 0, f"{self.root}/gcc/12/cc1\n", ""
        if question == "-print-file-name=crt1.o":
            return 0, f"{self.root}/lib/../lib/crt1.o\n", ""
        if question == "-print-search-dirs":
            return 0, f"install: x\nlibraries: ={self.root}/lib/:{self.root}/none/\n", ""
        if question.startswith("-print"):
            return 0, question.partition("=")[2] + "\n", ""
        if "-v" in argv:
            block = f" {self.root}/gcc/12/include\n {self.root}/include\nEnd of search list.\n"
            ignored = f'ignoring nonexistent directory "{self.root}/local"\n'
            return 0, "", ignored + '#include "..." search starts here:\n#include <...> search starts here:\n' + block
        return 1, "", "unknown question"

    def value(self, toolchain: Toolchain | None = None) -> str | None:
        """The compiler's fingerprint. What is changed after this call has later times."""
        value = (toolchain or Toolchain(run=self.run)).evaluate_property(self.property)
        wait_for_tick(self.root.parent)
        return value


@pytest.fixture(autouse=True)
def _files_age_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_digest, "COARSE_RACY_WINDOW_NS", -(10**12))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "m")


def test_os_and_architecture() -> None:
    toolchain = Toolchain()
    assert toolchain.evaluate_property("os") == "linux"
    assert toolchain.evaluate_property("arch") == os.uname().machine


@pytest.mark.parametrize(
    "name", ["", "gpu", "tool:relative", "tool:", "file:", "tool:/does/not/exist", "file:/none", "tool:/etc"]
)
def test_what_this_machine_has_not_is_none(name: str) -> None:
    assert Toolchain().evaluate_property(name) is None


def test_files_that_cannot_be_executed_are_no_tools(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("#!/bin/sh\n")
    assert Toolchain().evaluate_property(f"tool:{tmp_path}/x") is None


def test_the_same_packages_give_the_same_fingerprint(machine: Machine) -> None:
    """Other inodes and other times: another machine."""
    before = machine.value()
    shutil.rmtree(machine.root)
    assert Machine(machine.root).value() == before is not None


@pytest.mark.parametrize(
    "name", ["bin/gcc", "gcc/12/cc1", "include/stdio.h", "include/sys/types.h", "lib/crt1.o", "gcc/12/include/stddef.h"]
)
def test_a_change_in_place_is_seen_at_the_next_build(machine: Machine, tmp_path: Path, name: str) -> None:
    """Table: compiler upgraded in place. The size stays, and the mtime is put back."""
    toolchain = Toolchain(str(tmp_path / "cache"), machine.run)
    before = machine.value(toolchain)
    toolchain.save()
    path = machine.root / name
    times = path.stat()
    data = bytearray(path.read_bytes() or b"x")
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert machine.value(toolchain) == before, "values hold for the length of a build"
    toolchain.revalidate()
    assert machine.value(toolchain) != before
    assert machine.value(Toolchain(str(tmp_path / "cache"), machine.run)) != before


@pytest.mark.parametrize("name", ["include/new.h", "include/sys/new.h", "local/shadow.h", "gcc/12/cc1plus"])
def test_what_is_added_is_seen(machine: Machine, name: str) -> None:
    """Also in a directory that the compiler would search if it existed."""
    toolchain = Toolchain(run=machine.run)
    before = machine.value(toolchain)
    (machine.root / name).parent.mkdir(exist_ok=True)
    (machine.root / name).write_text("x")
    toolchain.revalidate()
    assert machine.value(toolchain) != before


def test_what_is_removed_is_seen(machine: Machine) -> None:
    toolchain = Toolchain(run=machine.run)
    before = machine.value(toolchain)
    (machine.root / "include/sys/types.h").unlink()
    toolchain.revalidate()
    assert machine.value(toolchain) != before


def test_a_tool_that_goes_away_has_no_value(machine: Machine) -> None:
    toolchain = Toolchain(run=machine.run)
    assert machine.value(toolchain) is not None
    os.unlink(machine.compiler)
    toolchain.revalidate()
    assert machine.value(toolchain) is None


def test_nothing_is_asked_or_read_again_while_nothing_changes(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Toolchain(str(tmp_path / "cache"), machine.run)
    before = machine.value(first)
    directories = first.search_directories(machine.compiler)
    first.save()
    machine.questions.clear()
    monkeypatch.setattr(tree_digest, "_content_hash", lambda path: pytest.fail(f"{path} was read again"))
    second = Toolchain(str(tmp_path / "cache"), machine.run)
    assert machine.value(second) == before
    assert second.search_directories(machine.compiler) == directories
    assert machine.questions == []


def test_files_changed_a_moment_ago_are_read_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their times might not show another change within the same tick."""
    monkeypatch.setattr(tree_digest, "COARSE_RACY_WINDOW_NS", 10**12)
    first = Toolchain(str(tmp_path / "cache"), machine.run)
    before = machine.value(first)
    first.save()
    reads: list[str] = []
    real = tree_digest._content_hash

    def counted(path: str) -> bytes:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(tree_digest, "_content_hash", counted)
    assert machine.value(Toolchain(str(tmp_path / "cache"), machine.run)) == before
    assert reads != []


def test_a_damaged_cache_is_an_empty_one(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"zbuild-toolchain-1\n" + b"\0" * 500)
    assert machine.value(Toolchain(str(tmp_path / "cache"), machine.run)) == machine.value()


def test_search_directories(machine: Machine) -> None:
    found = Toolchain(run=machine.run).search_directories(machine.compiler, "c")
    assert found is not None
    assert found.include == (f"{machine.root}/gcc/12/include", f"{machine.root}/include")
    assert found.absent == (f"{machine.root}/local",)
    assert found.library == (os.path.realpath(machine.root / "lib"),)


def test_a_compiler_that_does_not_answer_has_no_search_directories(machine: Machine) -> None:
    assert Toolchain(run=lambda argv: (1, "", "")).search_directories(machine.compiler) is None


def test_a_wrapper_script_answers_for_the_compiler_it_runs(machine: Machine) -> None:
    wrapper = machine.root / "wrapper/cc"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {machine.compiler} -Dx "$@"\n')
    wrapper.chmod(0o755)
    toolchain = Toolchain(run=machine.run)
    seen = {toolchain.evaluate_property(f"tool:{wrapper}")}
    for path, text in ((machine.root / "gcc/12/cc1", "compiler 2"), (wrapper, wrapper.read_text() + "\n")):
        wait_for_tick(machine.root.parent)
        path.write_text(text)
        toolchain.revalidate()
        seen.add(toolchain.evaluate_property(f"tool:{wrapper}"))
    assert len(seen) == 3
    assert None not in seen


def test_a_script_answers_for_its_interpreter(tmp_path: Path) -> None:
    shutil.copy("/bin/true", tmp_path / "interpreter")
    script = tmp_path / "script"
    script.write_text(f"#!{tmp_path}/interpreter -x\n")
    script.chmod(0o755)
    toolchain = Toolchain(run=lambda argv: (1, "", ""))
    before = toolchain.evaluate_property(f"tool:{script}")
    wait_for_tick(tmp_path)
    with open(tmp_path / "interpreter", "ab") as stream:
        stream.write(b"x")
    toolchain.revalidate()
    assert toolchain.evaluate_property(f"tool:{script}") != before


def test_a_directory_property_covers_the_tree(tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/x").write_text("1")
    toolchain = Toolchain()
    name = f"file:{tmp_path}/d"
    before = toolchain.evaluate_property(name)
    wait_for_tick(tmp_path)
    (tmp_path / "d/e/__pycache__").mkdir()
    (tmp_path / "d/e/__pycache__/x.pyc").write_text("1")
    toolchain.revalidate()
    assert toolchain.evaluate_property(name) == before
    (tmp_path / "d/e/x").write_text("2")
    toolchain.revalidate()
    assert toolchain.evaluate_property(name) != before


def test_symbolic_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x").write_text("1")
    (tmp_path / "a/loop").symlink_to(".")
    (tmp_path / "a/b").symlink_to("../b")
    (tmp_path / "a/dangling").symlink_to("nowhere")
    first = digest_of_trees([f"{tmp_path}/a"])
    (tmp_path / "b/x").write_text("2")
    second = digest_of_trees([f"{tmp_path}/a"])
    assert first is not None and second is not None
    assert first.digest != second.digest


def test_a_tree_without_end_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FINGERPRINT_FILES", 2)
    for name in "abc":
        (tmp_path / name).write_text(name)
    assert digest_of_trees([str(tmp_path)]) is None


def test_names_asked_by_peers_are_not_kept_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVALUATED_PROPERTIES", 5)
    toolchain = Toolchain()
    for number in range(20):
        toolchain.evaluate_property(f"file:/none/{number}")
    assert len(toolchain._values) <= 5
