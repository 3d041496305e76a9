"""The modules that a Python script may import: those of the project, and the packages of the system.

A superset by pattern: imports in functions, branches and docstrings count. Modules that are imported by a computed
name are not seen; the action then fails with ``No module named`` and is tried again with them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zbuild import limits

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^#\n;]+)|import[ \t]+([^#\n;]+))", re.MULTILINE
)
_NAME = re.compile(r"[A-Za-z_]\w*")


class PythonImports(NamedTuple):
    """``files``: project files. ``system``: top-level packages and modules of the system that are not standard."""

    files: set[str]
    system: set[str]


def imports_of(scripts: Sequence[str], search: Sequence[str], is_system: Callable[[str], bool]) -> PythonImports:
    """``search``: absolute directories, those of the scripts themselves not included.

    Raises:
        OSError: a script cannot be read.
    """
    result = PythonImports(set(), set())
    pending = [(script, os.path.dirname(script)) for script in scripts]
    seen: set[str] = set()
    while pending and len(seen) < limits.PYTHON_MODULES:
        path, top = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        if not is_system(path):
            result.files.add(path)
        if not path.endswith((".py", ".pyw")) and path not in scripts:
            continue
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        for base, dotted in _modules(text, path):
            directories = [base] if base is not None else [top, *search]
            for found, root in _located(dotted, directories):
                if is_system(found):
                    package = f"{root}/{dotted.split('.')[0]}"
                    result.system.add(package if os.path.isdir(package) else found)
                pending.append((found, top))
    return result


def _modules(text: str, path: str) -> list[tuple[str | None, str]]:
    """(directory of a relative import or None, dotted name) of each import statement."""
    found: dict[tuple[str | None, str], None] = {}
    for dots, dotted, names, plain in _IMPORT.findall(text):
        if plain:
            for name in plain.split(","):
                words = name.split()
                if words:
                    found[None, words[0]] = None
            continue
        base: str | None = None
        if dots:
            base = os.path.dirname(path)
            for _ in dots[1:]:
                base = os.path.dirname(base)
        if dotted:
            found[base, dotted] = None
        for name in names.strip("()").split(","):
            words = name.split()
            if words and _NAME.fullmatch(words[0]):
                found[base, f"{dotted}.{words[0]}" if dotted else words[0]] = None
    return list(found)


def _located(dotted: str, directories: Sequence[str]) -> list[tuple[str, str]]:
    """(file, directory it was found in) of the packages on the way and the module; [] when none has its first part."""
    parts = dotted.split(".")
    for directory in directories:
        found: list[tuple[str, str]] = []
        current = directory
        for part in parts:
            current = f"{current}/{part}"
            if os.path.isdir(current):
                if os.path.isfile(f"{current}/__init__.py"):
                    found.append((f"{current}/__init__.py", directory))
            elif os.path.isfile(f"{current}.py"):
                found.append((f"{current}.py", directory))
                break
            else:
                break
        if found:
            return found
    return []
