"""Every named point exists in the code, and kills the process that is armed with it, and no other."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys

import pytest

from zbuild.errors import BadInput
from zbuild.module_process import module_environment
from zbuild.testing.failpoints import FAILPOINTS, VARIABLE, Failpoint, arm

ENOUGH = 20


@pytest.mark.parametrize("point", FAILPOINTS.values(), ids=lambda point: point.name)
def test_the_method_of_a_point_exists(point: Failpoint) -> None:
    module, _, path = point.method.partition(":")
    owner, _, name = path.partition(".")

    assert callable(vars(getattr(importlib.import_module(module), owner))[name])


def test_each_role_has_points_and_all_together_enough() -> None:
    assert {point.role for point in FAILPOINTS.values()} == {"broker", "worker", "store"}
    assert all(name.endswith((".before", ".after")) for name in FAILPOINTS)
    assert len(FAILPOINTS) >= ENOUGH


@pytest.mark.parametrize("value", ["store.nowhere.before", "store.write.after:x"])
def test_a_point_that_does_not_exist_is_refused(value: str) -> None:
    with pytest.raises(BadInput, match=VARIABLE):
        arm("store", {VARIABLE: value})


WRITE_TWICE = """
import os, sys
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.testing.failpoints import arm
arm(sys.argv[1], os.environ)
blobs = BlobDirectory(sys.argv[2], is_durable=False)
for data in (b"one", b"two"):
    blobs.put_bytes(data)
    print(data.decode(), flush=True)
"""


@pytest.mark.parametrize(
    ("role", "passes", "written"), [("store", 1, []), ("store", 2, ["one"]), ("worker", 1, ["one", "two"])]
)
def test_an_armed_process_dies_at_its_pass(
    tmp_path: os.PathLike[str], role: str, passes: int, written: list[str]
) -> None:
    environment = module_environment() | {VARIABLE: f"store.publish.before:{passes}"}

    run = subprocess.run(
        [sys.executable, "-c", WRITE_TWICE, role, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert run.stdout.split() == written
    assert run.returncode == (0 if len(written) == 2 else -signal.SIGKILL), run.stderr
