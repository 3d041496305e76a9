"""One run, in a process of its own: ``python -m chaos.run SCENARIO SEED DIRECTORY quick|full``.

The result is DIRECTORY/result.json, and DIRECTORY/run is worked in. It is a tmpfs if the run is in a mount
namespace of its own: a disk makes files ten times as slowly after many were deleted. What tells of a violation is
copied to DIRECTORY/kept. The caller bounds the time and looks for what is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import prctl

from chaos.arena import Arena, Violated
from chaos.history import TOO_SLOW, TimeIsUp
from chaos.scenario import load


class Interrupted(BaseException):
    """SIGTERM or SIGINT."""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise Interrupted


def main(arguments: list[str]) -> int:
    """Play the scenario, tear everything down, write the result."""
    name, seed, base, size = arguments
    directory = Path(base, "run")
    directory.mkdir()
    prctl.set_pdeathsig(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    if os.readlink("/proc/self/ns/mnt") != os.readlink(f"/proc/{os.getppid()}/ns/mnt"):
        mount = ["mount", "-t", "tmpfs", "-o", "mode=700", "none", str(directory)]
        subprocess.run(mount, check=False, capture_output=True)
    scenario = load()[name]
    arena = Arena(directory, int(seed), is_full=size == "full")
    began_s = time.monotonic()
    try:
        try:
            scenario.play(arena)
        except TimeIsUp as error:
            arena.outcome.violations.append(f"{TOO_SLOW}{error}")
        except Violated as error:
            arena.outcome.violations.append(str(error))
        except Interrupted:
            arena.outcome.violations.append("interrupted before its end")
        except Exception as error:
            traceback.print_exc()
            arena.outcome.violations.append(f"the scenario itself failed: {error!r}")
    finally:
        arena.close()
    result = asdict(arena.outcome) | {"wall_s": round(time.monotonic() - began_s, 3)}
    Path(base, "result.json").write_text(json.dumps(result))
    if arena.outcome.violations:
        evidence = [path for pattern in ("*.log", "*.jsonl", "build-*") for path in directory.glob(pattern)]
        Path(base, "kept").mkdir()
        for path in evidence:
            shutil.copy(path, Path(base, "kept"))
    return 1 if arena.outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
