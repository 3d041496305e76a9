"""What the hermetic sandbox costs: a plain spawn, cold bubblewrap and a warm sandbox, side by side in one run.

A warm sandbox is what an action finds that was prepared while others ran: set up, waiting, used once. Start to exit is
from the request that lets the command run to the report that it and all its processes are gone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bench.processor_time import machine_s
from tests.bench.report import Aim, Report, Row
from tests.bench.sandbox_slots import BUILD, DirectSurroundings, compile_like_action, make_stage, make_workshop
from tests.bench.workspace import Workspace
from tests.held_sandboxes import wait_until_set_up
from tests.live_processes import processes_below
from zbuild.model.action import InputSpec, OutputSpec, ResultStatus, encode_action
from zbuild.model.capabilities import Capabilities
from zbuild.sandbox.launch import to_spawn
from zbuild.sandbox.spawn_protocol import Release, Spawn
from zbuild.sandbox.spawner import start_spawner
from zbuild.sandbox.spec import SandboxLevel, SandboxSpec
from zbuild.sandbox.system import SystemTree
from zbuild.storage.blob_directory import BlobDirectory

PLAIN, COLD, WARM = "plain spawn", "cold bubblewrap", "warm sandbox"
TREE_DIRECTORY_FILES = 50
SETTLE_S = 20.0
"""How long what the kernel removes in the background, namespaces above all, is waited for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spawns", type=int, default=300, help="of each kind, in turns of 20")
    parser.add_argument("--actions", type=int, default=10_000, help="after which nothing may be left")
    parser.add_argument("--tree-inputs", type=int, default=5000)


def run(arguments: argparse.Namespace, workspace: Workspace) -> Report:
    report = Report("sandbox")
    spawner = start_spawner()
    try:
        surroundings = DirectSurroundings(spawner)
        above_plain_ms = _spawns(surroundings, workspace.path / "spawns", arguments.spawns, report)
        overhead_ms = _actions(surroundings, workspace.path / "actions", arguments.spawns, report)
        _trees(workspace.path / "trees", arguments.tree_inputs, report)
        left = _leaks(surroundings, workspace.path / "leaks", arguments.actions, report)
    finally:
        spawner.close()
    report.aims += [
        Aim("warm sandbox above a plain spawn, p50, ms", above_plain_ms, "<=", 1.5),
        Aim("worker-side overhead of a prepared action, p50, ms", overhead_ms, "<=", 4.0),
        Aim(f"left after {arguments.actions} actions", left, "<=", 0),
    ]
    return report


def _spawns(surroundings: DirectSurroundings, directory: Path, count: int, report: Report) -> float:
    """How many ms the warm kind takes above the plain one. The kinds take turns, so that load hits all alike."""
    make = _spawn_maker(surroundings, directory)
    cpu_s = dict.fromkeys((PLAIN, COLD, WARM), 0.0)
    latencies_ms: dict[str, list[float]] = {kind: [] for kind in cpu_s}
    turn = min(20, count)
    for _ in range(count // turn):
        for kind, values in latencies_ms.items():
            before_s = machine_s()
            values += [_start_to_exit_ms(surroundings, make(kind)) for _ in range(turn)]
            cpu_s[kind] += machine_s() - before_s
    report.tables[f"{count} times /usr/bin/true"] = [
        {
            "kind": kind,
            "p50_ms": round(statistics.median(values), 3),
            "p99_ms": round(sorted(values)[-(-99 * len(values) // 100) - 1], 3),
            "machine_cpu_ms": round(1000 * cpu_s[kind] / len(values), 3),
            "per_s_2_at_once": round(_per_second(surroundings, make, kind, 2, count)),
            "per_s_8_at_once": round(_per_second(surroundings, make, kind, 8, count)),
        }
        for kind, values in latencies_ms.items()
    ]
    report.notes.append(
        "machine_cpu_ms is all that ran on the machine meanwhile, divided by the actions: the kernel's cleaning up, the"
        " set-up of warm sandboxes and the watching for its end, but also whatever else the machine did"
    )
    return round(statistics.median(latencies_ms[WARM]) - statistics.median(latencies_ms[PLAIN]), 3)


def _spawn_maker(surroundings: DirectSurroundings, directory: Path) -> Callable[[str], Spawn]:
    stage = directory / "stage"
    Path(f"{stage}{BUILD}").mkdir(parents=True)
    system = SystemTree(directory / "system").paths()

    def make(kind: str) -> Spawn:
        spec = SandboxSpec(
            level=SandboxLevel.NONE if kind == PLAIN else SandboxLevel.HERMETIC,
            stage_root=str(stage),
            read_only_paths=("/zb",),
            writable_root=BUILD,
            working_directory=BUILD,
            arguments=("/usr/bin/true",),
            environment=(),
            stdout_path=str(directory / "stdout"),
            stderr_path=None,
            capabilities=Capabilities(timeout_s=60.0),
            system=system,
        )
        return to_spawn(spec, surroundings.next_id(), is_held=kind == WARM)

    return make


def _start_to_exit_ms(surroundings: DirectSurroundings, spawn: Spawn) -> float:
    if spawn.is_held:
        surroundings.hold(spawn)
        wait_until_set_up(surroundings.spawner.pid, BUILD)
    began_s = time.perf_counter()
    surroundings.spawner.send(Release(id=spawn.id) if spawn.is_held else spawn)
    surroundings.wait(spawn.id)
    return 1000 * (time.perf_counter() - began_s)


def _per_second(
    surroundings: DirectSurroundings, make: Callable[[str], Spawn], kind: str, parallel: int, count: int
) -> float:
    """Of the warm kind as many are always being set up as run."""

    def start() -> int:
        spawn = make(kind)
        surroundings.spawner.send(spawn)
        return spawn.id

    ahead = [start() for _ in range(parallel)] if kind == WARM else []
    running: list[int] = []
    began_s = time.perf_counter()
    for _ in range(count):
        if len(running) == parallel:
            surroundings.wait(running.pop(0))
        ahead.append(start())
        running.append(ahead.pop(0))
        if kind == WARM:
            surroundings.spawner.send(Release(id=running[-1]))
    for spawn_id in running:
        surroundings.wait(spawn_id)
    wall_s = time.perf_counter() - began_s
    for spawn_id in ahead:
        surroundings.run(spawn_id)
    return count / wall_s


def _actions(surroundings: DirectSurroundings, directory: Path, count: int, report: Report) -> float:
    """The median overhead in ms of an action whose sandbox has had the time to be set up."""
    workshop = make_workshop(surroundings, directory, 2)
    source, copy = directory / "source", directory / "copy"
    source.write_bytes(b"source")
    plain = _spawn_maker(surroundings, directory / "plain")
    phases_ms: dict[str, list[float]] = {}
    for number in range(count):
        execution = workshop.begin(*encode_action(compile_like_action(workshop.blobs, number)))
        steps: dict[str, Callable[[], object]] = {
            "stage": execution.prepare,
            "wait for the sandbox": lambda: wait_until_set_up(surroundings.spawner.pid, BUILD),
            "run": lambda: execution.run(lambda _spawn_id: None),  # noqa: B023  # called at once
            "collect": lambda: _succeeded(execution.collect()),  # noqa: B023  # called at once
            "plain /bin/cp": lambda: _start_to_exit_ms(
                surroundings, msgspec.structs.replace(plain(PLAIN), argv=("/bin/cp", str(source), str(copy)))
            ),
        }
        for name, step in steps.items():
            began_s = time.perf_counter()
            step()
            phases_ms.setdefault(name, []).append(1000 * (time.perf_counter() - began_s))
    medians_ms = {name: round(statistics.median(values), 3) for name, values in phases_ms.items()}
    report.tables[f"{count} actions, 20 inputs, 1 output"] = [
        {"phase": name, "p50_ms": value} for name, value in medians_ms.items()
    ]
    return round(sum(medians_ms[name] for name in ("stage", "run", "collect")) - medians_ms["plain /bin/cp"], 3)


def _succeeded(result: object) -> None:
    if getattr(result, "status", None) is not ResultStatus.SUCCESS:
        raise SystemExit(f"an action did not work: {result}")


def _trees(directory: Path, count: int, report: Report) -> None:
    """Stage ``count`` inputs anew, as they are already, and with one that differs."""
    directory.mkdir()
    blobs = BlobDirectory(directory / "blobs", is_durable=False)
    inputs = [
        InputSpec(f"/zb/src/d{n // TREE_DIRECTORY_FILES}/{n}.h", blobs.put_bytes(b"header %d" % n))
        for n in range(count)
    ]
    other = [*inputs[:-1], InputSpec(inputs[-1].path, blobs.put_bytes(b"another"))]
    stage = make_stage(directory / "stage", blobs)
    rows: list[Row] = []
    for name, wanted in (("file by file", inputs), ("the same tree", inputs), ("one file differs", other)):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        stage.prepare(
            inputs=wanted,
            directories=(),
            outputs=(OutputSpec(f"{BUILD}/out"),),
            writable_root=BUILD,
            working_directory=BUILD,
        )
        wall_ms, cpu_ms = 1000 * (time.perf_counter() - began_s), 1000 * (time.process_time() - began_cpu_s)
        rows.append({"staged": name, "wall_ms": round(wall_ms, 2), "cpu_ms": round(cpu_ms, 2)})
    report.tables[f"{count} inputs in {-(-count // TREE_DIRECTORY_FILES)} directories"] = rows


def _leaks(surroundings: DirectSurroundings, directory: Path, count: int, report: Report) -> int:
    """Run actions, two at once, and count what there is more of than before."""
    workshop = make_workshop(surroundings, directory, 2)

    def run_actions(numbers: range) -> None:
        ahead = workshop.begin(*encode_action(compile_like_action(workshop.blobs, numbers[0])))
        ahead.prepare()
        for number in numbers[1:]:
            execution = ahead
            ahead = workshop.begin(*encode_action(compile_like_action(workshop.blobs, number)))
            ahead.prepare()
            execution.run(lambda _spawn_id: None)
            _succeeded(execution.collect())
        ahead.run(lambda _spawn_id: None)
        _succeeded(ahead.collect())

    run_actions(range(100))
    before = present(surroundings.spawner.pid, directory)
    run_actions(range(count))
    deadline_s = time.monotonic() + SETTLE_S
    while (after := present(surroundings.spawner.pid, directory)) != before and time.monotonic() < deadline_s:
        time.sleep(0.05)
    report.tables[f"what is there before and after {count} actions"] = [
        {"what": what, "before": before[what], "after": after[what]} for what in before
    ]
    return sum(max(0, after[what] - before[what]) for what in before)


def present(spawner_pid: int, directory: Path) -> dict[str, int]:
    """What an action could leave: of the machine its cgroups, else of this process, its spawner, and its directory."""
    return {
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "processes of the spawner": len(processes_below(spawner_pid)),
        "descriptors of the worker": len(os.listdir("/proc/self/fd")),
        "descriptors of the spawner": len(os.listdir(f"/proc/{spawner_pid}/fd")),
        "cgroups": sum(1 for _ in os.walk("/sys/fs/cgroup")),
        "directories": sum(1 for _ in os.walk(directory)),
        "files": sum(len(files) for _, _, files in os.walk(directory)),
    }
