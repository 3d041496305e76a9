"""``zbuild doctor`` and the levels, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.farm import Farm, running_farm
from tests.integration.tree import run_zbuild

pytestmark = pytest.mark.needs("bubblewrap", "gcc")


def test_this_machine_is_sound_and_the_broker_answers(tmp_path: Path, shared_farm: Farm) -> None:
    flags = ("--json", "--coordinator", shared_farm.endpoint, "--cache-dir", str(tmp_path / "cache"))
    run = run_zbuild("doctor", *flags, cwd=tmp_path)
    report = json.loads(run.stdout)
    failed = [check for check in report["checks"] if check["verdict"] == "fail"]
    assert (run.exit_code, failed) == (0, []), run.stderr
    assert {"hermetic sandbox", "limits", "broker", "disk space"} <= {check["name"] for check in report["checks"]}
    assert not (tmp_path / "cache").exists(), "it only looks"


def test_a_broker_that_does_not_answer_fails_with_a_fix(tmp_path: Path) -> None:
    run = run_zbuild("doctor", "--coordinator", f"ipc://{tmp_path}/nobody", cwd=tmp_path)
    assert run.exit_code == 1
    assert "fail  broker:" in run.stdout
    assert "fix: see that zbuild-broker runs there" in run.stdout


class TestLevelProcess:
    """A farm whose worker has no namespaces."""

    def test_it_runs_what_asks_for_it_and_nothing_that_asks_for_more(self, tmp_path: Path) -> None:
        with running_farm(tmp_path / "farm", workers=0) as farm:
            farm.add_worker("weak", 2, "--sandbox", "process")
            (tmp_path / "in").write_text("read\n")
            flags = ("--coordinator", farm.endpoint, "--input", "in", "--output", "out")
            script = "cat in > out; grep NoNewPrivs /proc/self/status; ulimit -c; mktemp | grep -c private"
            command = (*flags, "--", "sh", "-c", script)
            run = run_zbuild("exec", "--sandbox", "process", *command, cwd=tmp_path)
            assert (run.exit_code, run.stdout) == (0, "NoNewPrivs:\t1\n0\n1\n"), run.stderr
            assert (tmp_path / "out").read_text() == "read\n"
            run = run_zbuild("exec", *command, cwd=tmp_path)
            assert run.exit_code == 132, "not even from the cache"
            assert "sandbox=hermetic (it has process)" in run.stderr

    def test_an_unknown_level_is_refused(self, tmp_path: Path) -> None:
        run = run_zbuild("exec", "--sandbox", "weak", "--", "true", cwd=tmp_path)
        assert run.exit_code == 102
        assert "sandbox must be one of hermetic, process, none" in run.stderr


def test_a_limit_is_told_to_whoever_asked(tmp_path: Path, shared_farm: Farm) -> None:
    script = "python3 -c 'kept = bytearray(300 << 20)'; sleep 60"
    flags = ("--coordinator", shared_farm.endpoint, "--max-memory", "64M")
    run = run_zbuild("exec", *flags, "--", "sh", "-c", script, cwd=tmp_path)
    assert run.exit_code != 0
    assert "killed: memory limit 64 MiB exceeded, peak" in run.stderr
