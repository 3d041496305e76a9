"""What is built: the action, its inputs and outputs, and the result.

The terms are the Remote Execution API's. A whole action is one msgpack-encoded struct; the
BLAKE3 hash of those bytes is its ActionId, so equal actions have equal ids wherever they come from.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec
from blake3 import blake3

from zbuild.digest import EMPTY, HASH_BYTES, Digest
from zbuild.errors import BadInput
from zbuild.limits import RESULT_BYTES
from zbuild.model.capabilities import Capabilities

ActionId = Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
"""32 bytes: the BLAKE3 hash of the encoded Action."""

ACTION_FORMAT = "zbuild-action-4"
"""Part of every ActionId. A change in what an action means, or in how it is run, changes this."""


def worker_property(worker_id: int) -> tuple[str, str]:
    """The platform property that one worker alone has. An action that requires it runs there or nowhere."""
    return "worker", f"{worker_id:x}"


class Priority(enum.IntEnum):
    """The seed's four classes. Between builds, a higher class is always served first."""

    LOW = 0
    NORMAL = 50
    HIGH = 100
    CRITICAL = 200


class ResultStatus(enum.IntEnum):
    """How an attempt ended. Only SUCCESS is ever cached."""

    SUCCESS = 0
    FAILURE = 1
    """The command ran and exited with another code than 0. It is a result and is never retried."""
    TIMEOUT = 2
    CANCELLED = 3
    ERROR = 4
    """The farm failed, not the command: staging, sandbox, store or worker."""


class InputSpec(msgspec.Struct, frozen=True, array_like=True):
    """One regular file of the input root. ``path`` is absolute inside the sandbox."""

    path: str
    digest: Digest
    executable: bool = False


class OutputSpec(msgspec.Struct, frozen=True, array_like=True):
    """One path the command makes. A missing output is an error unless it is ``optional``."""

    path: str
    optional: bool = False


class ActionHeader(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The fields of an Action that decide where it runs. They come first on the wire.

    An Action's bytes decode as an ActionHeader too, because a decoder of an array ignores the
    elements after those it knows; so the broker never decodes an input list.

    Attributes:
        platform: (name, value) sorted by name; each is required of the worker.
        sandbox: the SandboxLevel that the action must run at.
        capabilities: what it may do beyond reading its inputs and writing its outputs.
        is_cacheable: False keeps the result out of the action cache.
    """

    format: str = ACTION_FORMAT
    platform: tuple[tuple[str, str], ...]
    sandbox: str
    capabilities: Capabilities
    is_cacheable: bool = True

    @property
    def is_shareable(self) -> bool:
        """Whether its result may answer later requests. One that saw more than its key covers never does."""
        return self.is_cacheable and self.capabilities.is_sealed


class Action(ActionHeader, frozen=True, array_like=True, kw_only=True):
    """A command and everything that its result may depend on.

    Attributes:
        arguments: argv; the first element is an absolute path in the sandbox.
        environment: (name, value) sorted by name. Nothing else is in the environment but what the sandbox itself sets.
        working_directory: absolute path in the sandbox.
        writable_root: the directory below which the command may write, absolute; outputs lie below it.
        inputs: sorted by path, no path twice.
        directories: directories that exist though no input lies below them, sorted.
        outputs: sorted by path.
        joins_stderr: stderr goes into stdout in the order of writing, as ninja shows it.
    """

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str
    writable_root: str
    inputs: tuple[InputSpec, ...]
    directories: tuple[str, ...]
    outputs: tuple[OutputSpec, ...]
    joins_stderr: bool = True


class OutputKind(enum.IntEnum):
    """What a collected output is."""

    FILE = 0
    SYMLINK = 1


class OutputFile(msgspec.Struct, frozen=True, array_like=True):
    """One collected output. A FILE has a digest; a SYMLINK has a target and the empty digest."""

    path: str
    kind: OutputKind
    digest: Digest
    executable: bool = False
    target: str = ""


class ResourceUsage(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What one attempt cost, from the kernel's accounting of the process tree.

    Attributes:
        peak_memory_bytes: the largest resident set of one process; 0 when it is not known.
        read_bytes, written_bytes: what the command passed through read(2), write(2) and their like.
    """

    user_s: float = 0.0
    system_s: float = 0.0
    peak_memory_bytes: int = 0
    fetch_s: float = 0.0
    stage_s: float = 0.0
    run_s: float = 0.0
    collect_s: float = 0.0
    upload_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0


class ActionResult(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The outcome of an action. What it printed lies in the store, as its outputs do.

    Attributes:
        exit_code: the command's, or 128 + signal number.
        stdout, stderr: what the command printed; stderr is empty when it was joined.
        message: for TIMEOUT and ERROR: what was tried and what failed.
        code: for ERROR: the wire code of the error class in zbuild.errors.
        missing: inputs that were not in the store.
        worker: the name of the worker that ran it.
        leftovers: for SUCCESS: what it left below its writable root and no output declares, sorted: files, symlinks,
            inputs that it changed, and empty directories, with a slash at the end. At most LEFTOVER_FILES.
    """

    status: ResultStatus
    exit_code: int = 0
    outputs: tuple[OutputFile, ...] = ()
    stdout: Digest = EMPTY
    stderr: Digest = EMPTY
    message: str = ""
    code: int = 0
    missing: tuple[Digest, ...] = ()
    resources: ResourceUsage = ResourceUsage()
    worker: str = ""
    leftovers: tuple[str, ...] = ()

    def blobs(self) -> list[Digest]:
        """Every blob that must be in the store for this result to be of use."""
        found = [output.digest for output in self.outputs if output.kind is OutputKind.FILE]
        found.extend(digest for digest in (self.stdout, self.stderr) if digest.size_bytes)
        return found


_encoder = msgspec.msgpack.Encoder()
_decode_action = msgspec.msgpack.Decoder(Action).decode
_decode_header = msgspec.msgpack.Decoder(ActionHeader).decode
_decode_result = msgspec.msgpack.Decoder(ActionResult).decode

UNDECODABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What a msgspec decoder raises for bytes of a stranger: deep nesting and bad UTF-8 are not MsgspecErrors."""


def encode_action(action: Action) -> tuple[ActionId, bytes]:
    """The action's id and the bytes that it is the hash of."""
    body = _encoder.encode(action)
    return blake3(body).digest(), body


def action_id_of(body: bytes) -> ActionId:
    return blake3(body).digest()


def decode_action(body: bytes) -> Action:
    """The inverse of ``encode_action``.

    Raises:
        BadInput: the bytes are not an Action of this format.
    """
    try:
        action = _decode_action(body)
    except UNDECODABLE as error:
        raise BadInput(f"cannot decode an action of {len(body)} B: {error}") from error
    _check_command(action)
    _check_digests((entry.path, entry.digest) for entry in action.inputs)
    return _checked_format(action)


def decode_header(body: bytes) -> ActionHeader:
    """The leading fields of an encoded Action.

    Raises:
        BadInput: the bytes are not an Action of this format.
    """
    try:
        header = _decode_header(body)
    except UNDECODABLE as error:
        raise BadInput(f"cannot decode the header of an action of {len(body)} B: {error}") from error
    return _checked_format(header)


def check_disjoint(action: Action) -> None:
    """See that no path is both an input and an output: what such an action reads depends on when it reads it.

    Raises:
        BadInput: one is; the message names it.
    """
    shared = {spec.path for spec in action.inputs} & {spec.path for spec in action.outputs}
    if shared:
        raise BadInput(f"{min(shared)} is an input and an output of one action")


def encode_result(result: ActionResult) -> bytes:
    return _encoder.encode(result)


def is_too_large(result: ActionResult) -> bool:
    """Whether the result does not fit into one control message."""
    return result_bytes(result) > RESULT_BYTES and len(encode_result(result)) > RESULT_BYTES


def result_bytes(result: ActionResult) -> int:
    """About how large the encoded result is, without encoding it; never too small.

    A character is up to 4 B of UTF-8. An output has a digest of 45 B, a missing input too, and the
    fixed fields at most 256 B.
    """
    size_bytes = 256 + 4 * (len(result.message) + len(result.worker)) + 45 * len(result.missing)
    for output in result.outputs:
        size_bytes += 64 + 4 * (len(output.path) + len(output.target))
    for path in result.leftovers:
        size_bytes += 5 + 4 * len(path)
    return size_bytes


def decode_result(data: bytes) -> ActionResult:
    """The inverse of ``encode_result``.

    Raises:
        BadInput: the bytes are not an ActionResult.
    """
    try:
        result = _decode_result(data)
    except UNDECODABLE as error:
        raise BadInput(f"cannot decode an action result of {len(data)} B: {error}") from error
    _check_digests((output.path, output.digest) for output in result.outputs)
    _check_digests((("stdout", result.stdout), ("stderr", result.stderr)))
    _check_digests(("missing", digest) for digest in result.missing)
    return result


_H = TypeVar("_H", bound=ActionHeader)


def _checked_format(header: _H) -> _H:
    if header.format != ACTION_FORMAT:
        raise BadInput(f"an action of format {header.format[:40]!r}, but this zbuild runs {ACTION_FORMAT!r}")
    return header


def _check_command(action: Action) -> None:
    """The kernel takes no NUL in a word, no empty program and no variable without a name: a spawner fails at it."""
    if not action.arguments or not action.arguments[0]:
        raise BadInput("an action without arguments, or with an empty program")
    for number, word in enumerate(action.arguments):
        if "\0" in word:
            raise BadInput(f"argument {number} contains a NUL: {word[:100]!r}")
    for name, value in action.environment:
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise BadInput(f"environment variable {name[:100]!r}: an empty name, or a NUL or '=' where none can be")


def _check_digests(named: Iterable[tuple[str, Digest]]) -> None:
    """A blob is found by its hash: one of no bytes would be the store's own directory."""
    for name, digest in named:
        if len(digest.hash) != HASH_BYTES or digest.size_bytes < 0:
            raise BadInput(
                f"the digest of {name[:200]!r} has {len(digest.hash)} B of hash and a size of {digest.size_bytes}"
            )
