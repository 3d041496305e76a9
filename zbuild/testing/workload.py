"""What the simulated clients build: actions with a modelled execution, drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import msgspec

from zbuild.digest import EMPTY, Digest, of_bytes
from zbuild.model.action import (
    Action,
    ActionId,
    ActionResult,
    InputSpec,
    OutputFile,
    OutputKind,
    OutputSpec,
    ResourceUsage,
    ResultStatus,
    encode_action,
)
from zbuild.model.capabilities import Capabilities

COMPILER = "tool:/usr/bin/c++"
LIBRARY = "file:/usr/lib/libz.so"


@dataclass(frozen=True)
class ModelledAction:
    """One action and what its execution will be, on whichever worker.

    Attributes:
        result: what every run of it reports that is neither killed nor disturbed.
        run_s: how long a run takes on an ordinary worker.
        dependencies: positions in the workload of the actions whose outputs it takes.
        platform: what it requires of a worker.
    """

    name: str
    action: ActionId
    body: bytes
    inputs: tuple[Digest, ...]
    result: ActionResult
    run_s: float
    dependencies: tuple[int, ...]
    platform: dict[str, str]


DEPENDENCIES = (0, 0, 1, 1, 2, 3)
"""How many other actions one depends on, each equally likely."""

FEW_DEPENDENCIES = (0, 0, 0, 0, 0, 0, 0, 1)
"""The same where nearly all actions are ready at once, so that workers get queues that are worth stealing from."""


def draw_workload(random: Random, count: int, compilers: tuple[str, ...]) -> list[ModelledAction]:
    """``count`` actions; those at earlier positions make inputs of later ones."""
    counts = random.choice((DEPENDENCIES, FEW_DEPENDENCIES))
    actions: list[ModelledAction] = []
    for position in range(count):
        wanted = min(position, random.choice(counts))
        dependencies = tuple(sorted(random.sample(range(position), wanted)))
        actions.append(_draw(random, position, dependencies, [actions[each] for each in dependencies], compilers))
    return actions


def is_same_result(result: ActionResult, expected: ActionResult) -> bool:
    """Whether two results differ at most in who made them and what that cost."""
    return msgspec.structs.replace(result, worker="", resources=ResourceUsage()) == expected


def _draw(
    random: Random,
    position: int,
    dependencies: tuple[int, ...],
    needed: list[ModelledAction],
    compilers: tuple[str, ...],
) -> ModelledAction:
    name = f"a{position:02}"
    platform = {"os": "linux", COMPILER: "gcc99" if random.random() < 0.01 else random.choice(compilers)}
    if random.random() < 0.1:
        platform[LIBRARY] = "z1"
    source = of_bytes(f"source of {name}".encode())
    inputs = {f"/zb/src/{name}.c": source}
    for each in needed:
        inputs.update({output.path: output.digest for output in each.result.outputs})
    output = OutputFile(f"/zb/build/{name}.o", OutputKind.FILE, of_bytes(f"object of {name}".encode()))
    action, body = encode_action(
        Action(
            platform=tuple(sorted(platform.items())),
            sandbox="hermetic",
            capabilities=Capabilities(),
            is_cacheable=random.random() < 0.95,
            arguments=("/bin/sh", "-c", f"cc -c {name}.c"),
            environment=(),
            working_directory="/zb/build",
            writable_root="/zb/build",
            inputs=tuple(InputSpec(path, digest) for path, digest in sorted(inputs.items())),
            directories=(),
            outputs=(OutputSpec(output.path),),
        )
    )
    return ModelledAction(
        name=name,
        action=action,
        body=body,
        inputs=tuple(inputs.values()),
        result=_draw_result(random, name, output),
        run_s=min(8.0, random.lognormvariate(-1.0, 1.2)),
        dependencies=dependencies,
        platform=platform,
    )


def _draw_result(random: Random, name: str, output: OutputFile) -> ActionResult:
    chance = random.random()
    printed = of_bytes(f"warning in {name}".encode()) if random.random() < 0.3 else EMPTY
    if chance < 0.02:
        return ActionResult(status=ResultStatus.FAILURE, exit_code=1, stdout=printed)
    if chance < 0.025:
        return ActionResult(status=ResultStatus.TIMEOUT, exit_code=137, stdout=printed, message="killed")
    return ActionResult(status=ResultStatus.SUCCESS, outputs=(output,), stdout=printed)
