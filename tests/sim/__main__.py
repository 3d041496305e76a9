"""Runs simulations: ``python -m tests.sim --seed 7 -v`` tells one story, ``--seeds 1000`` tries many.

``python -m tests.sim scale --workers 1000`` measures a large farm instead, see scale.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from zbuild.testing.cluster import Simulation
from zbuild.testing.violation import Violation

SAMPLE = 100
"""One seed of so many is run twice: its two histories must be the same."""

CHUNK = 50
"""Seeds that a process of several takes at once: a few seconds of work."""


@dataclass(frozen=True)
class Tried:
    """What became of one seed. ``failure``: what did not hold; empty when all did."""

    seed: int
    failure: str
    events: int = 0
    checks: int = 0
    simulated_s: float = 0.0


def main() -> int:
    """0 when every invariant held; otherwise 1, and each failure is named with its seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="the only seed to run")
    parser.add_argument(
        "--seeds", type=int, default=1000, metavar="N", help="run seeds FIRST to FIRST+N-1 (default 1000)"
    )
    parser.add_argument("--first", type=int, default=0, metavar="FIRST", help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every event, not only those of a failure")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return 0 if tell(arguments.seed, is_verbose=arguments.verbose) else 1
    began_s = time.monotonic()
    events = checks = tried = failed = 0
    simulated_s = 0.0
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    try:
        for each in _all_tried(seeds, arguments.jobs):
            tried += 1
            events += each.events
            checks += each.checks
            simulated_s += each.simulated_s
            if each.failure:
                failed += 1
                print(f"seed {each.seed}: {each.failure}", flush=True)
    except KeyboardInterrupt:
        print(f"interrupted: {len(seeds) - tried} of {len(seeds)} seeds were not run", file=sys.stderr)
    print(
        f"{tried} seeds, {failed} failed: {simulated_s / 3600:.1f} h simulated, {events} events,"
        f" invariants checked {checks} times, in {time.monotonic() - began_s:.1f} s"
    )
    return 1 if failed or tried < len(seeds) else 0


def try_seed(seed: int) -> Tried:
    """Run one seed, and one of SAMPLE twice."""
    try:
        outcome = Simulation(seed).run()
        if seed % SAMPLE == 0 and Simulation(seed).run().trace_hash != outcome.trace_hash:
            return Tried(seed, "its second run had another history")
    except Violation as violation:
        return Tried(seed, str(violation))
    return Tried(seed, "", outcome.events, outcome.checks, outcome.simulated_s)


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


def _all_tried(seeds: range, jobs: int) -> Iterator[Tried]:
    if jobs == 1:
        yield from map(try_seed, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(try_seed, seeds, chunksize=CHUNK)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def _print_story(simulation: Simulation, about: bytes | None) -> None:
    for line in simulation.plan.lines():
        print(line)
    for line in simulation.story.lines(about):
        print(line)


if __name__ == "__main__":
    if sys.argv[1:2] == ["scale"]:
        from tests.sim import scale

        sys.exit(scale.main(sys.argv[2:]))
    sys.exit(main())
