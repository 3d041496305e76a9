"""A whole slot without a worker: blobs, stage, system tree, spawner."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import prctl

from zbuild.model.action import InputSpec, OutputFile, OutputSpec
from zbuild.model.capabilities import DEFAULT, Capabilities
from zbuild.sandbox.launch import to_spawn
from zbuild.sandbox.spawn_loop import protected_loop
from zbuild.sandbox.spawn_protocol import Exited
from zbuild.sandbox.spawner import Spawner
from zbuild.sandbox.spec import RESERVED_PATHS, SHARED_PATHS, UNBOUNDED, SandboxLevel, SandboxSpec, StandingLimits
from zbuild.sandbox.system import SystemTree
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.collection import collect
from zbuild.storage.staging import Stage, StagePlan

BUILD = "/zb/src/zb-build"
ORDINARY_USER = 65534
ROOT_USER = 0


class Slot:
    """Runs one action after the other. Slots of one spawner have different numbers and share their reports.

    Attributes:
        plan: the stage of the last action.
    """

    plan: StagePlan

    def __init__(
        self,
        spawner: Spawner | None,
        directory: Path,
        *,
        number: int = 1,
        exits_of: Slot | None = None,
        system: SystemTree | None = None,
    ) -> None:
        self.spawner = spawner
        self.directory = directory
        self.blobs = BlobDirectory(directory / "blobs", is_durable=False)
        self.stage = Stage(directory / "stage", self.blobs, reserved_paths=RESERVED_PATHS, shared_paths=SHARED_PATHS)
        self.system = system or SystemTree(directory / "system")
        self.private = directory / "private"
        self.private.mkdir(exist_ok=True)
        self._last_id = 1_000_000 * number
        self._exited: dict[int, Exited] = exits_of._exited if exits_of is not None else {}

    def specify(
        self,
        command: str,
        *,
        files: Mapping[str, bytes] | None = None,
        executables: Mapping[str, bytes] | None = None,
        outputs: tuple[str, ...] = (),
        timeout_s: float = 30.0,
        joins_stderr: bool = True,
        environment: tuple[tuple[str, str], ...] = (),
        arguments: tuple[str, ...] = (),
        level: SandboxLevel = SandboxLevel.HERMETIC,
        capabilities: Capabilities = DEFAULT,
        standing: StandingLimits = UNBOUNDED,
    ) -> SandboxSpec:
        """Stage an action."""
        inputs = [InputSpec(path, self.blobs.put_bytes(data)) for path, data in (files or {}).items()]
        inputs += [InputSpec(path, self.blobs.put_bytes(data), True) for path, data in (executables or {}).items()]
        self.plan = self.stage.prepare(
            inputs=inputs,
            directories=(),
            outputs=[OutputSpec(f"{BUILD}/{name}") for name in outputs],
            writable_root=BUILD,
            working_directory=BUILD,
        )
        return SandboxSpec(
            level=level,
            stage_root=self.plan.root,
            read_only_paths=self.plan.read_only_paths,
            writable_root=self.plan.writable_root,
            working_directory=self.plan.working_directory,
            arguments=arguments or ("/bin/sh", "-c", command),
            environment=environment,
            stdout_path=str(self.directory / "stdout"),
            stderr_path=None if joins_stderr else str(self.directory / "stderr"),
            capabilities=msgspec.structs.replace(capabilities, timeout_s=timeout_s),
            system=self.system.paths(),
            standing=standing,
            private_directory=str(self.private),
        )

    def start(self, command: str, *, is_held: bool = False, **fields: object) -> int:
        assert self.spawner is not None
        self._last_id += 1
        spec = self.specify(command, **fields)  # type: ignore[arg-type]  # the fields of specify(), by name
        self.spawner.send(to_spawn(spec, self._last_id, is_held=is_held))
        return self._last_id

    def wait(self, spawn_id: int, timeout_s: float = 30.0) -> Exited:
        assert self.spawner is not None
        deadline_s = time.monotonic() + timeout_s
        poller = select.poll()
        poller.register(self.spawner, select.POLLIN)
        while spawn_id not in self._exited:
            assert poller.poll(max(0, deadline_s - time.monotonic()) * 1000), "no Exited came"
            self._exited |= {message.id: message for message in self.spawner.receive()}
        return self._exited.pop(spawn_id)

    def run(self, command: str, **fields: object) -> Exited:
        return self.wait(self.start(command, **fields))  # type: ignore[arg-type]  # the fields of start(), by name

    def text(self, command: str, **fields: object) -> str:
        """The output of a command that succeeds."""
        exited = self.run(command, **fields)
        assert (exited.exit_code, exited.error) == (0, ""), exited
        return exited.stdout.data.decode()

    def collect(self, *names: str) -> dict[str, OutputFile]:
        outputs = collect(self.plan, [OutputSpec(f"{BUILD}/{name}") for name in names], self.blobs)
        return {output.path[len(BUILD) + 1 :]: output for output in outputs}


class _ForkedProcess:
    """A forked child, for a Spawner to wait for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self, _timeout_s: float | None = None) -> int:
        return os.waitpid(self.pid, 0)[1]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@contextlib.contextmanager
def forked_spawner() -> Iterator[Spawner]:
    """A spawner without a new interpreter, which the user of this process may not be able to execute."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            for name in os.listdir("/proc/self/fd"):
                # Those of whoever started the tests. The real spawner is started without them.
                with contextlib.suppress(OSError):
                    os.set_inheritable(int(name), False)
            prctl.set_child_subreaper(1)
            protected_loop(theirs).run()
        finally:
            os._exit(0)
    theirs.close()
    spawner = Spawner(ours, _ForkedProcess(pid))  # type: ignore[arg-type]  # it only waits for it or kills it
    try:
        yield spawner
    finally:
        spawner.close()


def as_user(user_id: int, directory: Path, function: Callable[[Path], object]) -> object:
    """The result, by way of JSON, of ``function(directory)``, called in a forked process of that user."""
    os.chown(directory, user_id, user_id)
    for name in ("ascii", "idna"):
        # Imported when first used, from where that user may not be able to read.
        codecs.lookup(name)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            if user_id != os.getuid():
                os.setgroups([])
                os.setgid(user_id)
                os.setuid(user_id)
                # Changing the user makes a process a secret to itself; one that was started by him is none.
                prctl.set_dumpable(1)
            os.chdir("/")
            result = function(directory)
            _write(writer, result)
        except BaseException as error:
            _write(writer, f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def _write(descriptor: int, result: object) -> None:
    with os.fdopen(descriptor, "w", closefd=False) as file:
        json.dump(result, file)
