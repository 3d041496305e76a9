"""What the overhead benchmark builds: a tree of tiny C files, and real projects."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench.workspace import Workspace
from tests.projects import PROJECTS, check_out

TINY = "tiny"


@dataclass(frozen=True)
class ConfiguredTree:
    """A build directory as cmake or meson has left it, and a pristine copy of it.

    Attributes:
        build: where it is built; generators write absolute paths, so it cannot be elsewhere.
    """

    workspace: Workspace
    build: Path
    pristine: Path

    def reset(self, *, keeps_logs: bool = False) -> None:
        """Make the outputs be gone, as in a fresh build directory.

        Args:
            keeps_logs: ninja's logs stay, as after ``ninja -t clean``.
        """
        logs = {name: self.build / name for name in (".ninja_log", ".ninja_deps")}
        kept = {name: path.read_bytes() for name, path in logs.items() if keeps_logs and path.exists()}
        self.workspace.set_aside(self.build)
        shutil.copytree(self.pristine, self.build, symlinks=True)
        for name, data in kept.items():
            logs[name].write_bytes(data)


def configured(workspace: Workspace, name: str, files: int, launcher: str = "") -> ConfiguredTree:
    """A tree called TINY or a project's name, configured once.

    Args:
        files: C files of the tiny tree.
        launcher: a program that the build puts before each compiler command: distcc.

    Raises:
        Unobtainable: the registry cannot be reached.
        CalledProcessError: cmake or meson refused.
    """
    place = workspace.path / f"{name}{launcher and '-'}{launcher}"
    build = place / "build"
    if name == TINY:
        root = make_tiny(place / "source", files)
        command = ["cmake", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-S", str(root), "-B", str(build)]
        is_cmake = True
    else:
        project = PROJECTS[name]
        root = check_out(project, place / "source")
        is_cmake = project.build_system == "cmake"
        command = ["cmake", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *project.options, "-S", str(root), "-B"]
        command = [*command, str(build)] if is_cmake else ["meson", "setup", *project.options, str(build), str(root)]
    environment = workspace.environment()
    if launcher and is_cmake:
        command += [f"-DCMAKE_{language}_COMPILER_LAUNCHER={launcher}" for language in ("C", "CXX")]
    elif launcher:
        environment |= {"CC": f"{launcher} cc", "CXX": f"{launcher} c++"}
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    shutil.copytree(build, place / "pristine", symlinks=True)
    return ConfiguredTree(workspace, build, place / "pristine")


def make_tiny(directory: Path, files: int) -> Path:
    """A CMake project of so many C files of one function each, and a program of them all."""
    directory.mkdir(parents=True)
    (directory / "value.h").write_text("#include <stddef.h>\n#include <string.h>\nsize_t value(int);\n")
    names = [f"file_{number:03d}.c" for number in range(files)]
    for number, name in enumerate(names):
        (directory / name).write_text(
            f'#include "value.h"\nint function_{number}(int given) {{ return given + (int)strlen("{number}"); }}\n'
        )
    (directory / "main.c").write_text("int function_0(int);\nint main(void) { return function_0(-1); }\n")
    (directory / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.13)\nproject(tiny C)\nadd_executable(tiny main.c {' '.join(names)})\n"
    )
    return directory
