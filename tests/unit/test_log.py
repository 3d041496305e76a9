"""A log line is one line, bounded, and readable by the tools of its format."""

from __future__ import annotations

import io
import json
from typing import BinaryIO

import pytest

from zbuild.limits import LOG_LINE_BYTES
from zbuild.log import Level, Log, LogFormat

NOON_S = 1_700_000_000.25


def _log(log_format: LogFormat = LogFormat.LOGFMT, level: Level = Level.INFO) -> tuple[Log, io.BytesIO]:
    stream = io.BytesIO()
    return Log(stream, lambda: NOON_S, log_format, level), stream


def test_logfmt() -> None:
    log, stream = _log()
    log.info("worker-lost", worker=7, name="a b", silent_s=30.5, held=None, is_fenced=True)
    assert stream.getvalue().decode() == (
        'time=2023-11-14T22:13:20.250Z level=info event=worker-lost worker=7 name="a b" silent_s=30.5 held= '
        "is_fenced=true\n"
    )


def test_json() -> None:
    log, stream = _log(LogFormat.JSON)
    log.error("disk-full", free_bytes=0, path="/x\ny")
    assert json.loads(stream.getvalue()) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "error",
        "event": "disk-full",
        "free_bytes": 0,
        "path": "/x\ny",
    }


@pytest.mark.parametrize("log_format", list(LogFormat))
@pytest.mark.parametrize("value", ["a\nlevel=error", "\x1b[2J", "\u2028", "\x9b31m", '"', "\\", "=", "", "\udcff", "ü"])
def test_a_hostile_value_stays_one_printable_line(log_format: LogFormat, value: str) -> None:
    log, stream = _log(log_format)
    log.warning("odd-name", path=value)
    line = stream.getvalue().decode()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert line.count(" level=") <= 1
    assert log.dropped == 0


@pytest.mark.parametrize("log_format", list(LogFormat))
@pytest.mark.parametrize("value", ["x" * 100_000, "ü" * 100_000, '"' * 100_000])
def test_a_line_is_bounded_and_shows_that_it_was_cut(log_format: LogFormat, value: str) -> None:
    log, stream = _log(log_format)
    log.info("long", first=value, second=value)
    line = stream.getvalue()
    assert 100 < len(line) <= LOG_LINE_BYTES
    assert b"..." in line
    if log_format is LogFormat.JSON:
        assert json.loads(line)["event"] == "long"


def test_a_json_line_of_too_many_fields_is_still_json() -> None:
    log, stream = _log(LogFormat.JSON)
    log.info("wide", **{f"field_{number}": number for number in range(1000)})
    assert len(stream.getvalue()) <= LOG_LINE_BYTES
    assert json.loads(stream.getvalue())["event"].startswith("wide")


def test_events_below_the_level_are_not_written() -> None:
    log, stream = _log(level=Level.WARNING)
    log.debug("a")
    log.info("b")
    log.warning("c")
    assert stream.getvalue().count(b"\n") == 1


class Broken(io.BytesIO):
    """A pipe that nobody reads any more."""

    def write(self, _data: object, /) -> int:
        """Fails as such a pipe does."""
        raise BrokenPipeError


def test_a_daemon_outlives_the_reader_of_its_log_and_counts_what_was_lost() -> None:
    closed = io.BytesIO()
    closed.close()
    streams: list[BinaryIO] = [Broken(), closed]
    for stream in streams:
        log = Log(stream, lambda: NOON_S)
        log.info("a")
        assert log.dropped == 1
