"""``python -m chaos SCENARIO``: break a real farm in a given way, and check that nothing is lost."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from types import FrameType
from typing import Any

from chaos.gate import Gate
from chaos.report import write_report
from chaos.scenario import SCENARIOS, load
from chaos.supervisor import Absent, supervise
from zbuild.errors import ExitCode

VIOLATED = 1
NOT_RUN = 3

EXIT_CODES = """\
exit codes: 0 every invariant held; 1 one did not; 2 wrong usage; 3 this machine lacks what the scenario needs;
130 interrupted, everything torn down; with all, what was not run is named, and --report writes what was."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m chaos", description=__doc__, epilog=EXIT_CODES)
    made.add_argument("scenario", help="a name of `python -m chaos list`, or all, or list")
    made.add_argument("--seed", type=int, default=1, metavar="N", help="what the schedule is drawn from (default: 1)")
    made.add_argument("--json", dest="is_json", action="store_true", help="print results as JSON, one object a line")
    made.add_argument("--keep", dest="is_kept", action="store_true", help="keep the run's directory when all is well")
    size = made.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", dest="is_full", action="store_false", help="what continuous integration runs (default)"
    )
    size.add_argument("--full", dest="is_full", action="store_true", help="longer runs; with all, more seeds")
    made.set_defaults(is_full=False)
    made.add_argument("--jobs", type=int, default=4, metavar="N", help="with all: runs at once (default: 4)")
    made.add_argument(
        "--within",
        dest="within_s",
        type=float,
        default=float("inf"),
        metavar="S",
        help="with all: begin no run after S seconds; what was not run is named (default: no bound)",
    )
    made.add_argument("--report", dest="has_report", action="store_true", help="with all: write the table of results")
    return made


def main() -> int:
    """Run what the command line says; the exit code."""
    flags = parser().parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    scenarios = load()
    if flags.scenario == "list":
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:20} {scenario.about}")
        return int(ExitCode.OK)
    if flags.scenario == "all":
        return _run_all(flags)
    if flags.scenario not in scenarios:
        print(f"no scenario is called {flags.scenario!r}; see `python -m chaos list`", file=sys.stderr)
        return int(ExitCode.USAGE)
    try:
        result = supervise(scenarios[flags.scenario], flags.seed, is_full=flags.is_full, is_kept=flags.is_kept)
    except Absent as absence:
        result = {"scenario": flags.scenario, "seed": flags.seed, "violations": [], "absent": str(absence)}
    _show(result, flags)
    return NOT_RUN if "absent" in result else VIOLATED if result["violations"] else 0


def _run_all(flags: argparse.Namespace) -> int:
    """Run the gate, and say what of it was not run; the exit code."""
    gate = Gate(flags.seed, flags.jobs, flags.within_s, is_full=flags.is_full, show=lambda result: _show(result, flags))
    gate.run()
    not_run = gate.not_run()
    if not_run:
        count = sum("late" in each or "absent" in each for each in gate.results)
        print(f"not run, or not to the end: {count} of {len(gate.results)} runs", file=sys.stderr)
        for line in not_run:
            print(f"    {line}", file=sys.stderr)
    for line in gate.violated():
        print(line, file=sys.stderr)
    if flags.has_report:
        write_report(gate.results, is_full=flags.is_full)
    is_ci = os.environ.get("CI") == "true"
    if any(each["violations"] or (is_ci and "absent" in each) for each in gate.results):
        return VIOLATED
    return int(ExitCode.INTERRUPTED) if gate.is_interrupted else int(ExitCode.OK)


def _show(result: dict[str, Any], flags: argparse.Namespace) -> None:
    if flags.is_json:
        print(json.dumps(result), flush=True)
        return
    head = f"{result['scenario']:20} seed {result['seed']}"
    if reason := result.get("absent") or result.get("late"):
        print(f"{head}  NOT RUN: {reason}", flush=True)
        return
    figures = " ".join(f"{name} {value:g}" for name, value in result.get("figures", {}).items())
    print(
        f"{head}  {'VIOLATED' if result['violations'] else 'ok'}  {result['total_s']:.1f} s, "
        f"{result.get('faults', 0)} faults, {result.get('actions', 0)} actions, "
        f"recovery {result.get('recovery_s', 0.0):.2f} s {figures}".rstrip(),
        flush=True,
    )
    for violation in result["violations"]:
        print(f"    {violation}", flush=True)
    if result["violations"]:
        print(f"    kept: {result.get('directory')}", flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.INTERRUPTED))
