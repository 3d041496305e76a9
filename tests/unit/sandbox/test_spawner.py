"""The spawner with plain processes: exits, output, time-outs, kills, and nothing left. Defect 14."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_processes import is_alive, processes_below
from tests.polling import wait_until
from zbuild.errors import SandboxFailed
from zbuild.limits import MIB, SPAWN_INLINE_OUTPUT_BYTES, SPAWN_TERM_GRACE_S, SPAWNS_RUNNING
from zbuild.sandbox.spawn_protocol import Exited, Kill, Release, Spawn, encode
from zbuild.sandbox.spawner import Spawner, start_spawner

ROOT = Path(__file__).parents[3]


class SpawnerDriver:
    """A spawner, with short commands for starting things in a directory and waiting for their ends."""

    def __init__(self, spawner: Spawner, directory: Path) -> None:
        self.spawner = spawner
        self.directory = directory
        self.exited: dict[int, Exited] = {}
        self.last_id = 0

    def start(self, command: str, *, timeout_s: float = 30.0, joins_stderr: bool = True, **changes: object) -> int:
        self.last_id += 1
        fields: dict[str, object] = {
            "id": self.last_id,
            "argv": ("/bin/sh", "-c", command),
            "environment": (("PATH", "/usr/bin:/bin"),),
            "working_directory": str(self.directory),
            "stdout_path": str(self.directory / f"{self.last_id}.stdout"),
            "stderr_path": None if joins_stderr else str(self.directory / f"{self.last_id}.stderr"),
            "timeout_s": timeout_s,
            "is_sandboxed": False,
        }
        self.spawner.send(Spawn(**(fields | changes)))  # type: ignore[arg-type]  # the fields above, by name
        return self.last_id

    def wait(self, spawn_id: int, timeout_s: float = 20.0) -> Exited:
        deadline_s = time.monotonic() + timeout_s
        while spawn_id not in self.exited:
            assert select.select([self.spawner], [], [], max(0, deadline_s - time.monotonic()))[0], "no Exited came"
            for message in self.spawner.receive():
                assert message.id not in self.exited, "reported twice"
                self.exited[message.id] = message
        return self.exited[spawn_id]

    def run(self, command: str, **fields: object) -> Exited:
        return self.wait(self.start(command, **fields))  # type: ignore[arg-type]  # the fields of start()

    def write_pid(self, name: str) -> str:
        return f"echo $$ > {self.directory}/{name}.new; mv {self.directory}/{name}.new {self.directory}/{name}"

    def read_pid(self, name: str) -> int:
        path = self.directory / name
        wait_until(path.exists)
        return int(path.read_text())


@pytest.fixture(scope="module")
def shared_spawner() -> Iterator[Spawner]:
    spawner = start_spawner()
    yield spawner
    spawner.close()


@pytest.fixture
def driver(shared_spawner: Spawner, tmp_path: Path) -> SpawnerDriver:
    return SpawnerDriver(shared_spawner, tmp_path)


def test_exit_code_output_and_usage(driver: SpawnerDriver) -> None:
    exited = driver.run("echo out; echo err >&2; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; exit 3")
    assert (exited.exit_code, exited.stdout.data, exited.stderr.data) == (3, b"out\nerr\n", b"")
    assert (exited.is_killed, exited.is_timed_out, exited.limit, exited.error) == (False, False, "", "")
    assert 0 < exited.user_s + exited.system_s < 10
    assert exited.wall_s > 0
    assert exited.peak_memory_bytes < 8 * MIB, "not the spawner's own"


def test_death_by_signal_is_128_and_its_number_as_in_defect_14(driver: SpawnerDriver) -> None:
    assert driver.run("kill -SEGV $$").exit_code == 128 + signal.SIGSEGV


def test_streams_can_be_apart(driver: SpawnerDriver) -> None:
    exited = driver.run("echo out; echo err >&2", joins_stderr=False)
    assert (exited.stdout.data, exited.stderr.data) == (b"out\n", b"err\n")


def test_much_output_on_both_streams_neither_blocks_nor_is_lost_as_in_defect_14(driver: SpawnerDriver) -> None:
    """stdout read to its end before stderr is a deadlock from 64 KiB on."""
    exited = driver.run(
        "head -c 3000000 /dev/zero >&2; head -c 1000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2",
        joins_stderr=False,
    )
    assert exited.exit_code == 0
    assert (exited.stdout.size_bytes, exited.stdout.data) == (1_000_000, b"")
    assert Path(exited.stdout.path).read_bytes() == b"x" * 1_000_000
    assert os.path.getsize(exited.stderr.path) == exited.stderr.size_bytes == 6_000_000


def test_output_is_inline_up_to_its_bound(driver: SpawnerDriver) -> None:
    exited = driver.run(f"head -c {SPAWN_INLINE_OUTPUT_BYTES} /dev/zero")
    assert (len(exited.stdout.data), exited.stdout.path) == (SPAWN_INLINE_OUTPUT_BYTES, "")
    assert list(driver.directory.iterdir()) == []


def test_a_flood_of_output_is_ended_and_the_limit_named(driver: SpawnerDriver) -> None:
    exited = driver.run("yes")
    assert exited.is_killed
    assert exited.limit == "output limit 64 MiB exceeded on stdout"
    assert os.path.getsize(exited.stdout.path) <= 64 * MIB


def test_output_that_cannot_be_kept_is_an_error(driver: SpawnerDriver) -> None:
    exited = driver.run("head -c 1000000 /dev/zero; sleep 60", stdout_path="/nonexistent/out")
    assert "/nonexistent/out" in exited.error


def test_shell_redirections_to_dev_stdout_keep_earlier_output(driver: SpawnerDriver) -> None:
    """A regular file as stdout would be truncated by this; under ninja it is a pipe, too."""
    assert (
        driver.run("echo a; echo b > /dev/stdout; echo c | tee /dev/stderr; echo d").stdout.data == b"a\nb\nc\nc\nd\n"
    )


def test_timeout_asks_and_then_kills_the_whole_group_as_in_defect_14(driver: SpawnerDriver) -> None:
    polite = driver.run("trap 'echo bye; exit 5' TERM; sleep 60 & wait", timeout_s=0.2)
    assert (polite.is_timed_out, polite.is_killed, polite.stdout.data) == (True, False, b"bye\n")

    started_s = time.monotonic()
    stubborn = driver.run(
        f"trap '' TERM; (trap '' TERM; {driver.write_pid('p')}; sleep 61) & wait; wait", timeout_s=0.2
    )
    assert (stubborn.is_timed_out, stubborn.exit_code) == (True, 128 + signal.SIGKILL)
    assert SPAWN_TERM_GRACE_S < time.monotonic() - started_s < 10


def test_kill_ends_the_command_and_an_unknown_id_is_ignored(driver: SpawnerDriver) -> None:
    spawn_id = driver.start(f"{driver.write_pid('p')}; sleep 60")
    pid = driver.read_pid("p")
    driver.spawner.send(Kill(id=999_999))
    driver.spawner.send(Kill(id=spawn_id))
    exited = driver.wait(spawn_id)
    assert (exited.is_killed, exited.is_timed_out) == (True, False)
    assert not is_alive(pid)


def test_held_command_runs_when_it_is_released(driver: SpawnerDriver) -> None:
    held, discarded = (driver.start(f"echo > {name}", is_held=True) for name in ("ran", "discarded"))
    driver.spawner.send(Kill(id=discarded))
    assert driver.wait(discarded).is_killed
    assert list(driver.directory.iterdir()) == []
    for _ in range(2):
        driver.spawner.send(Release(id=held))
    assert (driver.wait(held).exit_code, driver.run("true").exit_code) == (0, 0)
    assert list(driver.directory.iterdir()) == [driver.directory / "ran"]


def test_background_processes_end_with_their_command_whatever_runs_beside_it(driver: SpawnerDriver) -> None:
    beside = driver.start("while ! [ -e go ]; do sleep 0.01; done")
    exited = driver.run(f"sh -c '{driver.write_pid('p')}; sleep 60' & while ! [ -e p ]; do sleep 0.01; done")
    assert exited.exit_code == 0
    wait_until(lambda: not is_alive(driver.read_pid("p")))
    (driver.directory / "go").touch()
    assert driver.wait(beside).exit_code == 0


def test_daemons_that_leave_their_group_end_too_and_leave_no_zombie(driver: SpawnerDriver) -> None:
    driver.run(f"setsid sh -c '{driver.write_pid('p')}; sleep 60' & while ! [ -e p ]; do sleep 0.01; done")
    wait_until(lambda: not is_alive(driver.read_pid("p")))
    wait_until(lambda: processes_below(driver.spawner.pid) == [])


def test_a_daemon_of_one_command_does_not_outlive_those_beside_it(driver: SpawnerDriver) -> None:
    beside = driver.start("while ! [ -e go ]; do sleep 0.01; done")
    driver.run(f"setsid sh -c '{driver.write_pid('p')}; sleep 60' & while ! [ -e p ]; do sleep 0.01; done")
    (driver.directory / "go").touch()
    assert driver.wait(beside).exit_code == 0
    wait_until(lambda: not is_alive(driver.read_pid("p")))


def test_commands_get_three_descriptors_default_signals_and_a_fixed_umask(driver: SpawnerDriver) -> None:
    listing = driver.run("exec ls /proc/self/fd").stdout.data.split()
    assert listing == [b"0", b"1", b"2", b"3"], "3 is the directory that ls reads"
    status = driver.run("exec grep -E '^Sig(Ign|Blk)|^Umask' /proc/self/status").stdout.data.decode().split()
    assert status[:4] == ["Umask:", "0022", "SigBlk:", "0" * 16]
    assert int(status[5], 16) & 0x7FFFFFFF == 0, "signals 32 and 33 are the C library's own"


def test_environment_and_directory_are_those_asked_for_as_in_defect_14(driver: SpawnerDriver) -> None:
    exited = driver.run("", argv=("/usr/bin/env",), environment=(("A", "b c"),))
    assert exited.stdout.data == b"A=b c\n"
    assert driver.run("pwd").stdout.data.decode().strip() == str(driver.directory)


def test_words_that_no_kernel_takes_end_their_command_alone(driver: SpawnerDriver) -> None:
    """os.posix_spawn raises what is no OSError; the spawner ended of it, and with it every command of the worker."""
    beside = driver.start("sleep 0.2; echo alive")
    for changes in ({"argv": ("",)}, {"argv": ("/bin/true", "a\0b")}, {"environment": (("A=B", "c"),)}):
        assert driver.run("", **changes).error.startswith("cannot start ")
    assert driver.wait(beside).stdout.data == b"alive\n"


@pytest.mark.parametrize("is_sandboxed", [False, True])
def test_a_command_line_that_is_too_long_is_its_own_fault(driver: SpawnerDriver, is_sandboxed: bool) -> None:
    """As a shell says it, 126. As an error of the sandbox it went to one worker after the other."""
    exited = driver.run("", argv=("/bin/true", "x" * 200_000), is_sandboxed=is_sandboxed)
    assert (exited.exit_code, exited.error) == (126, "")
    assert exited.stdout.data == b"cannot start /bin/true: Argument list too long\n"


def test_what_cannot_be_started(driver: SpawnerDriver) -> None:
    absent = driver.run("", argv=("/nonexistent/cc",))
    assert (absent.exit_code, absent.error) == (127, "")
    assert b"/nonexistent/cc" in absent.stdout.data
    assert driver.run("", argv=("/etc/passwd",)).exit_code == 126
    assert "No such file" in driver.run("true", working_directory="/nonexistent").error
    assert driver.run("true").exit_code == 0


def test_an_id_in_use_is_refused(driver: SpawnerDriver) -> None:
    first = driver.start("sleep 60")
    driver.start("true", id=first)
    assert "in use" in driver.wait(first).error
    driver.exited.clear()
    driver.spawner.send(Kill(id=first))
    assert driver.wait(first).is_killed


def test_number_of_commands_at_once_is_bounded(driver: SpawnerDriver) -> None:
    ids = [driver.start("sleep 60") for _ in range(SPAWNS_RUNNING + 1)]
    assert str(SPAWNS_RUNNING) in driver.wait(ids[-1]).error
    for spawn_id in ids[:-1]:
        driver.spawner.send(Kill(id=spawn_id))
    assert all(driver.wait(spawn_id).is_killed for spawn_id in ids[:-1])


@pytest.mark.timeout(120)
def test_thousands_of_spawns_leave_no_descriptor_and_no_zombie(driver: SpawnerDriver) -> None:
    driver.run("true")
    before = len(os.listdir(f"/proc/{driver.spawner.pid}/fd"))
    for _ in range(20):
        ids = [driver.start("", argv=("/bin/true",)) for _ in range(100)]
        assert all(driver.wait(spawn_id).exit_code == 0 for spawn_id in ids)
    # After its last report the spawner still looks for daemons, in a file.
    wait_until(lambda: len(os.listdir(f"/proc/{driver.spawner.pid}/fd")) == before)
    assert processes_below(driver.spawner.pid) == []


def test_closing_ends_everything(tmp_path: Path) -> None:
    driver = SpawnerDriver(start_spawner(), tmp_path)
    driver.start(f"{driver.write_pid('a')}; sleep 60")
    driver.start(f"setsid sh -c '{driver.write_pid('b')}; sleep 60'; sleep 60")
    pids = [driver.read_pid("a"), driver.read_pid("b"), driver.spawner.pid]
    driver.spawner.close()
    wait_until(lambda: not any(map(is_alive, pids)))
    driver.spawner.close()


def test_dead_spawner_is_an_error_not_a_silence(tmp_path: Path) -> None:
    spawner = start_spawner()
    os.kill(spawner.pid, signal.SIGKILL)
    select.select([spawner], [], [], 10)
    with pytest.raises(SandboxFailed, match=f"process {spawner.pid}"):
        spawner.receive()
    with pytest.raises(SandboxFailed):
        for _ in range(100):
            spawner.send(Kill(id=1))
    spawner.close()


def test_stream_that_is_no_message_ends_the_spawner(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    driver = SpawnerDriver(start_spawner(), tmp_path)
    driver.start(f"{driver.write_pid('a')}; sleep 60")
    pid = driver.read_pid("a")
    driver.spawner._control.sendall(b"\xff" * 100)
    wait_until(lambda: not is_alive(driver.spawner.pid))
    wait_until(lambda: not is_alive(pid))
    driver.spawner.close()
    assert "zbuild-spawner: a spawner message of 4294967295 B" in capfd.readouterr().err


WORKER = """
import sys
from zbuild.sandbox.spawner import start_spawner
from zbuild.sandbox.spawn_protocol import Spawn
spawner = start_spawner()
spawner.send(Spawn(id=1, argv=("/bin/sh", "-c", sys.argv[1]), environment=(), working_directory="/",
                   stdout_path="/tmp/unused", stderr_path=None, timeout_s=60.0, is_sandboxed=False))
print(spawner.pid, flush=True)
sys.stdin.read()
"""


def test_killed_worker_leaves_nothing_behind(tmp_path: Path) -> None:
    driver_command = f"echo $$ > {tmp_path}/p.new; mv {tmp_path}/p.new {tmp_path}/p; sleep 60"
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, driver_command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as worker:
        assert worker.stdout is not None
        spawner_pid = int(worker.stdout.readline())
        wait_until((tmp_path / "p").exists)
        pid = int((tmp_path / "p").read_text())
        worker.kill()
    wait_until(lambda: not is_alive(pid) and not is_alive(spawner_pid))


def test_neither_side_imports_gevent_or_zmq() -> None:
    code = (
        "import sys; import zbuild.sandbox.spawner, zbuild.sandbox.spawn_loop, zbuild.sandbox.launch;"
        "print([name for name in sys.modules if name.partition('.')[0] in ('gevent', 'zmq', 'rich')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_message_in_pieces(driver: SpawnerDriver) -> None:
    message = encode(
        Spawn(
            id=77,
            argv=("/bin/true",),
            environment=(),
            working_directory="/",
            stdout_path="",
            stderr_path=None,
            timeout_s=9.0,
            is_sandboxed=False,
        )
    )
    for byte in message:
        driver.spawner._control.sendall(bytes([byte]))
    assert driver.wait(77).exit_code == 0
