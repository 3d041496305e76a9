"""One ``zbuild verify``: the farm's workers, the commands of the targets, and what the runs of each came to."""

from __future__ import annotations

import argparse
import mmap
import os
import sys
import tempfile
import time
from collections import deque

from zbuild.cli.farm_choice import FarmChoice
from zbuild.cli.graph_loading import leaf_inputs, load_graph
from zbuild.client.edge_description import describe
from zbuild.client.first_difference import FirstDifference, first_difference
from zbuild.client.output_file import FileSink
from zbuild.client.remote_job import RemoteRequest
from zbuild.client.verification import RUNS, Mismatch, Verification, VerifiedAction
from zbuild.client.verification_report import ReportedDifference, VerificationReport
from zbuild.config import ClientConfig
from zbuild.digest import Digest
from zbuild.errors import BadInput, ExitCode, NoEligibleWorker, ZbuildError
from zbuild.inputs.analysis import Local
from zbuild.inputs.local_reason import LocalReason
from zbuild.inputs.source_root import find_source_root
from zbuild.limits import DAEMON_START_S, IN_FLIGHT_PER_JOB, STATUS_REPEAT_S, WORKERS_AWAITED_S
from zbuild.ninja.disk import RealDisk
from zbuild.ninja.edge import Edge
from zbuild.ninja.node import Node
from zbuild.ninja.target import find_targets
from zbuild.protocol.status_messages import Status, WorkerStatus
from zbuild.transport.loop import Poller


class VerifyRun:
    """Fills ``report``. The working directory is the build directory."""

    def __init__(self, flags: argparse.Namespace, config: ClientConfig, report: VerificationReport) -> None:
        self._report = report
        self._sandbox = config.sandbox
        self._graph, self._scan = load_graph(RealDisk(), flags.file, _warn)
        self._edges = {edge.number: edge for edge in self._edges_of(flags.targets)}
        leaves = leaf_inputs(self._graph)
        self._choice = FarmChoice(flags, config, RUNS * (os.cpu_count() or 1))
        self._starts_workers = self._choice.is_embedded or config.local_workers > 0
        self._session = self._choice.open(
            find_source_root(os.getcwd(), leaves),
            keeps_relative_paths=any(path.startswith("../") for path in leaves),
        )
        self._poller = Poller()

    def run(self) -> int:
        """The exit code.

        Raises:
            ZbuildError: the farm cannot be had, or has fewer than two workers.
        """
        try:
            self._poller.register(self._choice.signals.descriptor)
            self._session.register(self._poller)
            workers = self._workers()
            self._report.workers = tuple(worker.name for worker in workers)
            different = self._run_twice(workers)
            for action in different:
                self._report.differences.append(self._difference(action))
        except KeyboardInterrupt:
            self._session.abandon()
            return int(ExitCode.INTERRUPTED)
        finally:
            for problem in self._choice.close():
                _warn(f"not kept for the next run: {problem}")
        return int(ExitCode.ACTION_FAILED if self._report.different else ExitCode.OK)

    def _edges_of(self, targets: list[str]) -> list[Edge]:
        """The commands that the targets and all they are made from need, in the order of the manifest.

        Raises:
            BadInput: one reads a file that has not been built.
        """
        pending: list[Node] = []
        for node in find_targets(self._graph, self._scan.deps_log, targets):
            self._scan.recompute(node)
            pending.append(node)
        found: set[Edge] = set()
        while pending:
            edge = pending.pop().in_edge
            if edge is None or edge in found:
                continue
            found.add(edge)
            pending += edge.inputs
            for node in edge.inputs:
                is_made = node.in_edge is not None and not node.in_edge.is_phony
                if is_made and not edge.is_phony and not node.does_exist:
                    raise BadInput(
                        f"{edge.outputs[0].path} needs {node.path}, which is not there: run zbuild build first"
                    )
        return sorted((edge for edge in found if not edge.is_phony), key=lambda edge: edge.number)

    def _workers(self) -> list[WorkerStatus]:
        """Wait for two. Raises NoEligibleWorker."""
        deadline_s = float("inf")
        while True:
            fit = self._fit(self._asked_status().workers)
            if len(fit) >= RUNS:
                return fit
            now_s = time.monotonic()
            deadline_s = min(deadline_s, now_s + (DAEMON_START_S if self._starts_workers else WORKERS_AWAITED_S))
            if now_s > deadline_s:
                text = (
                    f"verify runs each command on {RUNS} workers, and the farm has {len(fit)} at level {self._sandbox}"
                )
                raise NoEligibleWorker(text)
            while time.monotonic() < now_s + STATUS_REPEAT_S:
                self._wait(now_s + STATUS_REPEAT_S)
                self._session.pump(time.monotonic())

    def _asked_status(self) -> Status:
        self._session.ask_status()
        while (status := self._session.take_status()) is None:
            self._wait(float("inf"))
            self._session.pump(time.monotonic())
        return status

    def _fit(self, workers: tuple[WorkerStatus, ...]) -> list[WorkerStatus]:
        return [worker for worker in workers if worker.sandbox == self._sandbox and not worker.is_draining]

    def _wait(self, until_s: float) -> None:
        """Raises KeyboardInterrupt: the user has asked for the end."""
        timeout_s = min(self._session.next_deadline_s(), until_s) - time.monotonic()
        if self._choice.signals.descriptor in self._poller.wait(timeout_s):
            raise KeyboardInterrupt

    def _run_twice(self, workers: list[WorkerStatus]) -> list[VerifiedAction]:
        """Run everything; the actions that came out differently."""
        session = self._session
        verification = Verification(workers)
        room = IN_FLIGHT_PER_JOB * sum(worker.slots for worker in workers)
        waiting = deque(self._edges.values())
        different: list[VerifiedAction] = []
        while waiting or len(verification):
            while waiting and len(verification) < room:
                for key, request in self._requests(verification, waiting.popleft()):
                    session.start(key, request)
            session.flush()
            if not len(verification):
                continue
            self._wait(float("inf"))
            for outcome in session.pump(time.monotonic()):
                action, again = verification.ended(outcome)
                for key, request in again:
                    session.start(key, request)
                if action is not None and self._is_different(action):
                    different.append(action)
        return different

    def _requests(self, verification: Verification, edge: Edge) -> list[tuple[int, RemoteRequest]]:
        reason = LocalReason.CONSOLE if edge.is_console else LocalReason.GENERATOR if edge.is_generator else None
        if reason is None:
            analysis = self._session.analyse(describe(edge, self._scan.deps_log, os.getcwd()))
            if not isinstance(analysis, Local):
                duration_ms = self._scan.build_log.duration_ms(edge)
                return verification.begin(edge.number, analysis, duration_ms / 1000 if duration_ms is not None else 1.0)
            reason = analysis.reason
        self._report.unverified_reasons[reason.value] += 1
        return []

    def _is_different(self, action: VerifiedAction) -> bool:
        if action.mismatches():
            return True
        if action.reason_unverified:
            self._report.unverified_reasons[action.reason_unverified] += 1
        else:
            self._report.identical += 1
        return False

    def _difference(self, action: VerifiedAction) -> ReportedDifference:
        """The first mismatch of the action, looked at byte by byte if it is one of content."""
        edge = self._edges[action.key]
        mismatches = action.mismatches()
        mismatch = mismatches[0]
        content = None
        shown = mismatch.shown
        if mismatch.first is not None and mismatch.second is not None:
            try:
                content = self._first_difference(mismatch.first, mismatch.second)
            except ZbuildError as error:
                shown = (mismatch.first.short, f"{mismatch.second.short} ({error})")
        if content is not None:
            shown = (content.first, content.second)
        return ReportedDifference(
            output=edge.outputs[0].path,
            command=edge.command(),
            path=self._user_path(mismatch, action),
            what=mismatch.what,
            workers=(action.results[0][0], action.results[1][0]),
            shown=shown,
            content=content,
            others=len(mismatches) - 1,
        )

    def _user_path(self, mismatch: Mismatch, action: VerifiedAction) -> str:
        if not mismatch.path.startswith("/"):
            return mismatch.path
        return os.path.relpath(self._session.user_path(mismatch.path, action.analysis))

    def _first_difference(self, *digests: Digest) -> FirstDifference | None:
        with tempfile.TemporaryDirectory(prefix="zbuild-") as directory:
            paths = [self._fetched(digest, f"{directory}/{number}") for number, digest in enumerate(digests)]
            first, second = map(_mapped, paths)
            return first_difference(first, second)

    def _fetched(self, digest: Digest, path: str) -> str:
        """Raises ZbuildError: the store does not give it."""
        sink = FileSink(digest, path, is_executable=False)
        if not digest.size_bytes:
            sink.commit()
        else:
            ended: list[ZbuildError | None] = []
            self._session.read(digest, sink, ended.append)
            while not ended:
                self._session.pump(time.monotonic())
                if not ended:
                    self._wait(float("inf"))
            if ended[0] is not None:
                raise ended[0]
        sink.publish()
        return path


def _mapped(path: str) -> memoryview:
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.path.getsize(path) else b"")


def _warn(text: str) -> None:
    print(f"zbuild: warning: {text}", file=sys.stderr)
