"""The farm as one build sees it: begun when the first edge needs it, ended with the build."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from zbuild.client.action_builder import ActionBuilder
from zbuild.client.farm import ActionFinished, Connected, FarmCore, FarmState
from zbuild.client.farm_wait import FarmWait
from zbuild.client.link import FarmLink
from zbuild.client.output_file import FileSink, MemorySink
from zbuild.client.remote_actions import RemoteActions
from zbuild.client.remote_job import RemoteOutcome, RemoteRequest
from zbuild.digest import Digest
from zbuild.errors import ExitCode, FarmUnreachable, NoWorkers, ZbuildError
from zbuild.inputs.analysis import AnalysisContext, CommandDescription, Local, LocalReason, Remote, analyse
from zbuild.inputs.file_digests import FileDigests
from zbuild.inputs.roots import Roots
from zbuild.inputs.toolchain import Toolchain
from zbuild.limits import BROKER_SILENCE_S, CONNECT_S, DAEMON_CHECK_S, WORKERLESS_S
from zbuild.model.action import Priority
from zbuild.model.capabilities import Capabilities
from zbuild.protocol.messages import PROTOCOL_VERSION, Hello, Role
from zbuild.protocol.status_messages import Status
from zbuild.random_number import random_number
from zbuild.transport.loop import Poller

if TYPE_CHECKING:
    from zbuild.storage.shared_transfer import SharedTransfer


class FarmSession:
    """Analyses edges, and has the farm run them.

    Args:
        connect: finds or starts the farm; the broker's control endpoint, and the store's directory if it
            may be shared, or "".
        check: raises when a part of the farm that was started for this session has failed.
        source_root: the directory that holds the sources; the working directory is the build directory.
        cache_dir: where digests and scanned headers are kept between builds.
        toolchain: of this machine; saved at the end.
        has_canonical_paths: False runs every action under the user's own paths: outputs that hold
            paths are then as ninja makes them, and the cache is shared only between equal paths.
        keeps_relative_paths: see Roots.
        capabilities: what every action asks for.
        falls_back: a farm that cannot be had, or has no workers, ends the edges that are with it and all later ones,
            each with the error, in place of the build.

    Attributes:
        loss: why the farm was given up; None as long as it was not.
    """

    def __init__(
        self,
        connect: Callable[[], tuple[str, str]],
        check: Callable[[], None],
        source_root: str,
        cache_dir: str,
        toolchain: Toolchain,
        environment: Mapping[str, str],
        *,
        sandbox: str,
        capabilities: Capabilities,
        priority: Priority,
        has_canonical_paths: bool,
        keeps_relative_paths: bool = False,
        joins_stderr: bool = True,
        falls_back: bool = False,
    ) -> None:
        build_dir = os.getcwd()
        self._digests = FileDigests(os.path.join(cache_dir, "file_digests"))
        self._toolchain = toolchain
        self._facts_path = os.path.join(cache_dir, "include_facts")
        self._environment = environment
        self._own_roots = Roots(source_root, build_dir, is_canonical=False)
        self._own_context: AnalysisContext | None = None
        roots = Roots(
            source_root, build_dir, is_canonical=has_canonical_paths, keeps_relative_paths=keeps_relative_paths
        )
        self._context = self._context_of(roots)
        self._builder = ActionBuilder(self._digests, self._toolchain, sandbox, capabilities, joins_stderr=joins_stderr)
        self._connect = connect
        self._check = check
        self._priority = priority
        self._poller: Poller | None = None
        self._link: FarmLink | None = None
        self._actions: RemoteActions | None = None
        self._wait: FarmWait | None = None
        self._falls_back = falls_back
        self.loss: ZbuildError | None = None
        self._outcomes: list[RemoteOutcome] = []
        self._status: Status | None = None
        self._next_check_s = 0.0
        self._shared: SharedTransfer | None = None

    def register(self, poller: Poller) -> None:
        """Have ``poller`` wake for the farm, now and when it is begun."""
        self._poller = poller
        if self._link is not None:
            self._link.register(poller)

    def unregister(self, poller: Poller) -> None:
        if self._link is not None:
            self._link.unregister(poller)
        self._poller = None

    def analyse(self, description: CommandDescription) -> Remote | Local:
        """What a command needs, or why it cannot be remote.

        One whose outputs must name the user's directories is analysed again with the user's own paths.
        """
        analysis = analyse(description, self._context)
        if isinstance(analysis, Local) and analysis.reason is LocalReason.BUILD_PATH:
            return self.analyse_with_own_paths(description)
        return analysis

    def analyse_with_own_paths(self, description: CommandDescription) -> Remote | Local:
        """The same with the user's own paths in the sandbox."""
        return analyse(description, self._with_own_paths())

    def start(self, key: int, request: RemoteRequest) -> None:
        """Have the farm run an edge.

        Raises:
            ZbuildError: the farm cannot be begun.
        """
        if self.loss is None:
            try:
                self._begun().start(key, request)
            except ZbuildError as error:
                self._lose(error)
        if self.loss is not None:
            self._outcomes.append(RemoteOutcome.of_lost_farm(key, request.analysis, self.loss))

    def ask_status(self) -> None:
        """Have the broker say who is there. Raises as ``start``."""
        self._begun()
        if self._link is not None:
            self._link.farm.ask_status()
            self.flush()

    @property
    def source_root(self) -> str:
        """The directory that holds the sources, absolute."""
        return self._context.roots.source_root

    def take_status(self) -> Status | None:
        """What the broker has answered since the last call; None for nothing."""
        status, self._status = self._status, None
        return status

    def read(self, digest: Digest, sink: MemorySink | FileSink, done: Callable[[ZbuildError | None], None]) -> None:
        """See RemoteActions.read."""
        self._begun().read(digest, sink, done)

    def user_path(self, path: str, analysis: Remote) -> str:
        """The user's spelling of a path of the sandbox that ``analysis`` was made for."""
        return self._context_for(analysis).roots.to_user(path)

    def flush(self) -> None:
        """Send what was started."""
        if self._link is not None and self._actions is not None:
            self._actions.flush()
            self._link.flush(time.monotonic())

    def pump(self, now_s: float) -> list[RemoteOutcome]:
        """Take in what the farm has sent; the edges that have ended.

        Raises:
            FarmUnreachable: nobody has answered since the beginning, or for BROKER_SILENCE_S.
            ProtocolError: the farm does not speak as it should.
        """
        try:
            self._pump(now_s)
        except ZbuildError as error:
            self._lose(error)
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def _pump(self, now_s: float) -> None:
        link, actions, wait = self._link, self._actions, self._wait
        if link is None or actions is None or wait is None:
            return
        for event in link.pump(now_s):
            match event:
                case Connected():
                    wait.is_connected = True
                case ActionFinished():
                    actions.action_finished(event.finished)
                case FarmState():
                    wait.told(event.state, now_s)
                case Status():
                    self._status = event
                case _:
                    actions.transferred(event)
        if wait.unconnected_s(now_s) > CONNECT_S:
            raise FarmUnreachable(f"no broker has answered at {link.broker} for {CONNECT_S:g} s{link.trouble()}")
        if actions and link.farm.silence_s(now_s) > BROKER_SILENCE_S:
            raise FarmUnreachable(
                f"the broker at {link.broker} has not answered for {BROKER_SILENCE_S:g} s{link.trouble()}"
            )
        if self._falls_back and actions and wait.workerless_s(now_s) > WORKERLESS_S:
            raise NoWorkers(f"the farm of {link.broker} has had no workers for {WORKERLESS_S:g} s")
        if now_s >= self._next_check_s:
            self._check()
            if self._shared is not None:
                self._shared.flush_uses()
            self._next_check_s = now_s + DAEMON_CHECK_S
        actions.flush()
        link.flush(now_s)
        self._outcomes += actions.take_outcomes()

    def _lose(self, error: ZbuildError) -> None:
        """Give the farm up, if that may be; otherwise the error goes on."""
        if not self._falls_back or error.exit_code is not ExitCode.FARM:
            raise error
        self.loss = error
        if self._actions is not None:
            self._actions.fail(error)
            self._outcomes += self._actions.take_outcomes()
            self._actions = None
        if self._link is not None:
            self._link.farm.cancel()
            self._link.farm.leave()
            self._link.flush(time.monotonic())
            if self._poller is not None:
                self._link.unregister(self._poller)
            self._link.close()
            self._link = None

    def next_deadline_s(self) -> float:
        if self._outcomes:
            return 0.0
        return min(self._link.next_deadline_s(), self._next_check_s) if self._link is not None else float("inf")

    def waiting_for(self, now_s: float) -> str:
        """What the farm is doing for this build, for a person."""
        if self._link is None or not self._actions or self._wait is None:
            return "no action with the farm"
        return self._wait.text(len(self._actions), self._link.farm.silence_s(now_s), now_s)

    def invalidate(self, path: str) -> None:
        """An edge has made this file: what was known of it is void."""
        absolute = os.path.join(os.getcwd(), path)
        self._context.invalidate(absolute)

    def cancel_queued(self) -> None:
        """Give up what no worker has begun."""
        if self._link is not None and self._actions is not None:
            for event in self._link.farm.cancel_queued():
                self._actions.action_finished(event.finished)
            self.flush()

    def abandon(self) -> None:
        """Give up everything; partial files are removed."""
        if self._link is not None and self._actions is not None:
            self._actions.abandon()
            self._link.farm.cancel()
            self._link.flush(time.monotonic())

    def leave(self) -> None:
        """Say goodbye to the farm."""
        if self._link is not None:
            self._link.farm.leave()
            self._link.flush(time.monotonic())

    def close(self) -> list[str]:
        """Close the link, and keep what was learned about files; what could not be kept, and why."""
        if self._link is not None:
            self._link.close()
        if self._shared is not None:
            self._shared.flush_uses()
        problems = []
        for save in (self._digests.save, self._toolchain.save, self._context.save):
            try:
                save()
            except OSError as error:
                problems.append(f"{error.filename}: {error.strerror}")
        return problems

    def _context_of(self, roots: Roots) -> AnalysisContext:
        return AnalysisContext(
            roots, self._toolchain, self._digests, environment=self._environment, facts_path=self._facts_path
        )

    def _with_own_paths(self) -> AnalysisContext:
        if self._own_context is None:
            self._own_context = self._context.respelled(self._own_roots)
        return self._own_context

    def _context_for(self, analysis: Remote) -> AnalysisContext:
        """The one that ``analysis`` was made with."""
        return self._with_own_paths() if analysis.has_own_paths else self._context

    def _begun(self) -> RemoteActions:
        if self._actions is None:
            now_s = time.monotonic()
            hello = Hello(
                protocol_version=PROTOCOL_VERSION,
                role=Role.CLIENT,
                name=f"{os.uname().nodename}:{os.getpid()}",
                incarnation=random_number(),
            )
            farm = FarmCore(hello, random_number(), int(self._priority), now_s)
            broker, directory = self._connect()
            if directory:
                from zbuild.storage.blob_directory import BlobDirectory
                from zbuild.storage.shared_transfer import SharedTransfer

                self._shared = SharedTransfer(BlobDirectory(directory, is_durable=False))
            self._link = FarmLink(broker, farm, self._shared)
            self._wait = FarmWait(broker, now_s)
            if self._poller is not None:
                self._link.register(self._poller)
            self._link.flush(now_s)
            self._actions = RemoteActions(farm, self._link.blobs, self._builder, self._context_for)
        return self._actions
