"""What is known of one edge's command, and what the analysis makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from zbuild.inputs.local_reason import LocalReason
from zbuild.model.action import OutputSpec


class CommandDescription(NamedTuple):
    """One edge, as the manifest has it; paths relative to ``working_directory`` or absolute, user spelling.

    Attributes:
        command: for /bin/sh -c.
        inputs: explicit, implicit and order-only ones; phony targets replaced by what they stand for.
        depfile: written by the command; an output.
        deps: "", "gcc" or "msvc".
        rspfile_content: the text of ``rspfile``, which need not be on disk.
        known_deps: what the command read when it last ran, from the deps log.
    """

    command: str
    working_directory: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    depfile: str | None = None
    deps: str = ""
    rspfile: str | None = None
    rspfile_content: str | None = None
    known_deps: tuple[str, ...] | None = None


class Local(NamedTuple):
    """The command must run on the client. ``detail`` names the thing that the reason is about."""

    reason: LocalReason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


class Remote(NamedTuple):
    """The command can run anywhere, with this.

    Attributes:
        arguments, environment, working_directory, writable_root: as the Action wants them, canonical.
        inputs: user path -> canonical path of regular files that exist.
        inline_inputs: (canonical path, content) of files whose content is not what is on disk.
        directories: canonical; they exist, with or without files.
        outputs: canonical, sorted by path.
        properties: names of the platform properties it depends on, sorted.
        is_cacheable, uncacheable_reason: False when the result depends on the time.
        unsure: what could not be predicted; the run may fail for want of a file.
        has_tool: a program runs whose inputs are guessed, alone or beside a compiler.
        has_own_paths: "canonical" paths are the user's own in this one.
        kind: "compile", "assembly", "link", "archive" or "tool".
        search_directories: user paths where names in messages of a failed run may belong.
    """

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str
    writable_root: str
    inputs: Mapping[str, str]
    inline_inputs: tuple[tuple[str, bytes], ...]
    directories: tuple[str, ...]
    outputs: tuple[OutputSpec, ...]
    properties: tuple[str, ...]
    is_cacheable: bool
    uncacheable_reason: str
    unsure: tuple[str, ...]
    kind: str
    search_directories: tuple[str, ...]
    has_own_paths: bool = False
    has_tool: bool = False


Analysis = Remote | Local
