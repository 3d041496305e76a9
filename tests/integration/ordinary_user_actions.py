"""What tests do as an ordinary user, in a forked process: the interpreter need not be executable for that user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.integration.sandbox_driver import BUILD, Slot
from zbuild.sandbox.bubblewrap import STATUS_DESCRIPTOR, bubblewrap_argv, probe


def build(directory: Path) -> dict[str, object]:
    """Probe, stage, run and collect a small action in the hermetic sandbox."""
    slot = Slot(None, directory)
    probe(slot.system.paths(), str(directory))
    spec = slot.specify(
        "id -u; chmod 777 ../a.txt; rm -f ../a.txt; cp in.txt ../a.txt; cat ../a.txt;"
        "cp ../a.txt out; cp in.txt in2.txt",
        files={"/zb/src/a.txt": b"input\n", f"{BUILD}/in.txt": b"in"},
        outputs=("out",),
    )
    done = _run(bubblewrap_argv(spec))
    outputs = slot.collect("out", "in2.txt")
    second = slot.specify("ls", files={"/zb/src/a.txt": b"input\n"})
    return {
        "uid": os.getuid(),
        "exit_code": done.returncode,
        "stdout": done.stdout.decode(),
        "out": slot.blobs.read(outputs["out"].digest).decode(),
        "second": _run(bubblewrap_argv(second)).stdout.decode(),
    }


def reset(directory: Path) -> list[str]:
    """Prepare a writable root anew in which an action has taken its directories' permissions away."""
    slot = Slot(None, directory)
    slot.specify("true", outputs=("kept/out",))
    build = Path(slot.plan.location(BUILD))
    for name in ("locked", "locked/deeper", "kept/locked"):
        (build / name).mkdir()
        (build / name / "file").touch()
    for name in ("locked/deeper", "locked", "kept/locked", "kept", "."):
        (build / name).chmod(0)
    slot.specify("true", outputs=("kept/out",))
    return sorted(str(path.relative_to(build)) for path in build.rglob("*"))


def _run(argv: list[str]) -> subprocess.CompletedProcess[bytes]:
    reader, writer = os.pipe()
    os.dup2(writer, STATUS_DESCRIPTOR)
    try:
        return subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[STATUS_DESCRIPTOR], check=False
        )
    finally:
        os.close(reader)
        os.close(writer)
