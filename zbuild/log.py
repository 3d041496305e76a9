"""The log of a daemon: one line per event, ``key=value`` pairs or JSON, each line bounded.

Lines go out unbuffered, in one write each, so those of several processes on one pipe never mix.
"""

from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Callable
from typing import BinaryIO

from zbuild.limits import LOG_LINE_BYTES

Value = str | int | float | bool | None
"""What a field may hold. Structures do not belong in a log line."""


class LogFormat(enum.StrEnum):
    """How a line is spelled."""

    LOGFMT = "logfmt"
    JSON = "json"


class Level(enum.IntEnum):
    """How much an event matters. Lines below the log's own level are not written."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Log:
    """Writes events to a stream, stderr as a rule.

    Attributes:
        dropped: lines that the stream refused. A daemon outlives the reader of its log.
    """

    def __init__(
        self,
        stream: BinaryIO,
        now_s: Callable[[], float],
        log_format: LogFormat = LogFormat.LOGFMT,
        level: Level = Level.INFO,
    ) -> None:
        """``now_s`` gives seconds since the epoch."""
        self._stream = stream
        self._now_s = now_s
        self._encode = _encode_json if log_format is LogFormat.JSON else _encode_logfmt
        self._level = level
        self.dropped = 0

    def debug(self, event: str, **fields: Value) -> None:
        """An event that only a developer looks for."""
        self._write(Level.DEBUG, event, fields)

    def info(self, event: str, **fields: Value) -> None:
        """An event in the ordinary life of a farm."""
        self._write(Level.INFO, event, fields)

    def warning(self, event: str, **fields: Value) -> None:
        """An event that somebody should look at, though the farm carries on."""
        self._write(Level.WARNING, event, fields)

    def error(self, event: str, **fields: Value) -> None:
        """An event that lost something."""
        self._write(Level.ERROR, event, fields)

    def _write(self, level: Level, event: str, fields: dict[str, Value]) -> None:
        if level < self._level:
            return
        instant = datetime.datetime.fromtimestamp(self._now_s(), datetime.UTC)
        record: dict[str, Value] = {
            "time": instant.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level.name.lower(),
            "event": event,
            **fields,
        }
        try:
            self._stream.write(self._encode(record))
            self._stream.flush()
        except (OSError, ValueError):
            self.dropped += 1


def _encode_json(record: dict[str, Value]) -> bytes:
    """The longest values are shortened until the line fits, for half a JSON object is none."""
    shortened = dict(record)
    while len(line := json.dumps(shortened, separators=(",", ":")).encode() + b"\n") > LOG_LINE_BYTES:
        longest = max(shortened, key=lambda key: len(str(shortened[key])))
        text = str(shortened[longest])
        if len(text) <= len(_CUT):
            return json.dumps({"event": str(record["event"])[:64] + _CUT}).encode() + b"\n"
        shortened[longest] = text[: len(text) // 2 - len(_CUT)] + _CUT
    return line


def _encode_logfmt(record: dict[str, Value]) -> bytes:
    line = " ".join(f"{key}={_logfmt_value(value)}" for key, value in record.items()).encode() + b"\n"
    if len(line) <= LOG_LINE_BYTES:
        return line
    tail = _CUT.encode() + b"\n"
    return line[: LOG_LINE_BYTES - len(tail)].decode(errors="ignore").encode() + tail


def _logfmt_value(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=not value.isprintable()) if _needs_quotes(value) else value
    return str(value)


def _needs_quotes(text: str) -> bool:
    return not text or not text.isprintable() or any(character in ' "=\\' for character in text)


_CUT = "..."
"""Stands where a line was cut."""
