"""What to run, and when: the build as a state machine that neither runs commands nor waits.

The caller adds targets, takes edges from ``find_work``, runs their commands and says how each ended
with ``edge_finished``, until ``has_more_to_do`` is false. Rules: ``Plan`` in ninja's ``src/build.cc``.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterable

from zbuild.errors import IllegalTransition, ManifestError
from zbuild.ninja.dirty import DirtyScan
from zbuild.ninja.edge import Edge, Visit
from zbuild.ninja.node import Node
from zbuild.ninja.pool import Ranked

_DEFAULT_DURATION_MS = 1000
"""What an edge is taken to last while no duration at all is known: then all edges weigh the same."""


class Want(enum.Enum):
    """What a plan wants of an edge that it knows. An edge that is done is not in the plan any more."""

    NOTHING = "nothing"
    """It is up to date so far; only edges before it may have to run."""
    TO_START = "to start"
    """It will run when its inputs are ready."""
    TO_FINISH = "to finish"
    """It is scheduled: ready, held back by its pool, or running."""


_TRANSITIONS = frozenset(
    (
        (Want.NOTHING, Want.TO_START),
        (Want.TO_START, Want.TO_FINISH),
        (Want.TO_START, Want.NOTHING),
    )
)
"""The last one: an input turned out unchanged (restat), and the edge has nothing to do."""


class Plan:
    """The edges to run for a set of targets.

    ``command_edge_count``: how many commands the plan comprises, finished ones included.
    """

    def __init__(self, scan: DirtyScan) -> None:
        self.scan = scan
        self.command_edge_count = 0
        self._wanted_count = 0
        self._want: dict[Edge, Want] = {}
        self._ready: list[Ranked] = []
        self._critical_path_ms: dict[Edge, int] = {}
        self._is_prepared = False
        self._mean_duration_ms = _DEFAULT_DURATION_MS

    def add_target(self, node: Node) -> None:
        """Scan a target and plan what it needs, its validations included. All before the first ``find_work``.

        Raises:
            ManifestError: a source is missing, there is a cycle, or a file is malformed.
        """
        validations = self.scan.recompute(node)
        if node.in_edge is None or not node.in_edge.are_outputs_ready:
            self._add_subtarget(node, None, None)
        self._add_validations(validations)

    def find_work(self) -> Edge | None:
        """The most urgent edge that may start now; None when all must wait for running ones.

        Phony edges are finished on the way and never returned.

        Raises:
            ManifestError: a dyndep file that became ready is malformed.
        """
        if not self._is_prepared:
            self._prepare()
        while self._ready:
            edge = heapq.heappop(self._ready)[2]
            if not edge.is_phony:
                return edge
            self.edge_finished(edge, is_success=True)
        return None

    def edge_finished(self, edge: Edge, is_success: bool) -> None:
        """Account for an edge that was taken from ``find_work`` and has ended.

        Raises:
            ManifestError: a dyndep file among its outputs is malformed.
        """
        if self._want.get(edge) is not Want.TO_FINISH:
            raise IllegalTransition(f"{edge} finished but was not running")
        edge.pool.finish()
        self._release(edge)
        if is_success:
            self._wanted_count -= 1
            self._succeed(edge)

    @property
    def has_more_to_do(self) -> bool:
        """Whether a command is still wanted. Failed edges and what needs them stay wanted."""
        return self._wanted_count > 0 and self.command_edge_count > 0

    @property
    def wanted_edge_count(self) -> int:
        """Edges that have yet to finish, phony ones included."""
        return self._wanted_count

    def wanted_edges(self) -> list[Edge]:
        """The edges that have yet to finish, in the order of the manifest."""
        return sorted(
            (edge for edge, want in self._want.items() if want is not Want.NOTHING), key=lambda edge: edge.number
        )

    def critical_path_s(self, edge: Edge) -> float:
        """How long the longest chain of edges takes that begins with this one, itself included."""
        if not self._is_prepared:
            self._prepare()
        return self._critical_path_ms.get(edge, 0) / 1000

    def clean_node(self, node: Node) -> None:
        """Accept that a restat edge left this output unchanged: take back what only it made dirty.

        To be called before ``edge_finished``.
        """
        nodes = [node]
        while nodes:
            node = nodes.pop()
            node.is_dirty = False
            for edge in node.out_edges:
                if self._want.get(edge, Want.NOTHING) is Want.NOTHING or edge.are_deps_missing:
                    continue
                inputs = edge.inputs[: len(edge.inputs) - edge.order_only_count]
                if any(input_node.is_dirty for input_node in inputs):
                    continue
                newest = max(inputs, key=lambda input_node: input_node.mtime_ns or 0, default=None)
                if self.scan.are_outputs_dirty(edge, newest):
                    continue
                self._move(edge, Want.NOTHING)
                self._wanted_count -= 1
                if not edge.is_phony:
                    self.command_edge_count -= 1
                nodes += edge.outputs

    def _add_validations(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.in_edge is not None and not node.in_edge.are_outputs_ready:
                self._add_subtarget(node, None, None)

    def _add_subtarget(self, root: Node, dependent: Node | None, walked: set[Edge] | None) -> None:
        """Enter an edge and those before it into the plan. ``walked`` collects them after a dyndep file."""
        stack = [(root, dependent)]
        while stack:
            node, dependent = stack.pop()
            edge = node.in_edge
            if edge is None:
                if node.is_dirty and not node.is_discovered:
                    needed = f", needed by '{dependent.path}'," if dependent is not None else ""
                    raise ManifestError(f"'{node.path}'{needed} missing and no known rule to make it")
                continue
            if edge.are_outputs_ready:
                continue
            want = self._want.get(edge)
            is_new = want is None
            if want is None:
                want = self._want[edge] = Want.NOTHING
                edge.adopt_discovered()
            if walked is not None and want is Want.TO_FINISH:
                continue
            if node.is_dirty and want is Want.NOTHING:
                self._wish(edge)
            if walked is not None:
                walked.add(edge)
            if is_new:
                stack.extend((input_node, node) for input_node in reversed(edge.inputs))

    def _wish(self, edge: Edge) -> None:
        self._move(edge, Want.TO_START)
        self._wanted_count += 1
        if not edge.is_phony:
            self.command_edge_count += 1
        if self._is_prepared:
            self._critical_path_ms[edge] = self._own_duration_ms(edge) + max(
                (self._critical_path_ms.get(user, 0) for node in edge.outputs for user in node.out_edges), default=0
            )

    def _move(self, edge: Edge, want: Want) -> None:
        current = self._want[edge]
        if (current, want) not in _TRANSITIONS:
            raise IllegalTransition(f"{edge}: {current.value} -> {want.value}")
        self._want[edge] = want

    def _prepare(self) -> None:
        """Rank all edges and schedule those that are ready. Once, after the last target."""
        self._is_prepared = True
        self._rank()
        ready = [edge for edge, want in self._want.items() if want is Want.TO_START and edge.are_inputs_ready()]
        for edge in ready:
            self._move(edge, Want.TO_FINISH)
            edge.pool.schedule(self._ranked(edge))
        for pool in {edge.pool for edge in ready}:
            for ranked in pool.release():
                heapq.heappush(self._ready, ranked)

    def _ranked(self, edge: Edge) -> Ranked:
        return (-self._critical_path_ms.get(edge, 0), edge.number, edge)

    def _rank(self) -> None:
        """Find each edge's critical path, from the edges that nothing waits for backwards."""
        log = self.scan.build_log
        known = [
            duration
            for edge, want in self._want.items()
            if want is not Want.NOTHING and not edge.is_phony and (duration := log.duration_ms(edge)) is not None
        ]
        if known:
            self._mean_duration_ms = max(sum(known) // len(known), 1)
        paths = self._critical_path_ms
        for edge in reversed(self._inputs_first()):
            users = (paths.get(user, 0) for node in edge.outputs for user in node.out_edges)
            paths[edge] = self._own_duration_ms(edge) + max(users, default=0)

    def _own_duration_ms(self, edge: Edge) -> int:
        if edge.is_phony or self._want.get(edge, Want.NOTHING) is Want.NOTHING:
            return 0
        duration_ms = self.scan.build_log.duration_ms(edge)
        return self._mean_duration_ms if duration_ms is None else duration_ms

    def _inputs_first(self) -> list[Edge]:
        """The plan's edges, each behind those that make its inputs."""
        ordered: list[Edge] = []
        seen: set[Edge] = set()
        for root in self._want:
            stack = [(root, False)]
            while stack:
                edge, is_left = stack.pop()
                if is_left:
                    ordered.append(edge)
                elif edge not in seen:
                    seen.add(edge)
                    stack.append((edge, True))
                    for node in edge.inputs:
                        in_edge = node.in_edge
                        if in_edge is not None and in_edge in self._want and in_edge not in seen:
                            stack.append((in_edge, False))
        return ordered

    def _schedule(self, edge: Edge) -> None:
        """Queue an edge whose inputs are ready, unless it already is: edges can share inputs twice."""
        if self._want[edge] is Want.TO_FINISH:
            return
        self._move(edge, Want.TO_FINISH)
        edge.pool.schedule(self._ranked(edge))
        self._release(edge)

    def _release(self, edge: Edge) -> None:
        for ranked in edge.pool.release():
            heapq.heappush(self._ready, ranked)

    def _succeed(self, edge: Edge) -> None:
        """Mark an edge as done, and those behind it that have nothing to do."""
        idle: list[Edge] = []
        self._done(edge, idle)
        while idle:
            edge = idle.pop()
            # A dyndep file that was loaded meanwhile may have given the edge something to do.
            if self._want.get(edge) is Want.NOTHING:
                self._done(edge, idle)

    def _done(self, edge: Edge, idle: list[Edge]) -> None:
        del self._want[edge]
        edge.are_outputs_ready = True
        for node in edge.outputs:
            if node.is_dyndep_pending:
                self._dyndep_ready(node, idle)
            else:
                for user in node.out_edges:
                    self._maybe_ready(user, idle)

    def _maybe_ready(self, edge: Edge, idle: list[Edge]) -> None:
        """Schedule an edge if it is wanted and ready; add it to ``idle`` if it is ready but not wanted."""
        want = self._want.get(edge)
        if want is None or not edge.are_inputs_ready():
            return
        if want is Want.NOTHING:
            idle.append(edge)
        else:
            self._schedule(edge)

    def _dyndep_ready(self, file: Node, idle: list[Edge]) -> None:
        """Load a dyndep file that was just made, and plan what it adds."""
        dyndeps = self.scan.load_dyndep(file)
        self._rescan_dependents(file)
        walked: set[Edge] = set()
        for edge, dyndep in dyndeps:
            if not edge.are_outputs_ready and edge in self._want:
                for node in dyndep.implicit_inputs:
                    self._add_subtarget(node, edge.outputs[0], walked)
        walked.update(edge for edge in file.out_edges if edge in self._want)
        for edge in sorted(walked, key=lambda edge: edge.number):
            self._maybe_ready(edge, idle)

    def _rescan_dependents(self, file: Node) -> None:
        """Judge anew all that depends on a dyndep file: it may have brought dirty inputs, or a cycle."""
        for node in self._unmark_dependents(file):
            validations = self.scan.recompute(node)
            self._add_validations(validations)
            edge = node.in_edge
            if node.is_dirty and edge is not None and self._want.get(edge) is Want.NOTHING:
                self._wish(edge)

    def _unmark_dependents(self, file: Node) -> list[Node]:
        """The outputs of the plan's edges that depend on the file; the edges are as if never visited."""
        dependents: dict[Node, None] = {}
        nodes = [file]
        while nodes:
            for edge in nodes.pop().out_edges:
                if edge in self._want and edge.visit is not Visit.NONE:
                    edge.visit = Visit.NONE
                    edge.unready_from = 0
                    new = [node for node in edge.outputs if node not in dependents]
                    dependents.update(dict.fromkeys(new))
                    nodes += new
        return list(dependents)
