"""Carries out a plan: each edge on the farm, or here with a reason."""

from __future__ import annotations

import os
import time
from collections import deque

from zbuild.client.build_options import BuildOptions
from zbuild.client.console import Console
from zbuild.client.edge_description import describe
from zbuild.client.farm_session import FarmSession
from zbuild.client.load_limit import is_overloaded
from zbuild.client.local_process import LocalOutcome, LocalProcesses
from zbuild.client.remote_job import RemoteOutcome, RemoteRequest
from zbuild.client.repeat_reason import fallback_reason, reason_to_repeat_here
from zbuild.client.summary import Summary
from zbuild.errors import ExitCode, ManifestError, exit_code_of
from zbuild.inputs.analysis import CommandDescription, Remote
from zbuild.inputs.local_reason import LocalReason
from zbuild.limits import ANALYSED_AT_ONCE, SILENCE_S
from zbuild.model.action import ResultStatus
from zbuild.ninja.disk import Disk
from zbuild.ninja.edge import Edge
from zbuild.ninja.execution import begin_edge, extract_deps, finish_edge
from zbuild.ninja.graph import Graph
from zbuild.ninja.plan import Plan
from zbuild.ninja.status import Progress
from zbuild.transport.loop import Poller


class _Running:
    """An edge that has been started. ``needed``: files that it failed for want of on the farm."""

    def __init__(self, edge: Edge, start_ms: int, begin_mtime_ns: int) -> None:
        self.edge = edge
        self.start_ms = start_ms
        self.begin_mtime_ns = begin_mtime_ns
        self.local_reason = ""
        self.needed: tuple[str, ...] = ()


class Build:
    """One plan on its way. ``run`` carries it out.

    Args:
        session: gives the farm, which is started when the first edge needs it.
        stop_descriptor: becomes readable on Ctrl-C or SIGTERM.
        began_s: the instant on the monotonic clock that times in the build log count from.
    """

    def __init__(
        self,
        plan: Plan,
        graph: Graph,
        disk: Disk,
        options: BuildOptions,
        session: FarmSession,
        console: Console,
        progress: Progress,
        summary: Summary,
        stop_descriptor: int,
        began_s: float,
    ) -> None:
        self._plan = plan
        self._graph = graph
        self._disk = disk
        self._options = options
        self._session = session
        self._console = console
        self._progress = progress
        self._summary = summary
        self._stop_descriptor = stop_descriptor
        self._began_s = began_s
        self._build_dir = os.getcwd()
        self._local = LocalProcesses()
        self._waiting_local: deque[int] = deque()
        self._running: dict[int, _Running] = {}
        self._failures = 0
        self._exit_code = 0
        self._has_stopped = False
        self._poller = Poller()
        self._last_ended_s = time.monotonic()
        self._announced: set[str] = set()
        self._known_total = 0
        self.is_interrupted = False

    def run(self) -> int:
        """Carry out the plan; the exit code: 0, or what went wrong first.

        Raises:
            ZbuildError: the farm cannot be reached, or the logs cannot be written.
        """
        self._poller.register(self._stop_descriptor)
        self._session.register(self._poller)
        self._update_total()
        try:
            while self._plan.has_more_to_do:
                self._start_edges()
                if not self._running:
                    break
                self._wait()
                if self.is_interrupted:
                    return int(ExitCode.INTERRUPTED)
        except BaseException:
            self._abandon()
            raise
        finally:
            self._local.kill()
            self._session.unregister(self._poller)
        return self._exit_code

    def _now_ms(self) -> int:
        return int((time.monotonic() - self._began_s) * 1000)

    def _start_edges(self) -> None:
        started = 0
        while not self._has_stopped and (count := len(self._running)) < self._options.in_flight:
            edge = None if is_overloaded(self._options.max_load, count) else self._plan.find_work()
            if edge is None:
                break
            self._start(edge)
            started += 1
            if started % ANALYSED_AT_ONCE == 0:
                self._pump()
        self._session.flush()

    def _start(self, edge: Edge) -> None:
        key = edge.number
        self._progress.edge_started(self._now_ms())
        if self._console.is_live:
            self._show(edge)
        try:
            begin_mtime_ns = begin_edge(edge, self._graph, self._disk)
        except OSError as error:
            self._running[key] = _Running(edge, self._now_ms(), 0)
            self._fail(key, b"", f"cannot prepare {edge.outputs[0].path}: {error.strerror}", 1)
            return
        running = self._running[key] = _Running(edge, self._now_ms(), begin_mtime_ns)
        if edge.is_console:
            running.local_reason = LocalReason.CONSOLE.value
        elif edge.is_generator:
            running.local_reason = LocalReason.GENERATOR.value
        else:
            description = describe(edge, self._plan.scan.deps_log, self._build_dir)
            analysis = self._session.analyse(description)
            if isinstance(analysis, Remote):
                self._start_remote(edge, analysis, description)
                return
            running.local_reason = analysis.reason.value
            self._explain_local(edge, analysis.detail)
        self._queue_local(key)

    def _explain_local(self, edge: Edge, detail: str) -> None:
        if self._options.is_explained:
            reason = self._running[edge.number].local_reason
            self._console.message(f"zbuild explain: {edge.outputs[0].path} runs here: {reason}: {detail}")

    def _start_remote(self, edge: Edge, analysis: Remote, description: CommandDescription) -> None:
        if not analysis.is_cacheable:
            self._summary.uncacheable_reasons[analysis.uncacheable_reason] += 1
        duration_ms = self._plan.scan.build_log.duration_ms(edge)
        request = RemoteRequest(
            analysis=analysis,
            weight_s=self._plan.critical_path_s(edge),
            expected_s=duration_ms / 1000 if duration_ms is not None else 0.0,
            depfile=os.path.normpath(os.path.join(self._build_dir, edge.depfile)) if edge.depfile else "",
            keeps_depfile=self._options.keeps_depfile or edge.deps_type != "gcc",
            is_restat=edge.is_restat,
            with_own_paths=lambda: self._session.analyse_with_own_paths(description),
            is_made_elsewhere=self._graph.makes,
        )
        self._session.start(edge.number, request)

    def _write_rspfile(self, edge: Edge) -> None:
        """For a command that runs here, and for whoever wants to repeat one that has failed elsewhere."""
        if edge.rspfile:
            self._disk.make_dirs(edge.rspfile)
            self._disk.write(edge.rspfile, edge.rspfile_content.encode("utf-8", "surrogateescape"))

    def _queue_local(self, key: int) -> None:
        self._waiting_local.append(key)
        self._start_local()

    def _start_local(self) -> None:
        while self._waiting_local and len(self._local) < self._options.parallelism:
            key = self._waiting_local.popleft()
            edge = self._running[key].edge
            try:
                self._write_rspfile(edge)
                if edge.is_console:
                    self._show(edge)
                    self._console.hold()
                descriptor = self._local.start(key, edge.command(), is_console=edge.is_console)
            except OSError as error:
                self._fail(key, b"", f"cannot run it: {error.strerror}", 1)
                continue
            self._poller.register(descriptor)

    def _wait(self) -> None:
        """Sleep until something happens, and deal with it."""
        now_s = time.monotonic()
        until_s = min(self._session.next_deadline_s(), self._console.shown_s + SILENCE_S)
        events = self._poller.wait(until_s - now_s)
        if self._stop_descriptor in events:
            self._interrupt()
            return
        for descriptor in [each for each in self._local.descriptors() if each in events]:
            outcome = self._local.read(descriptor)
            if outcome is not None:
                self._poller.unregister(descriptor)
                self._local_ended(outcome)
        self._start_local()
        self._pump()

    def _pump(self) -> None:
        for outcome in self._session.pump(time.monotonic()):
            self._remote_ended(outcome)
        if time.monotonic() - self._console.shown_s > SILENCE_S:
            self._show_wait()

    def _remote_ended(self, outcome: RemoteOutcome) -> None:
        running = self._running[outcome.key]
        fallback = fallback_reason(outcome.error_code) if self._options.falls_back else ""
        is_cancelled = outcome.result is not None and outcome.result.status is ResultStatus.CANCELLED
        if is_cancelled or (fallback and self._has_stopped):
            del self._running[outcome.key]
            self._plan.edge_finished(running.edge, is_success=False)
            return
        self._summary.restaged += outcome.rounds
        self._summary.retried += max(0, outcome.attempts - 1 - outcome.rounds)
        if fallback:
            self._announce_fallback(outcome.error)
        reason = fallback or reason_to_repeat_here(outcome)
        if reason and not self._has_stopped:
            running.local_reason = reason
            running.needed = outcome.undeclared or outcome.suspected
            said = (outcome.stdout + outcome.stderr).decode("utf-8", "replace").strip()
            self._explain_local(running.edge, outcome.error or said)
            self._queue_local(outcome.key)
            return
        self._summary.remote += 1
        self._summary.cache_hits += outcome.is_cached
        self._summary.stolen += bool(outcome.stolen_from)
        self._summary.executed += not outcome.is_cached
        if self._options.trace is not None:
            self._options.trace.remote(running.edge.outputs[0].path, outcome, time.monotonic())
        if outcome.exit_code:
            self._fail(outcome.key, outcome.stdout, outcome.error, outcome.exit_code, outcome.error_code)
            return
        self._report_undeclared(running.edge, outcome.undeclared, ran_here=False)
        run_s = outcome.result.resources.run_s if outcome.result is not None else 0.0
        self._succeed(outcome.key, outcome.stdout, int(run_s * 1000) if outcome.is_cached else None, outcome.depfile)

    def _announce_fallback(self, error: str) -> None:
        """Each cause once."""
        if error not in self._announced:
            self._announced.add(error)
            extent = ", from now on" if self._session.loss is not None else ""
            self._console.message(f"zbuild: warning: runs here, in no sandbox{extent}: {error}")

    def _local_ended(self, outcome: LocalOutcome) -> None:
        running = self._running[outcome.key]
        edge = running.edge
        self._summary.local += 1
        self._summary.executed += 1
        self._summary.local_reasons[running.local_reason] += 1
        if self._options.trace is not None:
            began_s = self._began_s + running.start_ms / 1000
            self._options.trace.local(edge.outputs[0].path, began_s, time.monotonic(), running.local_reason)
        if edge.is_console:
            self._console.release()
        for node in edge.outputs:
            self._session.invalidate(node.path)
        if edge.rspfile and outcome.exit_code == 0 and not self._options.keeps_rspfile:
            self._disk.remove(edge.rspfile)
        if outcome.exit_code:
            self._fail(outcome.key, outcome.output, "", outcome.exit_code)
        else:
            self._report_undeclared(edge, running.needed, ran_here=True)
            self._succeed(outcome.key, outcome.output, None)

    def _report_undeclared(self, edge: Edge, files: tuple[str, ...], *, ran_here: bool) -> None:
        if not files:
            return
        from zbuild.client.undeclared_reads import UndeclaredReads

        root, deps_log = self._session.source_root, self._plan.scan.deps_log
        reads = UndeclaredReads(self._graph, deps_log, self._options.manifest, root)
        read = reads.found(edge, files, ran_here=ran_here)
        if read is not None:
            self._summary.undeclared.append(read)
            if self._options.is_verbose:
                self._console.message(read.line())

    def _succeed(self, key: int, output: bytes, duration_ms: int | None, depfile: bytes | None = None) -> None:
        """``duration_ms``: how long the command took when it last ran, for a cache hit; ``depfile``: its content."""
        running = self._running[key]
        edge = running.edge
        try:
            if self._options.keeps_rspfile and not running.local_reason:
                self._write_rspfile(edge)
            extracted = extract_deps(edge, output, self._graph, self._disk, self._options.keeps_depfile, depfile)
        except (ManifestError, OSError) as error:
            self._fail(key, output, str(error), 1)
            return
        for node in edge.outputs:
            self._session.invalidate(node.path)
        del self._running[key]
        end_ms = self._now_ms()
        start_ms = running.start_ms if duration_ms is None else max(0, end_ms - duration_ms)
        self._show_finished(edge, end_ms - running.start_ms)
        self._console.command_output(extracted.output)
        finish_edge(edge, self._plan, self._disk, extracted.inputs, start_ms, end_ms, running.begin_mtime_ns)
        self._summary.actions += 1
        self._update_total()

    def _fail(self, key: int, output: bytes, error: str, exit_code: int, error_code: int = 0) -> None:
        running = self._running.pop(key)
        edge = running.edge
        self._summary.actions += 1
        self._summary.failed += 1
        try:
            if not running.local_reason:
                self._write_rspfile(edge)
            output = extract_deps(edge, output, self._graph, self._disk, self._options.keeps_depfile).output
        except (ManifestError, OSError) as problem:
            error = error or str(problem)
        self._show_finished(edge, self._now_ms() - running.start_ms)
        header = f"FAILED: {' '.join(node.path for node in edge.outputs)}\n{edge.command()}\n"
        self._console.command_output(header.encode("utf-8", "surrogateescape"))
        self._console.command_output(output)
        if error:
            self._console.message(f"zbuild: {error}")
        self._plan.edge_finished(edge, is_success=False)
        self._failures += 1
        self._exit_code = self._exit_code or int(exit_code_of(error_code))
        if self._options.failures_allowed and self._failures >= self._options.failures_allowed:
            self._stop_new_work()

    def _stop_new_work(self) -> None:
        """Let what runs finish, and start nothing more."""
        if self._has_stopped:
            return
        self._has_stopped = True
        self._session.cancel_queued()
        for key in list(self._waiting_local):
            self._plan.edge_finished(self._running.pop(key).edge, is_success=False)
        self._waiting_local.clear()

    def _interrupt(self) -> None:
        """Ctrl-C or SIGTERM."""
        self.is_interrupted = True
        self._abandon()

    def _abandon(self) -> None:
        """End what runs, and leave nothing that it has half written."""
        self._local.stop()
        self._session.abandon()
        for running in self._running.values():
            if not running.local_reason:
                continue
            for node in running.edge.outputs:
                was = node.mtime_ns or 0
                if running.edge.depfile or self._disk.stat(node.path) not in (0, was):
                    self._disk.remove(node.path)
            if running.edge.depfile:
                self._disk.remove(running.edge.depfile)

    def _update_total(self) -> None:
        while self._known_total < self._plan.command_edge_count:
            self._progress.edge_added(None)
            self._known_total += 1
        while self._known_total > self._plan.command_edge_count:
            self._progress.edge_removed(None)
            self._known_total -= 1

    def _title(self, edge: Edge) -> str:
        return (not self._options.is_verbose and edge.description) or edge.command()

    def _show_finished(self, edge: Edge, duration_ms: int) -> None:
        self._last_ended_s = time.monotonic()
        self._progress.edge_finished(self._now_ms(), duration_ms, None)
        self._show(edge)
        self._progress.edge_left()

    def _show(self, edge: Edge) -> None:
        self._console.progress(self._progress.text() + self._title(edge), self._progress.finished, self._progress.total)

    def _show_wait(self) -> None:
        now_s = time.monotonic()
        waited_s = now_s - self._last_ended_s
        waiting = f"{self._session.waiting_for(now_s)}, {len(self._local)} running here"
        self._console.waiting(f"zbuild: waiting for {waited_s:.0f} s: {waiting}")
