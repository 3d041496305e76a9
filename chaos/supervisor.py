"""Runs one scenario in a process of its own, bounds its time, and sees that nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from chaos.scenario import Scenario
from tests import capabilities, leftovers
from tests.integration.tree import client_environment

STOP_S = 60.0
"""For the teardown of a run that was told to stop."""

LEFTOVER_GRACE_S = 5.0


class Absent(Exception):
    """This machine lacks something that the scenario needs."""


def supervise(scenario: Scenario, seed: int, *, is_full: bool, is_kept: bool) -> dict[str, Any]:
    """Play a scenario; its result, with what was left behind among the violations.

    Where it can be had, the run has mount and network namespaces of its own, so that nothing it mounts or cuts can
    outlive it or touch the machine.

    Args:
        is_kept: the directory of the run stays also when all went well.

    Raises:
        Absent: a need of the scenario is not met.
    """
    for name in scenario.needs:
        if absence := capabilities.capability(name).absence:
            raise Absent(f"{scenario.name} needs {name}: {absence}")
    session = uuid.uuid4().hex
    base = Path(tempfile.mkdtemp(prefix="zc-"))
    temporary = base / "t"
    temporary.mkdir()
    log = open(base / "run.log", "wb")  # noqa: SIM115  # closed below, whatever happens
    command = [sys.executable, "-m", "chaos.run", scenario.name, str(seed), str(base)]
    command += ["full" if is_full else "quick"]
    environment = client_environment() | {leftovers.MARKER: session, "TMPDIR": str(temporary)}
    began_s = time.monotonic()
    process = subprocess.Popen(
        [*_own_namespaces(), *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        process_group=0,
    )
    violations: list[str] = []
    is_interrupted = False
    try:
        process.wait(scenario.timeout_s)
    except KeyboardInterrupt:
        is_interrupted = True
        raise
    except subprocess.TimeoutExpired:
        violations.append(f"still running after {scenario.timeout_s:g} s")
    finally:
        _stop(process)
        log.close()
        directories = [base]
        violations += [
            f"left behind: {line}" for line in leftovers.left_behind(session, temporary, directories, LEFTOVER_GRACE_S)
        ]
        for pid, _ in leftovers.processes_of(session, directories):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        result = _result(base / "result.json", base / "run.log")
        result["violations"] = violations + result["violations"]
        is_clean = (is_interrupted or not result["violations"]) and not is_kept
        if is_clean:
            shutil.rmtree(base, ignore_errors=True)
    result |= {"scenario": scenario.name, "seed": seed, "total_s": round(time.monotonic() - began_s, 3)}
    return result if is_clean else result | {"directory": str(base)}


def _own_namespaces() -> list[str]:
    if not capabilities.capability("namespaces").is_present:
        return []
    unshare = ["unshare", "--mount", "--net", "--propagation", "private"]
    return [*unshare, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Have a run tear itself down, in whatever state it is."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _result(path: Path, log: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        said = " | ".join(log.read_text(errors="replace").strip().splitlines()[-5:])
        return {"violations": [f"the run ended without a result: {said}"]}
    return result
