"""A result on its way into the build directory: only what was asked for, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.inputs.build_tree import BuildTree
from zbuild.client.result_files import ResultFiles
from zbuild.digest import EMPTY, of_bytes
from zbuild.errors import BadInput, OutputMissing, ZbuildError
from zbuild.model.action import ActionResult, OutputFile, OutputKind, ResultStatus

DATA = b"data"


@pytest.fixture
def tree(tmp_path: Path) -> BuildTree:
    tree = BuildTree(tmp_path)
    tree.write("a.txt", "a")
    return tree


def bring_home(tree: BuildTree, *outputs: OutputFile) -> None:
    """The result of a command that makes ``out``, a file or a directory."""
    analysis = tree.remote("cp ../a.txt out", "out")
    files = ResultFiles()
    result = ActionResult(status=ResultStatus.SUCCESS, outputs=outputs)
    try:
        for _, sink in files.open(result, "", False, analysis, tree.context):
            sink.write(DATA)
            sink.commit()
        files.publish()
    except ZbuildError:
        files.discard()
        raise


def made(tree: BuildTree, path: str) -> OutputFile:
    return OutputFile(tree.context.roots.to_canonical(str(tree.build / path)), OutputKind.FILE, of_bytes(DATA))


def linked(tree: BuildTree, path: str, target: str) -> OutputFile:
    there = tree.context.roots.to_canonical(str(tree.build / path))
    return OutputFile(there, OutputKind.SYMLINK, EMPTY, False, target)


def test_files_below_a_declared_directory_come_home(tree: BuildTree) -> None:
    bring_home(tree, made(tree, "out/b"), made(tree, "out/c/d"), linked(tree, "out/link", "b"))
    assert (tree.build / "out/c/d").read_bytes() == DATA
    assert (tree.build / "out/link").read_bytes() == DATA


@pytest.mark.parametrize("path", ["other", "out/../other", "../a.txt"])
def test_an_output_that_was_not_asked_for_is_refused(tree: BuildTree, path: str) -> None:
    with pytest.raises(BadInput, match=r"not asked for|contains '\.\.'"):
        bring_home(tree, made(tree, "out"), OutputFile(f"{_root(tree)}/{path}", OutputKind.FILE, of_bytes(DATA)))
    assert not (tree.build / "out").exists()


@pytest.mark.parametrize("keeps_depfile", [True, False])
def test_a_depfile_has_the_users_paths_and_is_written_only_for_who_reads_it_there(
    tree: BuildTree, keeps_depfile: bool
) -> None:
    depfile = str(tree.build / "out.d")
    canonical = tree.context.roots.to_canonical
    data = f"out: {canonical(str(tree.source / 'a.txt'))}\n".encode()
    analysis = tree.remote("cp ../a.txt out", "out", "out.d")
    output = OutputFile(canonical(depfile), OutputKind.FILE, of_bytes(data))
    files = ResultFiles()
    result = ActionResult(status=ResultStatus.SUCCESS, outputs=(made(tree, "out"), output))
    wanted = files.open(result, depfile, False, analysis, tree.context, keeps_depfile=keeps_depfile)
    for digest, sink in wanted:
        sink.write(data if digest == output.digest else DATA)
        sink.commit()
    files.publish()
    respelt = f"out: {tree.source / 'a.txt'}\n".encode()
    if keeps_depfile:
        assert files.depfile is None
        assert Path(depfile).read_bytes() == respelt
    else:
        assert files.depfile == respelt
        assert not Path(depfile).exists()


def test_an_output_that_was_asked_for_is_missed(tree: BuildTree) -> None:
    with pytest.raises(OutputMissing, match="out"):
        bring_home(tree)


@pytest.mark.parametrize("bad", ["path", "target"])
def test_a_nul_is_refused(tree: BuildTree, bad: str) -> None:
    """It ended the build with a traceback."""
    output = made(tree, "out/b\0c") if bad == "path" else linked(tree, "out", "a\0b")
    with pytest.raises(BadInput, match="NUL"):
        bring_home(tree, output)


def test_no_result_is_written_through_a_symlink_out_of_the_build_directory(tree: BuildTree) -> None:
    """A first result makes the symlink, and a second one would write behind it."""
    elsewhere = tree.source / "elsewhere"
    elsewhere.mkdir()
    bring_home(tree, made(tree, "out/b"), linked(tree, "out/link", str(elsewhere)))
    with pytest.raises(OutputMissing, match="symlink here"):
        bring_home(tree, made(tree, "out/link/profile"))
    assert not any(elsewhere.iterdir())


def _root(tree: BuildTree) -> str:
    return tree.context.roots.to_canonical(str(tree.build))
