"""What the builds of a run build: many small shell commands, a generated C program, or a real project."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from chaos.invariants import IGNORED, tree_of
from tests import projects
from tests.integration.tree import client_environment

GROUP = 10
"""Every so many actions one concatenates the outputs of those before it: a graph, not a list."""


@dataclass
class Workload:
    """A way to make a tree, and what a build without faults makes of it.

    Attributes:
        actions: how many commands it has; 0 where only the manifest knows.
        make: (directory that does not exist yet, whether commands take their time) -> the build directory.
        reference: the command that builds it without faults.
        expected: what the build makes, see tree_of; by ``refer``.
    """

    name: str
    actions: int
    make: Callable[[Path, bool], Path]
    reference: tuple[str, ...] = ("ninja", "-j4")
    expected: dict[str, str] = field(default_factory=dict)

    def refer(self, directory: Path) -> None:
        """Build it where nothing goes wrong, and remember what that makes."""
        tree = Tree(self, directory, is_paced=False)
        environment = client_environment() | {"XDG_CACHE_HOME": f"{directory}-cache"}
        subprocess.run(self.reference, cwd=tree.build, env=environment, check=True, capture_output=True)
        self.expected = tree.made()
        shutil.rmtree(directory)


class Tree:
    """A workload laid out in a directory.

    Attributes:
        build: where its build.ninja is.
    """

    def __init__(self, workload: Workload, directory: Path, *, is_paced: bool = True) -> None:
        self.directory = directory
        self.workload = workload
        self.build = workload.make(directory, is_paced)
        self._sources = tree_of(self.build)

    def made(self) -> dict[str, str]:
        """What a build has made or changed."""
        return {name: what for name, what in tree_of(self.build).items() if self._sources.get(name) != what}

    def clear(self) -> None:
        """Remove everything that a build has made."""
        for name in self.made():
            (self.build / name).unlink()
        for name in IGNORED:
            (self.build / name).unlink(missing_ok=True)


def shell_actions(random: Random, count: int, seconds: float = 0.0, size_bytes: int = 0) -> Workload:
    """Commands that take ``seconds`` each, read a source file and write its line, and ``size_bytes`` after it."""
    token = random.randrange(10**12)
    filler = f"; yes {token} | head -c {size_bytes}" if size_bytes else ""

    def make(directory: Path, is_paced: bool) -> Path:
        directory.mkdir(parents=True)
        lines = ["rule sh", "  command = $cmd"]
        for number in range(count):
            if number % GROUP == GROUP - 1:
                parts = [f"o{each}" for each in range(number - GROUP + 1, number)]
                lines += [f"build o{number}: sh {' '.join(parts)}", f"  cmd = cat {' '.join(parts)} > o{number}"]
            else:
                (directory / f"s{number}").write_text(f"{token} {number}\n")
                pause = f"sleep {seconds}; " if seconds and is_paced else ""
                command = f"{pause}(cat s{number}{filler}) > o{number}"
                lines += [f"build o{number}: sh s{number}", f"  cmd = {command}"]
        (directory / "build.ninja").write_text("\n".join([*lines, ""]))
        return directory

    return Workload(f"{count} shell actions", count, make)


_HEADER = """\
#ifndef PART_{n}_H
#define PART_{n}_H
#define SEED_{n} {token}
int part_{n}(int x);
#endif
"""

_SOURCE = """\
#include "part_{n}.h"
#include "part_{m}.h"
#include <stdio.h>
static const int table_{n}[] = {{ {numbers} }};
int part_{n}(int x) {{
  for (int i = 0; i < (int)(sizeof table_{n} / sizeof *table_{n}); i++) x = x * 31 + table_{n}[i] + SEED_{m};
  return x;
}}
"""


def c_program(random: Random, count: int = 20) -> Workload:
    """A generated C program of ``count`` sources with headers, a static library and a link."""
    token = random.randrange(10**8)
    tables = [", ".join(str(random.randrange(1000)) for _ in range(50)) for _ in range(count)]

    def make(directory: Path, _is_paced: bool) -> Path:
        build = directory / "build"
        (directory / "src").mkdir(parents=True)
        build.mkdir()
        for n in range(count):
            source = _SOURCE.format(n=n, m=(n + 1) % count, numbers=tables[n])
            (directory / f"src/part_{n}.c").write_text(source)
            (directory / f"src/part_{n}.h").write_text(_HEADER.format(n=n, token=token))
        calls = " + ".join(f"part_{n}({n})" for n in range(count))
        includes = "".join(f'#include "part_{n}.h"\n' for n in range(count))
        main = f'{includes}#include <stdio.h>\nint main(void) {{ printf("%d\\n", {calls}); return 0; }}\n'
        (directory / "src/main.c").write_text(main)
        objects = [f"part_{n}.o" for n in range(count)]
        lines = [
            "rule cc",
            "  command = gcc -O1 -MD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule ar",
            "  command = ar rcsD $out $in",
            "rule link",
            "  command = gcc $in -o $out",
            "rule run",
            "  command = ./$in > $out",
            *(f"build part_{n}.o: cc ../src/part_{n}.c" for n in range(count)),
            "build main.o: cc ../src/main.c",
            f"build libparts.a: ar {' '.join(objects)}",
            "build program: link main.o libparts.a",
            "build answer: run program",
            "",
        ]
        (build / "build.ninja").write_text("\n".join(lines))
        return build

    return Workload(f"C program of {count} sources", count + 4, make)


def real_project(name: str = "fribidi") -> Workload:
    """A real project, by its package name from a registry."""
    project = projects.PROJECTS[name]

    def make(directory: Path, _is_paced: bool) -> Path:
        root = projects.check_out(project, directory / "source")
        projects.configure(project, root, directory / "build")
        return directory / "build"

    # Not ninja: with -g an object names the directory it was made in, which is another one in the sandbox.
    return Workload(name, 0, make, (sys.executable, "-m", "zbuild.cli.main", "build"))
