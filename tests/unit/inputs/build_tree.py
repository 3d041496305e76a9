"""A small project on disk, and the analysis of commands in its build directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, Unpack

from zbuild.inputs.analysis import (
    Analysis,
    AnalysisContext,
    CommandDescription,
    Local,
    LocalReason,
    Remote,
    analyse,
)
from zbuild.inputs.file_digests import FileDigests
from zbuild.inputs.roots import Roots
from zbuild.inputs.toolchain import Toolchain

TOOLCHAIN = Toolchain()
"""One for all tests of a run: the first look at a compiler takes a while."""


class More(TypedDict, total=False):
    """Fields of a CommandDescription."""

    inputs: tuple[str, ...]
    depfile: str
    deps: str
    rspfile: str
    rspfile_content: str
    known_deps: tuple[str, ...]


class BuildTree:
    """``/…/p`` holds sources, ``/…/p/build`` is the build directory. Paths in results are relative to ``p``."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.source = directory / "p"
        self.build = self.source / "build"
        self.build.mkdir(parents=True)
        self._environment = environment or {"PATH": "/usr/bin:/bin"}
        self._context: AnalysisContext | None = None

    @property
    def context(self) -> AnalysisContext:
        """Made at the first use, after the files."""
        if self._context is None:
            roots = Roots(str(self.source), str(self.build))
            self._context = AnalysisContext(roots, TOOLCHAIN, FileDigests(), self._environment)
        return self._context

    def write(self, name: str, text: str | bytes = "", *, is_executable: bool = False) -> str:
        """A file, its path relative to ``p``. Returns the absolute path."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        if is_executable:
            path.chmod(0o755)
        if self._context is not None:
            self._context.invalidate(str(path))
        return str(path)

    def analyse(self, command: str, *outputs: str, **more: Unpack[More]) -> Analysis:
        description = CommandDescription(command, str(self.build), outputs=outputs, **more)
        return analyse(description, self.context)

    def remote(self, command: str, *outputs: str, **more: Unpack[More]) -> Remote:
        analysis = self.analyse(command, *outputs, **more)
        assert isinstance(analysis, Remote), analysis
        return analysis

    def reason(self, command: str, *outputs: str, inputs: tuple[str, ...] = ()) -> LocalReason:
        analysis = self.analyse(command, *outputs, inputs=inputs)
        assert isinstance(analysis, Local), analysis
        return analysis.reason

    def files(self, analysis: Remote) -> set[str]:
        """The staged files."""
        return {os.path.relpath(path, self.source) for path in analysis.inputs}


def command_of(analysis: Remote) -> str:
    """The canonical command line."""
    shell, flag, text = analysis.arguments
    assert (shell, flag) == ("/bin/sh", "-c")
    return text
