"""The rules of this repository that no ordinary linter knows. tests/test_tidy.py applies and tests them.

Each rule takes a Source and yields what is wrong, as ``LINE: what and why``.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

LEVELS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "errors limits",
        "absent_modules digest directory_lock fsm log module_process random_number readiness",
        "config model",
        "protocol",
        "inputs ninja sandbox storage transport",
        "client coordinator store worker",
        "testing",
        "cli",
    )
)
"""The parts of zbuild, lowest first. A part imports lower ones, and never one of its own level."""

SHELL_ONLY = frozenset(
    {"asyncio", "gevent", "logging", "random", "secrets", "socket", "threading", "time", "uuid", "zmq"}
)
"""What a core must not import: clocks, chance, threads and I/O, or a simulator could not repeat its decisions."""

SLOW_TO_IMPORT = frozenset({"gevent", "msgspec", "rich", "zmq"})
"""What a build that has nothing to do must not wait for."""

NO_OP_PATH = frozenset({"config", "digest", "errors", "limits", "ninja"})
"""The parts of zbuild that a build with nothing to do needs."""

MAX_LINES = 400
VAGUE = re.compile(r"(utils?|helpers?|managers?|common|misc)", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
SUPPRESSION = re.compile(r"#\s*(noqa|type:\s*ignore|mypy:|ruff:|fmt: (off|skip)|pragma:)")
REASONED_SUPPRESSION = re.compile(
    r"#\s*(noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|type: ignore\[[\w, -]+\]|fmt: (off|skip))\s+#\s*\w+"
)
BOUND = re.compile(r"_?(MAX|LIMIT)_\w+|\w+_(MAX|LIMITS?)|\w+_(MAX|LIMIT)_\w+")


@dataclass(frozen=True)
class Source:
    """One Python file.

    Attributes:
        path: relative to the repository, with slashes.
        siblings: module name -> Source of the whole package tree, for rules that follow imports.
    """

    path: str
    text: str
    siblings: dict[str, Source] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text, self.path)

    @property
    def module(self) -> str:
        """The dotted name: ``zbuild.ninja.lexer``."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def part(self) -> str | None:
        """``ninja`` for a module in zbuild.ninja; None for zbuild itself and for what is no part of it."""
        names = self.module.split(".")
        return names[1] if names[0] == "zbuild" and len(names) > 1 else None

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """(line, dotted name) of every import, wherever it stands; ``from a import b`` is ``a.b``."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found += [(node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}") for alias in node.names]
        return found

    @cached_property
    def comments(self) -> list[tuple[int, str]]:
        """(line, text) of every comment."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


Rule = Callable[[Source], Iterable[str]]


def imports_point_down(source: Source) -> Iterator[str]:
    """The layers of ARCHITECTURE.md. An import for typing alone counts: it is a dependency as well."""
    if source.part is None:
        return
    own = _level(source.part)
    if own is None:
        yield f"1: {source.part} has no level in tests/tidy.py"
        return
    for line, name in source.imports:
        if name.startswith("."):
            yield f"{line}: relative import {name}"
        names = name.split(".")
        if names[0] != "zbuild" or len(names) < 2 or names[1] in (source.part, "__version__"):
            continue
        level = _level(names[1])
        if level is None:
            yield f"{line}: imports {name}, which has no level in tests/tidy.py"
        elif level >= own:
            yield f"{line}: {source.part} (level {own}) imports {names[1]} (level {level})"


def cores_are_pure(source: Source) -> Iterator[str]:
    """A core.py, what it imports of its own package, and all of zbuild.ninja decide without clock, chance or I/O."""
    if source.part == "ninja":
        yield from _forbidden_imports(source, SHELL_ONLY)
    elif source.path.endswith("/core.py"):
        for each in _own_package_closure(source):
            for problem in _forbidden_imports(each, SHELL_ONLY):
                yield problem if each is source else f"{problem} (in {each.path}, which core.py imports)"


def no_op_path_is_light(source: Source) -> Iterator[str]:
    """A build of 2,000 edges with nothing to do takes at most 0.5 s, interpreter start included."""
    if source.part in NO_OP_PATH:
        yield from _forbidden_imports(source, SLOW_TO_IMPORT)


def only_transport_imports_zmq(source: Source) -> Iterator[str]:
    """Socket rules are kept in one place."""
    if source.part is not None and source.part != "transport":
        yield from _forbidden_imports(source, frozenset({"zmq"}))


def nothing_is_patched(source: Source) -> Iterator[str]:
    """gevent's patching hangs ThreadAuthenticator, zeroconf and others."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in ("monkey", "patch_all"):
                yield f"{node.lineno}: {name}"
    for line, name in source.imports:
        if "monkey" in name.split("."):
            yield f"{line}: imports {name}"


def input_is_never_code(source: Source) -> Iterator[str]:
    """No pickle, eval, exec, os.system or shell=True."""
    yield from _forbidden_imports(source, frozenset({"pickle", "marshal", "shelve", "dill"}))
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("eval", "exec", "os.system", "os.popen"):
            yield f"{node.lineno}: calls {called}"
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
                yield f"{node.lineno}: shell= in a call of {called}"


def is_short(source: Source) -> Iterator[str]:
    """One noun per file; a file that wants more is two. Only the list of all bounds stays one file however long."""
    lines = source.text.count("\n")
    if lines >= MAX_LINES and source.module != "zbuild.limits":
        yield f"{lines}: {lines} lines; a file has fewer than {MAX_LINES}"


def has_no_tabs(source: Source) -> Iterator[str]:
    """Indentation is four spaces."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if "\t" in line:
            yield f"{number}: a tab"


def is_finished(source: Source) -> Iterator[str]:
    """What is not done is an issue, not a comment."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if match := UNFINISHED.search(line):
            yield f"{number}: {match[0]}"


def names_say_something(source: Source) -> Iterator[str]:
    """A file, class or function called after nothing in particular collects everything."""
    for name in source.module.split("."):
        if VAGUE.fullmatch(name.removeprefix("test_")):
            yield f"1: the name {name}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("test_"):
            words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", node.name)
            if any(VAGUE.fullmatch(word) for word in words):
                yield f"{node.lineno}: the name {node.name}"


def suppressions_have_reasons(source: Source) -> Iterator[str]:
    """A tool is silenced by ``# type: ignore[code]  # why``, ``# noqa: CODE  # why`` or ``# fmt: skip  # why``."""
    for line, comment in source.comments:
        if SUPPRESSION.search(comment) and not REASONED_SUPPRESSION.search(comment):
            yield f"{line}: {comment} gives no reason"


def bounds_are_in_limits(source: Source) -> Iterator[str]:
    """Every bound is in zbuild/limits.py, with its reason."""
    if source.part in (None, "limits"):
        return
    for node in source.tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and BOUND.fullmatch(target.id) and target.id.isupper():
                yield f"{node.lineno}: {target.id} belongs in zbuild/limits.py"


def is_documented(source: Source) -> Iterator[str]:
    """A public module or class says what it is for; a class of tests says it with its name."""
    if source.text.strip() and not ast.get_docstring(source.tree):
        yield "1: the module has no docstring"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith(("_", "Test")) and not ast.get_docstring(node):
            yield f"{node.lineno}: {node.name} has no docstring"


RULES: tuple[Rule, ...] = (
    imports_point_down,
    cores_are_pure,
    no_op_path_is_light,
    only_transport_imports_zmq,
    nothing_is_patched,
    input_is_never_code,
    is_short,
    has_no_tabs,
    is_finished,
    names_say_something,
    suppressions_have_reasons,
    bounds_are_in_limits,
    is_documented,
)


def undocumented_keys(toml: str) -> Iterator[str]:
    """Keys of a configuration file that stand in a paragraph without a comment above them."""
    for paragraph in re.split(r"\n\s*\n", toml):
        lines = paragraph.strip().splitlines()
        if lines and not lines[0].startswith("#"):
            yield lines[0].partition("=")[0].strip()


def _level(part: str) -> int | None:
    return next((number for number, parts in enumerate(LEVELS) if part in parts), None)


def _forbidden_imports(source: Source, forbidden: frozenset[str]) -> Iterator[str]:
    for line, name in source.imports:
        if name.split(".")[0] in forbidden:
            yield f"{line}: imports {name}"


def _own_package_closure(source: Source) -> Iterator[Source]:
    package = source.module.rpartition(".")[0]
    waiting, seen = [source], {source.module}
    while waiting:
        current = waiting.pop()
        yield current
        for _, name in current.imports:
            # ``from package.module import name`` and ``from package import module``.
            for module in (name, name.rpartition(".")[0]):
                if module.startswith(package + ".") and module in source.siblings and module not in seen:
                    seen.add(module)
                    waiting.append(source.siblings[module])
