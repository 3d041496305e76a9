"""Which farm a client command uses, and everything that it starts for that.

The parts of the session are imported when it is opened, so that a farm of one's own starts beside that.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from zbuild.cli.stop_signals import StopSignals
from zbuild.config import EMBEDDED_WORKERS, ClientConfig
from zbuild.limits import EMBEDDED_SLOTS_PER_PROCESSOR

if TYPE_CHECKING:
    from zbuild.cli.local_daemons import LocalDaemons
    from zbuild.client.farm_session import FarmSession
    from zbuild.inputs.toolchain import Toolchain
    from zbuild.model.capabilities import Capabilities


class FarmChoice:
    """The farm that the flags and the configuration name, or one of its own, and the session with it.

    Args:
        slots: actions at once on a farm of its own.
        capabilities: what every action asks for, and what workers of its own grant beyond the default; None for the
            default.
    """

    def __init__(
        self, flags: argparse.Namespace, config: ClientConfig, slots: int, capabilities: Capabilities | None = None
    ) -> None:
        self._config = config
        self._capabilities = capabilities
        self._is_distributed = bool(flags.distributed)
        self._has_own_paths = bool(flags.own_paths)
        self._slots = min(slots, EMBEDDED_SLOTS_PER_PROCESSOR * (os.cpu_count() or 1))
        self._cache_dir = config.directory(os.environ)
        os.makedirs(self._cache_dir, 0o700, exist_ok=True)
        self._daemons: LocalDaemons | None = None
        self._session: FarmSession | None = None
        self._embedded = ("", "")
        self.signals = StopSignals()

    @property
    def is_embedded(self) -> bool:
        """Whether the farm is one of its own."""
        return not (self._config.coordinator or self._is_distributed)

    def begin(self) -> None:
        """Start a farm of its own, unless that is done or another is named. It gets ready in the background."""
        if self.is_embedded and self._daemons is None:
            daemons = self._local_daemons()
            broker = daemons.add_broker()
            self._embedded = (broker, daemons.blob_directory)
            count = min(self._config.local_workers or EMBEDDED_WORKERS, self._slots)
            shares = [self._slots // count + (number < self._slots % count) for number in range(count)]
            self._start_workers(daemons, broker, shares, daemons.blob_directory)

    def check_tools(self, programs: Collection[str]) -> None:
        """See Toolchain.check_ahead. Not once the session is open: ZeroMQ does not survive a fork."""
        self._toolchain.check_ahead(programs)

    def open(
        self,
        source_root: str,
        *,
        keeps_relative_paths: bool = False,
        joins_stderr: bool = True,
        falls_back: bool = False,
    ) -> FarmSession:
        """The session, which connects when the first action needs it.

        Args:
            source_root: the directory that holds the sources.
            keeps_relative_paths: see Roots.
            joins_stderr: what commands print on stderr goes into their stdout.
            falls_back: see FarmSession.
        """
        from zbuild.client.farm_session import FarmSession
        from zbuild.model.action import Priority
        from zbuild.model.capabilities import DEFAULT

        self._session = FarmSession(
            self._connect,
            self._check,
            source_root,
            self._cache_dir,
            self._toolchain,
            os.environ,
            sandbox=self._config.sandbox,
            capabilities=self._capabilities or DEFAULT,
            priority=Priority[self._config.priority.upper()],
            has_canonical_paths=not self._has_own_paths,
            keeps_relative_paths=keeps_relative_paths,
            joins_stderr=joins_stderr,
            falls_back=falls_back,
        )
        return self._session

    def close(self) -> list[str]:
        """End the session, then what was started for it, each whatever becomes of the other.

        What the session could not keep for the next one, and why: nothing that this one has made.
        """
        problems: list[str] = []
        with contextlib.ExitStack() as stack:
            stack.callback(self.signals.close)
            if self._daemons is not None:
                stack.callback(self._daemons.close)
            if self._session is not None:
                session = self._session
                stack.callback(lambda: problems.extend(session.close()))
            if self._daemons is not None:
                stack.callback(self._daemons.cut_lifeline)
            if self._session is not None:
                self._session.leave()
        return problems

    @functools.cached_property
    def _toolchain(self) -> Toolchain:
        from zbuild.inputs.toolchain import Toolchain

        return Toolchain(os.path.join(self._cache_dir, "toolchain"))

    def _check(self) -> None:
        if self._daemons is not None:
            self._daemons.check()

    def _connect(self) -> tuple[str, str]:
        if self.is_embedded:
            self.begin()
            return self._embedded
        from zbuild.cli.farm_address import farm_address

        broker = farm_address(self._config, is_distributed=self._is_distributed)
        if self._config.local_workers:
            self._start_workers(self._local_daemons(), broker, [1] * self._config.local_workers, "")
        return broker, ""

    def _local_daemons(self) -> LocalDaemons:
        from zbuild.cli.local_daemons import LocalDaemons

        log_path = os.path.join(self._cache_dir, "farm.log")
        self._daemons = LocalDaemons(self._cache_dir, self._config.cache_bytes, log_path)
        return self._daemons

    def _start_workers(self, daemons: LocalDaemons, broker: str, shares: list[int], blob_directory: str) -> None:
        for number, share in enumerate(shares):
            daemons.add_worker(
                broker, f"local-{number + 1}", share, self._config.sandbox, self._ceiling_flags(), blob_directory
            )
        daemons.start()

    def _ceiling_flags(self) -> list[str]:
        if self._capabilities is None:
            return []
        from zbuild.cli.capability_flags import ceiling_flags

        return ceiling_flags(self._capabilities)
