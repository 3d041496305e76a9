"""What an action may name: the rules for the paths of inputs, directories and outputs.

They come from another machine. A path that passes is absolute, normalised, and short enough to be
made below a stage; nothing it names lies outside, because it has no ``..`` and a stage has no symlinks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from zbuild.errors import BadInput
from zbuild.limits import FILE_NAME_BYTES, STAGED_DIRECTORIES, STAGED_PATH_BYTES

_PATH = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[^/\0]+)+", re.DOTALL)


def check_path(path: str, role: str) -> None:
    """Accept an absolute, normalised path below ``/``.

    Args:
        role: what the path is in the action, for the message: ``input``, ``output``.

    Raises:
        BadInput: naming the path, its role and the reason.
    """
    if _PATH.fullmatch(path) is None:
        raise BadInput(f"{role} {_quoted(path)}: {_reason(path)}")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{role} {_quoted(path)}: not Unicode text") from None
    if len(encoded) > FILE_NAME_BYTES:
        if len(encoded) > STAGED_PATH_BYTES:
            raise BadInput(f"{role} {_quoted(path)}: longer than {STAGED_PATH_BYTES} B")
        if max(map(len, encoded.split(b"/"))) > FILE_NAME_BYTES:
            raise BadInput(f"{role} {_quoted(path)}: a component is longer than {FILE_NAME_BYTES} B")


def check_distinct(paths: Sequence[str], role: str) -> None:
    """Raises BadInput naming the first path that is there twice."""
    if len(set(paths)) == len(paths):
        return
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise BadInput(f"{role} {_quoted(path)}: named twice")
        seen.add(path)


def parent(path: str) -> str:
    """The directory of ``path``; the empty string for an entry of ``/``."""
    return path[: path.rfind("/")]


def with_ancestors(directories: Iterable[str]) -> set[str]:
    """The directories and all that they lie in, without ``/``.

    Raises:
        BadInput: naming the one with which they become more than STAGED_DIRECTORIES.
    """
    found: set[str] = set()
    for directory in directories:
        path = directory
        while path and path not in found:
            found.add(path)
            path = parent(path)
        if len(found) > STAGED_DIRECTORIES:
            raise BadInput(f"directory {_quoted(directory)}: more than {STAGED_DIRECTORIES} directories with it")
    return found


def _reason(path: str) -> str:
    if "\0" in path:
        return "contains a NUL"
    if not path.startswith("/"):
        return "not absolute"
    if path == "/":
        return "the root itself"
    if ".." in path.split("/"):
        return "contains '..'"
    return "not normalised"


def _quoted(path: str) -> str:
    return repr(path if len(path) <= 200 else path[:200] + "...")
