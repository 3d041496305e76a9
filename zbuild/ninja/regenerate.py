"""The manifest as a target: build.ninja is made by an edge of its own.

ninja brings it up to date before anything else and then reads it again, ``limits.NINJA_MANIFEST_TRIES``
times at most (``RebuildManifest`` in ``src/ninja.cc``).
"""

from __future__ import annotations

from zbuild import limits
from zbuild.errors import ManifestError
from zbuild.ninja.dirty import DirtyScan
from zbuild.ninja.path import canonicalize
from zbuild.ninja.plan import Plan


def plan_manifest(scan: DirtyScan, file_name: str) -> Plan | None:
    """What must run before the manifest can be trusted; None when it is up to date or nobody's output.

    Raises:
        ManifestError: as ``Plan.add_target``.
    """
    node = scan.graph.nodes.get(canonicalize(file_name))
    if node is None:
        return None
    plan = Plan(scan)
    plan.add_target(node)
    return plan if plan.has_more_to_do else None


def is_manifest_remade(scan: DirtyScan, file_name: str) -> bool:
    """Whether the manifest must be read again, after a plan from ``plan_manifest`` was carried out.

    If not, a restat left it as it was, and the graph is reset: it is good for new plans.
    """
    if scan.graph.node(canonicalize(file_name)).is_dirty:
        return True
    scan.graph.reset()
    return False


def check_tries(file_name: str, tries: int) -> None:
    """
    Raises:
        ManifestError: the manifest was remade so often that it never will be up to date.
    """
    if tries >= limits.NINJA_MANIFEST_TRIES:
        raise ManifestError(f"manifest '{file_name}' still dirty after {tries} tries, perhaps system time is not set")
