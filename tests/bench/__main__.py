"""Benchmarks: ``python -m tests.bench NAME [--json]``. NAME is one of those below; -h after it shows its flags."""

from __future__ import annotations

import argparse
import importlib
import sys

from tests.bench.workspace import Workspace

BENCHMARKS = {
    "overhead": "zbuild against ninja and distcc: tiny files, a real project, a no-op build",
    "dispatch": "20,000 no-op actions against a bare ROUTER/DEALER loop and dask.distributed",
    "startup": "where the start of an embedded farm spends its time",
    "sandbox": "a plain spawn, cold bubblewrap and a warm sandbox; staging; what 10,000 actions leave",
    "action": "where the time and CPU of one remote action go",
    "broker_scale": "what the broker costs per action, from 10 to 3,000 workers",
    "scaling": "1 to 100 real workers on one machine, and what the farm costs then",
    "steal": "a steal beside a bare echo; a skewed build with and without stealing",
    "header_search": "the include scan against the compiler's -M",
}


def main(words: list[str]) -> int:
    """Run one benchmark and print its report. An aim that is not met is no error."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    benchmarks = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    modules = {name: importlib.import_module(f"tests.bench.{name}") for name in BENCHMARKS}
    for name, summary in BENCHMARKS.items():
        flags = benchmarks.add_parser(name, help=summary, description=modules[name].__doc__)
        flags.add_argument("--json", action="store_true", help="one JSON object instead of tables")
        flags.add_argument("--directory", help="where to make the temporary directory (default: TMPDIR)")
        modules[name].add_arguments(flags)
    arguments = parser.parse_args(words)
    with Workspace(arguments.directory) as workspace:
        report = modules[arguments.name].run(arguments, workspace)
    print(report.to_json() if arguments.json else report.to_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
