"""Each capability in the real sandbox: what is denied is denied, and what is granted works."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.integration.farm import Farm, running_farm
from tests.integration.sandbox_driver import Slot
from tests.integration.tree import run_zbuild
from zbuild.model.capabilities import Capabilities, capabilities_of

pytestmark = pytest.mark.needs("bubblewrap")

CONNECT = "python3 -c 'import socket; print(socket.create_connection((\"127.0.0.1\", {port}), 5).recv(5))'"


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A directory of the worker with a file in it."""
    directory = tmp_path / "shown"
    directory.mkdir()
    (directory / "file").write_text("of the worker\n")
    return directory


def succeeds(slot: Slot, command: str, **capabilities: object) -> bool:
    exited = slot.run(command, capabilities=capabilities_of(capabilities))
    assert not exited.error, exited
    return exited.exit_code == 0


def test_network(slot: Slot) -> None:
    """The worker's loopback is as good as any address: in a network namespace of its own there is another."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30.0)
        command = CONNECT.format(port=server.getsockname()[1])
        assert not succeeds(slot, command)
        spawn_id = slot.start(command, capabilities=Capabilities(network=True))
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"hello")
        assert slot.wait(spawn_id).stdout.data == b"b'hello'\n"


def test_write_home(slot: Slot) -> None:
    command = 'echo x > "$HOME/file" && cat "$HOME/file"'
    assert not succeeds(slot, command)
    assert not succeeds(slot, 'mkdir -p "$HOME"')
    assert succeeds(slot, command, write_home=True)
    assert succeeds(slot, 'test -z "$(ls -A "$HOME")"', write_home=True), "the next action finds it empty"


def test_write_tmp(slot: Slot) -> None:
    command = "echo x > /tmp/file"
    assert succeeds(slot, command, write_tmp=True)
    assert not succeeds(slot, command, write_tmp=False)


def test_inputs_below_a_tmp_that_cannot_be_written_are_there(slot: Slot) -> None:
    exited = slot.run("cat /tmp/x/a", files={"/tmp/x/a": b"in"}, capabilities=Capabilities(write_tmp=False))
    assert exited.stdout.data == b"in"


def test_read_paths(slot: Slot, shown: Path) -> None:
    command = f"cat {shown}/file"
    assert not succeeds(slot, command)
    assert succeeds(slot, command, read_paths=(str(shown),))
    assert not succeeds(slot, f"echo x > {shown}/file", read_paths=(str(shown),))
    assert (shown / "file").read_text() == "of the worker\n"


def test_write_paths(slot: Slot, shown: Path) -> None:
    command = f"echo written > {shown}/file"
    assert not succeeds(slot, command)
    assert succeeds(slot, command, write_paths=(str(shown),))
    assert (shown / "file").read_text() == "written\n"


class TestExec:
    """What ``zbuild exec`` asks for, and what workers grant."""

    def test_what_the_farm_does_not_grant_is_refused_and_named(self, tmp_path: Path, shared_farm: Farm) -> None:
        flags = ("--network", "--timeout", "7200", "--read-path", "/srv")
        run = run_zbuild("exec", "--coordinator", shared_farm.endpoint, *flags, "--", "true", cwd=tmp_path)
        assert run.exit_code == 132
        for said in ("network=true (it grants false)", "timeout=7200 s (it grants 3600 s)", "read_paths=/srv"):
            assert said in run.stderr

    def test_a_farm_of_ones_own_grants_what_is_asked_for(self, tmp_path: Path, shown: Path) -> None:
        run = run_zbuild("exec", "--read-path", str(shown), "--", "cat", f"{shown}/file", cwd=tmp_path)
        assert (run.exit_code, run.stdout) == (0, "of the worker\n"), run.stderr

    @pytest.mark.parametrize("flag", ["--read-path", "--write-path"])
    @pytest.mark.parametrize("granted", ["read_paths", "write_paths"])
    def test_a_symlink_leads_no_further_than_the_ceiling(
        self, tmp_path: Path, shown: Path, flag: str, granted: str
    ) -> None:
        """One action leaves a symlink where it may write, the next asks to have what it leads to."""
        secret = tmp_path / "secret"
        secret.mkdir()
        (secret / "key").write_text("of the host\n")
        (shown / "way").symlink_to(secret)
        config = tmp_path / "worker.toml"
        config.write_text(f'{granted} = ["{shown}"]\n')
        with running_farm(tmp_path / "farm", workers=0) as farm:
            farm.add_worker("only", 1, "--config", str(config))
            flags = ("--coordinator", farm.endpoint, flag, f"{shown}/way")
            run = run_zbuild("exec", *flags, "--", "cat", f"{shown}/way/key", cwd=tmp_path)
        assert (run.exit_code, run.stdout) == (132, ""), run
        assert str(shown) in run.stderr

    def test_a_path_that_is_input_and_output_is_refused(self, tmp_path: Path, shared_farm: Farm) -> None:
        (tmp_path / "same").write_text("")
        both = ("--input", "same", "--output", "./same")
        run = run_zbuild("exec", "--coordinator", shared_farm.endpoint, *both, "--", "true", cwd=tmp_path)
        assert run.exit_code == 102
        assert "same is an --input and an --output" in run.stderr

    def test_a_size_that_is_none_is_refused(self, tmp_path: Path) -> None:
        run = run_zbuild("exec", "--max-memory", "lots", "--", "true", cwd=tmp_path)
        assert "expected 512M, 8G, or bytes" in run.stderr
