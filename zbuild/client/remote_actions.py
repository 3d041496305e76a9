"""Has the farm run edges: uploads inputs, submits, brings outputs home. Holds no socket.

The outputs of an edge get their names after the last of them has come and every hash is right; so
an interrupted build leaves no half-written output.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from zbuild.client.action_builder import ActionBuilder
from zbuild.client.farm import FarmCore
from zbuild.client.output_file import BytesSource, FileSource
from zbuild.client.remote_job import JobEvent, RemoteJob, RemoteOutcome, RemoteRequest
from zbuild.client.result_files import Sink
from zbuild.digest import Digest
from zbuild.errors import BadInput, ExitCode, ZbuildError
from zbuild.inputs.analysis import AnalysisContext, Remote, with_more_inputs
from zbuild.limits import INPUT_UPLOAD_ROUNDS, MISSING_INPUT_ROUNDS
from zbuild.model.action import ActionId, ActionResult, ResultStatus
from zbuild.protocol.messages import FinishedAction, Submission
from zbuild.storage.transfer import (
    AbsentFound,
    BlobChannel,
    Fetched,
    FetchFailed,
    TransferEvent,
    Uploaded,
    UploadFailed,
)


class RemoteActions:
    """All edges that are with the farm. ``take_outcomes`` yields those that have ended.

    Args:
        context_for: the context that an analysis was made with.
    """

    def __init__(
        self,
        farm: FarmCore,
        transfer: BlobChannel,
        builder: ActionBuilder,
        context_for: Callable[[Remote], AnalysisContext],
    ) -> None:
        self._farm = farm
        self._transfer = transfer
        self._builder = builder
        self._context_for = context_for
        self._jobs: dict[int, RemoteJob] = {}
        self._by_action: dict[ActionId, list[RemoteJob]] = {}
        self._stored: set[Digest] = set()
        self._wanting: dict[Digest, list[RemoteJob]] = {}
        self._unasked: set[Digest] = set()
        self._asked: dict[int, list[Digest]] = {}
        self._next_token = 1
        self._fetches: dict[Digest, deque[tuple[RemoteJob, Sink]]] = {}
        self._outcomes: list[RemoteOutcome] = []
        self._reads: dict[Digest, Callable[[ZbuildError | None], None]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def start(self, key: int, request: RemoteRequest) -> None:
        """Begin with an edge. ``flush`` then asks for what several of these have in common."""
        job = self._jobs[key] = RemoteJob(key, request)
        self._prepare(job)

    def flush(self) -> None:
        """Ask the store, in one question, which of the new inputs it lacks."""
        if self._unasked:
            asked = self._asked[self._next_token] = sorted(self._unasked)
            self._transfer.find_missing(self._next_token, asked)
            self._next_token += 1
            self._unasked.clear()

    def action_finished(self, finished: FinishedAction) -> None:
        """The broker has answered."""
        for job in self._by_action.pop(finished.action, []):
            self._finished(job, finished)

    def transferred(self, event: TransferEvent) -> None:
        """The store has answered."""
        match event:
            case AbsentFound():
                self._found_absent(event)
            case Uploaded():
                self._now_stored(event.digest)
            case Fetched() if event.digest in self._reads:
                self._reads.pop(event.digest)(None)
            case FetchFailed() if event.digest in self._reads:
                self._reads.pop(event.digest)(event.error)
            case Fetched():
                self._fetched(event.digest)
            case FetchFailed():
                self._fetch_failed(event)
            case UploadFailed():
                for job in self._wanting.pop(event.digest, []):
                    self._upload_failed(job, event.error)

    def read(self, digest: Digest, sink: Sink, done: Callable[[ZbuildError | None], None]) -> None:
        """Fetch one blob for its own sake, while no edge is under way. ``done`` is told why it failed, or None."""
        self._reads[digest] = done
        self._transfer.fetch(digest, sink)

    def take_outcomes(self) -> list[RemoteOutcome]:
        """The edges that have ended since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def fail(self, error: ZbuildError) -> None:
        """The farm is lost: every edge ends with this, and leaves no partial file."""
        for job in list(self._jobs.values()):
            self._end(job, exit_code=1, error=str(error), error_code=error.code)

    def abandon(self) -> None:
        """Forget everything, and leave no partial file."""
        for job in self._jobs.values():
            job.files.discard()
        self._jobs.clear()

    def _prepare(self, job: RemoteJob) -> None:
        try:
            job.action, job.body, job.sources = self._builder.build(job.analysis, job.request.worker_id)
        except ZbuildError as error:
            self._end(job, exit_code=1, error=str(error), error_code=error.code)
            return
        except OSError as error:
            text = f"cannot read {error.filename}: {error.strerror}"
            self._end(job, exit_code=1, error=text, error_code=BadInput.code)
            return
        job.pending = {digest for digest in job.sources if digest not in self._stored}
        for digest in job.pending:
            jobs = self._wanting.setdefault(digest, [])
            if not jobs:
                self._unasked.add(digest)
            jobs.append(job)
        if not job.pending:
            self._submit(job)

    def _found_absent(self, event: AbsentFound) -> None:
        absent = set(event.digests)
        for digest in self._asked.pop(event.token):
            if digest not in absent:
                self._now_stored(digest)
                continue
            jobs = self._wanting.get(digest)
            if not jobs:
                continue
            source = jobs[0].sources[digest]
            self._transfer.upload(digest, BytesSource(source) if isinstance(source, bytes) else FileSource(source))

    def _now_stored(self, digest: Digest) -> None:
        self._stored.add(digest)
        for job in self._wanting.pop(digest, []):
            job.pending.discard(digest)
            if not job.pending:
                self._submit(job)

    def _submit(self, job: RemoteJob) -> None:
        job.apply(JobEvent.INPUTS_STORED)
        waiting = self._by_action.setdefault(job.action, [])
        waiting.append(job)
        if len(waiting) == 1:
            self._farm.submit(Submission(job.action, job.body, job.request.weight_s, job.request.expected_s))

    def _finished(self, job: RemoteJob, finished: FinishedAction) -> None:
        job.result = result = finished.result
        job.is_cached = finished.is_cached
        job.attempts += finished.attempts
        job.stolen_from = finished.stolen_from
        if result.missing and job.upload_rounds < INPUT_UPLOAD_ROUNDS:
            job.upload_rounds += 1
            self._stored.difference_update(result.missing)
            self._again(job, job.analysis)
        elif result.status in (ResultStatus.SUCCESS, ResultStatus.FAILURE, ResultStatus.TIMEOUT):
            job.apply(JobEvent.FINISHED)
            self._fetch(job, result)
        elif result.status is ResultStatus.CANCELLED:
            self._end(job, exit_code=int(ExitCode.INTERRUPTED), error=result.message)
        else:
            self._end(job, exit_code=1, error=result.message, error_code=result.code)

    def _fetch(self, job: RemoteJob, result: ActionResult) -> None:
        try:
            sinks = (
                job.files.open_printed(result)
                if job.request.worker_id
                else job.files.open(
                    result,
                    job.request.depfile,
                    job.request.is_restat,
                    job.analysis,
                    self._context_for(job.analysis),
                    keeps_depfile=job.request.keeps_depfile,
                )
            )
        except ZbuildError as error:
            self._end(job, exit_code=1, error=str(error), error_code=error.code)
            return
        for digest, sink in sinks:
            waiting = self._fetches.setdefault(digest, deque())
            waiting.append((job, sink))
            if len(waiting) == 1:
                self._transfer.fetch(digest, sink)
        job.unfetched = len(sinks)
        if not sinks:
            self._arrived(job)

    def _fetched(self, digest: Digest) -> None:
        job = self._next_fetch(digest)
        self._stored.add(digest)
        job.unfetched -= 1
        if job.unfetched == 0 and job.failure is None:
            self._arrived(job)
        elif job.unfetched == 0:
            self._repeat_unfetched(job)

    def _next_fetch(self, digest: Digest) -> RemoteJob:
        """Take the fetch that has ended from the queue of its digest, and begin the next."""
        waiting = self._fetches[digest]
        job, _ = waiting.popleft()
        if waiting:
            self._transfer.fetch(digest, waiting[0][1])
        else:
            del self._fetches[digest]
        return job

    def _fetch_failed(self, event: FetchFailed) -> None:
        job = self._next_fetch(event.digest)
        job.unfetched -= 1
        job.failure = event.error
        if job.unfetched == 0:
            self._repeat_unfetched(job)

    def _upload_failed(self, job: RemoteJob, error: ZbuildError) -> None:
        """An input was edited while it was sent: begin again with what it is now, a bounded number of times."""
        for digest in job.pending:
            jobs = self._wanting.get(digest)
            if jobs and job in jobs:
                jobs.remove(job)
        if job.upload_rounds < INPUT_UPLOAD_ROUNDS:
            job.upload_rounds += 1
            self._again(job, job.analysis)
        else:
            self._end(job, exit_code=1, error=f"cannot upload the inputs: {error}", error_code=error.code)

    def _repeat_unfetched(self, job: RemoteJob) -> None:
        """An output has vanished from the store, or was spoilt or lost on its way: ask for the action again.

        Its result comes from the cache if the store still has it whole, and otherwise it is made again.
        """
        error, job.failure = job.failure, None
        job.files.discard()
        if job.upload_rounds < INPUT_UPLOAD_ROUNDS:
            job.upload_rounds += 1
            self._again(job, job.analysis)
        else:
            code = error.code if error is not None else 0
            self._end(job, exit_code=1, error=f"cannot fetch the outputs: {error}", error_code=code)

    def _arrived(self, job: RemoteJob) -> None:
        """Everything that belongs to the result is here."""
        result = job.result
        assert result is not None  # set when the job was finished
        if result.status is not ResultStatus.SUCCESS:
            if not self._found_more_inputs(job):
                self._end(job, exit_code=result.exit_code or 1, error=result.message)
            return
        if self._left_more_outputs(job, result):
            return
        if job.files.hold_canonical_paths and self._with_own_paths(job):
            return
        try:
            job.files.publish()
        except ZbuildError as error:
            self._end(job, exit_code=1, error=str(error), error_code=error.code)
        else:
            self._end(job, exit_code=0)

    def _found_more_inputs(self, job: RemoteJob) -> bool:
        """Send a failed edge again if its output names files that exist here but were not sent."""
        if job.input_rounds >= MISSING_INPUT_ROUNDS:
            return False
        from zbuild.inputs.missing_inputs import missing_names, missing_paths
        from zbuild.inputs.name_search import files_called

        context = self._context_for(job.analysis)
        directories = tuple(context.roots.to_canonical(path) for path in job.analysis.search_directories)
        said = job.files.stdout + job.files.stderr
        named = missing_paths(said, job.analysis.working_directory, directories)
        found = [context.roots.to_user(path) for path in named]
        analysis = with_more_inputs(job.analysis, found, context)
        if analysis is job.analysis:
            if job.analysis.has_tool:
                names = [name for name in missing_names(said) if not name.startswith("/")]
                job.suspected = [path for path in files_called(names, context) if path not in job.analysis.inputs]
            return False
        job.undeclared += [path for path in found if path in analysis.inputs.keys() - job.analysis.inputs.keys()]
        if job.request.has_all_inputs:
            return False
        job.input_rounds += 1
        job.files.discard()
        self._again(job, analysis)
        return True

    def _left_more_outputs(self, job: RemoteJob, result: ActionResult) -> bool:
        """Ask again, with what the command has left among its outputs; once for each spelling of its paths."""
        is_made_elsewhere = job.request.is_made_elsewhere
        if not result.leftovers or is_made_elsewhere is None:
            return False
        from zbuild.client.kept_leftovers import unfit_for_farm, with_leftovers

        roots = self._context_for(job.analysis).roots
        if unfit := unfit_for_farm(job.analysis, result, roots):
            self._end(job, exit_code=1, unfit=unfit)
            return True
        if job.output_rounds > job.analysis.has_own_paths:
            return False
        analysis = with_leftovers(job.analysis, result, roots, is_made_elsewhere)
        if analysis is job.analysis:
            return False
        job.output_rounds += 1
        job.files.discard()
        self._again(job, analysis)
        return True

    def _with_own_paths(self, job: RemoteJob) -> bool:
        """A generated file names canonical paths: make it anew where it will be used."""
        if job.analysis.has_own_paths or job.request.with_own_paths is None:
            return False
        analysis = job.request.with_own_paths()
        if not isinstance(analysis, Remote):
            return False
        job.files.discard()
        self._again(job, analysis)
        return True

    def _again(self, job: RemoteJob, analysis: Remote) -> None:
        job.apply(JobEvent.RETRY)
        job.analysis = analysis
        self._prepare(job)

    def _end(self, job: RemoteJob, *, exit_code: int, error: str = "", error_code: int = 0, unfit: str = "") -> None:
        job.apply(JobEvent.END)
        del self._jobs[job.key]
        roots = self._context_for(job.analysis).roots
        outcome = RemoteOutcome(
            key=job.key,
            exit_code=exit_code,
            stdout=roots.unmap_output(job.files.stdout),
            stderr=roots.unmap_output(job.files.stderr),
            error=os.fsdecode(roots.unmap_output(os.fsencode(error))),
            error_code=error_code,
            is_cached=job.is_cached,
            attempts=job.attempts,
            stolen_from=job.stolen_from,
            rounds=job.input_rounds + job.output_rounds,
            undeclared=tuple(job.undeclared),
            suspected=tuple(job.suspected),
            analysis=job.analysis,
            result=job.result,
            unfit=unfit,
            depfile=job.files.depfile if exit_code == 0 and not unfit else None,
        )
        if exit_code:
            job.files.discard()
        self._outcomes.append(outcome)
