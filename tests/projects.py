"""Real open-source projects, obtained by package name, for integration tests, benchmarks and bin/quickstart.

``python -m tests.projects`` fetches them all; ``python -m tests.projects NAME DIRECTORY`` makes a
configured build directory of one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from zbuild.config import user_cache_dir

CACHE = Path(user_cache_dir(os.environ)) / "projects"
"""Unpacked sources. Asked for at import, before tests/conftest.py gives the tests a cache of their own."""

FETCH_TIMEOUT_S = 300


class Unobtainable(Exception):
    """A registry did not give a package; the message ends with what its client said."""


@dataclass(frozen=True)
class Project:
    """One project: where it comes from, and how it is configured.

    Attributes:
        package: a pinned PyPI requirement, or the name of a Debian source package.
        sha256: of the PyPI sdist. Debian's packages are verified by apt's signatures.
        subdirectory: where the project's own build lies within the package.
        options: for cmake or meson, to leave out what needs more than a compiler.
    """

    name: str
    language: str
    build_system: str
    package: str
    sha256: str = ""
    subdirectory: str = "."
    options: tuple[str, ...] = ()

    @property
    def registry(self) -> str:
        """Where the package comes from."""
        return "PyPI" if self.sha256 else "Debian"


PROJECTS = {
    project.name: project
    for project in (
        Project(
            name="c-ares",
            language="C",
            build_system="cmake",
            package="pycares==5.2.1",
            sha256="3e89edc56a3745046676207958bf3dbf2971c5df0d64de9f7a893eba8bf255b4",
            subdirectory="deps/c-ares",
        ),
        Project(
            name="c-blosc",
            language="C and C++",
            build_system="cmake",
            package="blosc==1.11.4",
            sha256="e0b312d9554d3aea93c75af4ad70dfa8b815ef4fe2b658c313b2f27ed0f41d37",
            subdirectory="blosc/c-blosc",
            options=("-DBUILD_TESTS=OFF", "-DBUILD_BENCHMARKS=OFF", "-DBUILD_FUZZERS=OFF"),
        ),
        Project(
            name="ninja",
            language="C++",
            build_system="cmake",
            package="ninja==1.13.2",
            sha256="525bfa3fc88aa30a4467df270fd5be6f9fcae8061d54d4df74ea1dc5abd5a975",
            subdirectory="ninja-upstream",
            options=("-DBUILD_TESTING=OFF",),
        ),
        Project(name="jsoncpp", language="C++", build_system="meson", package="libjsoncpp"),
        # Generators that are themselves built, and headers that they write.
        Project(name="fribidi", language="C", build_system="meson", package="fribidi"),
        # An assembler source that goes through the preprocessor.
        Project(name="zstd", language="C", build_system="meson", package="libzstd", subdirectory="build/meson"),
    )
}


def source(project: Project) -> Path:
    """The project's unpacked package in the cache, fetched if it is not there. Not to be written to.

    Raises:
        Unobtainable: the registry cannot be reached or does not have the package.
    """
    key = hashlib.sha256(f"{project.package} {project.sha256}".encode()).hexdigest()[:12]
    unpacked = CACHE / f"{project.name}-{key}"
    if not unpacked.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            archive = _from_pypi(project, Path(scratch)) if project.sha256 else _from_debian(project, Path(scratch))
            _unpack(archive, Path(scratch) / "unpacked").rename(unpacked)
    return unpacked


def is_cached(project: Project) -> bool:
    """Whether ``source`` needs no registry."""
    return any(CACHE.glob(f"{project.name}-*"))


def check_out(project: Project, directory: Path) -> Path:
    """Copies the package to ``directory``, which must not exist, and returns the project's own root in it.

    Raises:
        Unobtainable: as ``source``.
    """
    shutil.copytree(source(project), directory, symlinks=True)
    return directory / project.subdirectory


def configure(project: Project, root: Path, build: Path) -> None:
    """Makes ``build`` a build directory of the project at ``root``, with a build.ninja.

    Raises:
        subprocess.CalledProcessError: cmake or meson refused; its output is in the error.
    """
    if project.build_system == "cmake":
        command = [
            "cmake",
            "-G",
            "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            *project.options,
            "-S",
            str(root),
            "-B",
            str(build),
        ]
    else:
        command = ["meson", "setup", *project.options, str(build), str(root)]
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _from_pypi(project: Project, scratch: Path) -> Path:
    """The sdist. pip asks its backend for metadata; those of the packages above build nothing for that."""
    name = project.package.partition("==")[0]
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{project.package} --hash=sha256:{project.sha256}\n")
    _run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name]
        + ["--dest", str(scratch / "archives"), "--require-hashes", "-r", str(requirements)],
        project,
        scratch,
    )
    return next((scratch / "archives").iterdir())


def _from_debian(project: Project, scratch: Path) -> Path:
    """The upstream tarball of the source package, by an apt whose state is all in ``scratch``.

    The machine's own package sources are asked for source packages; nothing below /etc or /var changes,
    so an ordinary user can do it.
    """
    parts = scratch / "parts"
    for directory in (parts, scratch / "lists/partial", scratch / "cache/archives/partial", scratch / "archives"):
        directory.mkdir(parents=True)
    for path in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        if path.suffix in (".list", ".sources") and path.is_file():
            (parts / path.name).write_text(as_source_entries(path.read_text()))
    apt_get = ["apt-get", "--quiet=2", "-o", "APT::Sandbox::User=root"]
    for option, value in (
        ("Dir::Etc::SourceList", "/dev/null"),
        ("Dir::Etc::SourceParts", parts),
        ("Dir::State::Lists", scratch / "lists"),
        ("Dir::Cache", scratch / "cache"),
    ):
        apt_get += ["-o", f"{option}={value}"]
    # A third party's repository may hold no sources, which fails the update and not what follows.
    subprocess.run([*apt_get, "update"], capture_output=True, check=False, timeout=FETCH_TIMEOUT_S)
    _run([*apt_get, "source", "--download-only", project.package], project, scratch / "archives")
    return next(path for path in (scratch / "archives").iterdir() if re.search(r"\.orig\.tar\.\w+$", path.name))


def as_source_entries(text: str) -> str:
    """apt's list of binary package sources, in either of its formats, as one of source packages."""
    text = re.sub(r"^deb-src\s.*\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r"^deb(?=\s)", "deb-src", text, flags=re.MULTILINE)
    return re.sub(r"^Types:.*", "Types: deb-src", text, flags=re.MULTILINE)


def _run(command: list[str], project: Project, directory: Path) -> None:
    # Backends that pip calls want HOME, and continuous integration may have none.
    environment = {"HOME": os.path.expanduser("~"), **os.environ}
    try:
        subprocess.run(
            command,
            cwd=directory,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        said = "\n".join(error.stderr.strip().splitlines()[-5:])
        raise Unobtainable(f"{project.package} from {project.registry}: {said}") from error
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise Unobtainable(f"{project.package} from {project.registry}: {error}") from error


def _unpack(archive: Path, directory: Path) -> Path:
    """The one directory that the archive holds."""
    with tarfile.open(archive) as tar:
        # Python 3.11 has the filter from 3.11.4 on; without it, apt and pip have checked the archive all the same.
        if hasattr(tarfile, "data_filter"):
            tar.extractall(directory, filter="data")
        else:
            tar.extractall(directory)
    (root,) = directory.iterdir()
    return root


def main(arguments: list[str]) -> int:
    """Fetches every project, or configures the one that is named."""
    if arguments and (len(arguments) != 2 or arguments[0] not in PROJECTS):
        print(f"usage: python -m tests.projects [{'|'.join(PROJECTS)} DIRECTORY]", file=sys.stderr)
        return 2
    if arguments:
        project, directory = PROJECTS[arguments[0]], Path(arguments[1]).absolute()
        root = check_out(project, directory / "source")
        configure(project, root, directory / "build")
        print(directory / "build")
        return 0
    failures = 0
    for project in PROJECTS.values():
        try:
            where = str(source(project))
        except Unobtainable as error:
            failures += 1
            where = f"UNOBTAINABLE: {error}"
        print(f"{project.name:8} {project.language:9} {project.build_system:5} {project.package:22} {where}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
