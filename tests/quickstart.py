"""What bin/quickstart shows: a real project built on a farm of this machine, and then built again from the cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.projects import PROJECTS, Unobtainable, check_out, configure

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "quickstart"
PROJECT = PROJECTS["c-ares"]

USAGE = """usage: bin/quickstart [DIR]
Builds DIR, a build directory with a build.ninja, or a project fetched for the purpose: twice, each time
without its outputs, and the second time from the cache."""


def main(arguments: list[str]) -> int:
    """Builds the directory that is named, or a project of our choice, twice; returns an exit code."""
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        if arguments:
            return _show(Path(arguments[0]), dict(os.environ))
        # A cache of its own, so that the first build is one.
        return _show(_prepare(), {**os.environ, "XDG_CACHE_HOME": str(PLACE / "cache")})
    except Unobtainable as error:
        print(f"bin/quickstart: cannot get {PROJECT.name}: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(error.stdout or "", end="", file=sys.stderr)
        print(f"bin/quickstart: {' '.join(map(str, error.cmd))} exited with {error.returncode}", file=sys.stderr)
        return error.returncode


def _prepare() -> Path:
    print(f"==> {PROJECT.name} ({PROJECT.language}), from {PROJECT.package} on {PROJECT.registry}", file=sys.stderr)
    shutil.rmtree(PLACE, ignore_errors=True)
    root = check_out(PROJECT, PLACE / "source")
    print(f"==> {PROJECT.build_system}, with the Ninja generator", file=sys.stderr)
    configure(PROJECT, root, PLACE / "build")
    return PLACE / "build"


def _show(directory: Path, environment: dict[str, str]) -> int:
    rows = []
    for name in ("first", "second"):
        subprocess.run(["ninja", "-C", directory, "-t", "clean"], check=True, stdout=subprocess.DEVNULL)
        print(f"==> zbuild build -C {directory}", file=sys.stderr)
        rows.append((name, _build(directory, environment)))
    print(f"\n{'build':8}{'wall':>9}{'actions':>10}{'executed':>10}{'cache hits':>12}{'local':>7}")
    for name, summary in rows:
        counts = "{actions:>10}{executed:>10}{cache_hits:>12}{local:>7}".format_map(summary)
        print(f"{name:8}{summary['wall_seconds']:>7.2f} s{counts}")
    second = rows[1][1]
    reasons = ", ".join(f"{count} {reason}" for reason, count in second["local_reasons"].items())
    if second["executed"] > second["local"] or not second["cache_hits"]:
        print(f"the second build ran {second['executed']} actions, {second['local']} of them here ({reasons})")
        return 1
    if second["local"]:
        print("Every action of the second build that a farm can run was a cache hit; ", end="")
        print(f"{second['local']} ran here ({reasons}).", end=" ")
    else:
        print("Every action of the second build was a cache hit.", end=" ")
    print(f"Sandbox: {second['sandbox']}.")
    return 0


def _build(directory: Path, environment: dict[str, str]) -> dict[str, Any]:
    command = [str(ROOT / "bin" / "zbuild"), "build", "-C", str(directory), "--json"]
    build = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    summary: dict[str, Any] = json.loads(build.stdout)
    return summary


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
