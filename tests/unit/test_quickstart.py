"""bin/quickstart says what happened, and fails if the second build was not all hits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import quickstart

SUMMARY = (
    '{"actions": 2, "executed": %d, "cache_hits": %d, "local": %d, "local_reasons": {"console": %d}, '
    '"wall_seconds": 1.5, "sandbox": "hermetic"}'
)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build directory that ninja accepts, with one output in it."""
    directory = tmp_path / "build"
    directory.mkdir()
    (directory / "build.ninja").write_text("rule touch\n  command = touch $out\nbuild out: touch\n")
    (directory / "out").write_text("")
    return directory


def _install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Puts a zbuild that is ``script`` in the place of ours."""
    program = tmp_path / "bin" / "zbuild"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    monkeypatch.setattr(quickstart, "ROOT", tmp_path)


@pytest.mark.needs("ninja")
def test_both_builds_are_shown_and_each_begins_without_outputs(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the first: where all is built already, it would have nothing to do and put nothing in the cache."""
    first, second = SUMMARY % (2, 0, 0, 0), SUMMARY % (0, 2, 0, 0)
    _install(
        tmp_path,
        monkeypatch,
        f"[ \"$*\" = 'build -C {build} --json' ] && [ ! -e {build}/out ] || exit 3\n"
        f"touch {build}/out\n"
        f"if mkdir {tmp_path}/again; then echo '{first}'; else echo '{second}'; fi\n",
    )
    assert quickstart.main([str(build)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert ["first", "1.50", "s", "2", "2", "0", "0"] in lines
    assert ["second", "1.50", "s", "2", "0", "2", "0"] in lines


@pytest.mark.needs("ninja")
@pytest.mark.parametrize("hits", [0, 1])
def test_a_second_build_that_ran_something_on_the_farm_fails(
    hits: int, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(tmp_path, monkeypatch, f"echo '{SUMMARY % (2 - hits, hits, 0, 0)}'\n")
    assert quickstart.main([str(build)]) == 1
    assert f"the second build ran {2 - hits} actions" in capsys.readouterr().out


@pytest.mark.needs("ninja")
def test_what_can_only_run_here_is_said_and_is_no_failure(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(tmp_path, monkeypatch, f"echo '{SUMMARY % (1, 1, 1, 1)}'\n")
    assert quickstart.main([str(build)]) == 0
    printed = capsys.readouterr().out
    assert "Every action of the second build that a farm can run was a cache hit; 1 ran here (1 console)." in printed


def test_a_build_that_fails_ends_it_with_the_same_code(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(tmp_path, monkeypatch, "exit 36\n")
    assert quickstart.main([str(build)]) == 36
    assert "exited with 36" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["a", "b"], ["--fast"]])
def test_wrong_arguments_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert quickstart.main(arguments) == 2
    assert "usage: bin/quickstart [DIR]" in capsys.readouterr().err
