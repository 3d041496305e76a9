"""Which files of the system decide what a tool does."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil

from zbuild import limits
from zbuild.inputs import compiler_probe
from zbuild.inputs.compile_command import is_compiler
from zbuild.inputs.compiler_probe import STANDARD_PATH, Run
from zbuild.inputs.elf import closure
from zbuild.inputs.launcher import COMPILER_LAUNCHERS
from zbuild.inputs.paths import is_below
from zbuild.inputs.toolchain import ToolParts

_PYTHON = re.compile(r"(?:python|pypy)(?:\d+(?:\.\d+)*)?")
_PERL = re.compile(r"perl(?:\d+(?:\.\d+)*)?")
_PROBE_PYTHON = (
    "import json, sys, sysconfig;"
    "print(json.dumps([sysconfig.get_path('stdlib'), sysconfig.get_path('platstdlib'), sys.base_prefix]))"
)
_SCRIPT_PROGRAM = re.compile(
    rb"(?:^|[\s;&|\"'(])((?:/[\w.+-]+)+|[\w+-]*(?:gcc|g\+\+|clang|clang\+\+|cc|c\+\+)(?:-[\d.]+)?)"
)


def parts_of(path: str, run: Run) -> ToolParts | None:
    """None: ``path`` is not an executable file.

    A compiler has its programs, start files and every directory of headers that it searches; an interpreter its
    standard library; a script its interpreter and the compilers and absolute programs that it names. Everything has
    the shared libraries that it loads.
    """
    collector = _Collector(run)
    if not collector.add_tool(path):
        return None
    trees = sorted(collector.trees)
    outermost = [tree for tree in trees if not any(is_below(tree, other) and tree != other for other in trees)]
    files = [file for file in sorted(collector.files) if not any(is_below(file, tree) for tree in outermost)]
    return ToolParts(tuple(files), tuple(outermost))


class _Collector:
    def __init__(self, run: Run) -> None:
        self.files: set[str] = set()
        self.trees: set[str] = set()
        self._run = run
        self._tools: set[str] = set()

    def add_tool(self, path: str) -> bool:
        if path in self._tools:
            return True
        if not (os.path.isfile(path) and os.access(path, os.X_OK)) or len(self._tools) >= limits.TOOLS_OF_ONE_TOOL:
            return False
        self._tools.add(path)
        self.files.add(path)
        with open(path, "rb") as stream:
            head = stream.read(limits.SCRIPT_BYTES)
        if head.startswith(b"#!"):
            self._add_script(path, head)
        else:
            self.files.update(closure(path))
            self._add_by_name(path)
        return True

    def _add_by_name(self, path: str) -> None:
        real = os.path.realpath(path)
        if is_compiler(path) and os.path.basename(real) in COMPILER_LAUNCHERS:
            self._add_launched(path)
        elif is_compiler(path):
            self._add_compiler(path)
        elif _PYTHON.fullmatch(os.path.basename(real)):
            self._add_python(path)
        elif _PERL.fullmatch(os.path.basename(real)):
            self._add_perl(path)

    def _add_launched(self, path: str) -> None:
        """``/usr/lib/ccache/gcc``: the launcher runs the next program of that name in PATH."""
        own = os.path.realpath(os.path.dirname(path))
        others = [directory for directory in STANDARD_PATH.split(":") if os.path.realpath(directory) != own]
        launched = shutil.which(os.path.basename(path), path=":".join(others))
        if launched is not None:
            self.add_tool(launched)

    def _add_compiler(self, path: str) -> None:
        run = self._run
        installed = compiler_probe.install_directories(run, path)
        self.trees.update(installed)
        for program in compiler_probe.programs(run, path):
            self.files.add(program)
            self.files.update(closure(program))
        self.files.update(compiler_probe.startup_files(run, path))
        for directory in installed:
            for plugin in glob.glob(f"{directory}/*.so"):
                self.files.update(closure(plugin))
        for language in ("c", "c++"):
            found = compiler_probe.search_directories(run, path, language, ())
            if found is not None:
                self.trees.update(found.include)
                self.trees.update(found.absent)

    def _add_python(self, path: str) -> None:
        code, text, _ = self._run([path, "-I", "-S", "-c", _PROBE_PYTHON])
        if code == 0:
            library, platform_library, prefix = json.loads(text)
            standard = {library, platform_library, f"{library}/lib-dynload"}
            self.trees.update(os.path.realpath(directory) for directory in standard if os.path.isdir(directory))
            self.files.update(glob.glob(f"{prefix}/lib/libpython*.so*"))

    def _add_perl(self, path: str) -> None:
        code, text, _ = self._run([path, "-e", 'print join("\\n", @INC)'])
        if code == 0:
            self.trees.update(directory for directory in text.splitlines() if directory.startswith("/"))

    def _add_script(self, path: str, content: bytes) -> None:
        words = os.fsdecode(content.split(b"\n", 1)[0][2:]).split()
        if not words:
            return
        interpreter = words[0]
        self.add_tool(interpreter)
        if os.path.basename(interpreter) == "env":
            names = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
            found = shutil.which(names[0], path=STANDARD_PATH) if names else None
            interpreter = found or interpreter
            self.add_tool(interpreter)
        if os.path.basename(os.path.realpath(interpreter)) in ("sh", "dash", "bash", "ksh", "zsh", "busybox"):
            for word in {os.fsdecode(match) for match in _SCRIPT_PROGRAM.findall(content)}:
                self._add_named(word, path)

    def _add_named(self, word: str, script: str) -> None:
        located = word if word.startswith("/") else shutil.which(word, path=STANDARD_PATH)
        if located is not None and os.path.realpath(located) != os.path.realpath(script):
            self.add_tool(located)
