"""A tree in which nothing is to be done, and how long it takes to find that out.

``python -m tests.bench.noop_tree DIRECTORY`` makes 2,000 compile edges as CMake writes them, all their
files and ninja's logs, then times zbuild.ninja in fresh interpreters, and ninja itself beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from zbuild.ninja import build_log, deps_log
from zbuild.ninja.build_log import BuildLog
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.disk import RealDisk
from zbuild.ninja.manifest import load_manifest

_FLAGS = (
    "-O2 -g -DNDEBUG -std=gnu++17 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -fPIC -fno-strict-aliasing "
    "-fvisibility=hidden -fvisibility-inlines-hidden -pthread"
)
_RULES = """\
ninja_required_version = 1.5
configuration = Release

rule CXX_COMPILER__library_unscanned_Release
  depfile = $DEP_FILE
  deps = gcc
  command = ${LAUNCHER}${CODE_CHECK}/usr/bin/c++ $DEFINES $INCLUDES $FLAGS -MD -MT $out -MF $DEP_FILE -o $out -c $in
  description = Building CXX object $out

rule CXX_STATIC_LIBRARY_LINKER__library_Release
  command = $PRE_LINK && /usr/bin/ar qc $TARGET_FILE $LINK_FLAGS $in && $POST_BUILD
  description = Linking CXX static library $TARGET_FILE

"""

_SCAN = """
import time
started = time.perf_counter()
from zbuild.ninja.build_log import BuildLog
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.dirty import DirtyScan
from zbuild.ninja.disk import RealDisk
from zbuild.ninja.manifest import load_manifest
from zbuild.ninja.plan import Plan
from zbuild.ninja.regenerate import plan_manifest
from zbuild.ninja.target import find_targets
imported = time.perf_counter()
disk = RealDisk()
graph = load_manifest(disk, "build.ninja", print)
parsed = time.perf_counter()
log = BuildLog(disk, ".ninja_log", 5)
deps = DepsLog(disk, ".ninja_deps", graph)
loaded = time.perf_counter()
scan = DirtyScan(graph, disk, log, deps)
assert plan_manifest(scan, "build.ninja") is None
plan = Plan(scan)
for node in find_targets(graph, deps, []):
    plan.add_target(node)
assert not plan.has_more_to_do
ended = time.perf_counter()
print(imported - started, parsed - imported, loaded - parsed, ended - loaded)
"""
_PHASES = ("import_s", "manifest_s", "logs_s", "scan_s")


def make_tree(
    directory: Path, edge_count: int = 2000, deps_per_edge: int = 60, header_count: int = 1500, log_version: int = 5
) -> None:
    """Fill an empty directory with an up-to-date build in ``build`` of the sources in ``source``."""
    source, build = directory / "source", directory / "build"
    headers = [
        str(source / f"module_{number % 30:02d}/include/header_{number:05d}.hpp") for number in range(header_count)
    ]
    sources, objects = [], []
    text = [_RULES]
    includes = " ".join(f"-I{source}/module_{number:02d}/include" for number in range(8))
    for number in range(edge_count):
        component = f"component_{number % 40:02d}"
        sources.append(str(source / component / f"implementation/source_{number:05d}.cpp"))
        objects.append(f"{component}/CMakeFiles/library.dir/implementation/source_{number:05d}.cpp.o")
        text.append(
            f"build {objects[-1]}: CXX_COMPILER__library_unscanned_Release {sources[-1]} || order\n"
            "  DEFINES = -DHAVE_CONFIG_H -DPROJECT_VERSION=3 -D_GNU_SOURCE\n"
            f"  DEP_FILE = {objects[-1]}.d\n"
            f"  FLAGS = {_FLAGS}\n"
            f"  INCLUDES = {includes}\n"
            f"  OBJECT_DIR = {component}/CMakeFiles/library.dir\n"
            f"  OBJECT_FILE_DIR = {component}/CMakeFiles/library.dir/implementation\n"
            "  TARGET_COMPILE_PDB = CMakeFiles/library.dir/library.pdb\n"
            "  TARGET_PDB = library.pdb\n\n"
        )
    text.append(
        "build order: phony || .\n\n"
        f"build library.a: CXX_STATIC_LIBRARY_LINKER__library_Release {' '.join(objects)}\n"
        "  TARGET_FILE = library.a\n  PRE_LINK = :\n  POST_BUILD = :\n\n"
        "build all: phony library.a\n\ndefault all\n"
    )
    for name in sources + headers:
        _touch(Path(name))
    for name in [*objects, "library.a"]:
        _touch(build / name)
    (build / "build.ninja").write_text("".join(text))
    _write_logs(build, headers, deps_per_edge, log_version)


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def _write_logs(build: Path, headers: list[str], deps_per_edge: int, log_version: int) -> None:
    before = Path.cwd()
    os.chdir(build)
    try:
        disk = RealDisk()
        graph = load_manifest(disk, "build.ninja", print)
        log = BuildLog(disk, build_log.FILE_NAME, log_version)
        deps = DepsLog(disk, deps_log.FILE_NAME, graph)
        header_nodes = [graph.node(name) for name in headers]
        for number, edge in enumerate(graph.edges):
            if edge.is_phony:
                continue
            mtime_ns = disk.stat(edge.outputs[0].path)
            log.record(edge, 0, 1000, mtime_ns)
            if edge.deps_type:
                used = [header_nodes[(number * 7 + step * 3) % len(headers)] for step in range(deps_per_edge - 1)]
                deps.record(edge.outputs[0], mtime_ns, [edge.inputs[0], *used])
    finally:
        os.chdir(before)


def measure(directory: Path, rounds: int = 9) -> dict[str, float]:
    """The median seconds of each phase, of the whole process, and of ninja's own no-op build."""
    build = directory / "build"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        # What an installation has: compiled modules. Kept apart from the checkout.
        "PYTHONPYCACHEPREFIX": str(directory.absolute() / "pycache"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    totals, ninja_totals = [], []
    phases: list[list[float]] = []
    for _ in range(rounds):
        started = time.perf_counter()
        result = subprocess.run(
            [sys.executable, "-c", _SCAN], cwd=build, env=environment, stdout=subprocess.PIPE, check=True, text=True
        )
        totals.append(time.perf_counter() - started)
        phases.append([float(word) for word in result.stdout.split()])
        if shutil.which("ninja"):
            started = time.perf_counter()
            said = subprocess.run(["ninja"], cwd=build, stdout=subprocess.PIPE, check=True, text=True).stdout
            ninja_totals.append(time.perf_counter() - started)
            assert said == "ninja: no work to do.\n", said
    medians = {name: statistics.median(column) for name, column in zip(_PHASES, zip(*phases, strict=True), strict=True)}
    medians["total_s"] = statistics.median(totals)
    if ninja_totals:
        medians["ninja_s"] = statistics.median(ninja_totals)
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="made if it is not there, and used again if it is")
    parser.add_argument("--edges", type=int, default=2000)
    parser.add_argument("--deps", type=int, default=60)
    arguments = parser.parse_args()
    if not (arguments.directory / "build/build.ninja").exists():
        make_tree(arguments.directory.absolute(), arguments.edges, arguments.deps)
    print(json.dumps({name: round(value, 4) for name, value in measure(arguments.directory).items()}))


if __name__ == "__main__":
    main()
