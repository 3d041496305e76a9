"""Traces: what a viewer is given to draw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from zbuild.client.remote_job import RemoteOutcome
from zbuild.client.trace import Trace
from zbuild.errors import BadInput
from zbuild.inputs.analysis import Remote
from zbuild.model.action import ActionResult, ResourceUsage, ResultStatus


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Trace]:
    made = Trace(str(tmp_path / "trace.json"), 100.0)
    yield made
    made.close()


def outcome(worker: str, run_s: float, *, is_cached: bool = False, stolen_from: str = "") -> RemoteOutcome:
    resources = ResourceUsage(stage_s=0.25, run_s=run_s, upload_s=0.25)
    return RemoteOutcome(
        key=1,
        exit_code=0,
        stdout=b"",
        stderr=b"",
        error="",
        error_code=0,
        is_cached=is_cached,
        attempts=1,
        stolen_from=stolen_from,
        rounds=0,
        undeclared=(),
        suspected=(),
        analysis=cast(Remote, None),
        result=ActionResult(status=ResultStatus.SUCCESS, resources=resources, worker=worker),
    )


def events(trace: Trace, tmp_path: Path, *kinds: str) -> list[dict[str, Any]]:
    trace.close()
    written = json.loads((tmp_path / "trace.json").read_text())
    return [event for event in written if event.get("ph") in kinds]


def test_an_action_lies_where_its_result_came_with_its_phases_within(trace: Trace, tmp_path: Path) -> None:
    trace.remote("a.o", outcome("w1", 1.0), 103.0)
    spans = events(trace, tmp_path, "X")
    assert [(span["name"], span["ts"], span["dur"]) for span in spans] == [
        ("a.o", 1_500_000, 1_500_000),
        ("fetch", 1_500_000, 0),
        ("stage", 1_500_000, 250_000),
        ("run", 1_750_000, 1_000_000),
        ("collect", 2_750_000, 0),
        ("upload", 2_750_000, 250_000),
    ]


def test_actions_of_one_worker_that_overlap_lie_in_rows_of_their_own(trace: Trace, tmp_path: Path) -> None:
    for name, end_s in (("a.o", 103.0), ("b.o", 103.5), ("c.o", 105.0)):
        trace.remote(name, outcome("w1", 1.0), end_s)
    trace.remote("d.o", outcome("w2", 1.0), 103.0)
    rows = {span["name"]: (span["pid"], span["tid"]) for span in events(trace, tmp_path, "X") if ".o" in span["name"]}
    assert rows["a.o"] == rows["c.o"] != rows["b.o"]
    assert rows["d.o"][0] != rows["a.o"][0]


def test_an_arrow_leads_from_the_victim_to_the_thief(trace: Trace, tmp_path: Path) -> None:
    trace.remote("a.o", outcome("thief", 1.0, stolen_from="victim"), 103.0)
    begin, end = events(trace, tmp_path, "s", "f")
    named = {event["args"]["name"]: event["pid"] for event in events(trace, tmp_path, "M")}
    assert (begin["pid"], end["pid"]) == (named["victim"], named["thief"])
    assert begin["id"] == end["id"]


def test_hits_and_local_commands_have_processes_of_their_own(trace: Trace, tmp_path: Path) -> None:
    trace.remote("a.o", outcome("w1", 1.0, is_cached=True), 103.0)
    trace.local("b", 101.0, 102.0, "console")
    assert [event["name"] for event in events(trace, tmp_path, "i")] == ["a.o"]
    (span,) = events(trace, tmp_path, "X")
    assert (span["ts"], span["dur"], span["args"]) == (1_000_000, 1_000_000, {"reason": "console"})
    assert {event["args"]["name"] for event in events(trace, tmp_path, "M")} == {"cache", "here"}


def test_the_trace_of_a_build_that_was_killed_has_what_had_happened(trace: Trace, tmp_path: Path) -> None:
    trace.local("b", 101.0, 102.0, "console")
    trace._file.flush()
    lines = (tmp_path / "trace.json").read_text().splitlines()
    assert lines[0] == "["
    assert [json.loads(line.removesuffix(","))["ph"] for line in lines[1:]] == ["M", "X"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent/t\.json: No such file"):
        Trace(str(tmp_path / "absent" / "t.json"), 0.0)
