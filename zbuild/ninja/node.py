"""A file of the graph."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from zbuild.ninja.edge import Edge


class Node:
    """``path`` is canonical. One object per path and graph.

    ``mtime_ns``: None until the disk was asked, 0 when the file is missing; the newest input's time
    for a missing phony output. ``is_dirty`` is meaningful once the node was scanned.
    ``is_discovered``: only a depfile, a deps log or a dyndep file names it, so that its absence makes
    its users dirty instead of failing the build. ``log_id``: its number in the deps log, or -1.
    """

    __slots__ = (
        "does_exist",
        "in_edge",
        "is_dirty",
        "is_discovered",
        "is_dyndep_pending",
        "log_id",
        "mtime_ns",
        "out_edges",
        "path",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.in_edge: Edge | None = None
        self.out_edges: list[Edge] = []
        self.mtime_ns: int | None = None
        self.does_exist = False
        self.is_dirty = False
        self.is_discovered = True
        self.is_dyndep_pending = False
        self.log_id = -1

    def __repr__(self) -> str:
        return f"Node({self.path!r})"

    def reset(self) -> None:
        """Forget what the disk said."""
        self.mtime_ns = None
        self.does_exist = False
        self.is_dirty = False
