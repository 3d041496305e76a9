"""A command that needed a file which its edge does not declare, and the line that would declare it."""

from __future__ import annotations

import os
from typing import NamedTuple

from zbuild.ninja.edge import Edge
from zbuild.ninja.generator import Generator


class UndeclaredRead(NamedTuple):
    """Attributes:
    output: the edge's first output.
    files: as seen from the build directory.
    unordered: those of them that another edge makes, and nothing says that it does so before this one runs.
    ran_here: the command was not repaired on the farm: it succeeded on this machine.
    remedy: what to write into the build description.
    """

    output: str
    files: tuple[str, ...]
    unordered: tuple[str, ...]
    ran_here: bool
    remedy: str

    def line(self) -> str:
        names = ", ".join(
            f"{path} (made by another command, which need not come first)" if path in self.unordered else path
            for path in self.files
        )
        outcome = (
            "failed in the sandbox and succeeded here" if self.ran_here else "failed without and was sent again with it"
        )
        return f"zbuild: undeclared: {self.output} reads {names}; it {outcome}. Declare it: {self.remedy}"


def remedy(edge: Edge, files: list[str], generator: Generator, source_root: str, build_dir: str) -> str:
    """The line to write.

    Args:
        files: absolute user paths.
        source_root: what paths are seen from in the generators' own languages.
    """
    match generator:
        case Generator.CMAKE:
            names = " ".join(
                _below(path, source_root, build_dir, "${CMAKE_SOURCE_DIR}", "${CMAKE_BINARY_DIR}") for path in files
            )
            return f"add_custom_command(OUTPUT {edge.outputs[0].path} ... DEPENDS {names})"
        case Generator.MESON:
            names = ", ".join(f"'{os.path.relpath(path, source_root)}'" for path in files)
            return (
                f"custom_target(output: '{os.path.basename(edge.outputs[0].path)}', ..., depend_files: files({names}))"
            )
        case Generator.GN:
            names = ", ".join(f'"//{os.path.relpath(path, source_root)}"' for path in files)
            return f"inputs = [ {names} ]"
        case Generator.NONE:
            return _statement(edge, [os.path.relpath(path, build_dir) for path in files])


def _below(path: str, source_root: str, build_dir: str, source: str, build: str) -> str:
    if path.startswith(build_dir + "/") and build_dir != source_root:
        return f"{build}/{path[len(build_dir) + 1 :]}"
    return f"{source}/{os.path.relpath(path, source_root)}"


def _statement(edge: Edge, more: list[str]) -> str:
    """The build statement of the edge as it should be; what comes from the deps log is not in it."""
    outputs = " ".join(_escaped(node.path) for node in edge.explicit_outputs)
    inputs = "".join(f" {_escaped(node.path)}" for node in edge.explicit_inputs)
    implicit = [node.path for node in edge.implicit_inputs if not node.is_discovered]
    names = " ".join(map(_escaped, (*implicit, *more)))
    order_only = " ".join(_escaped(node.path) for node in edge.order_only_inputs)
    return f"build {outputs}: {edge.rule.name}{inputs} | {names}" + (f" || {order_only}" if order_only else "")


def _escaped(path: str) -> str:
    """As a path stands in a build statement: the manual of ninja, lexical syntax."""
    return path.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")
