"""What root's spawner makes read-only for itself; and that nothing sandboxed runs where it cannot."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import threading
from pathlib import Path

import prctl
import pytest

from tests.integration.sandbox_driver import ORDINARY_USER, ROOT_USER, as_user
from zbuild.errors import SandboxUnavailable
from zbuild.sandbox import bubblewrap
from zbuild.sandbox.own_mounts import protect
from zbuild.sandbox.spawn_loop import SpawnLoop
from zbuild.sandbox.spawn_protocol import Decoder, Exited, Spawn, encode

pytestmark = pytest.mark.needs("root")


def _change_protected(directory: Path) -> list[str]:
    """Errors of the attempts to change two files of root, one of them protected."""
    for name in ("protected", "plain"):
        (directory / name).touch(0o644)
    protect([str(directory / "protected")])
    said = []
    for name in ("protected", "plain"):
        try:
            os.chmod(directory / name, 0o600)
            said.append("changed")
        except OSError as error:
            said.append(error.strerror or "")
    return said


def test_protected_files_are_read_only_for_this_process_alone() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        assert as_user(ROOT_USER, Path(directory), _change_protected) == ["Read-only file system", "changed"]
        assert directory not in Path("/proc/self/mountinfo").read_text()
        os.chmod(Path(directory, "protected"), 0o600)
        assert stat.S_IMODE(os.stat(Path(directory, "protected")).st_mode) == 0o600


def test_protecting_without_the_capability_is_refused_with_the_way_out() -> None:
    def attempt(_directory: Path) -> str:
        try:
            protect(["/dev/null"])
        except SandboxUnavailable as error:
            return str(error)
        return "protected"

    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        said = as_user(ORDINARY_USER, Path(directory), attempt)
    assert isinstance(said, str)
    assert "cannot protect /: Operation not permitted" in said
    assert "give it CAP_SYS_ADMIN" in said


def _spawn(number: int, is_sandboxed: bool) -> Spawn:
    return Spawn(
        id=number,
        argv=("/bin/true",),
        environment=(),
        working_directory="/",
        stdout_path="",
        stderr_path=None,
        timeout_s=20.0,
        is_sandboxed=is_sandboxed,
    )


def test_where_nothing_could_be_protected_nothing_sandboxed_runs() -> None:
    def attempt(_directory: Path) -> list[object]:
        ours, theirs = socket.socketpair()
        for number, is_sandboxed in enumerate((True, False)):
            ours.sendall(encode(_spawn(number, is_sandboxed)))
        answers: list[object] = []

        def take() -> None:
            """A spawner that stops reports nothing any more: both answers first."""
            decoder = Decoder[Exited](Exited)
            while len(answers) < 2 and (data := ours.recv(65536)):
                answers.extend([exited.id, exited.error] for exited in decoder.feed(data))
            ours.shutdown(socket.SHUT_WR)

        taking = threading.Thread(target=take)
        taking.start()
        SpawnLoop(theirs, "cannot protect /dev/null").run()
        taking.join()
        return answers

    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        answers = as_user(ROOT_USER, Path(directory), attempt)
    assert sorted(answers) == [[0, "cannot protect /dev/null"], [1, ""]]  # type: ignore[call-overload]  # JSON


def test_root_without_the_capability_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class NoCapabilities:
        """What python-prctl shows of a process that has none."""

        sys_admin = False

    monkeypatch.setattr(prctl, "cap_effective", NoCapabilities())
    with pytest.raises(SandboxUnavailable, match="runs as root needs CAP_SYS_ADMIN"):
        bubblewrap.probe((), str(tmp_path))
