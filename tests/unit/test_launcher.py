"""bin/zbuild and its two links find their own checkout and hand their arguments on untouched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(__file__).resolve().parents[2] / "bin"

MODULES = {
    "main": "import json, os, sys\ndef run():\n    print('client', os.getcwd(), sys.argv, sys.path[0])\n    return 5\n",
    "broker": "import sys\ndef main():\n    print('broker', sys.argv)\n    return 6\n",
    "worker": "import sys\ndef main():\n    print('worker', sys.argv)\n    return 7\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The real bin/ beside a zbuild that only says how it was called."""
    root = tmp_path / "check out"
    shutil.copytree(BIN, root / "bin", symlinks=True)
    (root / "zbuild" / "cli").mkdir(parents=True)
    (root / "zbuild" / "__init__.py").write_text("")
    (root / "zbuild" / "cli" / "__init__.py").write_text("")
    for name, text in MODULES.items():
        (root / "zbuild" / "cli" / f"{name}.py").write_text(text)
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return root


def _run(program: Path | str, *arguments: str, cwd: Path | None = None) -> tuple[int, str]:
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def test_each_name_is_its_own_program(checkout: Path) -> None:
    assert _run(checkout / "bin" / "zbuild-broker", "--port", "1") == (6, "broker ['zbuild-broker', '--port', '1']")
    assert _run(checkout / "bin" / "zbuild-worker") == (7, "worker ['zbuild-worker']")


def test_arguments_exit_code_and_current_directory_pass_through(checkout: Path, tmp_path: Path) -> None:
    arguments = ["a b", "", "$x;'\"", "-c"]
    code, said = _run(checkout / "bin" / "zbuild", *arguments, cwd=tmp_path)
    assert (code, said) == (5, f"client {tmp_path} {['zbuild', *arguments]} {checkout}")


@pytest.mark.parametrize("spelling", ["bin/zbuild", "./bin/zbuild", "../check out/bin/zbuild"])
def test_it_is_found_by_a_relative_path(checkout: Path, spelling: str) -> None:
    assert _run(spelling, cwd=checkout)[1].endswith(f" {checkout}")


def test_it_is_found_by_way_of_a_link_and_of_path(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "zbuild").symlink_to(checkout / "bin" / "zbuild")
    assert _run(tmp_path / "links" / "zbuild")[1].endswith(f" {checkout}")
    done = subprocess.run(
        ["zbuild"],
        env={**os.environ, "PATH": f"{checkout}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith(f" {checkout}")
    done = subprocess.run(["sh", "zbuild"], cwd=checkout / "bin", capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith(f" {checkout}")


def test_modules_of_the_current_directory_are_not_imported(checkout: Path, tmp_path: Path) -> None:
    for name in ("json.py", "zbuild.py"):
        (tmp_path / name).write_text("raise SystemExit('hijacked')")
    assert _run(checkout / "bin" / "zbuild", cwd=tmp_path)[0] == 5
