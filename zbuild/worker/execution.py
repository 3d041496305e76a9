"""One attempt at one action on this machine: prepare, run, collect."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import msgspec

from zbuild.digest import EMPTY, Digest
from zbuild.errors import (
    BadInput,
    BlobCorrupt,
    BlobMissing,
    NoEligibleWorker,
    SandboxFailed,
    StoreFailed,
    ZbuildError,
)
from zbuild.limits import STAGING_ROUNDS
from zbuild.model.action import (
    Action,
    ActionId,
    ActionResult,
    OutputFile,
    ResourceUsage,
    ResultStatus,
    action_id_of,
    check_disjoint,
    decode_action,
)
from zbuild.model.capabilities import Capabilities
from zbuild.sandbox.launch import to_spawn
from zbuild.sandbox.spawn_protocol import Captured, Exited, Spawn
from zbuild.sandbox.spec import UNBOUNDED, SandboxLevel, SandboxSpec, StandingLimits
from zbuild.sandbox.system import SystemTree
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.collection import collect
from zbuild.storage.leftover_files import leftover_files
from zbuild.storage.staged_paths import parent, with_ancestors
from zbuild.storage.staging import Stage, StagePlan
from zbuild.storage.tree_removal import remove_with_trash

T = TypeVar("T")


class Surroundings(Protocol):
    """What an execution needs of the process that it is in. Each call waits."""

    def fetch(self, digests: list[Digest], peer: str = "") -> None:
        """Bring blobs into the worker's directory; raises BlobMissing or StoreFailed.

        ``peer``: where a worker serves blobs that probably has them; "" for none.
        """

    def upload(self, digests: Iterable[Digest]) -> None:
        """Bring blobs of the worker's directory into the store; raises StoreFailed."""

    def hold(self, spawn: Spawn) -> None:
        """Begin to make the sandbox of a held process; raises SandboxFailed."""

    def run(self, spawn_id: int) -> Exited:
        """Run a held process to its end; raises SandboxFailed."""

    def discard(self, spawn_id: int) -> None:
        """End a held process that will not run after all; raises SandboxFailed."""

    def property_value(self, name: str) -> str:
        """The present value of a platform property of this machine; "" for none."""


class Slot:
    """A stage directory for one execution at a time."""

    def __init__(self, stage: Stage, stdout_path: str, stderr_path: str) -> None:
        self.stage = stage
        self.stdout_path = stdout_path
        self.stderr_path = stderr_path
        self.private_directory = f"{stdout_path}.private"


class SlotPool(Protocol):
    """The free slots."""

    def get(self) -> Slot:
        """Take one; waits for it."""

    def put(self, slot: Slot) -> None:
        """Give one back."""


class Workshop:
    """What the executions of a worker have in common.

    Args:
        name: of the worker.
        level: the only sandbox level that it runs at.
        slots: the stages that are free. An execution waits for one when all are in use.
        next_spawn_id: gives a fresh number for each process.
        ceiling: what it grants to an action at most.
        standing: what it holds every action to besides.
    """

    def __init__(
        self,
        name: str,
        level: SandboxLevel,
        system: SystemTree,
        blobs: BlobDirectory,
        slots: SlotPool,
        surroundings: Surroundings,
        next_spawn_id: Callable[[], int],
        ceiling: Capabilities,
        standing: StandingLimits = UNBOUNDED,
    ) -> None:
        self.name = name
        self.level = level
        self.system = system
        self.blobs = blobs
        self.slots = slots
        self.surroundings = surroundings
        self.next_spawn_id = next_spawn_id
        self.ceiling = ceiling
        self.standing = standing

    def begin(self, action_id: ActionId, body: bytes, peer_blobs: str = "") -> Execution:
        """An attempt at the action of these bytes, whose inputs the worker that serves at ``peer_blobs`` may have."""
        return Execution(self, action_id, body, peer_blobs)


class Execution:
    """Call ``prepare``, ``run`` and ``collect`` in this order, or ``discard`` instead of the last two.

    None of them raises: a failure of the farm is a result, too, and ends the later steps. So is a bug of ours: a
    greenlet that died of it would leave its lease held, and its slot taken, for ever.
    """

    def __init__(self, workshop: Workshop, action_id: ActionId, body: bytes, peer_blobs: str = "") -> None:
        self._workshop = workshop
        self._action_id = action_id
        self._body = body
        self._peer_blobs = peer_blobs
        self._slot: Slot | None = None
        self._action: Action | None = None
        self._plan: StagePlan | None = None
        self._held_id = 0
        self._exited: Exited | None = None
        self._failure: ActionResult | None = None
        self._fetch_s = self._stage_s = self._run_s = 0.0

    def prepare(self) -> None:
        """Have every input here and staged, and the sandbox under way, which will wait for ``run``.

        Making a sandbox takes 4 ms on an idle machine and 20 on a busy one, most of it waiting for the kernel: no slot
        is taken meanwhile.
        """
        self._guarded(self._prepare)

    def run(self, started: Callable[[int], None]) -> None:
        """Run the command. ``started`` is told its spawn id just before, so that it can be killed."""
        self._guarded(lambda: self._run(started))

    def collect(self) -> ActionResult:
        """Bring home what the command made; the result. The slot is free afterwards."""
        result = self._guarded(self._collect)
        self.discard()
        return self._failure or result or self._error(SandboxFailed("the command was not run"))

    def discard(self) -> None:
        """Give the slot back."""
        held_id, self._held_id = self._held_id, 0
        if held_id:
            with contextlib.suppress(SandboxFailed):
                self._workshop.surroundings.discard(held_id)
        slot, self._slot = self._slot, None
        if slot is not None:
            if self._action is not None and not self._leaves_nothing(self._action):
                slot.stage.distrust()
            if self._workshop.level is SandboxLevel.PROCESS:
                # What is left there, and cannot be removed, hinders nobody.
                with contextlib.suppress(OSError):
                    remove_with_trash(slot.private_directory)
            self._workshop.slots.put(slot)

    def _guarded(self, step: Callable[[], T]) -> T | None:
        if self._failure is not None:
            return None
        try:
            return step()
        except ZbuildError as error:
            self._failure = self._error(error)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            self._failure = self._error(SandboxFailed(f"a bug: {error!r} at {frame.filename}:{frame.lineno}"))
        return None

    def _error(self, error: ZbuildError) -> ActionResult:
        missing: list[Digest] = []
        if isinstance(error, BlobMissing):
            with contextlib.suppress(StoreFailed):
                missing = self._absent()
        return ActionResult(
            status=ResultStatus.ERROR,
            code=error.code,
            message=str(error),
            missing=tuple(missing),
            worker=self._workshop.name,
        )

    def _absent(self) -> list[Digest]:
        inputs = self._action.inputs if self._action is not None else ()
        return sorted({spec.digest for spec in inputs if not self._workshop.blobs.contains(spec.digest)})

    def _prepare(self) -> None:
        if action_id_of(self._body) != self._action_id:
            raise BadInput(f"action {self._action_id.hex()[:8]}: its bytes have another hash")
        action = self._action = decode_action(self._body)
        self._check_platform(action)
        check_disjoint(action)
        slot = self._slot = self._workshop.slots.get()
        began_s = time.monotonic()
        plan = self._plan = self._staged(action, slot.stage)
        if self._workshop.level is SandboxLevel.PROCESS:
            os.makedirs(slot.private_directory, 0o700, exist_ok=True)
        self._stage_s = time.monotonic() - began_s - self._fetch_s
        spawn_id = self._workshop.next_spawn_id()
        spec = self._spec(action, plan, slot)
        self._workshop.surroundings.hold(to_spawn(spec, spawn_id, is_held=True))
        self._held_id = spawn_id

    def _staged(self, action: Action, stage: Stage) -> StagePlan:
        """Stage the inputs, and fetch those that are not here or turn out to be damaged.

        As a rule everything is here. To ask for each input first would cost as much as to stage what differs. Staging
        ends at the first damaged blob: one that cost an attempt each time would have an action of a few fail.
        """
        for _ in range(STAGING_ROUNDS):
            try:
                return _staged(action, stage)
            except (BlobMissing, BlobCorrupt) as error:
                absent = self._absent()
                if isinstance(error, BlobMissing) and not absent:
                    raise
                began_s = time.monotonic()
                self._workshop.surroundings.fetch(absent, self._peer_blobs)
                self._fetch_s += time.monotonic() - began_s
        return _staged(action, stage)

    def _check_platform(self, action: Action) -> None:
        workshop = self._workshop
        if action.sandbox != workshop.level.value:
            raise NoEligibleWorker(f"worker {workshop.name} runs at level {workshop.level.value}, not {action.sandbox}")
        beyond = action.capabilities.beyond(workshop.ceiling)
        beyond = beyond or action.capabilities.strayed(os.path.realpath, workshop.ceiling)
        if beyond:
            raise NoEligibleWorker(f"worker {workshop.name} does not grant {', '.join(beyond)}")
        for name, value in action.platform:
            present = workshop.surroundings.property_value(name)
            if present != value:
                text = f"worker {workshop.name} has {name}={present or 'none'} now, the action requires {value}"
                raise NoEligibleWorker(text)

    def _run(self, started: Callable[[int], None]) -> None:
        spawn_id, self._held_id = self._held_id, 0
        if not spawn_id:
            raise SandboxFailed("the action was not prepared")
        began_s = time.monotonic()
        started(spawn_id)
        self._exited = self._workshop.surroundings.run(spawn_id)
        self._run_s = time.monotonic() - began_s

    def _spec(self, action: Action, plan: StagePlan, slot: Slot) -> SandboxSpec:
        return SandboxSpec(
            level=self._workshop.level,
            stage_root=plan.root,
            read_only_paths=plan.read_only_paths,
            writable_root=plan.writable_root,
            working_directory=plan.working_directory,
            arguments=action.arguments,
            environment=action.environment,
            stdout_path=slot.stdout_path,
            stderr_path=None if action.joins_stderr else slot.stderr_path,
            capabilities=action.capabilities.under(self._workshop.ceiling),
            system=self._workshop.system.paths(),
            standing=self._workshop.standing,
            private_directory=slot.private_directory,
        )

    def _collect(self) -> ActionResult:
        exited, action, plan = self._exited, self._action, self._plan
        if exited is None or action is None or plan is None:
            raise SandboxFailed("the command was not run")
        began_s = time.monotonic()
        result = self._result(plan, action, exited)
        collected_s = time.monotonic()
        # The store may be away for long, and others want the stage.
        self.discard()
        self._workshop.surroundings.upload(result.blobs())
        resources = ResourceUsage(
            user_s=exited.user_s,
            system_s=exited.system_s,
            peak_memory_bytes=exited.peak_memory_bytes,
            read_bytes=exited.read_bytes,
            written_bytes=exited.written_bytes,
            fetch_s=self._fetch_s,
            stage_s=self._stage_s,
            run_s=self._run_s,
            collect_s=collected_s - began_s,
            upload_s=time.monotonic() - collected_s,
        )
        return msgspec.structs.replace(result, resources=resources)

    def _result(self, plan: StagePlan, action: Action, exited: Exited) -> ActionResult:
        if exited.error:
            raise SandboxFailed(exited.error)
        stdout, stderr = self._kept(exited.stdout), self._kept(exited.stderr)
        status, message = ResultStatus.SUCCESS, ""
        if exited.is_timed_out:
            status, message = ResultStatus.TIMEOUT, f"killed: time limit {action.capabilities.timeout_s:g} s exceeded"
        elif exited.exit_code != 0 or exited.is_killed:
            status, message = ResultStatus.FAILURE, f"killed: {exited.limit}" if exited.limit else ""
        outputs: tuple[OutputFile, ...] = ()
        leftovers: tuple[str, ...] = ()
        if status is ResultStatus.SUCCESS:
            outputs = collect(
                plan,
                action.outputs,
                self._workshop.blobs,
                max_bytes=self._workshop.standing.disk_bytes,
                is_moved=self._leaves_nothing(action),
            )
            made = with_ancestors({*action.directories, *(parent(spec.path) for spec in action.outputs)})
            leftovers = leftover_files(plan, {entry.path for entry in action.inputs}, made)
        return ActionResult(
            status=status,
            exit_code=exited.exit_code,
            outputs=outputs,
            stdout=stdout,
            stderr=stderr,
            message=message,
            worker=self._workshop.name,
            leftovers=leftovers,
        )

    def _leaves_nothing(self, action: Action) -> bool:
        """Whether no process that it has spoken to can still have one of its files open."""
        return self._workshop.level is SandboxLevel.HERMETIC and action.capabilities.is_sealed

    def _kept(self, captured: Captured) -> Digest:
        """Put what the command printed into the worker's blobs."""
        if captured.path:
            return self._workshop.blobs.put_file(captured.path, is_moved=True)
        return self._workshop.blobs.put_bytes(captured.data) if captured.data else EMPTY


def _staged(action: Action, stage: Stage) -> StagePlan:
    """Raises what Stage.prepare raises; nothing is changed for a BlobMissing."""
    return stage.prepare(
        inputs=action.inputs,
        directories=action.directories,
        outputs=action.outputs,
        writable_root=action.writable_root,
        working_directory=action.working_directory,
    )
