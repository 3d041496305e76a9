"""Runs probes as actions, through the real stage, spawner and sandbox."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.escape.expectations import DEMONSTRATED, can_reach
from tests.escape.host import targets
from tests.integration.sandbox_driver import Slot, forked_spawner
from zbuild import digest as digests
from zbuild.sandbox.launch import to_spawn
from zbuild.sandbox.spec import SandboxLevel

BLOB = b"precious bytes of a stored blob"
_SECONDS = 20.0

Attempt = dict[str, object]
"""How one probe ended, as JSON: ``said`` is its last line, ``is_blob_intact`` whether nothing has touched the stored
blob, ``can_reach`` what this user can do without a sandbox."""


def is_reached(attempt: Attempt) -> bool:
    """The probe got out."""
    return str(attempt["said"]).startswith("REACHED ")


def is_denied(attempt: Attempt) -> bool:
    """By an answer, or by the filter's signal. A probe that did not get so far as to try proves nothing."""
    was_killed = (attempt["said"], attempt["exit_code"]) == ("", 128 + signal.SIGSYS)
    return str(attempt["said"]).startswith("DENIED ") or was_killed


def attempt_all(directory: Path, level: SandboxLevel, program: bytes, names: Sequence[str]) -> dict[str, Attempt]:
    """Run the probes called ``names`` as the present user, one after the other.

    Without a sandbox those that go for the blobs destroy them, so that each needs a slot of its own.
    """
    canary = directory / "canary"
    canary.write_bytes(program)
    canary.chmod(0o755)
    outside = directory / "host"
    outside.mkdir()
    attempts = {}
    with forked_spawner() as spawner:
        slot = other = Slot(spawner, directory / "other")
        other.text("true", level=SandboxLevel.NONE)
        with targets(outside, canary, other.plan.root, spawner.pid) as environment:
            for number, name in enumerate(names):
                if number == 0 or (level is SandboxLevel.NONE and name.startswith("blob_")):
                    slot = Slot(spawner, directory / f"slot{number}", system=other.system)
                attempts[name] = _attempt(slot, level, program, name, environment)
    return attempts


def _attempt(slot: Slot, level: SandboxLevel, program: bytes, name: str, environment: dict[str, str]) -> Attempt:
    arguments: tuple[str, ...] = ("../probes", name)
    if level is SandboxLevel.NONE and name in DEMONSTRATED:
        arguments = ("/bin/sh", "-c", f"{DEMONSTRATED[name]}; exec ../probes {name}")
    spec = slot.specify(
        "",
        arguments=arguments,
        files={"/zb/src/precious": BLOB, "/zb/src/below/file": b""},
        executables={"/zb/src/probes": program},
        environment=tuple(environment.items()),
        level=level,
        timeout_s=_SECONDS,
    )
    blob = Path(slot.blobs.path_of(digests.of_bytes(BLOB)))
    before = _state(blob)
    assert slot.spawner is not None
    slot.spawner.send(to_spawn(spec, 1))
    exited = slot.wait(1)
    return {
        "exit_code": exited.exit_code,
        "error": exited.error,
        "said": exited.stdout.data.decode(errors="replace").rstrip("\n").rpartition("\n")[2],
        "is_blob_intact": _state(blob) == before,
        "can_reach": name in DEMONSTRATED or can_reach(name),
    }


def _state(blob: Path) -> tuple[bytes, int]:
    """The change time moves with everything that is done to a file: data, mode, owner, times, links, attributes."""
    return blob.read_bytes(), os.stat(blob).st_ctime_ns
