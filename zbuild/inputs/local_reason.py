"""Why a command is not sent to the farm."""

from __future__ import annotations

import enum


class LocalReason(enum.StrEnum):
    """A closed list; the values are what a user reads. The caller decides GENERATOR and CONSOLE."""

    GENERATOR = "generator"
    CONSOLE = "console"
    APPENDS = "changes an output that exists"
    OUTPUT_OUTSIDE = "writes outside the build directory"
    SHELL_SYNTAX = "shell syntax not analysed"
    TOOL_NOT_FOUND = "tool not found"
    TOOL_OUTSIDE = "tool outside system and source directories"
    NATIVE_CPU = "tuned for this machine's CPU in a way the compiler does not spell out"
    UNKNOWN_OUTPUTS = "makes files whose names are not known beforehand"
    BUILD_PATH = "reads profile data by the name of the build directory"
    VERSION_CONTROL = "reads the state of version control"
    NESTED_BUILD = "runs another build"
    TOO_MANY_INPUTS = "too many inputs"
    UNREADABLE_INPUT = "an input cannot be read"
    NOT_UNICODE = "a name or an argument that is not UTF-8"
