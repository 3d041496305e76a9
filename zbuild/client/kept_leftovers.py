"""Which of the files that a command left undeclared the build directory gets, as it would with ninja.

A generator that declares a stamp and makes a directory of headers is nothing unusual. Its action is asked for once
more, with what it left among its outputs: by then they have names, so the rules for what a result may put here hold
for them, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from zbuild.errors import BadInput
from zbuild.inputs.analysis import Remote
from zbuild.inputs.roots import Roots
from zbuild.limits import LEFTOVER_FILES
from zbuild.model.action import ActionResult, OutputSpec
from zbuild.storage.staged_paths import check_path

_NEVER_KEPT = re.compile(r"(?:.*/)?(?:__pycache__/.*|\.ninja_\w+|[^/]*\.ninja)", re.DOTALL)
"""Python's own cache, which says when a script was read; and what says what is to be built."""


def with_leftovers(
    analysis: Remote, result: ActionResult, roots: Roots, is_made_elsewhere: Callable[[str], bool]
) -> Remote:
    """``analysis`` with what ``result`` names among its outputs; the same object when there is nothing to add.

    Args:
        is_made_elsewhere: whether an edge declares the file, by path relative to the build directory.
    """
    known = {output.path for output in analysis.outputs}
    known.update(analysis.inputs.values(), (path for path, _ in analysis.inline_inputs))
    added = []
    for path in result.leftovers:
        try:
            check_path(path, "leftover")
        except BadInput:
            continue
        inside = path.removeprefix(analysis.writable_root + "/")
        is_wanted = inside != path and path not in known and _NEVER_KEPT.fullmatch(inside) is None
        if is_wanted and not is_made_elsewhere(os.path.relpath(roots.to_user(path), roots.build_dir)):
            added.append(OutputSpec(path, True))
    if not added:
        return analysis
    return analysis._replace(outputs=tuple(sorted((*analysis.outputs, *added), key=lambda output: output.path)))


def unfit_for_farm(analysis: Remote, result: ActionResult, roots: Roots) -> str:
    """Why a command that has succeeded on the farm must be run on this machine after all; empty if it need not."""
    if len(result.leftovers) >= LEFTOVER_FILES:
        return "makes more files than the farm names"
    inputs = {*analysis.inputs.values(), *(path for path, _ in analysis.inline_inputs)}
    if not inputs.isdisjoint(result.leftovers):
        return "changes a file that it reads"
    directories = [path[:-1] for path in result.leftovers if path.endswith("/")]
    if any(not os.path.isdir(roots.to_user(path)) for path in directories):
        return "makes an empty directory"
    return ""
