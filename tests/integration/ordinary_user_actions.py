"""What tests do as an ordinary user, in a forked process: the interpreter need not be executable for that user."""

from __future__ import annotations

import os
from pathlib import Path

from tests.integration.sandbox_driver import BUILD, Slot, forked_spawner
from zbuild.sandbox.bubblewrap import probe

LOCKED_MODES = (0o000, 0o111, 0o222, 0o444, 0o555, 0o666)


def build(directory: Path) -> dict[str, object]:
    """Probe, stage, run and collect a small action in the hermetic sandbox."""
    with forked_spawner() as spawner:
        slot = Slot(spawner, directory)
        probe(slot.system.paths(), str(directory))
        first = slot.run(
            "id -u; chmod 777 ../a.txt; rm -f ../a.txt; cp in.txt ../a.txt; cat ../a.txt;"
            "cp ../a.txt out; cp in.txt in2.txt",
            files={"/zb/src/a.txt": b"input\n", f"{BUILD}/in.txt": b"in"},
            outputs=("out",),
            joins_stderr=False,
        )
        outputs = slot.collect("out", "in2.txt")
        return {
            "uid": os.getuid(),
            "exit_code": first.exit_code,
            "stdout": first.stdout.data.decode(),
            "out": slot.blobs.read(outputs["out"].digest).decode(),
            "second": slot.text("ls", files={"/zb/src/a.txt": b"input\n"}),
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


def collect_locked(directory: Path) -> list[str]:
    """Collect outputs whose directories an action has closed, each in another way."""
    slot = Slot(None, directory)
    slot.specify("true", outputs=tuple(f"d{mode:03o}/out" for mode in LOCKED_MODES))
    build = Path(slot.plan.location(BUILD))
    found: list[str] = []
    for mode in LOCKED_MODES:
        name = f"d{mode:03o}"
        (build / name / "out").write_text(name)
        (build / name).chmod(mode)
        build.chmod(mode)
        found += slot.collect(f"{name}/out" if mode % 2 else name)
    return found
