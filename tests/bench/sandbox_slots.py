"""Slots of a worker without the worker: real stages, blobs and sandboxes, one action after the other."""

from __future__ import annotations

import select
from collections.abc import Iterable
from pathlib import Path

from zbuild.digest import Digest
from zbuild.model.action import Action, InputSpec, OutputSpec
from zbuild.model.capabilities import DEFAULT, Capabilities
from zbuild.sandbox.spawn_protocol import Exited, Release, Spawn
from zbuild.sandbox.spawner import Spawner
from zbuild.sandbox.spec import RESERVED_PATHS, SHARED_PATHS, SandboxLevel
from zbuild.sandbox.system import SystemTree
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.staging import Stage
from zbuild.worker.execution import Slot, Workshop

BUILD = "/zb/src/zb-build"
INPUTS = 20


class DirectSurroundings:
    """What an Execution asks of its worker, without gevent and without a store."""

    def __init__(self, spawner: Spawner) -> None:
        self.spawner = spawner
        self._exited: dict[int, Exited] = {}
        self._last_id = 0

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def wait(self, spawn_id: int) -> Exited:
        """Its report, when it has come.

        Raises:
            SystemExit: the command did not succeed.
        """
        while spawn_id not in self._exited:
            select.select([self.spawner], [], [])
            for exited in self.spawner.receive():
                if exited.error or exited.exit_code:
                    raise SystemExit(f"a command did not work: {exited}")
                self._exited[exited.id] = exited
        return self._exited.pop(spawn_id)

    def fetch(self, digests: list[Digest], peer: str = "") -> None:
        del peer
        raise SystemExit(f"every input is here, and {len(digests)} are fetched")

    def upload(self, digests: Iterable[Digest]) -> None:
        del digests

    def hold(self, spawn: Spawn) -> None:
        self.spawner.send(spawn)

    def run(self, spawn_id: int) -> Exited:
        self.spawner.send(Release(id=spawn_id))
        return self.wait(spawn_id)

    def discard(self, spawn_id: int) -> None:
        raise SystemExit(f"every action is run, and {spawn_id} is discarded")

    def property_value(self, name: str) -> str:
        raise SystemExit(f"no action has a property, and {name} is asked for")


class FreeSlots:
    """The slots of a Workshop that nothing uses."""

    def __init__(self, slots: list[Slot]) -> None:
        self._slots = slots

    def get(self) -> Slot:
        return self._slots.pop()

    def put(self, slot: Slot) -> None:
        self._slots.append(slot)


def make_stage(path: Path, blobs: BlobDirectory) -> Stage:
    return Stage(path, blobs, reserved_paths=RESERVED_PATHS, shared_paths=SHARED_PATHS)


def make_workshop(surroundings: DirectSurroundings, directory: Path, slots: int) -> Workshop:
    """A workshop of its own in a new directory."""
    directory.mkdir()
    blobs = BlobDirectory(directory / "blobs", is_durable=False)
    made = [
        Slot(make_stage(directory / f"stage{n}", blobs), str(directory / f"stdout{n}"), str(directory / f"stderr{n}"))
        for n in range(slots)
    ]
    system = SystemTree(directory / "system")
    level, free = SandboxLevel.HERMETIC, FreeSlots(made)
    return Workshop("bench", level, system, blobs, free, surroundings, surroundings.next_id, DEFAULT)


def compile_like_action(blobs: BlobDirectory, number: int) -> Action:
    """One of its 20 inputs is another than in the action before; its one output is another each 100 actions."""
    inputs = [InputSpec(f"/zb/src/include/{n}.h", blobs.put_bytes(b"%d" % n)) for n in range(INPUTS - 1)]
    inputs.append(InputSpec(f"/zb/src/{number % 100}.c", blobs.put_bytes(b"source %d" % (number % 100))))
    return Action(
        platform=(),
        sandbox="hermetic",
        capabilities=Capabilities(timeout_s=60.0),
        arguments=("/bin/cp", f"../{number % 100}.c", "out"),
        environment=(),
        working_directory=BUILD,
        writable_root=BUILD,
        inputs=tuple(inputs),
        directories=(),
        outputs=(OutputSpec(f"{BUILD}/out"),),
    )
