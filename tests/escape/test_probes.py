"""Every known way out of a sandbox, tried as root and as an ordinary user: denied. Without a sandbox: open.

The second half keeps the first honest: a probe that cannot succeed anywhere would pass for a wall.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.escape.attempts import Attempt, attempt_all, is_denied, is_reached
from tests.escape.expectations import CAPABILITY, CONFIGURED, DEMONSTRATED, NEVER
from tests.integration.sandbox_driver import ORDINARY_USER, ROOT_USER, as_user
from zbuild.sandbox.spec import SandboxLevel

pytestmark = pytest.mark.needs("bubblewrap", "gcc", "root")

USERS = {"root": ROOT_USER, "user": ORDINARY_USER}
SOURCES = Path(__file__).parent / "probes"
NAMES = tuple(
    line.split('"')[1]
    for source in sorted(SOURCES.glob("*.c"))
    for line in source.read_text().splitlines()
    if line.startswith('    {"')
)


@functools.cache
def program() -> bytes:
    """All probes in one program."""
    with tempfile.TemporaryDirectory() as directory:
        command = [
            "gcc",
            "-O1",
            "-Wall",
            "-Wextra",
            "-o",
            f"{directory}/probes",
            *map(str, SOURCES.glob("*.c")),
            "-lrt",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return Path(directory, "probes").read_bytes()


def attempts(user: str, level: SandboxLevel) -> dict[str, Attempt]:
    """What came of every probe, by that user at that level."""
    found = _all_attempts(user, level)
    assert isinstance(found, dict), found
    return found


@functools.cache
def _all_attempts(user: str, level: SandboxLevel) -> object:
    code = program()
    # Ordinary users have no access to the temporary directory of root's tests.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        return as_user(USERS[user], Path(directory), lambda below: attempt_all(below, level, code, NAMES))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", NAMES)
def test_hermetic_denies(name: str, user: str) -> None:
    attempt = attempts(user, SandboxLevel.HERMETIC)[name]
    assert not attempt["error"], attempt
    assert is_denied(attempt), attempt
    assert attempt["is_blob_intact"], attempt


@pytest.mark.timeout(120)
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", NAMES)
def test_without_a_sandbox_it_is_open(name: str, user: str) -> None:
    attempt = attempts(user, SandboxLevel.NONE)[name]
    assert not attempt["error"], attempt
    if attempt["can_reach"] is None:
        assert is_reached(attempt) or is_denied(attempt), attempt
    else:
        assert is_reached(attempt) == attempt["can_reach"], attempt


@pytest.mark.timeout(120)
def test_the_suite_is_large_and_most_of_it_is_open_without_a_sandbox() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 170
    assert {*CAPABILITY, *CONFIGURED, *NEVER, *DEMONSTRATED} <= set(NAMES)
    for user, least in (("root", 0.85), ("user", 0.6)):
        found = attempts(user, SandboxLevel.NONE)
        assert sum(map(is_reached, found.values())) >= least * len(found)


@pytest.mark.timeout(120)
def test_without_a_sandbox_the_stored_blob_is_within_reach() -> None:
    """Hard links are as good as the blob itself to whoever may write: only the sandbox stands between."""
    for user in USERS:
        found = attempts(user, SandboxLevel.NONE)
        changed = {name for name, attempt in found.items() if not attempt["is_blob_intact"]}
        assert {name for name in changed if not name.startswith("blob_")} == set()
        assert len(changed) >= 18, changed
