"""Which outputs are out of date, by ninja's rules.

An output is dirty when it is missing, when an input is dirty, when the newest input is newer than the
output or than the time in the build log, when its command changed or is not in the log, or when its
recorded dependencies are missing or older than it. Source: ``DependencyScan`` in ninja's ``src/graph.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from zbuild.errors import ManifestError
from zbuild.ninja.build_log import BuildLog
from zbuild.ninja.deps_log import Deps, DepsLog
from zbuild.ninja.disk import Disk
from zbuild.ninja.dyndep import Dyndep, load_dyndep
from zbuild.ninja.edge import Edge, Visit
from zbuild.ninja.graph import Graph
from zbuild.ninja.node import Node
from zbuild.ninja.path import canonicalize

Explain = Callable[[Node, str], None]
"""Called with an output and the reason why it is dirty: the texts of ``ninja -d explain``."""

_HASHED_AT_ONCE = 64
"""From here up a hash gets no cheaper (see ``command_hash``), and few are computed in vain."""


class _Frame:
    """An edge whose inputs are being visited. ``unvisited``: None until the edge's own files are known.

    ``discovered``: those of the edge's discovered inputs that have to be looked at one by one.
    """

    __slots__ = ("discovered", "edge", "node", "unvisited")

    def __init__(self, node: Node, edge: Edge) -> None:
        self.node = node
        self.edge = edge
        self.discovered: Sequence[Node] = ()
        self.unvisited: Iterator[Node] | None = None


class DirtyScan:
    """Sets ``is_dirty`` of nodes and ``are_outputs_ready`` of edges, each once per graph."""

    def __init__(
        self, graph: Graph, disk: Disk, build_log: BuildLog, deps_log: DepsLog, explain: Explain | None = None
    ) -> None:
        self.graph = graph
        self.build_log = build_log
        self.deps_log = deps_log
        self._disk = disk
        self._stat = disk.stat
        self._leaf_mtimes_ns = graph.leaf_mtimes_ns
        self._hashes: dict[Edge, int] = {}
        self._explain = explain

    def recompute(self, node: Node) -> list[Node]:
        """Scan a node and all it depends on; the validations found on the way, scanned as well.

        Raises:
            ManifestError: there is a cycle, a depfile or dyndep file is malformed, or the disk failed.
        """
        queue = [node]
        for visited in queue:
            self._visit(visited, queue)
        return queue[1:]

    def load_dyndep(self, file: Node) -> list[tuple[Edge, Dyndep]]:
        """Read a dyndep file that is up to date now, into the graph.

        Raises:
            ManifestError: as ``dyndep.load_dyndep``.
        """
        self._note(file, f"loading dyndep file '{file.path}'")
        return load_dyndep(self.graph, self._disk, file)

    def _note(self, node: Node, reason: str) -> None:
        if self._explain is not None:
            self._explain(node, reason)

    def _visit(self, root: Node, validations: list[Node]) -> None:
        """Depth first, on a stack of our own: generated graphs are deeper than Python may recurse."""
        stack: list[_Frame] = []
        self._enter(root, stack, validations)
        while stack:
            frame = stack[-1]
            if frame.unvisited is None:
                self._read_dyndep(frame.edge)
                self._open(frame, validations)
            for node in frame.unvisited or ():
                edge = node.in_edge
                if edge is None:
                    if node.mtime_ns is None:
                        self._stat_leaf(node)
                elif edge.visit is not Visit.DONE:
                    self._enter(node, stack, validations)
                    break
            else:
                self._close(frame)
                stack.pop()

    def _enter(self, node: Node, stack: list[_Frame], validations: list[Node]) -> None:
        """Begin with a node; nothing is left to do if that leaves no frame on the stack."""
        edge = node.in_edge
        if edge is None:
            if node.mtime_ns is None:
                self._stat_leaf(node)
            return
        if edge.visit is Visit.DONE:
            return
        if edge.visit is Visit.ON_STACK:
            raise _cycle_error(node, edge, stack)
        edge.visit = Visit.ON_STACK
        edge.are_outputs_ready = True
        edge.are_deps_missing = False
        frame = _Frame(node, edge)
        stack.append(frame)
        dyndep = edge.dyndep
        if dyndep is None or not dyndep.is_dyndep_pending or edge.are_deps_loaded:
            self._open(frame, validations)
        else:
            self._enter(dyndep, stack, validations)

    def _read_dyndep(self, edge: Edge) -> None:
        """Load the edge's dyndep file, which was just visited, unless it has to be built first."""
        dyndep = edge.dyndep
        if dyndep is not None and dyndep.is_dyndep_pending:
            in_edge = dyndep.in_edge
            if in_edge is None or in_edge.are_outputs_ready:
                self.load_dyndep(dyndep)

    def _open(self, frame: _Frame, validations: list[Node]) -> None:
        """Look at the edge's outputs, load what inputs were discovered, and begin to visit all inputs."""
        edge = frame.edge
        for node in edge.outputs:
            if node.mtime_ns is None:
                self._stat_node(node)
        if not edge.are_deps_loaded:
            edge.are_deps_loaded = True
            edge.are_deps_missing = not (edge.is_phony or self._load_deps(edge))
        if edge.validations:
            validations.extend(edge.validations)
        frame.discovered = self._undecided(edge.discovered)
        frame.unvisited = chain(edge.inputs, frame.discovered) if frame.discovered else iter(edge.inputs)

    def _undecided(self, discovered: Sequence[Node]) -> Sequence[Node]:
        """All discovered inputs, or just the newest if all are known to be there and made by no edge."""
        if isinstance(discovered, Deps) and discovered:
            times = list(map(self._leaf_mtimes_ns.__getitem__, discovered.numbers))
            if min(times) >= 0:
                return (discovered[times.index(max(times))],)
        return discovered

    def _stat_node(self, node: Node) -> None:
        node.mtime_ns = self._stat(node.path)
        node.does_exist = node.mtime_ns != 0

    def _stat_leaf(self, node: Node) -> None:
        """A file without an edge is dirty when it is missing."""
        self._stat_node(node)
        if not node.does_exist:
            node.is_dirty = True
            self._note(node, f"{node.path} has no in-edge and is missing")
        elif node.log_id >= 0:
            self._leaf_mtimes_ns[node.log_id] = node.mtime_ns or 0

    def _close(self, frame: _Frame) -> None:
        """Judge an edge all of whose inputs have been visited."""
        edge = frame.edge
        is_dirty = edge.are_deps_missing
        newest: Node | None = None
        newest_mtime_ns = -1
        inputs = edge.inputs
        order_only_from = len(inputs) - edge.order_only_count
        for node in chain(inputs[:order_only_from], frame.discovered):
            in_edge = node.in_edge
            if in_edge is not None and not in_edge.are_outputs_ready:
                edge.are_outputs_ready = False
            if node.is_dirty:
                self._note(frame.node, f"{node.path} is dirty")
                is_dirty = True
            elif node.mtime_ns > newest_mtime_ns:  # type: ignore[operator]  # a visited node has a time
                newest = node
                newest_mtime_ns = node.mtime_ns  # type: ignore[assignment]  # and so this one has a time
        for node in inputs[order_only_from:]:
            in_edge = node.in_edge
            if in_edge is not None and not in_edge.are_outputs_ready:
                edge.are_outputs_ready = False
        if is_dirty or self.are_outputs_dirty(edge, newest):
            for node in edge.outputs:
                node.is_dirty = True
            # A phony edge without inputs has nothing to do, so that what depends on it need not wait.
            if not (edge.is_phony and not inputs):
                edge.are_outputs_ready = False
        edge.visit = Visit.DONE

    def are_outputs_dirty(self, edge: Edge, newest: Node | None) -> bool:
        """Whether an edge with clean inputs must run. ``newest``: its newest input but for order-only ones."""
        if edge.is_phony:
            return any(self._is_phony_output_dirty(edge, newest, output) for output in edge.outputs)
        log = self.build_log
        is_restat = edge.is_restat
        is_generator = edge.is_generator
        for output in edge.outputs:
            if not output.does_exist:
                self._note(output, f"output {output.path} doesn't exist")
                return True
            entry = log.entries.get(output.path)
            # The output of a restat edge may be old though it is right: the log's time alone decides.
            if not (is_restat and entry is not None) and newest is not None and _mtime(output) < _mtime(newest):
                self._note(output, f"output {output.path} older than most recent input {_ages(newest, output)}")
                return True
            if entry is None:
                if is_generator:
                    continue
                self._note(output, f"command line not found in log for {output.path}")
                return True
            if not is_generator and self._hash(edge) != entry.command_hash:
                self._note(output, f"command line changed for {output.path}")
                return True
            if newest is not None and entry.mtime_ns < _mtime(newest):
                # The output may be new and yet wrong: of a run that failed, or that an edit overtook.
                self._note(
                    output,
                    f"recorded mtime of {output.path} older than most recent input {newest.path} "
                    f"({entry.mtime_ns} vs {newest.mtime_ns})",
                )
                return True
        return False

    def _hash(self, edge: Edge) -> int:
        """The hash of an edge's command, computed along with those of its neighbours, which comes cheaper."""
        hashed = self._hashes.get(edge)
        if hashed is None:
            commands = {edge: edge.logged_command()}
            for neighbour in self.graph.edges[edge.number + 1 : edge.number + _HASHED_AT_ONCE]:
                if neighbour.outputs[0].path in self.build_log.entries and neighbour not in self._hashes:
                    try:
                        commands[neighbour] = neighbour.logged_command()
                    except ManifestError:
                        # That matters once the neighbour itself is judged.
                        continue
            self._hashes.update(zip(commands, self.build_log.hashes(commands.values()), strict=True))
            hashed = self._hashes[edge]
        return hashed

    def _is_phony_output_dirty(self, edge: Edge, newest: Node | None, output: Node) -> bool:
        if not edge.inputs and not output.does_exist:
            self._note(output, f"output {output.path} of phony edge with no inputs doesn't exist")
            return True
        if newest is not None and not output.does_exist:
            output.mtime_ns = max(_mtime(output), _mtime(newest))
        return False

    def _load_deps(self, edge: Edge) -> bool:
        """Find the discovered inputs; False when they should be known and are not."""
        if edge.deps_type:
            return self._load_logged_deps(edge)
        depfile = edge.depfile
        return self._load_depfile(edge, depfile) if depfile else True

    def _load_logged_deps(self, edge: Edge) -> bool:
        output = edge.outputs[0]
        deps = self.deps_log.deps(output)
        if deps is None:
            self._note(output, f"deps for '{output.path}' are missing")
            return False
        if _mtime(output) > deps.mtime_ns:
            self._note(
                output,
                f"stored deps info out of date for '{output.path}' ({deps.mtime_ns} vs {output.mtime_ns})",
            )
            return False
        edge.discovered = deps
        return True

    def _load_depfile(self, edge: Edge, path: str) -> bool:
        output = edge.outputs[0]
        try:
            data = self._disk.read(path)
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise ManifestError(f"loading '{path}': {error.strerror}") from error
        if not data:
            self._note(output, f"depfile '{path}' is missing")
            return False
        # Few builds have such edges, and the patterns take as long to compile as a hundred edges to scan.
        from zbuild.ninja.depfile import parse_depfile

        try:
            targets, inputs = parse_depfile(data)
        except ManifestError as error:
            raise ManifestError(f"{path}: {error}") from error
        if not targets:
            raise ManifestError(f"{path}: no outputs declared")
        first = canonicalize(targets[0])
        if first != output.path:
            self._note(output, f"expected depfile '{path}' to mention '{output.path}', got '{first}'")
            return False
        outputs = {node.path for node in edge.outputs}
        for target in targets[1:]:
            if target not in outputs:
                raise ManifestError(
                    f"{path}: depfile mentions '{target}' as an output, but no such output was declared"
                )
        edge.discovered = [self.graph.node(canonicalize(name)) for name in inputs]
        return True


def _mtime(node: Node) -> int:
    return node.mtime_ns or 0


def _ages(newest: Node, output: Node) -> str:
    return f"{newest.path} ({output.mtime_ns} vs {newest.mtime_ns})"


def _cycle_error(node: Node, edge: Edge, stack: list[_Frame]) -> ManifestError:
    start = next(index for index, frame in enumerate(stack) if frame.edge is edge)
    # Begin with the output that closes the circle, not with another one of the same edge.
    paths = [node.path, *(frame.node.path for frame in stack[start + 1 :]), node.path]
    hint = " [-w phonycycle=err]" if start + 1 == len(stack) and edge.may_be_phony_cycle else ""
    return ManifestError(f"dependency cycle: {' -> '.join(paths)}{hint}")
