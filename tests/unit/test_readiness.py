"""What the service manager is told."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from zbuild.readiness import Readiness


@pytest.fixture
def notified() -> Iterator[socket.socket]:
    """A service manager's socket, not yet bound."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        yield receiver


def test_ready_and_stopping_reach_a_socket_in_the_file_system(notified: socket.socket, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    notified.bind(address)
    readiness = Readiness.from_environment({"NOTIFY_SOCKET": address})
    readiness.ready()
    readiness.stopping()
    assert [notified.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


def test_an_abstract_socket_is_written_with_an_at_sign(notified: socket.socket) -> None:
    name = f"zbuild-test-{uuid.uuid4().hex}"
    notified.bind("\0" + name)
    Readiness.from_environment({"NOTIFY_SOCKET": "@" + name}).ready()
    assert notified.recv(100) == b"READY=1"


def test_without_a_service_manager_nothing_happens() -> None:
    for environ in ({}, {"NOTIFY_SOCKET": ""}):
        Readiness.from_environment(environ).ready()


def test_a_service_manager_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Readiness.from_environment({"NOTIFY_SOCKET": str(tmp_path / "absent")}).ready()
