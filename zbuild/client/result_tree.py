"""What a result may put into the build directory.

A result comes from a worker, by way of a store: each may be hostile. What passes lies at a declared output or below a
declared directory, names every path once, and has nothing below a file or a symlink of its own. Nothing passes whose
way there leads out of the build directory through a symlink, which an earlier result may have made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence

from zbuild.client.output_file import PARTIAL_SUFFIX
from zbuild.errors import BadInput, OutputMissing
from zbuild.model.action import OutputFile, OutputSpec
from zbuild.storage.staged_paths import check_distinct, check_path, parent


def check_result_tree(
    outputs: Sequence[OutputFile], declared: Sequence[OutputSpec], to_user: Callable[[str], str], build_directory: str
) -> None:
    """Accept the outputs of a result for an action that has declared these.

    Args:
        to_user: from a canonical path to the one on this machine.
        build_directory: on this machine, absolute.

    Raises:
        BadInput: the result has an output that no worker of ours can have made; the message names it.
        OutputMissing: it lacks one that was declared and is not optional, or one would be written through a symlink.
    """
    specs = {spec.path for spec in declared}
    paths = [output.path for output in outputs]
    present: set[str] = set()
    for output in outputs:
        check_path(output.path, "output")
        if "\0" in output.target:
            raise BadInput(f"output {output.path!r}: a symlink with a NUL in its target")
        if output.path.endswith(PARTIAL_SUFFIX):
            raise BadInput(f"output {output.path!r}: ends with {PARTIAL_SUFFIX}, as files do that are being written")
        owner = next((path for path in _with_parents(output.path) if path in specs), None)
        if owner is None:
            raise BadInput(f"the result has an output that was not asked for: {output.path[:200]}")
        present.add(owner)
    check_distinct(paths, "output")
    leaves = set(paths)
    for path in paths:
        if above := leaves.intersection(_with_parents(parent(path))):
            raise BadInput(f"output {path!r}: below {min(above)!r}, which is a file or a symlink")
    _check_ways(paths, specs, to_user, build_directory)
    absent = [spec.path for spec in declared if not spec.optional and spec.path not in present]
    if absent:
        raise OutputMissing(f"the result lacks {', '.join(absent[:5])}")


def _check_ways(
    paths: Sequence[str], declared: Collection[str], to_user: Callable[[str], str], build_directory: str
) -> None:
    """A directory that was collected has no symlink on its way, and none on the way to it may lead elsewhere."""
    checked: set[str] = set()
    for path in paths:
        directory = parent(path)
        if directory in checked:
            continue
        checked.add(directory)
        for each in _with_parents(directory):
            if _is_within(each, declared) and os.path.islink(to_user(each)):
                raise OutputMissing(f"{each} is a directory in the sandbox, and a symlink here")
        user = to_user(directory)
        if not _is_plainly_below(user, build_directory):
            root, real = os.path.realpath(build_directory), os.path.realpath(user)
            if real != root and not real.startswith(root + "/"):
                raise OutputMissing(f"{user} leads out of the build directory, to {real}")


def _is_plainly_below(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or below it with no symlink in between. A third of the work of realpath."""
    if not (path + "/").startswith(directory + "/"):
        return False
    below = path[len(directory) :]
    return not any(os.path.islink(directory + each) for each in _with_parents(below))


def _is_within(path: str, declared: Collection[str]) -> bool:
    return any(each in declared for each in _with_parents(path))


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 1, -1)]
