"""The rules that tests/conftest.py holds every run to can fail a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _run(directory: Path, text: str, *flags: str, is_ci: bool = False) -> tuple[int, str]:
    """The exit code and the output of a run of one file under our conftest."""
    path = directory / "test_it.py"
    path.write_text(text)
    environment = {**os.environ, "CI": "true" if is_ci else "false", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull, "-W", "ignore"]
    command += ["--rootdir", str(directory), "--basetemp", str(directory / "base"), str(path), *flags]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_clean_run_passes_and_its_header_tells_what_is_there(tmp_path: Path) -> None:
    code, said = _run(tmp_path, "def test(tmp_path): pass\n", is_ci=True)
    assert code == 0
    assert "present: " in said


@pytest.mark.parametrize(
    "text",
    [
        "import pytest\ndef test(): pytest.skip('why')\n",
        "import pytest\npytest.skip('why', allow_module_level=True)\n",
        "import pytest\n@pytest.mark.skipif(True, reason='why')\ndef test(): pass\n",
    ],
)
def test_a_skip_fails_a_run_in_ci_alone(tmp_path: Path, text: str) -> None:
    text += "\ndef test_other(): pass\n"
    code, said = _run(tmp_path, text, is_ci=True)
    assert code != 0
    assert "CI=true allows no skips: test_it.py" in said
    assert "CI=true allows no skips" not in _run(tmp_path, text)[1]


def test_a_test_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    text = "import pytest, time\n@pytest.mark.timeout(0.2)\ndef test(): time.sleep(50)\ndef test_next(): pass\n"
    code, said = _run(tmp_path, text)
    assert code == 1
    assert "still running after its limit of 0.2 s" in said
    assert "1 failed, 1 passed" in said


def test_a_need_that_is_not_met_skips_and_one_that_does_not_exist_fails(tmp_path: Path) -> None:
    text = (
        "import pytest\nfrom tests.capabilities import _PROBES\n_PROBES['moon'] = lambda: 'too far'\n"
        "@pytest.mark.needs('moon')\ndef test(): pass\n@pytest.mark.needs('sun')\ndef test_sun(): pass\n"
    )
    code, said = _run(tmp_path, text)
    assert code == 1
    assert "1 skipped, 1 error" in said


def test_a_process_and_a_file_that_are_left_behind_fail_a_run(tmp_path: Path) -> None:
    text = (
        "import subprocess, tempfile\ndef test():\n    tempfile.mkdtemp(prefix='forgotten-')\n"
        "    subprocess.run(['sh', '-c', 'sleep 49 >/dev/null 2>&1 &'])\n"
    )
    code, said = _run(tmp_path, text)
    assert code == 1
    assert "sleep 49" in said
    assert "/forgotten-" in said


def test_two_processes_are_held_to_the_same_rules(tmp_path: Path) -> None:
    """As the integration tests are run."""
    text = (
        "import pytest, tempfile\ndef test():\n    tempfile.mkdtemp(prefix='forgotten-')\n"
        "def test_skipped(): pytest.skip('why')\n"
    )
    code, said = _run(tmp_path, text, "-n", "2", "--dist", "loadfile", is_ci=True)
    assert code == 1
    assert "/forgotten-" in said
    assert "CI=true allows no skips: test_it.py" in said
