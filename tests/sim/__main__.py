"""Runs simulations: ``python -m tests.sim --seed 7 -v`` tells one story, ``--seeds 500`` tries many."""

from __future__ import annotations

import argparse
import sys
import time

from zbuild.testing.cluster import Simulation
from zbuild.testing.violation import Violation


def main() -> int:
    """0 when every invariant held; otherwise 1, and each failure is named with its seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="the only seed to run")
    parser.add_argument(
        "--seeds", type=int, default=500, metavar="N", help="run seeds FIRST to FIRST+N-1 (default 500)"
    )
    parser.add_argument("--first", type=int, default=0, metavar="FIRST", help="the first seed (default 0)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every event, not only those of a failure")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return 0 if tell(arguments.seed, is_verbose=arguments.verbose) else 1
    began_s = time.monotonic()
    events = checks = 0
    simulated_s = 0.0
    failed: list[int] = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        try:
            outcome = Simulation(seed).run()
        except Violation as violation:
            failed.append(seed)
            print(f"seed {seed}: {violation}")
            continue
        events += outcome.events
        checks += outcome.checks
        simulated_s += outcome.simulated_s
    print(
        f"{arguments.seeds} seeds, {len(failed)} failed: {simulated_s / 3600:.1f} h simulated, {events} events,"
        f" invariants checked {checks} times, in {time.monotonic() - began_s:.1f} s"
    )
    return 1 if failed else 0


def tell(seed: int, *, is_verbose: bool) -> bool:
    """Run one seed and print its story; whether every invariant held."""
    simulation = Simulation(seed)
    try:
        outcome = simulation.run()
    except Violation as violation:
        _print_story(simulation, None if is_verbose else violation.action)
        print(f"seed {seed}: {violation}")
        return False
    if is_verbose:
        _print_story(simulation, None)
        for name, count in sorted(outcome.counters.items()):
            print(f"{name:>24} {count}")
    print(f"seed {seed}: {outcome.events} events in {outcome.simulated_s:.1f} s, trace {outcome.trace_hash}")
    return True


def _print_story(simulation: Simulation, about: bytes | None) -> None:
    for line in simulation.plan.lines():
        print(line)
    for line in simulation.story.lines(about):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
