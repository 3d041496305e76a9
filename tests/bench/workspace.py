"""The directory that a benchmark works in, and how it gets rid of files without spoiling what is measured next."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Workspace:
    """A temporary directory, removed at the end.

    Nothing is deleted before: for a minute after a file was deleted, ext4 skips its inode whenever a file is
    made (recently_deleted() in fs/ext4/ialloc.c). After a thousand deletions that makes open(O_CREAT) ten times
    as expensive, and it was 58% of the store's CPU time. So files are moved out of the way.
    """

    def __init__(self, parent: str | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="zb-", dir=parent))
        self._aside = self.path / "aside"
        self._aside.mkdir()
        self._count = 0

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_exception: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def set_aside(self, *paths: Path) -> None:
        """Make ``paths`` be gone. Those that are not there already are."""
        for path in paths:
            if path.exists():
                self._count += 1
                path.rename(self._aside / str(self._count))

    def environment(self, **more: str) -> dict[str, str]:
        """For processes of zbuild: this checkout, compiled as an installation is, and a cache of their own."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONPYCACHEPREFIX": str(self.path / "pycache"),
            "XDG_CACHE_HOME": str(self.path / "cache"),
            **more,
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return environment


def module(name: str, *arguments: Any) -> list[str]:
    """The command line that runs a module of this checkout."""
    return [sys.executable, "-m", name, *map(str, arguments)]
