"""The command line of a gcc or clang driver: what it compiles, where it looks, and what it writes."""

from __future__ import annotations

import os
import re

from zbuild.inputs.local_reason import LocalReason

_COMPILER = re.compile(r"(?:[\w.+]+-)*(?:gcc|g\+\+|clang|clang\+\+|cc|c\+\+|c89|c99)(?:-\d+(?:\.\d+)*)?")

LANGUAGES = {
    **dict.fromkeys((".c", ".C.c"), "c"),
    **dict.fromkeys((".cc", ".cp", ".cxx", ".cpp", ".CPP", ".c++", ".C", ".ixx", ".cppm", ".mpp", ".tcc"), "c++"),
    **dict.fromkeys((".h",), "c-header"),
    **dict.fromkeys((".hh", ".H", ".hp", ".hxx", ".hpp", ".HPP", ".h++"), "c++-header"),
    **dict.fromkeys((".S", ".sx"), "assembler-with-cpp"),
    ".s": "assembler",
    ".i": "cpp-output",
    ".ii": "c++-cpp-output",
    ".m": "objective-c",
    ".mm": "objective-c++",
    ".M": "objective-c++",
}
"""Languages by file suffix: GCC 12 manual, 3.2."""


def is_compiler(program: str) -> bool:
    """By name: ``cc``, ``g++``, ``x86_64-linux-gnu-gcc-12``, ``clang++-15``; not ``clang-tidy``."""
    return _COMPILER.fullmatch(os.path.basename(program)) is not None


class CompileCommand:
    """What the arguments say; paths as they are spelled.

    Attributes:
        mode: "object" (-c), "assembly" (-S), "preprocess" (-E, -M), "syntax" or "link".
        sources: (path, language) of files that are compiled or assembled.
        link_inputs: objects, archives and shared libraries named by path.
        quote_dirs, include_dirs, system_dirs, after_dirs: -iquote, -I, -isystem, -idirafter, in order.
        forced_includes, forced_macros: -include, -imacros.
        defines: macros given by -D; those set to nothing have the value "1".
        tool_flags: what changes the directories that the driver searches by itself.
        input_files, input_directories: further files that are read; directories of which anything may be.
        extra_outputs: files that it may make besides ``output``.
        cpu_flags: words such as ``-march=native`` that mean the machine the compiler runs on.
        own_path_flag: the flag for which what it makes must name the user's own directories; empty for none.
        pch_flag: the word that has clang make a precompiled header; empty for none.
        has_modules: whether gcc reads and writes compiled modules of C++ by names of its own.
        local_reason, local_detail: why it must run on the client, if it must.
    """

    def __init__(self, compiler: str) -> None:
        self.compiler = compiler
        self.mode = "link"
        self.sources: list[tuple[str, str]] = []
        self.link_inputs: list[str] = []
        self.output: str | None = None
        self.quote_dirs: list[str] = []
        self.include_dirs: list[str] = []
        self.system_dirs: list[str] = []
        self.after_dirs: list[str] = []
        self.embed_dirs: list[str] = []
        self.forced_includes: list[str] = []
        self.forced_macros: list[str] = []
        self.defines: dict[str, str] = {}
        self.tool_flags: list[str] = []
        self.sysroot: str | None = None
        self.input_files: list[str] = []
        self.input_directories: list[str] = []
        self.library_dirs: list[str] = []
        self.libraries: list[str] = []
        self.extra_outputs: list[str] = []
        self.cpu_flags: list[str] = []
        self.response_files: list[str] = []
        self.own_path_flag = ""
        self.pch_flag = ""
        self.has_modules = False
        self.local_reason: LocalReason | None = None
        self.local_detail = ""

    def stay_local(self, reason: LocalReason, detail: str) -> None:
        if self.local_reason is None:
            self.local_reason, self.local_detail = reason, detail

    @property
    def is_link(self) -> bool:
        return self.mode == "link"
