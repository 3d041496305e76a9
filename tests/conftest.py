"""What holds for every test: what it needs, how long it may take, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import pytest

from tests import capabilities, leftovers

TEST_TIMEOUT_S = 60.0
LEFTOVER_GRACE_S = 5.0

hypothesis.settings.register_profile("zbuild", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("zbuild"), derandomize=True)


class Surroundings:
    """What a run left behind and left out; either fails it.

    Attributes:
        skipped: tests that did not run. With ``CI=true`` the run decides about a change, and none may be.
    """

    def __init__(self) -> None:
        self.is_ci = os.environ.get("CI") == "true"
        self.mark = uuid.uuid4().hex
        self.skipped: list[str] = []
        self.leftovers: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remembers a test that skipped itself or was skipped."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remembers a module that skipped itself."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Takes what a process of pytest-xdist has to tell."""
        self.leftovers += node.workeroutput["leftovers"] if hasattr(node, "workeroutput") else []

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fails a run that left something behind, or that left a test out where none may be."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["leftovers"] = self.leftovers
        if self.leftovers or (self.is_ci and self.skipped):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Names what the run failed for."""
        for line in self.leftovers:
            terminalreporter.write_line(f"LEFT BEHIND: {line}", red=True)
        if self.is_ci:
            for nodeid in self.skipped:
                terminalreporter.write_line(f"SKIPPED, and CI=true allows no skips: {nodeid}", red=True)


SURROUNDINGS = pytest.StashKey[Surroundings]()


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[None]:
    surroundings = pytestconfig.stash[SURROUNDINGS]
    base = tmp_path_factory.getbasetemp()
    own = Path(tempfile.mkdtemp(prefix="zt-"))
    temporary = own / "t"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(leftovers.MARKER, surroundings.mark)
        patch.setenv("TMPDIR", str(temporary))
        patch.setenv("XDG_CACHE_HOME", str(own / "cache"))
        patch.setattr(tempfile, "tempdir", str(temporary))
        yield
    surroundings.leftovers = leftovers.left_behind(surroundings.mark, temporary, [own, base], LEFTOVER_GRACE_S)
    for pid, _ in leftovers.processes_of(surroundings.mark, [own, base]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(own)


def pytest_configure(config: pytest.Config) -> None:
    """Sets up the run."""
    surroundings = config.stash[SURROUNDINGS] = Surroundings()
    config.pluginmanager.register(surroundings, "surroundings")
    hypothesis.settings.load_profile("ci" if surroundings.is_ci else "zbuild")
    _take_interrupts()


def _take_interrupts() -> None:
    """A shell starts its background jobs with SIGINT ignored, and what is ignored stays so in every child."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_report_header() -> list[str]:
    """The capabilities of this machine."""
    found = [capabilities.capability(name) for name in capabilities.names()]
    return [
        "present: " + ", ".join(each.name for each in found if each.is_present),
        *(f"ABSENT: {each.name} ({each.absence}); the tests that need it are off" for each in found if each.absence),
    ]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose needs are not met."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            needed = capabilities.capability(name)
            if not needed.is_present:
                pytest.skip(f"needs {name}: {needed.absence}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Stops a test that runs into its limit, wherever it waits: a signal interrupts system calls."""
    marker = item.get_closest_marker("timeout")
    limit_s = float(marker.args[0]) if marker else TEST_TIMEOUT_S

    def stop(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail(f"still running after its limit of {limit_s:g} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
