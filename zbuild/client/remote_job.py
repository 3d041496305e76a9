"""One edge on its way through the farm, and the table of its states."""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec

from zbuild.client.result_files import ResultFiles
from zbuild.digest import Digest
from zbuild.errors import ZbuildError
from zbuild.fsm import TransitionTable
from zbuild.inputs.analysis import Local, Remote
from zbuild.model.action import ActionId, ActionResult


class JobState(enum.Enum):
    """Where an edge is."""

    UPLOADING = "uploading"
    SUBMITTED = "submitted"
    FETCHING = "fetching"
    OVER = "over"


class JobEvent(enum.Enum):
    """What can happen to an edge in the farm."""

    INPUTS_STORED = "inputs stored"
    FINISHED = "finished"
    RETRY = "retry"
    END = "end"


JOB_TABLE: TransitionTable[JobState, JobEvent] = TransitionTable(
    "remote job",
    {
        (JobState.UPLOADING, JobEvent.INPUTS_STORED): JobState.SUBMITTED,
        (JobState.UPLOADING, JobEvent.RETRY): JobState.UPLOADING,
        (JobState.UPLOADING, JobEvent.END): JobState.OVER,
        (JobState.SUBMITTED, JobEvent.FINISHED): JobState.FETCHING,
        (JobState.SUBMITTED, JobEvent.RETRY): JobState.UPLOADING,
        (JobState.SUBMITTED, JobEvent.END): JobState.OVER,
        (JobState.FETCHING, JobEvent.RETRY): JobState.UPLOADING,
        (JobState.FETCHING, JobEvent.END): JobState.OVER,
    },
)


class RemoteRequest(msgspec.Struct, frozen=True):
    """What an edge asks of the farm.

    Attributes:
        depfile: absolute user path of the depfile among the outputs; empty for none.
        keeps_depfile: False: nobody reads it but who takes its content from the outcome, and it is not written to disk.
        is_restat: outputs that come back unchanged keep their modification time.
        with_own_paths: the same command analysed with the user's own paths in place of canonical ones.
        worker_id: the worker that alone may run it. Then it is run even if the result is known, nothing is
            published, and the outputs stay in the store. 0: any worker.
        has_all_inputs: it is not sent again with files that its failure names.
        is_made_elsewhere: whether another edge makes a file, by path relative to the build directory. None: what the
            command leaves undeclared is not wanted.
    """

    analysis: Remote
    weight_s: float
    expected_s: float
    depfile: str = ""
    keeps_depfile: bool = True
    is_restat: bool = False
    with_own_paths: Callable[[], Remote | Local] | None = None
    worker_id: int = 0
    has_all_inputs: bool = False
    is_made_elsewhere: Callable[[str], bool] | None = None


class RemoteOutcome(msgspec.Struct, frozen=True):
    """How the farm's work on an edge has ended.

    Attributes:
        exit_code: 0 when the outputs are in place.
        stdout, stderr: what the command printed, with the user's own paths; stdout is both when they were joined.
        error: why the farm could not run it; empty when the exit code is the command's own.
        attempts: leases that it took; 0 for a cache hit.
        stolen_from: the worker that had its last lease before another one took it; empty: none.
        rounds: times that it was sent again with more inputs or outputs.
        undeclared: absolute user paths of files that a failure named, that are here and that were not sent at first.
        unfit: why what the farm made is not what the command would have done here; empty as a rule.
        depfile: what the depfile holds, if it was not written to disk.
        suspected: those that a last failure may have meant: of the same name, at another place.
    """

    key: int
    exit_code: int
    stdout: bytes
    stderr: bytes
    error: str
    error_code: int
    is_cached: bool
    attempts: int
    stolen_from: str
    rounds: int
    undeclared: tuple[str, ...]
    suspected: tuple[str, ...]
    analysis: Remote
    result: ActionResult | None
    unfit: str = ""
    depfile: bytes | None = None

    @classmethod
    def of_lost_farm(cls, key: int, analysis: Remote, error: ZbuildError) -> RemoteOutcome:
        """That of an edge which never came to the farm."""
        return cls(
            key=key,
            exit_code=1,
            stdout=b"",
            stderr=b"",
            error=str(error),
            error_code=error.code,
            is_cached=False,
            attempts=0,
            stolen_from="",
            rounds=0,
            undeclared=(),
            suspected=(),
            analysis=analysis,
            result=None,
        )


class RemoteJob:
    """The mutable side of a request.

    Attributes:
        sources: where the bytes of each input are: a user path, or the bytes.
        pending: inputs that are not known to be in the store yet.
        unfetched: blobs of the result that are still to come; ``failure`` is why one did not.
    """

    def __init__(self, key: int, request: RemoteRequest) -> None:
        self.key = key
        self.request = request
        self.analysis = request.analysis
        self.state = JobState.UPLOADING
        self.action: ActionId = b""
        self.body = b""
        self.sources: dict[Digest, str | bytes] = {}
        self.pending: set[Digest] = set()
        self.upload_rounds = 0
        self.input_rounds = 0
        self.output_rounds = 0
        self.undeclared: list[str] = []
        self.suspected: list[str] = []
        self.attempts = 0
        self.stolen_from = ""
        self.is_cached = False
        self.result: ActionResult | None = None
        self.files = ResultFiles()
        self.unfetched = 0
        self.failure: ZbuildError | None = None

    def apply(self, event: JobEvent) -> None:
        """Take one step of JOB_TABLE."""
        self.state = JOB_TABLE.after(self.state, event)
