"""``.ninja_log``: which command made each output, when it started, and how long it took.

A text file: ``# ninja log v<version>``, then one line per output and run, tab-separated: start and end
in ms since the build began, mtime in ns, output, command hash in hex. Later lines replace earlier ones.

Versions 5, 6 and 7 differ in the hash only (see ``command_hash``). ninja up to 1.11 records the newest
mtime of the outputs, later ones the time at which the command started. The latter is what
``record`` is given here; it suits all versions, and an input that is changed while the command runs
leaves the output dirty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from zbuild.errors import ManifestError
from zbuild.ninja.command_hash import command_hash, command_hashes
from zbuild.ninja.disk import Disk
from zbuild.ninja.edge import Edge

FILE_NAME = ".ninja_log"
OLDEST_VERSION = 5
NEWEST_VERSION = 7

_SIGNATURE = "# ninja log v"
_MIN_COMPACTION_ENTRIES = 100
_COMPACTION_RATIO = 3
"""Rewrite a log of more than 100 lines when there are over 3 per output: ``BuildLog::Load``."""

_LINE_FIELDS = 5
_HASH_MASK = (1 << 64) - 1


class LogEntry(NamedTuple):
    """``start_ms``, ``end_ms``: since the beginning of the build that ran the command."""

    start_ms: int
    end_ms: int
    mtime_ns: int
    command_hash: int


class BuildLog:
    """What was read from the log, and the way to add to it.

    ``version``: that of the file; a file that does not exist yet gets the version asked for.
    ``warning``: what was wrong with the file, or empty.
    """

    def __init__(self, disk: Disk, path: str, new_log_version: int) -> None:
        """Read the log; none being there is fine.

        Raises:
            ManifestError: the file is there and cannot be read.
        """
        self._disk = disk
        self._path = path
        self.version = new_log_version
        self.entries: dict[str, LogEntry] = {}
        self.warning = ""
        self._line_count = 0
        self._is_started = False
        self._is_torn = False
        try:
            data = disk.read(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ManifestError(f"loading build log {path}: {error.strerror}") from error
        if data:
            self._load(data.decode("utf-8", "surrogateescape"))

    def _load(self, text: str) -> None:
        header, _, body = text.partition("\n")
        version = header.removeprefix(_SIGNATURE).strip()
        known = [str(number) for number in range(OLDEST_VERSION, NEWEST_VERSION + 1)]
        if not header.startswith(_SIGNATURE) or version not in known:
            self.warning = f"build log {self._path} has a version that is too old or too new; starting over"
            self._disk.remove(self._path)
            return
        self.version = int(version)
        self._is_started = True
        lines = body.split("\n")
        # Without an end of line the last record was never completed.
        self._is_torn = lines.pop() != "" or not text.endswith("\n")
        entries = self.entries
        for line in lines:
            fields = line.split("\t", _LINE_FIELDS - 1)
            if len(fields) != _LINE_FIELDS:
                continue
            start, end, mtime, output, hashed = fields
            try:
                entries[output] = LogEntry(int(start), int(end), int(mtime), int(hashed, 16) & _HASH_MASK)
            except ValueError:
                continue
            self._line_count += 1

    def hashes(self, commands: Iterable[str]) -> list[int]:
        """The commands' hashes as this log's version has them."""
        return command_hashes(list(commands), self.version)

    def duration_ms(self, edge: Edge) -> int | None:
        """How long the edge took when it last ran, if that is known."""
        for node in edge.outputs:
            entry = self.entries.get(node.path)
            if entry is not None:
                return max(entry.end_ms - entry.start_ms, 0)
        return None

    def record(self, edge: Edge, start_ms: int, end_ms: int, mtime_ns: int) -> None:
        """Append one line for each output of an edge that succeeded.

        Raises:
            OSError: the log cannot be written.
        """
        entry = LogEntry(start_ms, end_ms, mtime_ns, command_hash(edge.logged_command(), self.version))
        outputs = [node.path for node in edge.outputs]
        for output in outputs:
            self.entries[output] = entry
        self._append("".join(_line(output, entry) for output in outputs))

    def create(self) -> None:
        """Make the file if it is not there yet, as ninja does even when nothing runs.

        Raises:
            OSError: it cannot be written.
        """
        if not self._is_started:
            self._append("")

    def _append(self, lines: str) -> None:
        prefix = ""
        if not self._is_started:
            prefix = f"{_SIGNATURE}{self.version}\n"
        elif self._is_torn:
            prefix = "\n"
        self._disk.append(self._path, (prefix + lines).encode("utf-8", "surrogateescape"))
        self._is_started = True
        self._is_torn = False

    @property
    def is_recompaction_due(self) -> bool:
        """Whether most lines are of no use any more."""
        return self._line_count > _MIN_COMPACTION_ENTRIES and self._line_count > len(self.entries) * _COMPACTION_RATIO

    def recompact(self, is_dead: Callable[[str], bool]) -> None:
        """Rewrite the log with one line per output, without the outputs that ``is_dead`` names.

        Raises:
            OSError: the log cannot be written.
        """
        self.entries = {output: entry for output, entry in self.entries.items() if not is_dead(output)}
        lines = [_line(output, entry) for output, entry in self.entries.items()]
        text = f"{_SIGNATURE}{self.version}\n{''.join(lines)}"
        temporary = self._path + ".recompact"
        self._disk.write(temporary, text.encode("utf-8", "surrogateescape"))
        self._disk.replace(temporary, self._path)
        self._line_count = len(lines)
        self._is_started = True
        self._is_torn = False


def _line(output: str, entry: LogEntry) -> str:
    return f"{entry.start_ms}\t{entry.end_ms}\t{entry.mtime_ns}\t{output}\t{entry.command_hash:x}\n"
