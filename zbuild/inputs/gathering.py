"""What is gathered for one command while it is looked at, and the result made of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from zbuild import limits
from zbuild.inputs.context import AnalysisContext
from zbuild.inputs.description import CommandDescription, Remote
from zbuild.inputs.local_reason import LocalReason
from zbuild.inputs.paths import absolute, crossed_directories, is_below, is_kernel
from zbuild.inputs.shell import SimpleCommand
from zbuild.model.action import OutputSpec

IGNORED_DIRECTORIES = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "__pycache__", "CMakeFiles", "node_modules"})
"""Never staged with a directory that a command names: state of other tools, and byte code."""

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


class StayLocal(Exception):
    """Raised inside an analysis; becomes a ``Local``."""

    def __init__(self, reason: LocalReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def named_variables(command: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Those variables of ``environment`` that a command line asks for by name."""
    return {name: environment[name] for name in _VARIABLE.findall(command) if name in environment}


class Gathering:
    """All paths are absolute user paths."""

    def __init__(self, description: CommandDescription, context: AnalysisContext) -> None:
        self.description = description
        self.context = context
        self.roots = context.roots
        self.working_directory = absolute(description.working_directory, "/")
        self.kind = "tool"
        self.has_tool = False
        self.files: set[str] = set()
        self.inline: dict[str, bytes] = {}
        self.directories: set[str] = {self.working_directory}
        self.properties: set[str] = {"os", "arch", "tool:/bin/sh"}
        self.search_directories: list[str] = []
        self.unsure: list[str] = []
        self.uncacheable: list[str] = []
        self.environment = dict(context.environment)
        self.replacements: list[tuple[SimpleCommand, str, str]] = []
        self.outputs = {absolute(path, self.working_directory): False for path in description.outputs}
        if description.depfile:
            # ninja does not mind when there is none: nasm writes one only if there is something to say.
            self.outputs.setdefault(absolute(description.depfile, self.working_directory), True)
        self.removed: set[str] = set()
        self.response: dict[str, str] = {}
        if description.rspfile is not None and description.rspfile_content is not None:
            self.response[absolute(description.rspfile, self.working_directory)] = description.rspfile_content

    def add_file(self, path: str) -> bool:
        """A file that may be read. False: there is none at ``path``."""
        if path in self.files:
            return True
        if path in self.response or path in self.outputs:
            return path in self.response
        if not self.context.tree.has_file(path) or is_kernel(path):
            return False
        if self.roots.is_system(path):
            self.properties.add(f"file:{path}")
        else:
            self.files.add(path)
        return True

    def add_spelled(self, word: str, working_directory: str) -> bool:
        """As ``add_file``, with the directories on the way that the spelling leaves again by ``..``."""
        self.add_crossed(word, working_directory)
        return self.add_file(absolute(word, working_directory))

    def add_crossed(self, word: str, working_directory: str) -> None:
        """The directories on the way of a path that leaves them again by ``..``: the kernel goes through them."""
        if "/.." in word:
            crossed = crossed_directories(word, working_directory)
            self.directories.update(path for path in crossed if self.context.tree.has_directory(path))

    def add_directory_content(self, path: str, *, is_declared: bool = False) -> None:
        """A directory that a command names: all that is in it, if that is not the whole build.

        Below the build directory other edges are at work, so only a directory that the edge declares is taken.
        """
        if self.roots.is_system(path) or is_kernel(path):
            return
        self.directories.add(path)
        is_above_build = is_below(self.roots.build_dir, path)
        if path == self.roots.build_dir or (is_above_build and not is_below(path, self.roots.source_root)):
            return
        if is_declared or not self.roots.is_in_build(path):
            self._add_below(path)

    def _add_below(self, path: str) -> None:
        found: list[str] = []
        pending = [path]
        while pending:
            directory = pending.pop()
            listing = self.context.tree.list(directory)
            if listing is None:
                continue
            self.directories.add(directory)
            found += [f"{directory}/{name}" for name in listing.files]
            if len(found) > limits.STAGED_DIRECTORY_FILES:
                self.unsure.append(
                    f"{path} holds more than {limits.STAGED_DIRECTORY_FILES} files: only declared ones are staged"
                )
                return
            below = [f"{directory}/{name}" for name in listing.directories if name not in IGNORED_DIRECTORIES]
            pending += [child for child in below if child != self.roots.build_dir and not os.path.islink(child)]
        for file in found:
            self.add_file(file)

    def add_output(self, path: str) -> None:
        """A file that may be made besides the declared ones."""
        self.outputs.setdefault(path, True)
        self.files.discard(path)

    def read_response_file(self, word: str, working_directory: str) -> str | None:
        path = absolute(word, working_directory)
        if path in self.response:
            return self.response[path]
        if not self.context.tree.has_file(path):
            return None
        content = self.context.tree.read(path)
        if len(content) > limits.MAPPED_FILE_BYTES:
            raise StayLocal(LocalReason.TOO_MANY_INPUTS, f"{path} has {len(content)} B")
        text = content.decode("utf-8", "surrogateescape")
        self.response[path] = text
        return text

    def remote(self, commands: tuple[SimpleCommand, ...]) -> Remote:
        """Raises StayLocal: an output lies outside the build directory, or there are too many inputs."""
        roots = self.roots
        for path in self.outputs:
            if not roots.is_in_build(path):
                raise StayLocal(LocalReason.OUTPUT_OUTSIDE, path)
        self.files.difference_update(self.outputs)
        if len(self.files) > limits.ACTION_INPUTS:
            raise StayLocal(LocalReason.TOO_MANY_INPUTS, f"{len(self.files)} files")
        canonical = roots.to_canonical
        for path, text in self.response.items():
            mapped = self._mapped(text, self.working_directory)
            self.inline[canonical(path)] = mapped.encode("utf-8", "surrogateescape")
        inputs = {path: canonical(path) for path in self.files}
        if self.inline:
            inputs = {path: there for path, there in inputs.items() if there not in self.inline}
        directories = {canonical(path) for path in self.directories if not roots.is_system(path)}
        directories.update(canonical(path.rpartition("/")[0]) for path in self.outputs)
        self._add_named_variables()
        return Remote(
            arguments=("/bin/sh", "-c", self._canonical_command(commands)),
            environment=tuple(sorted(self.environment.items())),
            working_directory=canonical(self.working_directory),
            writable_root=roots.canonical_build,
            inputs=inputs,
            inline_inputs=tuple(sorted(self.inline.items())),
            directories=tuple(sorted(directories)),
            outputs=tuple(OutputSpec(canonical(path), optional) for path, optional in sorted(self.outputs.items())),
            properties=tuple(sorted(self.properties)),
            is_cacheable=not self.uncacheable,
            uncacheable_reason="; ".join(self.uncacheable[:3]),
            unsure=tuple(self.unsure),
            kind=self.kind,
            search_directories=tuple(dict.fromkeys(self.search_directories)),
            has_own_paths=not roots.is_canonical,
            has_tool=self.has_tool,
        )

    def _add_named_variables(self) -> None:
        """What the command line asks the environment for by name is part of the command, as it is for ninja."""
        for name, value in named_variables(self.description.command, self.context.whole_environment).items():
            self.environment.setdefault(name, self.roots.map_command(value, self.working_directory))

    def _canonical_command(self, commands: tuple[SimpleCommand, ...]) -> str:
        """Each command of the line is mapped as seen from the directory that it runs in."""
        text = self.description.command
        if not self.replacements and all(command.working_directory == self.working_directory for command in commands):
            return self._mapped(text, self.working_directory)
        pieces = []
        position = 0
        current = self.working_directory
        for command in sorted(commands, key=lambda command: (command.start, -command.end)):
            if command.start < position:
                continue
            pieces.append(self._mapped(text[position : command.start], current))
            piece = text[command.start : command.end]
            for owner, old, new in self.replacements:
                if owner is command:
                    piece = self._replaced(piece, old, new)
            current = command.working_directory
            pieces.append(self._mapped(piece, current))
            position = command.end
        pieces.append(self._mapped(text[position:], current))
        return "".join(pieces)

    def _mapped(self, text: str, working_directory: str) -> str:
        """``cmake -DINPUT=/home/u/p/x -P script`` opens the path; a compiler puts it into the program."""
        return self.roots.map_command(text, working_directory, keeps_paths=self.kind in ("compile", "assembly", "link"))

    def _replaced(self, piece: str, old: str, new: str) -> str:
        pattern = re.compile(rf"(?<!\S){re.escape(old)}(?:\s+|\Z)")
        if pattern.search(piece) is None:
            raise StayLocal(LocalReason.SHELL_SYNTAX, f"cannot find {old} in the command line to replace it")
        return pattern.sub((new + " ") if new else "", piece, count=1)
