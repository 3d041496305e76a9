"""distccd on the loopback interface, for the same work on the same slots."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time

from tests.bench.workspace import Workspace

START_S = 10.0


class DistccFarm:
    """A running distccd. Raises OSError from ``start`` when it does not come up."""

    def __init__(self, workspace: Workspace, slots: int) -> None:
        self._workspace = workspace
        self._slots = slots
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def absence() -> str:
        """Why there is no distcc on this machine; empty when there is one."""
        missing = [name for name in ("distcc", "distccd") if shutil.which(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else ""

    def __enter__(self) -> DistccFarm:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        return [self._process.pid] if self._process is not None else []

    def environment(self) -> dict[str, str]:
        """For the build: every compilation goes through the daemon, and one that cannot is an error.

        127.0.0.1 and not localhost: with that name distcc runs the compiler itself (distcc(1)).
        """
        state = self._workspace.path / "distcc"
        state.mkdir(exist_ok=True)
        return self._workspace.environment(
            DISTCC_HOSTS=f"127.0.0.1:{self._port}/{self._slots}",
            DISTCC_DIR=str(state),
            DISTCC_FALLBACK="0",
            DISTCC_SKIP_LOCAL_RETRY="1",
        )

    def start(self) -> None:
        command = ["distccd", "--daemon", "--no-detach", "--allow", "127.0.0.1", "--listen", "127.0.0.1"]
        command += ["--port", str(self._port), "--jobs", str(self._slots), "--log-stderr", "--log-level", "error"]
        # When root starts it, distccd becomes another user, who may not write in root's own temporary directory.
        environment = {**os.environ, "TMPDIR": "/tmp"} if os.geteuid() == 0 else None
        with (self._workspace.path / "distccd.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1.0).close()
                return
            except ConnectionRefusedError:
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """End the daemon with the children that it keeps ready."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
