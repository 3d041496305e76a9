"""Replacing path prefixes inside a text that is a command line, a response file, a diagnostic or a depfile."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from zbuild.inputs.paths import absolute

_NAME = r"\w.+~%\-"
"""Characters a path component is taken to consist of; others end a path, unless a prefix itself contains them."""

_CONTINUES_PATH = re.compile(rf"[{_NAME}/]")

_FLAG_BEFORE = re.compile(rf"(?<![{_NAME}/])-[A-Za-z]+\Z")
"""Flags that a path is glued to: ``-I/p``, ``-isystem/p``."""

_ESCAPE_BEFORE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]\Z")
"""Colours (ECMA-48, CSI sequences): gcc puts one right before each path when it is told to colour always."""

LONGEST_FLAG = 24

_CLIMB = r"\.\.(?![\w.+~%@-])"

_ENDS_COMPONENT = r"(?![\w+~%@-]|\.[\w.]|\\ )"


class Respelling:
    """``pairs``: (prefix, replacement), both absolute; of several that match, the first wins.

    ``respell``: maps one absolute, normalised path as the pairs do; it decides about relative paths.
    ``makes_outside_absolute``: relative paths that lead out of all prefixes become absolute, as the directories on
    their way do not exist on the other side. Otherwise they stay as they are.
    """

    def __init__(
        self, pairs: list[tuple[str, str]], respell: Callable[[str], str], *, makes_outside_absolute: bool
    ) -> None:
        self._makes_outside_absolute = makes_outside_absolute
        self._replacements = dict(reversed(pairs))
        self._respell = respell
        alternatives = "|".join(re.escape(prefix) for prefix, _ in pairs)
        self._absolute = re.compile(f"(?:{alternatives}){_ENDS_COMPONENT}")
        self._boundaries = sorted({prefix for prefix, _ in pairs})
        self._relative: dict[str, re.Pattern[str]] = {}
        self._tokens: dict[tuple[str, str], str] = {}

    def apply_absolute(self, text: str) -> str:
        """Relative paths stay."""
        return self._absolute.sub(self._replacement, text)

    def apply(self, text: str, working_directory: str) -> str:
        """``working_directory``: absolute and real; what relative paths are seen from."""
        result = self.apply_absolute(text)
        pattern = self._relative.get(working_directory)
        if pattern is None:
            pattern = self._relative[working_directory] = self._relative_pattern(working_directory)
        return pattern.sub(lambda match: self._relative_replacement(match, working_directory), result)

    def _replacement(self, match: re.Match[str]) -> str:
        prefix = match[0]
        return self._replacements[prefix] if _starts_path(match.string, match.start()) else prefix

    def _relative_pattern(self, working_directory: str) -> re.Pattern[str]:
        """Words that climb; and, from above a prefix, words that begin with the way down to it."""
        below = working_directory.rstrip("/") + "/"
        down = [re.escape(prefix[len(below) :]) + "/" for prefix in self._boundaries if prefix.startswith(below)]
        starts = "|".join([_CLIMB, *down])
        return re.compile(rf"(?:{starts})[{_NAME}@/]*")

    def _relative_replacement(self, match: re.Match[str], working_directory: str) -> str:
        token = match[0]
        if not _starts_path(match.string, match.start()):
            return token
        key = (token, working_directory)
        found = self._tokens.get(key)
        if found is None:
            found = self._tokens[key] = self._respelled(token, working_directory)
        return found

    def _respelled(self, token: str, working_directory: str) -> str:
        """Spell anew up to the last step down into a directory that has another name on the other side."""
        parts = token.split("/")
        current = working_directory
        entered_at = -1
        entered = ""
        renamed = list(parts)
        for index, part in enumerate(parts):
            current = absolute(part, current) if part else current
            if part not in ("", ".", "..") and current in self._boundaries:
                entered_at, entered = index, current
                renamed[index] = os.path.basename(self._respell(current))
        there = self._respell(working_directory)
        if self._respell(current) == current and current not in self._boundaries:
            leads_there = absolute(token, there) == current
            is_kept = leads_there or current == "/" or not self._makes_outside_absolute
            return token if is_kept else current + "/" * token.endswith("/")
        if entered_at < 0:
            return token
        if absolute("/".join(renamed), there) == self._respell(current):
            return "/".join(renamed)
        parent, name = os.path.split(self._respell(entered))
        climb = os.path.relpath(parent, there)
        return "/".join([*([] if climb == "." else [climb]), name, *parts[entered_at + 1 :]])


def _starts_path(text: str, start: int) -> bool:
    """Whether a path can begin at ``start``: after a delimiter, or glued to a flag, or after ``@``."""
    if start and text[start - 1] == "@":
        start -= 1
    if start == 0 or not _CONTINUES_PATH.match(text, start - 1):
        return True
    if _ESCAPE_BEFORE.search(text, max(0, start - LONGEST_FLAG), start) is not None:
        return True
    return _FLAG_BEFORE.search(text, max(0, start - LONGEST_FLAG), start) is not None
