"""Where variables and rules are looked up: a file's scope and the scopes around it."""

from __future__ import annotations

from zbuild.ninja.eval_string import EMPTY, EvalString

RESERVED_BINDINGS = frozenset(
    (
        "command",
        "depfile",
        "deps",
        "description",
        "dyndep",
        "generator",
        "msvc_deps_prefix",
        "pool",
        "restat",
        "rspfile",
        "rspfile_content",
    )
)
"""The only variables a rule may set: https://ninja-build.org/manual.html#ref_rule."""


class Rule:
    """``bindings``: the rule's variables, unexpanded. They are expanded anew for every edge."""

    __slots__ = ("bindings", "name")

    def __init__(self, name: str, bindings: dict[str, EvalString]) -> None:
        self.name = name
        self.bindings = bindings

    def has(self, name: str) -> bool:
        return self.bindings.get(name, EMPTY) != EMPTY


PHONY = Rule("phony", {})
"""The one built-in rule: an alias for other targets, without a command."""


class Scope:
    """The variables and rules of one file; ``subninja`` opens a scope within its own."""

    __slots__ = ("bindings", "parent", "rules")

    def __init__(self, parent: Scope | None = None) -> None:
        self.bindings: dict[str, str] = {}
        self.rules: dict[str, Rule] = {}
        self.parent = parent

    def lookup(self, name: str) -> str:
        """The value in the nearest scope that sets it; an unset variable is empty."""
        scope: Scope | None = self
        while scope is not None:
            value = scope.bindings.get(name)
            if value is not None:
                return value
            scope = scope.parent
        return ""

    def lookup_rule(self, name: str) -> Rule | None:
        scope: Scope | None = self
        while scope is not None:
            rule = scope.rules.get(name)
            if rule is not None:
                return rule
            scope = scope.parent
        return None
