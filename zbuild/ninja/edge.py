"""A build statement: what turns some nodes into others."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence

from zbuild.errors import ManifestError
from zbuild.ninja.eval_string import EvalString, joined
from zbuild.ninja.node import Node
from zbuild.ninja.path import shell_quoted
from zbuild.ninja.scope import PHONY, Rule, Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from zbuild.ninja.pool import Pool

_BLOCK_BINDING = re.compile(r" +([A-Za-z0-9_.\-]+) *= *(.*)\n")

_PATH_LISTS = frozenset(("in", "in_newline", "out"))


class Visit(enum.Enum):
    """Where the scan for dirty files stands with an edge."""

    NONE = 0
    ON_STACK = 1
    DONE = 2


class Edge:
    """One build statement. ``number``: its position among all statements.

    ``inputs`` holds the explicit, then ``implicit_count`` implicit, then ``order_only_count`` order-only
    inputs; ``outputs`` ends with ``implicit_output_count`` implicit ones. Inputs that a depfile or the
    deps log names are in ``discovered`` until the edge enters a plan (``adopt_discovered``), which
    moves them among the implicit inputs; until then they do not have the edge among their ``out_edges``.
    """

    __slots__ = (
        "_block",
        "_own_bindings",
        "are_deps_loaded",
        "are_deps_missing",
        "are_outputs_ready",
        "discovered",
        "dyndep",
        "has_dyndep_restat",
        "implicit_count",
        "implicit_output_count",
        "inputs",
        "is_phony",
        "number",
        "order_only_count",
        "outputs",
        "pool",
        "rule",
        "scope",
        "unready_from",
        "validations",
        "visit",
    )

    def __init__(self, number: int, rule: Rule, scope: Scope, pool: Pool, bindings: dict[str, str] | None) -> None:
        self.number = number
        self.rule = rule
        self.scope = scope
        self.pool = pool
        self.is_phony = rule is PHONY
        self._own_bindings = bindings
        self._block = ""
        self.inputs: list[Node] = []
        self.outputs: list[Node] = []
        self.validations: Sequence[Node] = ()
        self.discovered: Sequence[Node] = ()
        self.implicit_count = 0
        self.order_only_count = 0
        self.implicit_output_count = 0
        self.dyndep: Node | None = None
        self.has_dyndep_restat = False
        self.visit = Visit.NONE
        self.are_outputs_ready = False
        self.are_deps_loaded = False
        self.are_deps_missing = False
        self.unready_from = 0

    def __repr__(self) -> str:
        return f"Edge({self.rule.name}: {' '.join(node.path for node in self.outputs)})"

    def set_block(self, block: str) -> None:
        """Set the edge's bindings as indented source lines free of ``$``; they are split when first needed."""
        self._block = block

    @property
    def own_bindings(self) -> dict[str, str] | None:
        """The bindings of the statement itself, or None when it has no indented lines."""
        if self._block:
            self._own_bindings = dict(_BLOCK_BINDING.findall(self._block))
            self._block = ""
        return self._own_bindings

    @property
    def may_be_phony_cycle(self) -> bool:
        """Whether this has the form in which CMake before 3.1 wrote an alias of itself."""
        return self.is_phony and len(self.outputs) == 1 and self.implicit_output_count == 0 and self.implicit_count == 0

    @property
    def explicit_inputs(self) -> list[Node]:
        return self.inputs[: len(self.inputs) - self.implicit_count - self.order_only_count]

    @property
    def implicit_inputs(self) -> list[Node]:
        """Declared implicit inputs, and the discovered ones once they are adopted."""
        end = len(self.inputs) - self.order_only_count
        return self.inputs[end - self.implicit_count : end]

    @property
    def order_only_inputs(self) -> list[Node]:
        return self.inputs[len(self.inputs) - self.order_only_count :]

    @property
    def explicit_outputs(self) -> list[Node]:
        return self.outputs[: len(self.outputs) - self.implicit_output_count]

    def adopt_discovered(self) -> None:
        """Make the discovered inputs part of the graph, in both directions."""
        if self.discovered:
            self.add_implicit_inputs(self.discovered)
            self.discovered = ()

    def add_implicit_inputs(self, nodes: Sequence[Node]) -> None:
        position = len(self.inputs) - self.order_only_count
        self.inputs[position:position] = nodes
        self.implicit_count += len(nodes)
        for node in nodes:
            node.out_edges.append(self)

    def are_inputs_ready(self) -> bool:
        """Whether every input's own edge has its outputs ready.

        Readiness is only ever gained while a plan runs, so each call goes on where the last one
        stopped; ``unready_from`` is set back when a dyndep file changes the inputs.
        """
        inputs = self.inputs
        for index in range(self.unready_from, len(inputs)):
            in_edge = inputs[index].in_edge
            if in_edge is not None and not in_edge.are_outputs_ready:
                self.unready_from = index
                return False
        self.unready_from = len(inputs)
        return True

    def binding(self, name: str) -> str:
        """The expanded value of a variable as this edge sees it; paths in it are quoted for the shell.

        Raises:
            ManifestError: the rule's variables refer to each other in a circle.
        """
        return self._lookup(name, None, True)

    def unescaped_binding(self, name: str) -> str:
        """Like ``binding``, but ``$in`` and ``$out`` expand to unquoted paths. For names of files."""
        return self._lookup(name, None, False)

    def command(self) -> str:
        """The text for ``/bin/sh -c``."""
        return self._lookup("command", None, True)

    def logged_command(self) -> str:
        """What the build log stores a hash of: the command and, if there is one, the rspfile's content."""
        command = self.command()
        content = self.rspfile_content
        return f"{command};rspfile={content}" if content else command

    @property
    def description(self) -> str:
        return self.binding("description")

    @property
    def deps_type(self) -> str:
        """``gcc``, ``msvc`` or empty."""
        return self.binding("deps")

    @property
    def msvc_deps_prefix(self) -> str:
        return self.binding("msvc_deps_prefix")

    @property
    def depfile(self) -> str:
        return self.unescaped_binding("depfile")

    @property
    def rspfile(self) -> str:
        return self.unescaped_binding("rspfile")

    @property
    def rspfile_content(self) -> str:
        return self.binding("rspfile_content")

    @property
    def is_restat(self) -> bool:
        return self.has_dyndep_restat or bool(self.binding("restat"))

    @property
    def is_generator(self) -> bool:
        return bool(self.binding("generator"))

    @property
    def is_console(self) -> bool:
        return self.pool.name == "console"

    def _lookup(self, name: str, expanding: tuple[str, ...] | None, is_quoting: bool) -> str:
        """``expanding``: the rule variables being expanded around this one, None for the outermost."""
        if name == "in":
            return self._path_list(self.explicit_inputs, " ", is_quoting)
        if name == "out":
            return self._path_list(self.explicit_outputs, " ", is_quoting)
        if name == "in_newline":
            return self._path_list(self.explicit_inputs, "\n", is_quoting)
        own = self.own_bindings
        parts = self.rule.bindings.get(name)
        # Without lines of its own the edge's scope is the file's, whose variables come before the rule's.
        value = (self.scope.bindings if own is None else own).get(name)
        if value is not None:
            return value
        if parts is None:
            return self.scope.lookup(name)
        if len(parts) == 1:
            return parts[0]
        if expanding is None:
            return self._expanded(parts, (), is_quoting)
        if name in expanding:
            circle = " -> ".join((*expanding[expanding.index(name) :], name))
            raise ManifestError(f"cycle in rule variables: {circle}")
        return self._expanded(parts, (*expanding, name), is_quoting)

    def _expanded(self, parts: EvalString, expanding: tuple[str, ...], is_quoting: bool) -> str:
        own = self.own_bindings or {}
        values = list(parts)
        for index in range(1, len(values), 2):
            name = values[index]
            value = own.get(name)
            if value is None or name in _PATH_LISTS:
                value = self._lookup(name, expanding, is_quoting)
            values[index] = value
        return joined(values)

    def _path_list(self, nodes: list[Node], separator: str, is_quoting: bool) -> str:
        paths = [node.path for node in nodes]
        return separator.join(map(shell_quoted, paths) if is_quoting else paths)
