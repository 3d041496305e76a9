"""A /bin/sh command line as the simple commands that it may run.

The result is a superset: both sides of ``&&`` and ``||``, all branches of an ``if``, and what stands in command
substitutions. What cannot be predicted at all (``eval``, loops over words, here-documents) is said, not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from zbuild import limits
from zbuild.inputs.paths import absolute
from zbuild.inputs.shell_words import NotAnalysable, Token, tokens

BUILTINS = frozenset(
    {
        *(":", "true", "false", "echo", "printf", "test", "[", "pwd", "umask", "ulimit", "wait", "exit"),
        *("set", "unset", "export", "cd", "return", "shift", "type", "hash", "readonly"),
    }
)
"""Commands that dash runs itself and that read no files: they need no tool on the worker."""

_SKIPPED_WORDS = frozenset({"if", "then", "else", "elif", "fi", "while", "until", "do", "done", "{", "}", "!"})
_REFUSED_WORDS = frozenset({"for", "case", "select", "function", "eval", ".", "source", "trap", "alias", "read"})
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_PLAIN_COMMAND = re.compile(r"[\w./:+,@% \t-][\w./:+,@% \t=-]*")
_REDIRECT = re.compile(r"[0-9]*([<>]|>>|<>|>\||[<>]&)|&>")


class SimpleCommand(NamedTuple):
    """One program run.

    Attributes:
        argv: never empty.
        working_directory: absolute user path, with earlier ``cd`` applied.
        environment: the assignments in front of the command, and earlier ``export``s of the line.
        redirects: (operator without descriptor, target word).
        is_dynamic: some words are known only when it runs; they are empty in ``argv``.
        start, end: offsets of the command in the text; of one inside a substitution, those of the word that holds it.
    """

    argv: tuple[str, ...]
    working_directory: str
    environment: tuple[tuple[str, str], ...] = ()
    redirects: tuple[tuple[str, str], ...] = ()
    is_dynamic: bool = False
    start: int = 0
    end: int = 0


class ParsedCommand(NamedTuple):
    """``reason``: why the line cannot be analysed, else None. Then ``commands`` is empty."""

    commands: tuple[SimpleCommand, ...]
    reason: str | None = None


def parse(
    text: str,
    working_directory: str,
    variables: Mapping[str, str] | None = None,
    expand_glob: Callable[[str, str], list[str]] | None = None,
) -> ParsedCommand:
    """``variables``: the environment that the shell will have. ``expand_glob``: (pattern, directory) -> words."""
    if _PLAIN_COMMAND.fullmatch(text):
        argv = tuple(text.split())
        if argv and "=" not in argv[0] and argv[0] not in _REFUSED_WORDS and argv[0] not in ("cd", "exec", "command"):
            return ParsedCommand((SimpleCommand(argv, working_directory, end=len(text)),))
    reader = _Reader(working_directory, dict(variables or {}), expand_glob or _expanded)
    try:
        reader.read(text, 0)
    except NotAnalysable as problem:
        return ParsedCommand((), str(problem))
    return ParsedCommand(tuple(reader.commands))


def _expanded(pattern: str, directory: str) -> list[str]:
    import glob

    return sorted(glob.glob(pattern, root_dir=directory))


class _Reader:
    def __init__(
        self, working_directory: str, variables: dict[str, str], expand_glob: Callable[[str, str], list[str]]
    ) -> None:
        self.commands: list[SimpleCommand] = []
        self._working_directory = working_directory
        self._variables = variables
        self._exported: dict[str, str] = {}
        self._expand_glob = expand_glob
        self._reset()

    def _reset(self) -> None:
        self._words: list[str] = []
        self._dynamic: list[bool] = []
        self._assignments: list[tuple[str, str]] = []
        self._redirects: list[tuple[str, str]] = []
        self._start = -1
        self._end = 0

    def read(self, text: str, depth: int) -> None:
        """Read one list of commands; the working directory at its end stays in force."""
        if depth > limits.SHELL_NESTING:
            raise NotAnalysable("deeply nested commands")
        saved_directories: list[str] = []
        pending_redirect = ""
        for token in tokens(text, self._variables):
            if pending_redirect:
                if token.operator:
                    raise NotAnalysable("redirection without a target")
                if token.value:
                    self._redirects.append((pending_redirect, token.value))
                self._end = token.end
                pending_redirect = ""
            elif not token.operator:
                self._take_word(token, depth)
            elif redirect := _REDIRECT.fullmatch(token.operator):
                pending_redirect = redirect[1] or token.operator
                self._begin(token)
            elif token.operator == "(":
                if self._words or self._assignments:
                    raise NotAnalysable("function definition")
                saved_directories.append(self._working_directory)
            elif token.operator == ")":
                self._finish()
                if not saved_directories:
                    raise NotAnalysable("unbalanced parenthesis")
                self._working_directory = saved_directories.pop()
            elif token.operator == ";;":
                raise NotAnalysable("case")
            else:
                self._finish()
        if pending_redirect or saved_directories:
            raise NotAnalysable("incomplete command")
        self._finish()

    def _begin(self, token: Token) -> None:
        if self._start < 0:
            self._start = token.start
        self._end = token.end

    def _take_word(self, token: Token, depth: int) -> None:
        for nested in token.nested:
            self._read_nested(nested, token, depth)
        if not self._words:
            if token.value in _SKIPPED_WORDS and not token.is_dynamic:
                return
            if token.value in _REFUSED_WORDS:
                raise NotAnalysable(token.value)
            if assignment := _ASSIGNMENT.fullmatch(token.value):
                self._begin(token)
                self._assignments.append((assignment[1], assignment[2]))
                return
        self._begin(token)
        found = self._expand_glob(token.value, self._working_directory) if token.has_glob else []
        for value in found or [token.value]:
            self._words.append(value)
            self._dynamic.append(token.is_dynamic)

    def _read_nested(self, text: str, token: Token, depth: int) -> None:
        reader = _Reader(self._working_directory, dict(self._variables), self._expand_glob)
        reader.read(text, depth + 1)
        self.commands += [command._replace(start=token.start, end=token.end) for command in reader.commands]

    def _finish(self) -> None:
        if not self._words:
            self._variables.update(self._assignments)
            if self._redirects:
                self._append((":",))
        elif self._words[0] == "cd":
            self._change_directory()
        elif self._words[0] == "export":
            for word in self._words[1:]:
                name, _, value = word.partition("=")
                self._exported[name] = self._variables[name] = value if "=" in word else self._variables.get(name, "")
        else:
            while self._words[0] in ("exec", "command") and len(self._words) > 1:
                del self._words[0], self._dynamic[0]
            if self._dynamic[0]:
                raise NotAnalysable("a program named by an expansion")
            self._append(tuple(self._words))
        self._reset()

    def _append(self, argv: tuple[str, ...]) -> None:
        if len(self.commands) >= limits.SHELL_COMMANDS:
            raise NotAnalysable("too many commands")
        command = SimpleCommand(
            argv=argv,
            working_directory=self._working_directory,
            environment=tuple({**self._exported, **dict(self._assignments)}.items()),
            redirects=tuple(self._redirects),
            is_dynamic=any(self._dynamic),
            start=self._start,
            end=self._end,
        )
        self.commands.append(command)

    def _change_directory(self) -> None:
        words = [word for word in self._words[1:] if word not in ("-L", "-P", "--")]
        if len(words) != 1 or any(self._dynamic) or words[0] == "-":
            raise NotAnalysable("cd to a directory that is not named")
        self._working_directory = absolute(words[0], self._working_directory)
