"""One attempt at an action: whatever goes wrong becomes its result, and its stage is free again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from zbuild.digest import Digest, of_bytes
from zbuild.errors import BadInput, BlobCorrupt, BlobMissing, NoEligibleWorker, SandboxFailed
from zbuild.limits import STAGING_ROUNDS
from zbuild.model.action import Action, ActionResult, InputSpec, OutputSpec, ResultStatus, encode_action
from zbuild.model.capabilities import DEFAULT, Capabilities, capabilities_of
from zbuild.sandbox.spawn_protocol import Exited, Spawn
from zbuild.sandbox.spec import RESERVED_PATHS, SHARED_PATHS, SandboxLevel
from zbuild.sandbox.system import SystemTree
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.staging import Stage
from zbuild.worker.execution import Execution, Slot, Workshop

INPUT = of_bytes(b"input")


class Slots:
    """A pool of one."""

    def __init__(self, slot: Slot) -> None:
        self.free = [slot]

    def get(self) -> Slot:
        return self.free.pop()

    def put(self, slot: Slot) -> None:
        self.free.append(slot)


class Surroundings:
    """A worker in which one call fails."""

    def __init__(self, error: Exception, failing: str) -> None:
        self._error = error
        self._failing = failing
        self.held: list[int] = []
        self.fetched_from = "nowhere"

    def fetch(self, digests: list[Digest], peer: str = "") -> None:
        self.fetched_from = peer
        self._fail("fetch")

    def upload(self, digests: Iterable[Digest]) -> None:
        self._fail("upload")

    def hold(self, spawn: Spawn) -> None:
        assert spawn.is_held
        self._fail("hold")
        self.held.append(spawn.id)

    def run(self, spawn_id: int) -> Exited:
        self.held.remove(spawn_id)
        self._fail("run")
        raise AssertionError("only the failing call is made")

    def discard(self, spawn_id: int) -> None:
        self.held.remove(spawn_id)

    def property_value(self, name: str) -> str:
        self._fail("property_value")
        return "linux"

    def _fail(self, call: str) -> None:
        if call == self._failing:
            raise self._error


def begun(
    directory: Path,
    surroundings: Surroundings,
    blobs: BlobDirectory,
    changes: dict[str, object] | None = None,
    ceiling: Capabilities = DEFAULT,
    peer: str = "",
) -> tuple[Execution, Slots]:
    stage = Stage(str(directory / "stage"), blobs, reserved_paths=RESERVED_PATHS, shared_paths=SHARED_PATHS)
    slots = Slots(Slot(stage, str(directory / "stdout"), str(directory / "stderr")))
    system = SystemTree(str(directory / "system"))
    workshop = Workshop("w", SandboxLevel.HERMETIC, system, blobs, slots, surroundings, lambda: 1, ceiling)
    action = Action(
        platform=(("os", "linux"),),
        sandbox="hermetic",
        capabilities=Capabilities(timeout_s=1.0),
        arguments=("/bin/true",),
        environment=(),
        working_directory="/zb/build",
        writable_root="/zb/build",
        inputs=(InputSpec("/zb/src/a", INPUT),),
        directories=(),
        outputs=(),
    )
    action = msgspec.structs.replace(action, **(changes or {}))
    return workshop.begin(*encode_action(action), peer), slots


def attempt(
    directory: Path,
    surroundings: Surroundings,
    blobs: BlobDirectory,
    changes: dict[str, object] | None = None,
    ceiling: Capabilities = DEFAULT,
) -> tuple[ActionResult, Slots]:
    execution, slots = begun(directory, surroundings, blobs, changes, ceiling)
    execution.prepare()
    execution.run(lambda _spawn_id: None)
    result = execution.collect()
    assert surroundings.held == []
    return result, slots


@pytest.mark.parametrize("failing", ["fetch", "hold", "run", "property_value"])
def test_a_bug_costs_the_attempt_and_not_the_slot(tmp_path: Path, failing: str) -> None:
    """It ended the greenlet: the lease was held for ever, and the build waited for ever."""
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    if failing != "fetch":
        blobs.put_bytes(b"input")
    result, slots = attempt(tmp_path, Surroundings(ValueError("unthought of"), failing), blobs)
    assert (result.status, result.code) == (ResultStatus.ERROR, SandboxFailed.code)
    assert "unthought of" in result.message
    assert "test_execution.py" in result.message, "it says where"
    assert len(slots.free) == 1


def rot(path: Path, digest: Digest) -> None:
    """Other bytes of the same length under the name of a blob."""
    (blob,) = path.glob(f"?/{digest.hash.hex()}")
    blob.unlink()
    blob.write_bytes(b"x" * digest.size_bytes)
    blob.chmod(0o444)


def test_inputs_that_have_rotted_on_the_worker_are_fetched_anew_within_one_attempt(tmp_path: Path) -> None:
    """Each used to cost an attempt: a worker's bad disk made an action fail that three of its inputs were rotten of."""
    contents = [b"input %d" % number for number in range(5)]
    digests = [BlobDirectory(tmp_path / "blobs", is_durable=False).put_bytes(data) for data in contents]
    for digest in digests[:4]:
        rot(tmp_path / "blobs", digest)
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    fetched: list[Digest] = []

    class Fetching(Surroundings):
        """A store that has all of them."""

        def fetch(self, digests: list[Digest], peer: str = "") -> None:
            fetched.extend(digests)
            for digest in digests:
                blobs.put_bytes(next(data for data in contents if of_bytes(data) == digest))

    inputs = tuple(InputSpec(f"/zb/src/{number}", digest) for number, digest in enumerate(digests))
    surroundings = Fetching(ValueError("none"), "nothing")
    execution, slots = begun(tmp_path, surroundings, blobs, {"inputs": inputs})

    execution.prepare()

    assert surroundings.held == [1], "it is ready to run"
    assert sorted(fetched) == sorted(digests[:4])
    staged = [(tmp_path / f"stage/root/zb/src/{number}").read_bytes() for number in range(5)]
    assert staged == contents
    execution.discard()
    assert len(slots.free) == 1


def test_a_disk_that_rots_whatever_is_fetched_costs_the_attempt(tmp_path: Path) -> None:
    BlobDirectory(tmp_path / "blobs", is_durable=False).put_bytes(b"input")
    rot(tmp_path / "blobs", INPUT)
    rounds = 0

    class Rotting(Surroundings):
        """What it fetches is rotten before it is staged."""

        def fetch(self, digests: list[Digest], peer: str = "") -> None:
            nonlocal rounds
            rounds += 1
            BlobDirectory(tmp_path / "blobs", is_durable=False).put_bytes(b"input")
            rot(tmp_path / "blobs", INPUT)

    result, slots = attempt(
        tmp_path, Rotting(ValueError("none"), "nothing"), BlobDirectory(tmp_path / "blobs", is_durable=False)
    )

    assert (result.status, result.code) == (ResultStatus.ERROR, BlobCorrupt.code)
    assert rounds == STAGING_ROUNDS
    assert len(slots.free) == 1


def test_a_sandbox_that_is_not_needed_ends_before_its_stage_is_used_again(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    blobs.put_bytes(b"input")
    free_when_discarded: list[int] = []

    class Discarding(Surroundings):
        """Looks what is free when the sandbox is ended."""

        def discard(self, spawn_id: int) -> None:
            super().discard(spawn_id)
            free_when_discarded.append(len(slots.free))

    surroundings = Discarding(ValueError("none"), "nothing")
    execution, slots = begun(tmp_path, surroundings, blobs)
    execution.prepare()
    assert surroundings.held == [1]
    execution.discard()
    assert (surroundings.held, free_when_discarded, len(slots.free)) == ([], [0], 1)


@pytest.mark.parametrize("peer", ["", "tcp://127.0.0.1:5"])
def test_inputs_are_fetched_from_the_peer_that_is_named(tmp_path: Path, peer: str) -> None:
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    surroundings = Surroundings(BlobMissing("not in the store"), "fetch")
    execution, _ = begun(tmp_path, surroundings, blobs, peer=peer)
    execution.prepare()
    assert surroundings.fetched_from == peer


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    result, _ = attempt(tmp_path, Surroundings(BlobMissing("not in the store"), "fetch"), blobs)
    assert result.missing == (INPUT,)


def test_a_disk_that_cannot_be_asked_what_is_missing_does_not_hide_the_error(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)

    class BreakingDisk(Surroundings):
        """The directory breaks while the blob is fetched."""

        def fetch(self, digests: list[Digest], peer: str = "") -> None:
            (tmp_path / "blobs" / INPUT.hash.hex()[:1]).write_text("a file in the place of a directory")
            super().fetch(digests, peer)

    result, _ = attempt(tmp_path, BreakingDisk(BlobMissing("not in the store"), "fetch"), blobs)
    assert (result.code, result.message) == (BlobMissing.code, "not in the store")


NETWORKED = Capabilities(network=True)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"sandbox": "none"}, NoEligibleWorker.code, "runs at level hermetic, not none"),
        ({"sandbox": "process"}, NoEligibleWorker.code, "runs at level hermetic, not process"),
        ({"capabilities": NETWORKED}, NoEligibleWorker.code, "does not grant network=true"),
        ({"outputs": (OutputSpec("/zb/src/a"),)}, BadInput.code, "/zb/src/a is an input and an output"),
    ],
)
def test_what_the_broker_should_not_have_placed_here_is_refused(
    tmp_path: Path, changes: dict[str, object], code: int, said: str
) -> None:
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    blobs.put_bytes(b"input")
    result, slots = attempt(tmp_path, Surroundings(AssertionError("it ran"), "run"), blobs, changes)
    assert (result.status, result.code) == (ResultStatus.ERROR, code)
    assert said in result.message
    assert len(slots.free) == 1


def test_what_the_ceiling_grants_comes_to_be_run(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    blobs.put_bytes(b"input")
    surroundings = Surroundings(SandboxFailed("it came to be run"), "run")
    result, _ = attempt(tmp_path, surroundings, blobs, {"capabilities": NETWORKED}, ceiling=NETWORKED)
    assert result.message == "it came to be run"


class Accomplice(Surroundings):
    """A worker whose command has passed its output, open for writing, to a process that outlives it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(AssertionError("nothing fails"), "")
        self._directory = directory / "stage" / "root" / "zb" / "build"
        self.passed_on: list[int] = []

    def run(self, spawn_id: int) -> Exited:
        self.held.remove(spawn_id)
        (self._directory / "out").write_bytes(b"good")
        self.passed_on += (os.open(self._directory / "out", os.O_WRONLY), os.open(self._directory, os.O_RDONLY))
        return Exited(id=spawn_id)


@pytest.mark.parametrize("capabilities", [{"network": True}, {"read_paths": ("/srv",)}, {"write_paths": ("/srv",)}])
def test_what_could_pass_a_descriptor_on_leaves_nothing_that_is_used_again(
    tmp_path: Path, capabilities: dict[str, object]
) -> None:
    """By a socket of the host, on its network or at a path of it: CVE-2024-27297."""
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    blobs.put_bytes(b"input")
    granted = capabilities_of(capabilities)
    surroundings = Accomplice(tmp_path)
    changes = {"capabilities": granted, "outputs": (OutputSpec("/zb/build/out"),)}
    result, slots = attempt(tmp_path, surroundings, blobs, changes, ceiling=granted)
    assert result.status is ResultStatus.SUCCESS, result.message
    file, directory = surroundings.passed_on
    os.write(file, b"evil")
    assert Path(blobs.path_of(of_bytes(b"good"))).read_bytes() == b"good"
    plan = slots.free[0].stage.prepare(
        inputs=(),
        directories=(),
        outputs=(OutputSpec("/zb/build/out"),),
        writable_root="/zb/build",
        working_directory="/zb/build",
    )
    with pytest.raises(FileNotFoundError):
        os.open("planted", os.O_WRONLY | os.O_CREAT, dir_fd=directory)
    assert os.listdir(plan.location("/zb/build")) == []
    os.close(file)
    os.close(directory)


def test_what_could_pass_nothing_on_is_moved(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    blobs.put_bytes(b"input")
    surroundings = Accomplice(tmp_path)
    result, _ = attempt(tmp_path, surroundings, blobs, {"outputs": (OutputSpec("/zb/build/out"),)})
    assert result.status is ResultStatus.SUCCESS, result.message
    file, directory = surroundings.passed_on
    assert os.fstat(file).st_ino == os.stat(blobs.path_of(of_bytes(b"good"))).st_ino
    os.close(file)
    os.close(directory)


def test_a_stage_is_free_while_outputs_go_to_the_store(tmp_path: Path) -> None:
    """A store that is away would otherwise stop the worker after as many actions as it has stages."""
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    blobs.put_bytes(b"input")
    free_meanwhile: list[int] = []

    class Uploading(Surroundings):
        """Runs everything, and looks what is free when the outputs are uploaded."""

        def run(self, spawn_id: int) -> Exited:
            self.held.remove(spawn_id)
            return Exited(id=spawn_id)

        def upload(self, digests: Iterable[Digest]) -> None:
            free_meanwhile.append(len(slots.free))

    execution, slots = begun(tmp_path, Uploading(ValueError("none"), "nothing"), blobs)
    execution.prepare()
    execution.run(lambda _spawn_id: None)
    result = execution.collect()
    assert (result.status, free_meanwhile, len(slots.free)) == (ResultStatus.SUCCESS, [1], 1)
