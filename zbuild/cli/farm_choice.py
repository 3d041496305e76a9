"""Which farm a client command uses, and everything that it starts for that."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import TYPE_CHECKING

from zbuild.cli.farm_address import farm_address
from zbuild.cli.stop_signals import StopSignals
from zbuild.client.farm_session import FarmSession
from zbuild.config import EMBEDDED_WORKERS, ClientConfig
from zbuild.limits import EMBEDDED_SLOTS_PER_PROCESSOR
from zbuild.model.action import Priority
from zbuild.model.capabilities import DEFAULT, Capabilities

if TYPE_CHECKING:
    from zbuild.cli.local_daemons import LocalDaemons


class FarmChoice:
    """A session with the farm that the flags and the configuration name, or with one of its own.

    Args:
        slots: actions at once on a farm of its own.
        source_root: the directory that holds the sources.
        keeps_relative_paths: see Roots.
        joins_stderr: what commands print on stderr goes into their stdout.
        capabilities: what every action asks for, and what workers of its own grant beyond the default.
    """

    def __init__(
        self,
        flags: argparse.Namespace,
        config: ClientConfig,
        slots: int,
        source_root: str,
        *,
        keeps_relative_paths: bool = False,
        joins_stderr: bool = True,
        capabilities: Capabilities = DEFAULT,
    ) -> None:
        self._config = config
        self._capabilities = capabilities
        self._is_distributed = bool(flags.distributed)
        self._slots = min(slots, EMBEDDED_SLOTS_PER_PROCESSOR * (os.cpu_count() or 1))
        cache_dir = config.directory(os.environ)
        os.makedirs(cache_dir, 0o700, exist_ok=True)
        self._cache_dir = cache_dir
        self._daemons: LocalDaemons | None = None
        self.signals = StopSignals()
        self.session = FarmSession(
            self._connect,
            self._check,
            source_root,
            cache_dir,
            os.environ,
            sandbox=config.sandbox,
            capabilities=capabilities,
            priority=Priority[config.priority.upper()],
            has_canonical_paths=not flags.own_paths,
            keeps_relative_paths=keeps_relative_paths,
            joins_stderr=joins_stderr,
        )

    @property
    def is_embedded(self) -> bool:
        """Whether the farm is one of its own."""
        return not (self._config.coordinator or self._is_distributed)

    def close(self) -> list[str]:
        """End the session, then what was started for it, each whatever becomes of the other.

        What the session could not keep for the next one, and why: nothing that this one has made.
        """
        problems: list[str] = []
        with contextlib.ExitStack() as stack:
            stack.callback(self.signals.close)
            if self._daemons is not None:
                stack.callback(self._daemons.close)
            stack.callback(lambda: problems.extend(self.session.close()))
            if self._daemons is not None:
                stack.callback(self._daemons.cut_lifeline)
            self.session.leave()
        return problems

    def _check(self) -> None:
        if self._daemons is not None:
            self._daemons.check()

    def _connect(self) -> tuple[str, str]:
        if not self.is_embedded:
            broker = farm_address(self._config, is_distributed=self._is_distributed)
            if self._config.local_workers:
                self._start_workers(self._local_daemons(), broker, [1] * self._config.local_workers, "")
            return broker, ""
        daemons = self._local_daemons()
        broker = daemons.start_broker()
        count = min(self._config.local_workers or EMBEDDED_WORKERS, self._slots)
        shares = [self._slots // count + (number < self._slots % count) for number in range(count)]
        self._start_workers(daemons, broker, shares, daemons.blob_directory)
        return broker, daemons.blob_directory

    def _local_daemons(self) -> LocalDaemons:
        from zbuild.cli.local_daemons import LocalDaemons

        log_path = os.path.join(self._cache_dir, "farm.log")
        self._daemons = LocalDaemons(self._cache_dir, self._config.cache_bytes, log_path)
        return self._daemons

    def _start_workers(self, daemons: LocalDaemons, broker: str, shares: list[int], blob_directory: str) -> None:
        for number, share in enumerate(shares):
            daemons.start_worker(
                broker, f"local-{number + 1}", share, self._config.sandbox, blob_directory, self._capabilities
            )
